"""The head of an ONNX file: graph inputs, outputs and metadata, without its weights.

The ``onnx`` package would need 0.2 s of start-up and protobuf on every live machine for these few
fields, so they are read from the wire format (protobuf.dev/programming-guides/encoding) directly.
Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_TYPE_NAMES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    9: "bool", 10: "float16", 11: "float64", 16: "bfloat16",
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A graph input or output. A dimension is a number, a name, or ``?`` where it has neither."""

    name: str
    elem_type: int
    dims: tuple[int | str, ...]

    @property
    def type_name(self) -> str:
        """The element type as NumPy names it."""
        return _TYPE_NAMES.get(self.elem_type, f"type {self.elem_type}")


@dataclass(frozen=True)
class Header:
    """What is read of an ONNX model."""

    opset: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    metadata: dict[str, str]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value): an integer, or the bytes of a text or of a nested message.

    ``ValueError`` where the message is cut short or is none.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} is not protobuf's")
        if at + size > len(data):
            raise ValueError("it ends in the middle of a field")
        yield number, data[at : at + size]
        at += size


def messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the nested messages of field number ``wanted``; ``ValueError`` where it is none."""
    for number, value in fields(data):
        if number == wanted:
            if isinstance(value, int):
                raise ValueError(f"field {wanted} is not of its type")
            yield value


def text_of(data: memoryview, wanted: int) -> str:
    """Return the text of field number ``wanted``, empty where it is not there."""
    text = ""
    for value in messages(data, wanted):
        text = bytes(value).decode()
    return text


def integer(data: memoryview, wanted: int) -> int | None:
    """Return the number of field ``wanted``, None where it is not there."""
    found = None
    for number, value in fields(data):
        if number == wanted and isinstance(value, int):
            found = value
    return found


def _value(data: memoryview) -> Value:
    """ValueInfoProto: name 1, type 2 {tensor_type 1 {elem_type 1, shape 2 {dim 1 {value 1, param 2}}}}."""
    elem_type = 0
    dims: list[int | str] = []
    for type_proto in messages(data, 2):
        for tensor in messages(type_proto, 1):
            elem_type = integer(tensor, 1) or 0
            for shape in messages(tensor, 2):
                for dim in messages(shape, 1):
                    number = integer(dim, 1)
                    if number is not None and number >= 1 << 63:  # an int64's two's complement
                        number -= 1 << 64
                    dims.append(number if number is not None else text_of(dim, 2) or "?")
    return Value(text_of(data, 1), elem_type, tuple(dims))


def read_header(content: bytes) -> Header:
    """Read the head of a whole ONNX model; ``ValueError`` says how it is not one."""
    model = memoryview(content)
    graph: memoryview | None = None
    metadata: dict[str, str] = {}
    opset = 0
    for number, value in fields(model):  # ModelProto: graph 7, opset_import 8, metadata_props 14
        if isinstance(value, int) or number not in (7, 8, 14):
            continue
        if number == 7:
            graph = value
        elif number == 8 and text_of(value, 1) in ("", "ai.onnx"):
            opset = integer(value, 2) or 0
        elif number == 14:
            metadata[text_of(value, 1)] = text_of(value, 2)
    if graph is None:
        raise ValueError("it holds no graph")
    # GraphProto: initializer 5, input 11, output 12. Files of old IR versions list weights as inputs.
    weights = {text_of(tensor, 8) for tensor in messages(graph, 5)}
    inputs = tuple(v for v in map(_value, messages(graph, 11)) if v.name not in weights)
    return Header(opset, inputs, tuple(map(_value, messages(graph, 12))), metadata)
