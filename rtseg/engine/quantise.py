"""From an FP32 network file to an INT8 one: post-training quantisation by NNCF (the ``int8`` extra).

The file has QuantizeLinear/DequantizeLinear pairs that every backend takes: OpenVINO and ONNX Runtime
run them as INT8 kernels on the CPU, TensorRT builds an explicitly quantised engine of them. TensorRT
asks for the most, so the file is as TensorRT wants it (NVIDIA, "Working with Quantized Types"):

- opset 17; all values INT8, zero points 0 (symmetric), one scale an activation;
- weights of -127 to 127, one scale an output channel (axis 0, of a transposed convolution 1), stored
  as FP32 with both a QuantizeLinear and a DequantizeLinear after them: TensorRT 8 takes no weights of
  INT8;
- biases in FP32.

The first convolution, the last, and what is before and after them stay as they are: signed INT8 would
take the lowest bit off every pixel, and the logits decide the mask.

Ranges are those of the calibration frames; biases are corrected for the mean error that the rounding
leaves (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
as NNCF does it).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rtseg import spec as specification
from rtseg.engine.telemetry import without_telemetry
from rtseg.errors import InputError, NetworkError, one_line
from rtseg.spec import NetworkFile

CALIBRATION_FRAMES = 100
"""How many frames the ranges are taken from, where nothing else is said."""

Progress = Callable[[str, int, int], None]
"""Called with what the quantisation is at, how many frames are done, and how many there are."""

_CONVOLUTIONS = ("Conv", "ConvTranspose")


class Frames(Protocol):
    """Frames (H, W, 3) uint8 BGR of any size: a list of them, or what reads each when it is due."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[NDArray[np.uint8]]: ...


def quantise(
    network: NetworkFile,
    frames: Frames,
    *,
    measured: Mapping[str, float] | None = None,
    on_progress: Progress | None = None,
) -> bytes:
    """Quantise a network of FP32; returns the content of the INT8 network file.

    ``frames`` are what the ranges are taken from: some hundred of the frames that the network was
    trained on, never of those that it is measured on. They are resized to the network's size.
    ``measured`` is what the spec says of its accuracy: that of the FP32 network is not this one's.
    ``NetworkError`` for a network that is not of FP32, has no convolution between its first and its
    last, or cannot be quantised; ``InputError`` without frames.
    """
    path, spec = network.path, network.spec
    model = onnx.load_from_string(path.read_bytes())
    if spec.precision != "fp32" or _nodes(model, "QuantizeLinear"):
        precision = "int8" if _nodes(model, "QuantizeLinear") else spec.precision
        raise NetworkError(f"{path}: a network file of {precision}: quantise the one of fp32")
    if not len(frames):
        raise InputError(f"{path}: no frames to take the ranges of its values from")
    name_nodes(model.graph)
    kept = outer_nodes(model.graph)
    if not any(n.op_type in _CONVOLUTIONS and n.name not in kept for n in model.graph.node):
        raise NetworkError(
            f"{path}: nothing to quantise: it has no convolution between its first and its last"
        )
    frame_input = model.graph.input[0].name

    def items() -> Iterator[dict[str, NDArray[np.uint8]]]:
        for done, frame in enumerate(frames):
            small = cv2.resize(frame, (spec.width, spec.height)).astype(np.uint8, copy=False)
            yield {frame_input: small[None]}
            if on_progress is not None:
                on_progress("calibrating", done + 1, len(frames))

    # NNCF reads them several times.
    calibration = list(items())
    try:
        model = _quantised(model, calibration, kept)
        _make_signed(model.graph)
        _keep_weights_in_fp32(model.graph)
        check_quantised(model)
    except Exception as error:  # NNCF's and ONNX's share no base but Exception
        raise NetworkError(f"{path}: cannot be quantised: {one_line(error)}") from error
    return _with_spec(model, network, measured or {})


def _quantised(
    model: onnx.ModelProto, items: list[dict[str, NDArray[np.uint8]]], kept: list[str]
) -> onnx.ModelProto:
    nncf = _import_nncf()
    from nncf.quantization.advanced_parameters import QuantizationParameters

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        quantised: onnx.ModelProto = nncf.quantize(
            model,
            nncf.Dataset(items),
            preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric
            subset_size=len(items),
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # NNCF would give inputs of depthwise convolutions a scale a channel.
                activations_quantization_params=QuantizationParameters(per_channel=False),
                # Weights of 7 bits in some layers are for CPUs whose INT8 products overflow.
                overflow_fix=nncf.OverflowFix.DISABLE,
            ),
        )
    return quantised


