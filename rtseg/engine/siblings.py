"""The files of one network in several precisions, side by side, told apart by their names."""

from __future__ import annotations

from pathlib import Path

from rtseg.spec import NetworkFile, read_network

SUFFIXES = {"fp16": ".fp16.onnx", "int8": ".int8.onnx", "fp32": ".onnx"}
"""``X.onnx`` is a network in FP32, ``X.fp16.onnx`` the same in FP16, ``X.int8.onnx`` quantised."""


def sibling(path: Path, precision: str) -> Path:
    """Where the same network in another precision lies, or would: beside ``path``."""
    name = path.name
    for suffix in SUFFIXES.values():
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return path.with_name(name + SUFFIXES[precision])


def same_network(network: NetworkFile, path: Path) -> NetworkFile | None:
    """Read the file at ``path`` as ``network`` in another precision, for frames of its size.

    None where it has other classes or masks: another network with a like name. ``NetworkError`` for
    a bad file, or one that cannot take the size.
    """
    other, spec = read_network(path), network.spec
    if (other.spec.classes, other.spec.mask_stride) != (spec.classes, spec.mask_stride):
        return None
    return NetworkFile(path, other.spec.resized(spec.width, spec.height), other.sha256)
