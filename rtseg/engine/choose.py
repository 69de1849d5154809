"""From a network's name to an engine: find the file, pick the backend, compile or take from cache."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import get_args

from rtseg.engine.backends import (
    BACKENDS,
    KNOWN,
    PRECISIONS,
    elsewhere,
    fault,
    gpu_index,
    installed,
)
from rtseg.engine.base import Engine, Mode
from rtseg.engine.cache import EngineCache
from rtseg.engine.probability import road_index
from rtseg.engine.siblings import SUFFIXES
from rtseg.engine.tensorrt.files import file_of
from rtseg.errors import BackendError, RtsegError, UsageError, one_line
from rtseg.spec import NetworkFile, read_network

log = logging.getLogger("rtseg")

Progress = Callable[[str, int, int], None]
"""Called with what a build is at, how many of its steps are done, and how many there are."""


def _zoo_folder() -> Path:
    return Path(str(resources.files("rtseg.zoo")))


def zoo() -> tuple[str, ...]:
    """Names of the published networks."""
    return tuple(sorted(p.stem for p in _zoo_folder().glob("*.onnx") if "." not in p.stem))


def find_network(name_or_path: str | Path, precision: str | None = None) -> NetworkFile:
    """Find and check a network: a name of the zoo, or the path of an ONNX file.

    A name with ``precision`` ``fp16`` means the network's file of half-precision weights, with
    ``int8`` the quantised one.
    ``UsageError`` for a name or path that is not there, ``NetworkError`` for a bad file.
    """
    text = str(name_or_path)
    if text in zoo():
        suffix = SUFFIXES.get(precision or "fp32", ".onnx")
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
    on_progress: Progress | None = None,
    check: bool = True,
    probability: bool = False,
    device: str | None = None,
) -> Engine:
    """Give the engine of a network on this machine.

    ``name_or_path`` is a name of the zoo (``road-unet``) or the path of a network file. ``backend``
    is one of :data:`BACKENDS`; without it the first of them that this machine has and that can run
    this network is taken, and a line in the log (``rtseg``) says which and why. ``precision`` is one
    of :data:`PRECISIONS` (default: the backend's choice, which ``engine.precision`` then tells),
    ``size`` the (width, height) of the frames (default: the network's own), ``batch`` how many
    frames the engine takes at once. An engine that is not in the cache is built, which takes minutes
    on a GPU: ``on_progress`` hears of it. ``check`` compares the masks of an engine that was built for
    a GPU with the network's in FP32 (:mod:`rtseg.engine.parity`), and refuses it below 99 %.
    With ``probability`` the engine also gives the probability of the class road, 8 bits a pixel
    (:meth:`Engine.collect_probability`); the backends of a GPU do not.
    ``device`` is ``CPU`` or ``CUDA:0``, ``CUDA:1`` ...: only the backends of that one are tried.

    ``UsageError``: no such network, backend, precision, mode or device, a backend that is not
    installed, or no class road whose probability to give.
    ``NetworkError``: a bad file, or a size it cannot take. ``BackendError``: the backend failed, or
    all of them did.
    """
    if backend is not None and backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}: one of {', '.join(KNOWN)}")
    if precision is not None and precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}: one of {', '.join(PRECISIONS)}")
    if mode not in get_args(Mode):
        raise UsageError(f"unknown mode {mode!r}: one of {', '.join(get_args(Mode))}")
    if batch < 1:
        raise UsageError(f"batch {batch}: at least 1")
    gpu = gpu_index(device) or 0
    cache = cache or EngineCache()

    def make(chosen: str) -> Engine:
        # ONNX Runtime runs a file's own precision; the others find or make what they need.
        half = chosen == "onnxruntime" and precision == "fp16"
        network = find_network(name_or_path, precision if half else None)
        if precision == "int8" and not KNOWN[chosen].on_gpu:
            network, _ = file_of(network, precision)
        if size is not None:
            network = NetworkFile(network.path, network.spec.resized(*size), network.sha256)
        if probability:
            road_index(network.spec)  # before the long work
        engine = _make(
            chosen, network, precision, mode, cache, batch, on_progress,
            probability=probability, gpu=gpu,
        )  # fmt: skip
        if check and engine.built and KNOWN[chosen].on_gpu:
            _require_parity(engine, network, cache)
        return engine

    if backend is None:
        return _best(make, precision, probability, device)
    known = KNOWN[backend]
    if not installed(known):
        raise UsageError(f"the backend {backend} is not installed: pip install '{known.extra}'")
    reason = elsewhere(known, device) or fault(known, precision, probability)
    if reason:
        raise BackendError(f"--backend {backend}: {reason}" if known.on_gpu else reason)
    return make(backend)


def _best(
    make: Callable[[str], Engine], precision: str | None, probability: bool, device: str | None
) -> Engine:
    """Make the engine of the first backend that can, and say in one line which and why."""
    passed: list[str] = []
    errors: dict[str, BackendError] = {}
    news = False
    for backend in BACKENDS:
        known = KNOWN[backend]
        if not installed(known):
            passed.append(f"{backend}: not installed")
            continue
        if elsewhere(known, device):
            continue
        news |= known.on_gpu
        reason = fault(known, precision, probability)
        if reason:
            passed.append(f"{backend}: {reason}")
            if not known.on_gpu:
                errors[backend] = BackendError(reason)
            continue
        try:
            engine = make(backend)
        except BackendError as error:
            errors[backend] = error
            passed.append(f"{backend}: {error}")
            if known.on_gpu or precision is None:
                continue
            break  # a precision that was asked for is not run some slower way instead
        _tell(engine, passed, news=news, failed=bool(errors))
        return engine
    for backend in ("openvino", *errors):  # the default's own error says most
        if backend in errors:
            raise errors[backend]
    if device is not None:
        raise BackendError(f"device {device}: none of its backends runs here: {'; '.join(passed)}")
    raise UsageError(f"no backend is installed: pip install '{KNOWN['openvino'].extra}'")


def _tell(engine: Engine, passed: list[str], *, news: bool, failed: bool) -> None:
    """Log the choice: a warning if a better backend failed, else ``news`` where there is a GPU's.

    The commands print what is ``news``; that a machine without a GPU's packages runs on its CPU is
    none.
    """
    spec = engine.spec
    why = f" ({'; '.join(passed)})" if passed else ""
    log.log(
        logging.WARNING if failed else logging.INFO,
        "%s %dx%d: %s %s on %s%s",
        *(spec.name, spec.width, spec.height, engine.backend, engine.precision, engine.device, why),
        extra={"news": news},
    )


def _make(
    backend: str,
    network: NetworkFile,
    precision: str | None,
    mode: Mode,
    cache: EngineCache,
    batch: int,
    on_progress: Progress | None,
    *,
    probability: bool,
    gpu: int,
) -> Engine:
    if backend == "openvino":
        from rtseg.engine import openvino

        return openvino.OpenVINOEngine(
            network, precision, mode, cache, batch, probability=probability
        )
    if backend == "onnxruntime":
        from rtseg.engine import onnxruntime

        return onnxruntime.ONNXRuntimeEngine(
            network, precision, mode, batch, probability=probability
        )
    on_progress = on_progress or _LoggedProgress(network.spec.name)
    try:
        if backend == "tensorrt":
            from rtseg.engine.tensorrt import engine

            return engine.TensorRTEngine(
                network, precision, mode, cache, batch, on_progress=on_progress, gpu=gpu
            )
        from rtseg.engine import torch_tensorrt

        return torch_tensorrt.TorchTensorRTEngine(
            network, precision, mode, cache, batch, on_progress=on_progress
        )
    except RtsegError:
        raise
    except Exception as error:  # what these libraries raise has no common base
        log.debug("%s failed", backend, exc_info=True)
        raise BackendError(
            f"{network.spec.name}: {backend} failed: {type(error).__name__}: {one_line(error)}"
        ) from error


def _require_parity(engine: Engine, network: NetworkFile, cache: EngineCache) -> None:
    """Close an engine that does not paint what its network says; ``BackendError`` has the figure."""
    from rtseg.engine import parity

    if not parity.can_check():
        log.warning(
            "%s: not compared with FP32: pip install 'rtseg[onnxruntime]'", engine.spec.name
        )
        return
    try:
        parity.check(engine, network, cache).require(engine.spec.name)
    except BaseException:
        engine.close()
        raise


class _LoggedProgress:
    """Says in the log what a build is at: a line a phase."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._phase = ""

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase:
            self._phase = phase
            log.info("%s: %s", self._name, phase)