def _import_nncf() -> Any:
    """Import NNCF without its telemetry, its news, and its class for all loggers to come."""
    before = logging.getLoggerClass()
    try:
        with without_telemetry():
            import nncf
    finally:
        logging.setLoggerClass(before)
    # Its own set_log_level would set the level of handlers that are not its own, too.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def _nodes(model: onnx.ModelProto, operator: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == operator]


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own, by which it can be left out."""
    taken: set[str] = set()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_of_node_{number}"
        taken.add(node.name)


def outer_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that have no convolution before them, or none after them."""
    behind: set[str] = set()  # tensors that a convolution has a part in
    inner: set[str] = set()
    for node in graph.node:
        if not behind.isdisjoint(node.input):
            inner.add(node.name)
        if node.name in inner or node.op_type in _CONVOLUTIONS:
            behind.update(node.output)
    ahead: set[str] = set()  # tensors that have a part in a convolution
    for node in reversed(graph.node):
        leads_on = not ahead.isdisjoint(node.output)
        if not leads_on:
            inner.discard(node.name)
        if leads_on or node.op_type in _CONVOLUTIONS:
            ahead.update(node.input)
    return [node.name for node in graph.node if node.name not in inner]


def _make_signed(graph: onnx.GraphProto) -> None:
    """Turn the scales of UINT8 activations, 0 to 255, into those of INT8, 0 to 127.

    Values that are never negative lose half their steps so; NNCF would keep them, TensorRT has none.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    pairs = {
        (node.input[1], node.input[2])
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        and tensors[node.input[2]].data_type == TensorProto.UINT8
    }
    for name in {scale for scale, _ in pairs}:
        wider = numpy_helper.to_array(tensors[name]) * np.float32(255 / 127)
        tensors[name].CopyFrom(numpy_helper.from_array(wider.astype(np.float32), name))
    for name in {zero_point for _, zero_point in pairs}:
        # Other than 0 it stays wrong here, and is refused by check_quantised.
        values = numpy_helper.to_array(tensors[name]).astype(np.int8)
        tensors[name].CopyFrom(numpy_helper.from_array(values, name))


def _keep_weights_in_fp32(graph: onnx.GraphProto) -> None:
    """Put FP32 weights and a QuantizeLinear before every DequantizeLinear of INT8 weights.

    The weights are those that the INT8 values stand for, so that quantising gives the same again.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        weight = tensors.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weight is not None:
            steps = numpy_helper.to_array(weight).astype(np.float32)
            scale = numpy_helper.to_array(tensors[node.input[1]])
            axis = _axis(node)
            shape = [1] * steps.ndim
            shape[axis] = -1
            weight.CopyFrom(numpy_helper.from_array(steps * scale.reshape(shape), weight.name))
            steps_name = f"{node.output[0]}_quantised"
            nodes.append(
                helper.make_node(
                    "QuantizeLinear", list(node.input), [steps_name], steps_name, axis=axis
                )
            )
            node.input[0] = steps_name
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _axis(node: onnx.NodeProto) -> int:
    """The axis of a weight's output channels: 0, of a transposed convolution 1."""
    return next((int(a.i) for a in node.attribute if a.name == "axis"), 0)


def check_quantised(model: onnx.ModelProto) -> None:
    """``ValueError`` if the quantisation is not one that every backend takes (see the module)."""
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero_point = tensors.get(node.input[1]), tensors.get(node.input[2])
        if scale is None or zero_point is None:
            raise ValueError(f"{node.name}: its scale or zero point is not a constant")
        if zero_point.dtype != np.int8 or zero_point.any():
            raise ValueError(f"{node.name}: not symmetric INT8")
        if scale.size != zero_point.size or not np.all(scale > 0):
            raise ValueError(f"{node.name}: its scales are not positive, or not one a zero point")
        weight = tensors.get(node.input[0])
        if node.op_type == "QuantizeLinear":
            scales = 1 if weight is None else weight.shape[_axis(node)]
            if scale.size != scales:
                raise ValueError(f"{node.name}: {scale.size} scales where {scales} are needed")


def _with_spec(
    model: onnx.ModelProto, network: NetworkFile, measured: Mapping[str, float]
) -> bytes:
    """Return the file's content, with the network's spec for INT8 in it."""
    spec = replace(
        network.spec,
        precision="int8",
        measured=dict(measured),
        versions={**network.spec.versions, "nncf": importlib.metadata.version("nncf")},
    )
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for entry in list(model.metadata_props):
        model.metadata_props.remove(entry)
    model.metadata_props.add(key=specification.KEY, value=spec.to_json())
    model.producer_name = "rtseg"
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    specification.check_network(Path(f"{network.path} in INT8"), content)
    return content
