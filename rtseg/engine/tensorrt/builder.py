"""From a network file to a TensorRT plan: built once, then taken from the engine cache."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rtseg.engine.cache import EngineCache
from rtseg.engine.cache_entry import refusal
from rtseg.engine.tensorrt import timings
from rtseg.engine.tensorrt.bindings import create, generation, import_tensorrt, version
from rtseg.engine.tensorrt.cancelling import cancellable
from rtseg.engine.tensorrt.files import file_of, parser_errors
from rtseg.engine.tensorrt.log import make_log
from rtseg.engine.tensorrt.options import BuildOptions, Gpu
from rtseg.engine.tensorrt.progress import WHOLE, OnProgress, make_monitor
from rtseg.errors import BackendError, one_line
from rtseg.onnx_header import read_header
from rtseg.spec import NetworkFile

log = logging.getLogger("rtseg")

_EXTERNAL = {
    "CUBLAS": ("libcublas.so.12", "libcublas.so.11"),
    "CUBLAS_LT": ("libcublasLt.so.12", "libcublasLt.so.11"),
    "CUDNN": ("libcudnn.so.8",),
}
"""The libraries that TensorRT 8.6 may take tactics from, by the name of the tactic source."""


@dataclass(frozen=True)
class Plan:
    """A serialised engine, and its sidecar.

    ``built`` says whether it was built now rather than taken from the cache. ``sidecar`` holds all
    that makes it valid (backend, version, device, compute_capability, system, network, size,
    precision ...) and what is known of it besides (date, build_seconds, parity ...).
    """

    payload: bytes
    built: bool
    sidecar: dict[str, str | float]


def plan_for(
    network: NetworkFile,
    options: BuildOptions,
    gpu: Gpu,
    cache: EngineCache,
    *,
    rebuild: bool = False,
    on_progress: OnProgress | None = None,
) -> Plan:
    """Give the plan of a network on ``gpu``: from the cache, or built and put there.

    The file of the wanted precision is ``network`` itself or the one beside it
    (:func:`rtseg.engine.tensorrt.files.file_of`). ``rebuild`` leaves out what is in the cache. While
    another process builds the same engine this one waits, and takes what it has built.

    ``UsageError`` for options that cannot be, ``BackendError`` where TensorRT is missing or refuses,
    or where the parity check has refused the engine that is in the cache; ``KeyboardInterrupt`` after
    Ctrl-C.
    """
    options.check()
    trt = import_tensorrt()
    if options.ampere_plus and gpu.compute_capability < (8, 0):
        raise BackendError(
            f"an engine for Ampere and later cannot be built on {gpu.name}, which is older "
            "(compute capability {}.{}): leave --ampere-plus out".format(*gpu.compute_capability)
        )
    network, _ = file_of(network, options.precision)
    name, key = network.spec.name, key_of(trt, network, options, gpu)
    path = cache.path(name, key)
    before = _state(path)
    found = None if rebuild else cache.find(name, key)
    if found is None:
        if before is None:
            _say_what_there_is(cache, name, key)
        with cache.building(name, key):
            if _state(path) != before:  # another process has built it meanwhile
                found = cache.find(name, key)
            if found is None:
                return _build(trt, network, options, gpu, cache, key, on_progress)
    payload, facts = found
    if reason := refusal(facts):
        raise BackendError(
            f"{name}: {reason}: use --precision fp32, or build it anew with rtseg-compile --rebuild"
        )
    return Plan(payload, False, {**key, **facts})


def _build(
    trt: Any,
    network: NetworkFile,
    options: BuildOptions,
    gpu: Gpu,
    cache: EngineCache,
    key: dict[str, str],
    on_progress: OnProgress | None,
) -> Plan:
    if options.timing_cache is None:
        file = timings.timing_file(cache.folder, version(trt), gpu)
        options = dataclasses.replace(options, timing_cache=file)
    if on_progress is not None:
        on_progress("building", 0, WHOLE)  # 8.6 tells no more
    start = time.perf_counter()
    payload = build_plan(network, options, on_progress)
    facts: dict[str, str | float] = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "build_seconds": round(time.perf_counter() - start, 3),
        "driver": f"CUDA {gpu.driver // 1000}.{gpu.driver % 1000 // 10}",
        "gpu": gpu.uuid,
    }
    cache.write(network.spec.name, key, payload, facts)
    return Plan(payload, True, {**key, **facts})


def key_of(trt: Any, network: NetworkFile, options: BuildOptions, gpu: Gpu) -> dict[str, str]:
    """All that makes a plan another one. ``network`` is the file that it is built from."""
    spec = network.spec
    return {
        **here(trt, gpu),
        "network": network.sha256,
        "size": f"{options.batch}x{spec.width}x{spec.height}",
        **options.facts(),
    }


def here(trt: Any, gpu: Gpu) -> dict[str, str]:
    """Those facts of a key that this machine decides."""
    return {
        "backend": "tensorrt",
        "version": version(trt),
        "device": gpu.name,
        "compute_capability": "{}.{}".format(*gpu.compute_capability),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _state(path: Any) -> tuple[int, int] | None:
    """What changes when a file is replaced."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _say_what_there_is(cache: EngineCache, name: str, key: dict[str, str]) -> None:
    """Name what is different where there is an engine of this network, but not for here."""
    machine = ("version", "device", "compute_capability", "system")
    same = {k: v for k, v in key.items() if k not in machine}
    try:
        entries = cache.entries(name, whole=False)
    except OSError:
        return
    for entry in reversed(entries):
        if {k: v for k, v in entry.key.items() if k not in (*machine, "rtseg")} == same:
            if difference := entry.fault({"tensorrt": {k: key[k] for k in machine}}):
                log.info(
                    "%s: the cached engine is %s: building it anew", name, difference,
                    extra={"news": True},
                )  # fmt: skip
            return


