"""The double of TensorRT's network definition and ONNX parser, on the ``onnx`` package."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

OPSETS = {8: 17, 10: 20, 11: 25}
"""The newest ONNX opset that a generation's parser takes."""

DTYPES = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.FLOAT16: "HALF",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.DOUBLE: "FLOAT",
}
NUMPY = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64",
    "BOOL": "bool", "UINT8": "uint8",
}  # fmt: skip
UNPARSED = ("StringNormalizer", "TfIdfVectorizer", "ImageDecoder", "Unique")


class Tensor:
    """Play of ``ITensor``: a network's input or output."""

    def __init__(self, world: Any, name: str, shape: list[int], dtype: str, is_input: bool) -> None:
        self._world = world
        self.name = name
        self._shape = shape
        self._dtype = dtype
        self.is_network_input, self.is_network_output = is_input, not is_input
        self.is_shape_tensor, self.is_execution_tensor = False, True
        self.location = world.enum("TensorLocation", "DEVICE")
        self.allowed_formats = 1
        self.broadcast_across_batch = False

    @property
    def shape(self) -> Any:
        return self._world.dims(self._shape)

    @shape.setter
    def shape(self, value: Any) -> None:
        if self.is_network_output:
            self._world.log("ERROR", "ITensor::setDimensions: Error Code 3: API Usage Error")
            return
        self._shape = [int(side) for side in value]

    @property
    def dtype(self) -> Any:
        return self._world.enum("DataType", self._dtype)

    @dtype.setter
    def dtype(self, value: Any) -> None:
        self._dtype = value.name

    def get_dimension_name(self, index: int) -> Any:
        return None


class Network:
    """Play of ``INetworkDefinition``: what the parser read."""

    def __init__(self, world: Any, flags: int) -> None:
        self._world = world
        self.name = "Unnamed Network 0"
        self.flag_bits = int(flags)
        self.model: Any = None
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.layers: list[list[str]] = []
        self.error_recorder = None

    def has(self, flag: str) -> bool:
        """Whether a creation flag is set; False where this generation has no such flag."""
        members = self._world.enums["NetworkDefinitionCreationFlag"].__members__
        return flag in members and bool(self.flag_bits >> int(members[flag]) & 1)

    @property
    def strongly_typed(self) -> bool:
        """Whether types are what the file says: by flag on 10, always on 11."""
        return self._world.generation >= 11 or self.has("STRONGLY_TYPED")

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))
    num_layers = property(lambda self: len(self.layers))
    flags = property(lambda self: self.flag_bits)
    has_implicit_batch_dimension = property(lambda self: not self.has("EXPLICIT_BATCH"))

    def get_input(self, index: int) -> Any:
        return self.inputs[index] if 0 <= index < len(self.inputs) else None

    def get_output(self, index: int) -> Any:
        return self.outputs[index] if 0 <= index < len(self.outputs) else None

    def get_flag(self, flag: Any) -> bool:
        return self.has(flag.name)


class ParserError:
    """Play of ``ParserError``."""

    def __init__(self, world: Any, code: str, text: str, node: int = -1, of: Any = None) -> None:
        self._code = world.enum("ErrorCode", code)
        self._text, self._node = text, node
        self._name, self._operator = (of.name, of.op_type) if of is not None else ("", "")

    def code(self) -> Any:
        return self._code

    def desc(self) -> str:
        return self._text

    def file(self) -> str:
        return "ModelImporter.cpp"

    def func(self) -> str:
        return "parseNode"

    def line(self) -> int:
        return 836

    def node(self) -> int:
        return self._node

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._operator

    def local_function_stack(self) -> list[str]:
        return []

    def local_function_stack_size(self) -> int:
        return 0

    def __str__(self) -> str:
        return f"In node {self._node} with name: {self._name} and operator: {self._operator} " + (
            f"(parseNode): {self._code.name}: {self._text}"
        )


