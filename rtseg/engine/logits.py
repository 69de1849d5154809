"""Are a network's logits finite in half precision? Its file run on the CPU, every value rounded.

FP16 ends at 65504; a network that was trained in FP32 can go beyond it inside, and its masks are then
those of NaN.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import BackendError, one_line

if TYPE_CHECKING:
    import onnx

_AFTER_LOGITS = frozenset(
    ("Cast", "Gather", "Greater", "ArgMax", "Identity", "Resize", "Slice", "Squeeze", "Unsqueeze")
)
"""What stands between the logits and the mask: none of these makes a finite value infinite."""


def hindrance() -> str:
    """Why logits cannot be checked here; empty if they can."""
    for module in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(module) is None:
            return f"the package {module} is not installed"
    return ""


def count_not_finite(path: Path, frames: Iterable[NDArray[np.uint8]], size: tuple[int, int]) -> int:
    """Count the logits of ``frames`` that are NaN or infinite in an FP16 network file.

    ``frames`` (H, W, 3) uint8 BGR are of ``size`` (width, height), the one the network is run at. A
    black and a white frame are run too. ``BackendError`` where ONNX Runtime cannot run the file.
    """
    import onnx
    import onnxruntime as ort

    model = onnx.load_from_string(path.read_bytes())
    name = _logits(model.graph)
    _round_everything(model, name)
    options = ort.SessionOptions()
    # Only so are the values stored as they are here, and not kept in FP32 between two nodes.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    width, height = size
    for dimension, value in (("batch", 1), ("height", height), ("width", width)):
        options.add_free_dimension_override_by_name(dimension, value)
    extremes = (np.full((height, width, 3), level, np.uint8) for level in (0, 255))
    bad = 0
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        frame_input = session.get_inputs()[0].name
        for frame in (*frames, *extremes):
            (logits,) = session.run([name], {frame_input: frame[None]})
            bad += int(np.count_nonzero(~np.isfinite(logits)))
    except Exception as error:  # its exceptions share no base but Exception
        raise BackendError(
            f"{path}: ONNX Runtime cannot run this network to check its logits: {one_line(error)}"
        ) from error
    return bad


def _logits(graph: onnx.GraphProto) -> str:
    """The name of the tensor that the masks are made of: backwards from the output."""
    producers = {name: node for node in graph.node for name in node.output}
    name = graph.output[0].name
    while name in producers and producers[name].op_type in _AFTER_LOGITS:
        name = producers[name].input[0]
    return str(name)


def _round_everything(model: onnx.ModelProto, wanted: str) -> None:
    """Have every FP16 value really stored in half precision, and give ``wanted`` as an output.

    ONNX Runtime's CPU provider has few FP16 kernels: it computes in FP32, and leaves out the casts
    between two such nodes, so that nothing would ever overflow. It cannot where the value goes
    through an Identity and out of the graph: so every value does.
    """
    from onnx import TensorProto, helper, shape_inference

    # Types only: the graph's sizes are symbolic.
    known = shape_inference.infer_shapes(model).graph.value_info
    half = {v.name for v in known if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
    graph = model.graph
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        identities = []
        for place, name in enumerate(node.output):
            if name in half:
                node.output[place] = f"{name}/computed"
                identities.append(helper.make_node("Identity", [f"{name}/computed"], [name]))
                graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT16, None))
        graph.node.append(node)
        graph.node.extend(identities)
    if wanted not in {value.name for value in graph.output}:
        graph.output.append(helper.make_empty_tensor_value_info(wanted))
