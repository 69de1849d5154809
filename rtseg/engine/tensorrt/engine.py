"""TensorRT on an NVIDIA GPU: pinned memory, a stream a frame in flight, CUDA graphs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.engine.base import Engine, Frame, Mask, Mode
from rtseg.engine.cache import EngineCache
from rtseg.engine.pictures import PicturePath
from rtseg.engine.siblings import sibling
from rtseg.engine.tensorrt import bindings, builder
from rtseg.engine.tensorrt.driver import Device, Holding, OutOfMemoryError
from rtseg.engine.tensorrt.execution import Program, Slot
from rtseg.engine.tensorrt.files import precision_of
from rtseg.engine.tensorrt.graph import load_runtime
from rtseg.engine.tensorrt.options import PRECISIONS, BuildOptions
from rtseg.errors import BackendError, one_line
from rtseg.spec import NetworkFile

log = logging.getLogger("rtseg")

__all__ = ["PRECISIONS", "TensorRTEngine"]

_IN_FLIGHT = 3
"""One frame on its way up, one computed, one on its way down."""


class TensorRTEngine(Engine):
    """A network built by TensorRT for this machine's GPU, with FP16 arithmetic unless told otherwise.

    In ``throughput`` mode three frames are in flight, so that the copies of two overlap with the
    third's computing; in ``latency`` mode one. Where the GPU has too little memory there are fewer.
    Frames from :meth:`frame` are read where they lie, by the GPU itself.

    ``gpu`` and ``slots`` are for what works on the same device: :mod:`rtseg.engine.tensorrt.pictures`.
    ``sidecar`` is what the build wrote of itself: what it is for, its time, its parity.
    """

    backend = "tensorrt"

    def __init__(
        self,
        network: NetworkFile,
        precision: str | None,
        mode: Mode,
        cache: EngineCache,
        batch: int = 1,
        *,
        options: BuildOptions | None = None,
        on_progress: Callable[[str, int, int], None] | None = None,
        gpu: int = 0,
    ) -> None:
        if options is None:
            options = BuildOptions(precision=precision or default_precision(network), batch=batch)
        spec = network.spec
        self.gpu = Device(gpu)
        try:
            trt = bindings.import_tensorrt()
            plan, program = _load(trt, network, options, self.gpu, cache, on_progress)
            self._held, self.slots = _slots(
                program, self.gpu, 1 if mode == "latency" else _IN_FLIGHT, spec.name
            )
        except BaseException:
            self.gpu.close()
            raise
        super().__init__(
            spec,
            precision=str(plan.sidecar["precision"]),
            device=self.gpu.name,
            depth=len(self.slots),
            mode=mode,
            built=plan.built,
            versions={
                "tensorrt": bindings.version(trt),
                "pycuda": _pycuda_version(),
                "driver": self.gpu.driver_version,
                "cuda": self.gpu.cuda_version,
            },
            batch=options.batch,
        )
        self.sidecar: dict[str, Any] = plan.sidecar
        self._cuda = self.gpu.cuda
        self._input_shape = program.frames_shape
        # The arrays that frame() has handed out, by address: the holding keeps them alive.
        self._pinned: set[int] = set()
        self._failures: list[Exception | None] = [None] * self.depth

    def frame(self) -> Frame:
        """Return a pinned array for frames; submitting it copies nothing on the host."""
        self._require_open()
        try:
            array: Frame = self._held.pinned(self._frame_shape)
        except BackendError as error:  # there is a limit to what may be locked
            log.debug("frames are in ordinary memory: %s", error)
            return super().frame()
        self._pinned.add(_address(array))
        return array

    def pictures(self, width: int, height: int) -> PicturePath | None:
        """Return the way of whole pictures of ``width`` × ``height`` over this GPU.

        None, with a line in the log, where its kernels cannot be compiled or its memory is short.
        """
        from rtseg.engine.tensorrt.pictures import GpuPictures

        self._require_open()
        if self.batch != 1:
            return None
        try:
            return GpuPictures(self, width, height)
        except BackendError as error:
            log.warning("the CPU shrinks and paints the pictures: %s", error)
            return None

    def _start(self, slot: int, frame: Frame) -> None:
        place = self.slots[slot]
        self._failures[slot] = None
        with self.gpu.current():
            try:
                pinned = frame
                if _address(frame) not in self._pinned:
                    pinned = place.staging
                    np.copyto(pinned, frame.reshape(self._input_shape))
                place.upload(pinned)
                place.enqueue()
                place.done.record(place.stream)
            except (BackendError, self._cuda.Error) as error:
                # Its mask would be that of an earlier frame: collect raises this instead.
                self._failures[slot] = error
            except BaseException:  # Ctrl-C: nothing may run on a slot that counts as free
                place.stream.synchronize()
                raise

    def _finish(self, slot: int) -> Mask:
        place, failure = self.slots[slot], self._failures[slot]
        self._failures[slot] = None
        try:
            with self.gpu.current():
                if failure is None:
                    place.done.synchronize()
                else:
                    place.stream.synchronize()
        except self._cuda.Error as error:
            failure = failure or error
        if failure is not None:
            raise BackendError(f"TensorRT failed on a frame: {one_line(failure)}") from failure
        return place.mask.reshape(self._mask_shape)

    def close(self) -> None:
        """Wait for what is in flight and give back the GPU's memory, the newest first."""
        super().close()
        self.gpu.close()

    def __del__(self) -> None:
        # An engine that nobody closed; one whose making failed has closed its device already.
        if not getattr(self, "_closed", True):
            with contextlib.suppress(Exception):
                self.close()


