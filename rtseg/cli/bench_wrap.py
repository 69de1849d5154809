"""Somebody else's ONNX segmentation network, made into a network file under rtseg's contract.

Their networks take normalised float pictures (N, 3, H, W) and give logits or class maps, often small.
What a program must do around that (colour order, normalisation, upsampling, argmax) is put into the
graph here, as rtseg puts it into its own, so that both do the same job on the same runtime.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rtseg.atomic import write_atomically
from rtseg.engine.openvino import the_core
from rtseg.errors import NetworkError, one_line
from rtseg.spec import KEY, Spec, check_network

_OLDEST = 11
"""The opset from which on ``Resize`` is what it is today."""
_NEWER = 17
_FLOATS: dict[int, Any] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
_MINE = "rtseg_"
# Of RGB / 255; rtseg.models.normalisation has them too, but imports torch.
_MEAN, _STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))


def wrap(
    path: Path, out: Path, size: tuple[int, int] | None, default: tuple[int, int]
) -> tuple[Spec, bool]:
    """Write the network at ``path`` as a network file at ``out``, for frames of ``size``.

    Without ``size`` (width, height) it is the network's own size, or ``default`` where it has none.
    Returns the spec, and whether the names of its classes are known: from the metadata ``classes`` (a
    JSON list) or ``names`` (as Ultralytics writes it). The normalisation is ImageNet's.
    ``NetworkError`` where it is not such a network.
    """
    try:
        model = onnx.load(str(path))
        model = _modern(model)
    except NetworkError:
        raise
    except Exception as error:  # protobuf's, onnx's and the system's have no common base
        raise NetworkError(f"{path}: not a readable ONNX model: {one_line(error)}") from error
    graph = model.graph
    given = _input(path, graph)
    width, height = _size(path, given, size, default)
    kind = given.type.tensor_type.elem_type
    shape, of_floats = _output(path, model, (1, 3, height, width))
    count = _classes(path, shape, of_floats)
    names, known = _names(model, count)
    before = _before(graph, given.name, kind)
    after = _after(graph, shape, of_floats, (height, width))
    nodes = [*before, *graph.node, *after]
    copied = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(copied)
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", height, width, 3])
    graph.input.append(frames)
    masks = helper.make_tensor_value_info("masks", TensorProto.UINT8, ["batch", height, width])
    graph.output.append(masks)
    palette = tuple((37 * i % 256, 91 * i % 256, 173 * i % 256) for i in range(len(names)))
    spec = Spec(
        path.stem.replace("/", "-"), width, height, names, palette, size_divisor=1, fixed_size=True,
        precision=_precision(graph),
    )  # fmt: skip
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=spec.to_json())
    content = model.SerializeToString()
    check_network(path, content)
    write_atomically(out, content)
    return spec, known


def _modern(model: ModelProto) -> ModelProto:
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset >= _OLDEST:
        return model
    from onnx import version_converter

    return version_converter.convert_version(model, _NEWER)


def _input(path: Path, graph: GraphProto) -> Any:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    found = [f"{v.name} of {len(v.type.tensor_type.shape.dim)} dimensions" for v in inputs]
    if len(inputs) == 1:
        tensor = inputs[0].type.tensor_type
        dims = tensor.shape.dim
        if tensor.elem_type in _FLOATS and len(dims) == 4 and dims[1].dim_value in (0, 3):
            return inputs[0]
    raise NetworkError(
        f"{path}: not a network of pictures: its input is {', '.join(found) or 'missing'}, not one of "
        "float (N, 3, H, W)"
    )


def _size(
    path: Path, given: Any, size: tuple[int, int] | None, default: tuple[int, int]
) -> tuple[int, int]:
    height, width = (d.dim_value for d in given.type.tensor_type.shape.dim[2:])
    if width and height:
        if size not in (None, (width, height)):
            raise NetworkError(
                f"{path}: takes pictures of {width}x{height} only: --size {width}x{height}"
            )
        return width, height
    return size or default


def _output(
    path: Path, model: ModelProto, shape: tuple[int, int, int, int]
) -> tuple[tuple[int, ...], bool]:
    """The shape of the first output for pictures of ``shape``, and whether it is of real numbers."""
    try:
        found = the_core().read_model(model.SerializeToString())
        found.reshape(list(shape))
        output = found.output(0)
        return tuple(output.get_shape()), output.get_element_type().is_real()
    except RuntimeError as error:
        raise NetworkError(
            f"{path}: cannot run at {shape[3]}x{shape[2]}: {one_line(error)}"
        ) from error


def _classes(path: Path, shape: tuple[int, ...], of_floats: bool) -> int:
    """How many classes the output tells apart; 0 if it has only their indices."""
    if len(shape) == 4 and of_floats and 1 <= shape[1] <= 255:
        return max(2, shape[1])
    if len(shape) == 3 or (len(shape) == 4 and shape[1] == 1):
        return 0
    raise NetworkError(
        f"{path}: its output is {shape}, neither logits (N, classes, h, w) of up to 255 classes nor "
        "class maps (N, h, w)"
    )


def _names(model: ModelProto, count: int) -> tuple[tuple[str, ...], bool]:
    told: Mapping[str, str] = {p.key: p.value for p in model.metadata_props}
    for key in ("classes", "names"):
        try:
            found = json.loads(told[key]) if key == "classes" else ast.literal_eval(told[key])
            if isinstance(found, dict):  # by index
                found = [found[i] for i in sorted(found)]
        except (KeyError, ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        names = tuple(str(name) for name in found) if isinstance(found, list) else ()
        if 2 <= len(names) == len(set(names)) <= 255 and count in (0, len(names)) and all(names):
            return names, True
    return tuple(f"class {i}" for i in range(count or 255)), False


def _before(graph: GraphProto, name: str, kind: int) -> list[NodeProto]:
    """From frames to what the network takes: ``name``.

    Where a convolution takes it, that one's weights are turned from RGB to BGR, so that no frame is
    turned at run time.
    """
    dtype = _FLOATS[kind]
    order = slice(None, None, -1) if _turn_weights(graph, name) else slice(None)
    std, mean = _STD[order], _MEAN[order]
    _constant(graph, "scale", (1 / (255 * std)).reshape(1, 3, 1, 1).astype(dtype))
    _constant(graph, "shift", (-mean / std).reshape(1, 3, 1, 1).astype(dtype))
    nodes = [
        _node("Cast", ["frames"], "real", to=kind),
        _node("Transpose", [f"{_MINE}real"], "planes", perm=[0, 3, 1, 2]),
    ]
    planes = f"{_MINE}planes"
    if order == slice(None):
        _constant(graph, "rgb", np.array([2, 1, 0], np.int64))
        nodes.append(_node("Gather", [planes, f"{_MINE}rgb"], "turned", axis=1))
        planes = f"{_MINE}turned"
    nodes.append(_node("Mul", [planes, f"{_MINE}scale"], "scaled"))
    nodes.append(helper.make_node("Add", [f"{_MINE}scaled", f"{_MINE}shift"], [name]))
    return nodes


def _turn_weights(graph: GraphProto, name: str) -> bool:
    users = [node for node in graph.node if name in node.input]
    if len(users) != 1 or users[0].op_type != "Conv":
        return False
    weights = users[0].input[1]
    tensor = next((t for t in graph.initializer if t.name == weights), None)
    shared = sum(weights in node.input for node in graph.node) > 1
    if tensor is None or shared or len(tensor.dims) != 4 or tensor.dims[1] != 3:
        return False
    turned = np.ascontiguousarray(numpy_helper.to_array(tensor)[:, ::-1])
    tensor.CopyFrom(numpy_helper.from_array(turned, weights))
    return True


def _after(
    graph: GraphProto, shape: tuple[int, ...], of_floats: bool, size: tuple[int, int]
) -> list[NodeProto]:
    """From the network's first output, of ``shape``, to ``masks`` at ``size`` (height, width)."""
    name = graph.output[0].name
    maker = next((node for node in graph.node if name in node.output), None)
    nodes: list[NodeProto] = []

    def add(operator: str, inputs: list[str], label: str, **options: Any) -> str:
        nodes.append(_node(operator, inputs, label, **options))
        return f"{_MINE}{label}"

    def full(source: str, mode: str) -> str:
        if shape[-2:] == size:
            return source
        # Batch and channels are the map's own: backends, which know them, fold this away.
        outer = np.arange(len(shape) - 2)
        _constant(graph, "outer", outer.astype(np.int64))
        _constant(graph, "sides", np.array(size, np.int64))
        _constant(graph, "none", np.zeros(0, np.float32))
        kept = add("Gather", [add("Shape", [source], "shape"), f"{_MINE}outer"], "kept", axis=0)
        sizes = add("Concat", [kept, f"{_MINE}sides"], "sizes", axis=0)
        none = f"{_MINE}none"
        how = "half_pixel" if mode == "linear" else "asymmetric"
        return add(
            "Resize", [source, none, none, sizes], "full", mode=mode,
            coordinate_transformation_mode=how,
            **({"nearest_mode": "floor"} if mode == "nearest" else {}),
        )  # fmt: skip

    logits = len(shape) == 4 and of_floats
    if not logits:
        source = add("Cast", [name], "indices", to=TensorProto.FLOAT)
        if len(shape) == 3:  # some backends stretch what has channels only
            _constant(graph, "channel", np.array([0, 1, *shape[1:]], np.int64))  # 0: as it is
            source = add("Reshape", [source, f"{_MINE}channel"], "with_channel")
            shape = (shape[0], 1, *shape[1:])
        _constant(graph, "first", np.array(0, np.int64))
        source = add("Gather", [full(source, "nearest"), f"{_MINE}first"], "map", axis=1)
    elif shape[1] > 2:
        source = add("ArgMax", [full(name, "linear")], "indices", axis=1, keepdims=0)
    else:
        # Of two classes only the sign of the difference matters, which is linear: before upsampling.
        source = add("Cast", [name], "logits", to=TensorProto.FLOAT)
        _constant(graph, "first", np.array([0], np.int64))
        border = 0.5 if shape[1] == 1 and maker is not None and maker.op_type == "Sigmoid" else 0.0
        if shape[1] == 2:
            _constant(graph, "second", np.array([1], np.int64))
            one = add("Gather", [source, f"{_MINE}second"], "second_logit", axis=1)
            other = add("Gather", [source, f"{_MINE}first"], "first_logit", axis=1)
            source = add("Sub", [one, other], "difference")
        shape = (shape[0], 1, *shape[2:])
        _constant(graph, "border", np.array(border, np.float32))
        above = add("Greater", [full(source, "linear"), f"{_MINE}border"], "above")
        _constant(graph, "plane", np.array(0, np.int64))
        above = add("Cast", [above], "real_above", to=TensorProto.FLOAT)
        source = add("Gather", [above, f"{_MINE}plane"], "one", axis=1)
    # By way of a real number, since TensorRT casts neither indices nor truth values to uint8.
    real = add("Cast", [source], "real_masks", to=TensorProto.FLOAT)
    nodes.append(helper.make_node("Cast", [real], ["masks"], to=TensorProto.UINT8))
    return nodes


def _node(operator: str, inputs: list[str], label: str, **options: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [f"{_MINE}{label}"], f"{_MINE}{label}", **options)


def _constant(graph: GraphProto, label: str, values: NDArray[Any]) -> None:
    graph.initializer.append(numpy_helper.from_array(values, f"{_MINE}{label}"))


def _precision(graph: GraphProto) -> str:
    """The type of most of the weights, or INT8 where nodes say that the network is quantised."""
    if any("QuantizeLinear" in node.op_type or "QLinear" in node.op_type for node in graph.node):
        return "int8"
    sizes = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for tensor in graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims))
    return "fp16" if sizes[TensorProto.FLOAT16] > sizes[TensorProto.FLOAT] else "fp32"
