"""A network whose graph also gives the road's probability, made from its network file.

Its nodes are put behind the tensors that the masks are made of, upsampled already, so that the masks
stay what they are. They are written in the file's own wire format (:mod:`rtseg.onnx_header`): the
package onnx is not needed.

* Two classes: the masks are where z, the difference of their logits, is above 0. Then p = sigmoid(z).
* More: the masks are the ArgMax of the logits. Then p is the road's share of their softmax.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rtseg.errors import NetworkError, UsageError, one_line
from rtseg.onnx_header import fields, integer, messages, read_header, text_of
from rtseg.spec import NetworkFile, Spec

OUTPUT = "probability"
"""The name of the second output: (N, h, w) uint8 like the masks, round(255 p)."""

_AFTER = frozenset(("Cast", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"))
"""What may stand between the choice of a class and the masks."""

_OPSET = 13
"""The first in which Softmax is over one axis."""

_FLOAT, _UINT8, _INT64 = 1, 2, 7  # TensorProto.DataType, onnx.proto
_INT_ATTRIBUTE = 2  # AttributeProto.AttributeType


def road_index(spec: Spec) -> int:
    """Return the index of the class road; ``UsageError`` where there is none."""
    names = [name.lower() for name in spec.classes]
    if "road" not in names:
        raise UsageError(
            f"{spec.name}: gives no road probability: none of its classes "
            f"({', '.join(spec.classes)}) is called road"
        )
    return names.index("road")


def with_probability(network: NetworkFile) -> bytes:
    """Return the ONNX model of ``network`` with a second output, :data:`OUTPUT`.

    Of two classes the probability is at least 128 exactly where the mask is road. ``UsageError``
    where no class is the road; ``NetworkError`` where the file cannot be read, or its masks are made
    in another way than rtseg's export makes them.
    """
    road = road_index(network.spec)
    try:
        content = network.path.read_bytes()
    except OSError as error:
        raise NetworkError(
            f"{network.path}: cannot read this network file: {error.strerror}"
        ) from error
    opset = read_header(content).opset
    if opset < _OPSET:
        raise NetworkError(
            f"{network.path}: no probability can be had of a network of opset {opset}: "
            f"{_OPSET} or later is needed"
        )
    model = memoryview(content)
    graph = next(messages(model, 7))
    masks = next(messages(graph, 12))
    try:
        choice = _choice(network, graph, text_of(masks, 1))
    except (ValueError, IndexError) as error:
        raise NetworkError(
            f"{network.path}: its nodes cannot be read: {one_line(error)}"
        ) from error
    addition = _Addition()
    if choice.operator == "Greater":
        score, threshold = choice.inputs
        level = addition.difference(score, threshold, road)
    else:
        level = addition.softmax(choice.inputs[0], road)
    kind = b"".join(_part(2, described) for described in messages(masks, 2))
    addition.end(level, text_of(masks, 1), kind)
    return b"".join(
        _part(number, bytes(value) + bytes(addition.fields))
        if number == 7 and not isinstance(value, int)
        else _part(number, value)
        for number, value in fields(model)
    )


@dataclass(frozen=True)
class _Node:
    operator: str
    inputs: tuple[str, ...]
    axis: int | None


def _choice(network: NetworkFile, graph: memoryview, masks: str) -> _Node:
    """Find the node that chooses the class of a pixel: backwards from the masks."""
    producers: dict[str, _Node] = {}
    for node in messages(graph, 1):
        inputs = tuple(bytes(name).decode() for name in messages(node, 1))
        axes = [integer(a, 3) for a in messages(node, 5) if text_of(a, 1) == "axis"]
        read = _Node(text_of(node, 4), inputs, axes[0] if axes else None)
        producers.update((bytes(name).decode(), read) for name in messages(node, 2))
    found = producers.pop(masks, None)
    while found is not None and found.operator in _AFTER:
        found = producers.pop(found.inputs[0], None)  # each once: a broken file may go in circles
    operator = "nothing" if found is None else found.operator
    two = len(network.spec.classes) == 2
    if found is not None and (
        (operator == "Greater" and two and len(found.inputs) == 2)
        or (operator == "ArgMax" and found.axis == 1 and found.inputs)
    ):
        return found
    raise NetworkError(
        f"{network.path}: no probability can be had of this network: its masks are made by "
        f"{operator}, not by Greater of two classes or ArgMax over the channels: "
        "export it with rtseg-compile"
    )


class _Addition:
    """Fields that are added to a GraphProto: node 1, initializer 5, output 12."""

    def __init__(self) -> None:
        self.fields = bytearray()
        self._made = 0

    def difference(self, score: str, threshold: str, road: int) -> str:
        """Add round(255 sigmoid(z)), z = score - threshold, in which no sign is lost.

        255 sigmoid(z) is 127.5 + 127.5 tanh(z / 2), which is rounded downwards in the middle:
        127 + ceil(127.5 tanh(z / 2)), above 127 just where z > 0, in any arithmetic. Where the road
        is the first class its probability is that of -z.
        """
        z = self._node("Sub", self._real(score), self._real(threshold))
        half = self._node("Mul", z, self._constant(0.5))
        above = self._node(
            "Ceil", self._node("Mul", self._node("Tanh", half), self._constant(127.5))
        )
        if road == 1:
            return self._node("Add", above, self._constant(127))
        return self._node("Sub", self._constant(128), above)

    def softmax(self, logits: str, road: int) -> str:
        """Add round(255 p) of channel ``road`` of ``logits`` (N, C, h, w)."""
        shares = self._node("Softmax", self._real(logits), axis=1)
        index = self._initializer(_INT64, struct.pack("<q", road))
        share = self._node("Gather", shares, index, axis=1)
        return self._node("Round", self._node("Mul", share, self._constant(255)))

    def end(self, level: str, masks: str, kind: bytes) -> None:
        """Give ``level`` as an output of the masks' shape and type."""
        shape = self._node("Shape", masks)  # the network may choose before it drops the channel
        shaped = self._node("Reshape", level, shape)
        self._node("Cast", shaped, to=_UINT8, output=OUTPUT)
        self.fields += _part(12, _part(1, OUTPUT) + kind)

    def _real(self, name: str) -> str:
        return self._node("Cast", name, to=_FLOAT)

    def _constant(self, value: float) -> str:
        return self._initializer(_FLOAT, struct.pack("<f", value))

    def _initializer(self, kind: int, raw: bytes) -> str:
        name = self._name()
        # TensorProto: data_type 2, name 8, raw_data 9; without dims it is a scalar.
        self.fields += _part(5, _part(2, kind) + _part(8, name) + _part(9, raw))
        return name

    def _node(self, operator: str, *inputs: str, output: str = "", **attributes: int) -> str:
        output = output or self._name()
        # NodeProto: input 1, output 2, op_type 4, attribute 5 {name 1, i 3, type 20}.
        parts = [_part(1, name) for name in inputs] + [_part(2, output), _part(4, operator)]
        for name, value in attributes.items():
            parts.append(_part(5, _part(1, name) + _part(3, value) + _part(20, _INT_ATTRIBUTE)))
        self.fields += _part(1, b"".join(parts))
        return output

    def _name(self) -> str:
        self._made += 1
        return f"rtseg/{OUTPUT}/{self._made}"


def _part(number: int, value: int | str | bytes | memoryview) -> bytes:
    """A field of a protobuf message (protobuf.dev/programming-guides/encoding)."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else bytes(value)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
