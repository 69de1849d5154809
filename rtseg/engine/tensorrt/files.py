"""Which network file a precision is built from, and what is wrong where TensorRT cannot take it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rtseg.engine.siblings import SUFFIXES, same_network, sibling
from rtseg.errors import BackendError, one_line
from rtseg.onnx_header import messages, text_of
from rtseg.spec import NetworkFile


def nodes(content: bytes) -> list[tuple[str, str]]:
    """The (name, operator) of every node of an ONNX model, in its order."""
    # ModelProto: graph 7; GraphProto: node 1; NodeProto: name 3, op_type 4.
    return [
        (text_of(node, 3), text_of(node, 4))
        for graph in messages(memoryview(content), 7)
        for node in messages(graph, 1)
    ]


def precision_of(content: bytes, network: NetworkFile) -> str:
    """``int8`` for a file of quantised tensors, else the precision of its spec."""
    quantised = any(operator == "QuantizeLinear" for _, operator in nodes(content))
    return "int8" if quantised else network.spec.precision


def file_of(network: NetworkFile, precision: str) -> tuple[NetworkFile, bytes]:
    """Find the file to build ``precision`` from: ``network`` itself, or the one beside it.

    A strongly typed network has the precision of its file. Returns the file, for frames of
    ``network``'s size, and its content. ``BackendError`` says how to make one where there is none;
    ``NetworkError`` where it is no network file or cannot take the size.
    """
    content = _content(network)
    found = precision_of(content, network)
    if found == precision:
        return network, content
    path = sibling(network.path, precision)
    if path == network.path or not path.exists():
        raise BackendError(
            f"{network.path} is a network file of {found}, and there is none of {precision} beside "
            f"it ({path.name}): {_how_to_make(path, precision)}"
        )
    other = same_network(network, path)
    if other is None:
        raise BackendError(
            f"{path} is not the network of {network.path}: its classes or masks are others: "
            f"{_how_to_make(path, precision)}"
        )
    content = _content(other)
    found = precision_of(content, other)
    if found != precision:
        raise BackendError(
            f"{path} is a network file of {found}, not of {precision} as its name says: "
            f"{_how_to_make(path, precision)}"
        )
    return other, content


def _how_to_make(path: Path, precision: str) -> str:
    name = path.name.removesuffix(SUFFIXES[precision])
    if precision == "int8":
        return f"make it with rtseg-compile {name}.onnx --int8 FOLDER-OF-PICTURES"
    half = " --half" if precision == "fp16" else ""
    return f"make it with rtseg-compile {name}.safetensors{half}"


def _content(network: NetworkFile) -> bytes:
    try:
        content = network.path.read_bytes()
    except OSError as error:
        raise BackendError(
            f"{network.path}: cannot read this network file: {error.strerror}"
        ) from error
    if hashlib.sha256(content).hexdigest() != network.sha256:
        raise BackendError(f"{network.path}: this network file changes while it is read")
    return content


def parser_errors(parser: Any, content: bytes) -> list[str]:
    """Every error of an ONNX parser, a line each, with the node it is about."""
    known = nodes(content)
    lines = []
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        index = int(error.node())
        text = one_line(RuntimeError(error.desc()))
        code = str(error.code()).rpartition(".")[2]
        # 8.6 tells the node's number only; a negative one is none.
        name, operator = known[index] if 0 <= index < len(known) else ("", "")
        where = f"node {index} ({f'{operator} {name}'.strip()})" if operator else "the model"
        lines.append(f"{where}: {text} [{code}]")
    return lines
