"""A network file with something to quantise, made without torch, whose truth is known."""

import numpy as np
import pytest
from conftest import tiny_spec

from rtseg.spec import KEY


def write_three_convolutions(path):
    """Write a network of three 1×1 convolutions: blue, twice as much, and above 255 is road.

    A pixel is road where its blue is above 127. Its nodes have no names.
    """
    onnx = pytest.importorskip("onnx", reason="the network of the tests needs onnx (extra test)")
    from onnx import TensorProto, helper, numpy_helper

    one, two = (np.full((1, 1, 1, 1), value, np.float32) for value in (1, 2))
    blue = np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1)
    weights = {
        "blue": blue,
        "two": two,
        "one": one,
        "limit": np.array([-255], np.float32),
        "zero": np.array(0, np.float32),
        "axis": np.array([1], np.int64),
    }
    sides = ["batch", "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frames"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["planes", "blue"], ["first"]),
            helper.make_node("Relu", ["first"], ["level"]),
            helper.make_node("Conv", ["level", "two"], ["second"]),
            helper.make_node("Relu", ["second"], ["double"]),
            helper.make_node("Conv", ["double", "one", "limit"], ["score"]),
            helper.make_node("Greater", ["score", "zero"], ["is_road"]),
            helper.make_node("Squeeze", ["is_road", "axis"], ["plane"]),
            helper.make_node("Cast", ["plane"], ["masks"], to=TensorProto.UINT8),
        ],
        "three",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [*sides, 3])],
        [helper.make_tensor_value_info("masks", TensorProto.UINT8, sides)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, {KEY: tiny_spec(name="three").to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path