def default_precision(network: NetworkFile) -> str:
    """FP16 where there is a network file of it; else, with a warning, what the file has."""
    path = network.path
    precision = precision_of(path.read_bytes(), network)
    if precision != "fp32" or sibling(path, "fp16").exists():
        return "fp16" if precision == "fp32" else precision
    log.warning(
        "%s: runs in FP32 on TensorRT, since there is no %s beside it: rtseg-compile "
        "CHECKPOINT.safetensors --half makes one",
        path, sibling(path, "fp16").name,
    )  # fmt: skip
    return "fp32"


def _load(
    trt: Any,
    network: NetworkFile,
    options: BuildOptions,
    device: Device,
    cache: EngineCache,
    on_progress: Callable[[str, int, int], None] | None,
) -> tuple[Any, Program]:
    """Build the plan or take it from the cache, and make it runnable; a bad one is built once more."""
    gpu = bindings.find_gpu(device.index)
    with device.current():
        plan = builder.plan_for(network, options, gpu, cache, on_progress=on_progress)
        for _ in range(2):
            held = device.hold()
            try:
                return plan, Program(trt, plan.payload, network.spec, options.batch, held)
            except OutOfMemoryError:
                raise
            except BackendError as error:
                held.close()
                if plan.built:
                    raise BackendError(f"{network.path}: {error}") from error
                log.warning("%s: building the engine anew: %s", network.spec.name, error)
            plan = builder.plan_for(
                network, options, gpu, cache, rebuild=True, on_progress=on_progress
            )
    raise BackendError(f"{network.path}: TensorRT takes none of the engines that it builds")


def _slots(program: Program, device: Device, depth: int, name: str) -> tuple[Holding, list[Slot]]:
    """Make ``depth`` slots, or as many as there is memory for."""
    runtime = load_runtime()
    while True:
        held = device.hold()
        try:
            slots = []
            for _ in range(depth):
                slot = Slot(program, device, held)
                with device.current():
                    slot.warm_up(runtime)
                slots.append(slot)
            return held, slots
        except OutOfMemoryError as error:
            held.close()
            if depth == 1:
                raise OutOfMemoryError(f"{name}: {error}") from error
            depth -= 1
            log.warning(
                "%s: %s: going on with %d frame%s in flight",
                name, str(error), depth, "" if depth == 1 else "s",
            )  # fmt: skip
        except device.cuda.Error as error:
            held.close()
            raise BackendError(f"{name}: TensorRT failed: {one_line(error)}") from error
        except BaseException:
            held.close()
            raise


def _address(array: NDArray[np.uint8]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _pycuda_version() -> str:
    try:
        return importlib.metadata.version("pycuda")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
