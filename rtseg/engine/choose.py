"""From a network's name to an engine: find the file, pick the backend, compile or take from cache."""

from __future__ import annotations

import importlib.util
from importlib import resources
from pathlib import Path
from typing import get_args

from rtseg.engine.base import Engine, Mode
from rtseg.engine.cache import EngineCache
from rtseg.errors import BackendError, UsageError
from rtseg.spec import NetworkFile, read_network

BACKENDS = ("openvino", "onnxruntime")
PRECISIONS = ("fp32", "fp16", "bf16")
_EXTRAS = {"openvino": "rtseg", "onnxruntime": "rtseg[onnxruntime]"}


def _zoo_folder() -> Path:
    return Path(str(resources.files("rtseg.zoo")))


def zoo() -> tuple[str, ...]:
    """Names of the published networks."""
    return tuple(sorted(p.stem for p in _zoo_folder().glob("*.onnx") if "." not in p.stem))


def find_network(name_or_path: str | Path, precision: str | None = None) -> NetworkFile:
    """Find and check a network: a name of the zoo, or the path of an ONNX file.

    A name with ``precision`` ``fp16`` means the network's file of half-precision weights.
    ``UsageError`` for a name or path that is not there, ``NetworkError`` for a bad file.
    """
    text = str(name_or_path)
    if text in zoo():
        suffix = ".fp16.onnx" if precision == "fp16" else ".onnx"
        return read_network(_zoo_folder() / f"{text}{suffix}")
    path = Path(text)
    if path.suffix.lower() == ".onnx" or path.exists():
        if not path.exists():
            raise UsageError(f"{text}: no such network file")
        if path.is_dir():
            raise UsageError(f"{text}: a folder, not a network file (ONNX)")
        return read_network(path)
    raise UsageError(
        f"{text!r} is no network of the zoo ({', '.join(zoo())}) and no path of an ONNX file"
    )


def load(
    name_or_path: str | Path,
    *,
    backend: str | None = None,
    precision: str | None = None,
    size: tuple[int, int] | None = None,
    mode: Mode = "throughput",
    batch: int = 1,
    cache: EngineCache | None = None,
) -> Engine:
    """Give the engine of a network on this machine.

    ``name_or_path`` is a name of the zoo (``road-unet``) or the path of a network file. ``backend``
    is one of :data:`BACKENDS` (default: OpenVINO), ``precision`` one of :data:`PRECISIONS` (default:
    the backend's choice, which ``engine.precision`` then tells), ``size`` the (width, height) of the
    frames (default: the network's own), ``batch`` how many frames the engine takes at once.

    ``UsageError``: no such network, backend, precision or mode, or a backend that is not installed.
    ``NetworkError``: a bad file, or a size it cannot take. ``BackendError``: the backend failed.
    """
    if backend is not None and backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}: one of {', '.join(BACKENDS)}")
    if precision is not None and precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}: one of {', '.join(PRECISIONS)}")
    if mode not in get_args(Mode):
        raise UsageError(f"unknown mode {mode!r}: one of {', '.join(get_args(Mode))}")
    if batch < 1:
        raise UsageError(f"batch {batch}: at least 1")
    backend = backend or BACKENDS[0]
    if importlib.util.find_spec(backend) is None:
        raise UsageError(
            f"the backend {backend} is not installed: pip install '{_EXTRAS[backend]}'"
        )
    # OpenVINO converts weights itself; ONNX Runtime runs the file's own precision.
    network = find_network(name_or_path, precision if backend == "onnxruntime" else None)
    if size is not None:
        network = NetworkFile(network.path, network.spec.resized(*size), network.sha256)
    if backend == "openvino":
        from rtseg.engine import openvino

        return openvino.OpenVINOEngine(network, precision, mode, cache or EngineCache(), batch)
    from rtseg.engine import onnxruntime

    if precision is not None and precision not in onnxruntime.PRECISIONS:
        raise BackendError(
            f"precision {precision}: ONNX Runtime runs {' or '.join(onnxruntime.PRECISIONS)}"
        )
    return onnxruntime.ONNXRuntimeEngine(network, precision, mode, batch)