class OnnxParser:
    """Play of ``OnnxParser``: reads real ONNX bytes into the network, or says what it refuses."""

    def __init__(self, world: Any, network: Any, logger: Any) -> None:
        self._world = world
        self._network = network._play
        self._errors: list[Any] = []
        self._flags = 0

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def parse_from_file(self, model: str) -> bool:
        path = Path(model if isinstance(model, str) else model.decode())
        try:
            content = path.read_bytes()
        except OSError:
            return self._fail("MODEL_DESERIALIZE_FAILED", f"Failed to open file: {path}")
        return self.parse(content, str(path))

    def set_flag(self, flag: Any) -> None:
        self._flags |= 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags &= ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(flag) & 1)

    def supports_operator(self, op_name: str) -> bool:
        return op_name not in UNPARSED

    def parse(self, model: Any, path: str | None = None) -> bool:
        world, network = self._world, self._network
        if world.generation < 10 and not network.has("EXPLICIT_BATCH"):
            return self._fail(
                "INVALID_VALUE",
                "This version of the ONNX parser only supports TensorRT INetworkDefinitions with an"
                " explicit batch dimension. Please ensure the network was created using the "
                "EXPLICIT_BATCH NetworkDefinitionCreationFlag.",
            )
        try:
            read = onnx.load_from_string(bytes(model))
            onnx.checker.check_model(read)
            if not read.graph.node:
                raise ValueError("no nodes")
            typed = onnx.shape_inference.infer_shapes(read, data_prop=True)
        except Exception:
            return self._fail("MODEL_DESERIALIZE_FAILED", "Failed to parse the ONNX model.")
        opset = max(
            (o.version for o in read.opset_import if o.domain in ("", "ai.onnx")), default=1
        )
        if opset > OPSETS[world.generation]:
            return self._fail(
                "UNSUPPORTED_GRAPH",
                f"ONNX opset {opset} is newer than {OPSETS[world.generation]}, the newest supported",
            )
        for fault in world.gpu.faults.parser:
            node = read.graph.node[fault.node] if fault.node >= 0 else None
            self._fail(fault.code, fault.description, fault.node, node)
        self._check_types(typed)
        if self._errors:
            return False
        self._fill(read, typed)
        return True

    def _fail(self, code: str, text: str, node: int = -1, of: Any = None) -> bool:
        error = ParserError(self._world, code, text, node, of)
        self._errors.append(self._world.wrap("ParserError", error))
        self._world.log("ERROR", str(error))
        return False

    def _check_types(self, model: Any) -> None:
        """Refuse what TensorRT's layers cannot do: uint8 is for the network's ends, behind a cast."""
        graph = model.graph
        kinds = {
            value.name: value.type.tensor_type.elem_type
            for value in (*graph.input, *graph.output, *graph.value_info)
        }
        kinds |= {value.name: value.data_type for value in graph.initializer}
        real = (TensorProto.FLOAT, TensorProto.FLOAT16)
        quantised = ("QuantizeLinear", "DequantizeLinear")
        for index, node in enumerate(graph.node):
            if node.op_type in UNPARSED or node.domain not in ("", "ai.onnx"):
                self._fail("UNSUPPORTED_NODE", f"no importer registered for op: {node.op_type}",
                           index, node)  # fmt: skip
                continue
            ends = [kinds.get(name, 0) for name in (*node.input, *node.output)]
            if TensorProto.UINT8 not in ends or node.op_type in quantised:
                continue
            others = [kind for kind in ends if kind != TensorProto.UINT8]
            if node.op_type != "Cast":
                self._fail("UNSUPPORTED_NODE", f"{node.op_type} does not take UINT8", index, node)
            elif not all(kind in real for kind in others):
                text = (
                    "a cast between UINT8 and "
                    f"{', '.join(DTYPES.get(kind, str(kind)) for kind in others)} (TensorRT has "
                    "FLOAT and HALF only)"
                )
                if self._world.strict_casts:
                    self._fail("UNSUPPORTED_NODE", text, index, node)
                else:
                    self._world.gpu.remarks.append(f"node {index} {node.name}: {text}")

    def _fill(self, read: Any, typed: Any) -> None:
        network, world = self._network, self._world
        constants = {value.name for value in read.graph.initializer}

        def tensor(value: Any, is_input: bool) -> Any:
            kind = value.type.tensor_type
            sides = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
            play = Tensor(world, value.name, sides, DTYPES[kind.elem_type], is_input)
            if world.generation < 10 and play._dtype == "INT64":
                play._dtype = "INT32"  # 8.6 has no 64-bit integers and clamps them
            return world.wrap("ITensor", play)

        network.model = read
        network.inputs = [tensor(v, True) for v in read.graph.input if v.name not in constants]
        network.outputs = [tensor(v, False) for v in typed.graph.output]
        types = {v.name: v.type.tensor_type.elem_type for v in typed.graph.value_info}
        types |= {v.name: v.type.tensor_type.elem_type for v in typed.graph.output}
        network.layers = [
            [node.name or f"{node.op_type}_{n}", node.op_type,
             DTYPES.get(types.get(node.output[0], 0), "FLOAT")]
            for n, node in enumerate(read.graph.node)
        ]  # fmt: skip


def elements(shape: list[int]) -> int:
    """Return the number of elements of a shape."""
    return math.prod(shape)
