"""What a network must do for a frame: operations, and bytes to and from memory, off its ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from rtseg.spec import NetworkFile

_HEAVY = frozenset(
    ("Conv", "ConvTranspose", "Gemm", "MatMul", "Resize", "MaxPool", "AveragePool",
     "GlobalAveragePool")
)  # fmt: skip
"""What reads and writes memory for itself; a backend joins the others to these."""


@dataclass(frozen=True)
class Costs:
    """For one frame.

    ``operations`` of convolutions and matrix products, a multiply-add counted as two;
    ``depthwise_operations`` is the part of them that no matrix unit can do. ``frame_bytes`` and
    ``mask_bytes`` are what comes in and goes out. ``activations`` and ``weights`` are numbers, not
    bytes: a precision decides these. ``activations`` counts what every convolution, product, pooling
    and resizing reads and writes, if everything else is joined to them.
    """

    operations: int
    depthwise_operations: int
    weights: int
    activations: int
    frame_bytes: int
    mask_bytes: int


def costs(network: NetworkFile) -> Costs:
    """Count for a frame of the spec's size; ``ImportError`` without the package onnx."""
    import onnx
    from onnx import shape_inference

    model = onnx.load_from_string(network.path.read_bytes())
    spec = network.spec
    sides = {
        "batch": 1, "height": spec.height, "width": spec.width,
        "mask_height": spec.mask_height, "mask_width": spec.mask_width,
    }  # fmt: skip
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = sides[dimension.dim_param]
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {v.name: _shape(v) for v in (*graph.value_info, *graph.input, *graph.output)}
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    operations = depthwise = activations = 0
    for node in graph.node:
        if node.op_type not in _HEAVY:
            continue
        inputs = [shapes[name] for name in node.input if name in shapes and name not in weights]
        output = shapes[node.output[0]]
        activations += sum(map(prod, inputs[:1])) + prod(output)
        done = _operations(node, shapes, weights, output)
        operations += done
        if node.op_type == "Conv" and _groups(node) == output[1] > 1:
            depthwise += done
    return Costs(
        operations,
        depthwise,
        sum(map(prod, weights.values())),
        activations,
        spec.width * spec.height * 3,
        spec.mask_width * spec.mask_height,
    )


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def _groups(node: Any) -> int:
    return next((a.i for a in node.attribute if a.name == "group"), 1)


def _operations(
    node: Any,
    shapes: dict[str, tuple[int, ...]],
    weights: dict[str, tuple[int, ...]],
    output: tuple[int, ...],
) -> int:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    first, second = ({**shapes, **weights}[name] for name in node.input[:2])
    if node.op_type == "Conv":  # every output pixel is gathered from a kernel
        return 2 * prod(output[2:]) * prod(second)
    if node.op_type == "ConvTranspose":  # every input pixel is spread over a kernel
        return 2 * prod(first[2:]) * prod(second)
    return 2 * prod(output) * first[-1]