def build_plan(
    network: NetworkFile,
    options: BuildOptions,
    on_progress: OnProgress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> bytes:
    """Build the plan of exactly this network file; nothing is cached but tactic timings.

    It is built for frames of the spec's size and ``options.batch``, without dynamic shapes. On 10
    and 11 it is strongly typed: it has the types of the file. 8.6 is told by flags to use them.
    TF32 is off. Ctrl-C in the main thread ends it, as ``cancelled`` does, after the step that
    TensorRT is at; 8.6 cannot end a build before its time.

    ``BackendError`` names what TensorRT refuses, with the node. ``KeyboardInterrupt`` after Ctrl-C.
    """
    options.check()
    trt = import_tensorrt()
    network, content = file_of(network, options.precision)
    frames = read_header(content).inputs[0].dims
    if isinstance(frames[0], int) and frames[0] != options.batch:
        raise BackendError(
            f"{network.path}: takes {frames[0]} frame{'' if frames[0] == 1 else 's'} at a time: "
            f"ask for --batch {frames[0]}"
        )

    def work(stopped: Callable[[], bool]) -> bytes:
        return _plan(
            trt, network, content, options, make_monitor(trt, on_progress, stopped), stopped
        )

    def interrupted() -> None:
        if not hasattr(trt, "IProgressMonitor"):
            log.warning(
                "TensorRT %s cannot break off a build: waiting for its end (Ctrl-C again leaves it)",
                version(trt),
            )

    return cancellable(work, cancelled, interrupted)


def _plan(
    trt: Any,
    network: NetworkFile,
    content: bytes,
    options: BuildOptions,
    monitor: Any,
    stopped: Callable[[], bool],
) -> bytes:
    messages = make_log(trt)
    builder = create(trt, trt.Builder, messages)
    definition = create(trt, builder.create_network, _creation_flags(trt))
    parser = create(trt, trt.OnnxParser, definition, messages)
    if not parser.parse(content):
        errors = parser_errors(parser, content) or messages.take_errors() or ["it does not say why"]
        for line in errors[1:]:
            log.warning("%s: %s", network.path, line)
        raise BackendError(
            f"{network.path}: TensorRT {version(trt)} cannot take this network: {errors[0]}"
        )
    spec = network.spec
    definition.get_input(0).shape = (options.batch, spec.height, spec.width, 3)
    config = create(trt, builder.create_builder_config)
    _configure(trt, config, options, spec.precision)
    timings.attach(config, options.timing_cache)
    if monitor is not None:
        config.progress_monitor = monitor
    messages.take_errors()
    plan = builder.build_serialized_network(definition, config)
    if stopped():
        raise BackendError(f"{network.path}: the build was cancelled")
    if plan is None:
        said = "; ".join(messages.take_errors()) or "it does not say why"
        raise BackendError(
            f"{network.path}: TensorRT {version(trt)} cannot build this network: "
            f"{one_line(RuntimeError(said))}{_advice(said)}"
        )
    timings.store(config, options.timing_cache)
    return bytes(plan)


def _advice(said: str) -> str:
    if "memory" in said.lower():
        return ": end what else runs on the GPU, or take a smaller --size or --batch"
    return ""


def _creation_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    match generation(trt):
        case 8:
            return 1 << int(flags.EXPLICIT_BATCH)
        case 10:
            return 1 << int(flags.STRONGLY_TYPED)
        case 11:
            return 0  # always explicit and strongly typed


def _configure(trt: Any, config: Any, options: BuildOptions, weights: str) -> None:
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimisation_level is not None:
        config.builder_optimization_level = options.optimisation_level
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.ampere_plus:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if generation(trt) == 8:
        if weights == "fp16":
            config.set_flag(trt.BuilderFlag.FP16)
        if options.precision == "int8":
            config.set_flag(trt.BuilderFlag.INT8)
        sources = config.get_tactic_sources()
        for name, libraries in _EXTERNAL.items():
            if sys.platform == "linux" and not any(map(_loads, libraries)):
                sources &= ~(1 << int(getattr(trt.TacticSource, name)))
        config.set_tactic_sources(sources)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
