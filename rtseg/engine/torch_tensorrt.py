"""torch-tensorrt: the second way to an NVIDIA GPU, from the checkpoint instead of the ONNX file.

Torch and torch-tensorrt are imported when an engine is made. What is built is an ExportedProgram
with TensorRT engines in it; it lies in the cache and is loaded without the checkpoint.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.engine.base import Engine, Frame, Mask, Mode
from rtseg.engine.cache import EngineCache
from rtseg.engine.torch_tensorrt_build import build, gpu
from rtseg.errors import BackendError, RtsegError, one_line
from rtseg.spec import NetworkFile, Spec

log = logging.getLogger("rtseg")

PRECISIONS = ("fp16", "fp32")

_IN_FLIGHT = 3


def gpu_fault() -> str:
    """Why no NVIDIA GPU can be used here, or nothing; told without importing anything."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError:
        return "no NVIDIA driver (libcuda cannot be loaded)"
    count = ctypes.c_int(0)
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status not in (0, 100):  # CUDA_ERROR_NO_DEVICE
        return f"the NVIDIA driver does not start: CUDA error {status}"
    return "" if count.value else "no NVIDIA GPU that CUDA can see"


def import_torch_tensorrt() -> tuple[Any, Any]:
    """Import torch and torch_tensorrt; ``BackendError``, one line, whatever goes wrong in there.

    It prints to standard output and raises what it likes where TensorRT or the GPU is missing, and
    puts a stand-in in the place of the module ``tensorrt``, which is taken out again then.
    """
    before = sys.modules.get("tensorrt")
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            torch = importlib.import_module("torch")
            torch_tensorrt = importlib.import_module("torch_tensorrt")
    except Exception as error:
        if before is None:
            sys.modules.pop("tensorrt", None)
        else:
            sys.modules["tensorrt"] = before
        raise BackendError(
            f"torch-tensorrt cannot be imported: {one_line(error)}: its release must fit torch's "
            "and TensorRT's, see pip install 'rtseg[torch-tensorrt]'"
        ) from error
    finally:
        if said.getvalue().strip():
            log.debug("torch-tensorrt: %s", " ".join(said.getvalue().split()))
    if not torch.cuda.is_available():
        raise BackendError(
            f"torch {torch.__version__} sees no GPU: install a build of torch with CUDA"
        )
    return torch, torch_tensorrt


class _Slot:
    """The place of one frame (or batch) in flight: memory on both sides, and its events."""

    def __init__(self, torch: Any, spec: Spec, batch: int) -> None:
        shapes = ((batch, spec.height, spec.width, 3), (batch, spec.mask_height, spec.mask_width))
        device = gpu(torch)
        self.frames, self.masks = (
            torch.empty(shape, dtype=torch.uint8, device=device) for shape in shapes
        )
        self.staging, self.pinned = (_pinned(torch, shape) for shape in shapes)
        self.staging_array: NDArray[np.uint8] = self.staging.numpy()
        self.mask: NDArray[np.uint8] = self.pinned.numpy()
        self.up, self.ran, self.down = (torch.cuda.Event() for _ in range(3))


def _pinned(torch: Any, shape: tuple[int, ...]) -> Any:
    return torch.empty(shape, dtype=torch.uint8, pin_memory=True)


class TorchTensorRTEngine(Engine):
    """A network compiled by torch-tensorrt for this machine's GPU, FP16 unless told otherwise.

    Its engines have one execution context, so that frames are computed one after the other; the
    copies of others run beside it on streams of their own.
    """

    backend = "torch-tensorrt"

    def __init__(
        self,
        network: NetworkFile,
        precision: str | None,
        mode: Mode,
        cache: EngineCache,
        batch: int = 1,
        *,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        torch, torch_tensorrt = import_torch_tensorrt()
        spec = network.spec
        precision = precision or "fp16"
        device = str(torch.cuda.get_device_name(0))
        major, minor = torch.cuda.get_device_capability(0)
        versions = {
            "torch-tensorrt": str(torch_tensorrt.__version__),
            "torch": str(torch.__version__),
        }
        key = {
            "backend": "torch-tensorrt",
            "version": versions["torch-tensorrt"],
            "torch": versions["torch"],
            "device": device,
            "compute_capability": f"{major}.{minor}",
            "system": sys.platform,
            "network": network.sha256,
            "size": f"{batch}x{spec.width}x{spec.height}",
            "precision": precision,
        }
        self._torch = torch
        name = spec.name
        before = cache.read(name, key)
        module = self._cached(name, before)
        built = module is None
        if module is None:
            with cache.building(name, key):
                now = cache.read(name, key)
                if now != before:  # another process has built it meanwhile
                    module = self._cached(name, now)
                built = module is None
                if module is None:
                    if on_progress is not None:
                        on_progress("building by torch-tensorrt", 0, 0)
                    began = time.perf_counter()
                    try:
                        payload = build(torch, torch_tensorrt, network, precision, batch)
                        module = self._load(payload)
                    except RtsegError:
                        raise
                    except Exception as error:
                        raise BackendError(
                            f"{network.path}: torch-tensorrt cannot compile this network: "
                            f"{one_line(error)}"
                        ) from error
                    seconds = round(time.perf_counter() - began, 3)
                    cache.write(name, key, payload, {"build_seconds": seconds})
        self._module: Any = module
        depth = 1 if mode == "latency" else _IN_FLIGHT
        super().__init__(
            spec,
            precision=precision,
            device=device,
            depth=depth,
            mode=mode,
            built=built,
            versions=versions,
            batch=batch,
        )
        self._slots = [_Slot(torch, spec, batch) for _ in range(depth)]
        self._up, self._compute, self._down = (torch.cuda.Stream() for _ in range(3))
        self._pinned: dict[int, Any] = {}
        self._failures: list[Exception | None] = [None] * depth
        self._graphs = contextlib.ExitStack()
        self._warm_up(torch_tensorrt)

    def _cached(self, name: str, payload: bytes | None) -> Any | None:
        """The program of an entry of the cache, or None."""
        if payload is None:
            return None
        try:
            return self._load(payload)
        except Exception as error:  # not ours to read: as good as no entry
            log.warning("%s: building the engine anew: %s", name, one_line(error))
            return None

    def _load(self, payload: bytes) -> Any:
        # The program is this user's own, checked by its SHA-256: it is run, like any engine.
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)  # of a file that it cannot read it logs a traceback
        try:
            return self._torch.export.load(io.BytesIO(payload)).module()
        finally:
            logging.disable(level)

    def _warm_up(self, torch_tensorrt: Any) -> None:
        """Run once, check what comes, and take CUDA graphs where this release has them."""
        spec, slot = self.spec, self._slots[0]
        torch = self._torch
        slot.frames.zero_()
        plain = self._module
        with torch.inference_mode():
            masks = plain(slot.frames)
        if tuple(masks.shape) != tuple(slot.masks.shape) or masks.dtype != torch.uint8:
            raise BackendError(
                f"{spec.name}: torch-tensorrt gives masks of {masks.dtype} {tuple(masks.shape)}, "
                f"not torch.uint8 {tuple(slot.masks.shape)}"
            )
        expected = masks.clone()
        try:
            module = self._graphs.enter_context(torch_tensorrt.runtime.enable_cudagraphs(plain))
            with torch.inference_mode():
                for _ in range(2):
                    again = module(slot.frames)
            if not torch.equal(again, expected):
                raise BackendError("the graph gives another mask")
            self._module = module
        except Exception as error:
            log.debug("no CUDA graph for torch-tensorrt: %s", one_line(error))
            self._graphs.close()
            self._module = plain

    def frame(self) -> Frame:
        """Return a pinned array for frames; submitting it copies nothing on the host."""
        self._require_open()
        tensor = _pinned(self._torch, self._frame_shape)
        array: Frame = tensor.numpy()
        self._pinned[array.ctypes.data] = tensor
        return array

    def _start(self, slot: int, frame: Frame) -> None:
        torch, place = self._torch, self._slots[slot]
        self._failures[slot] = None
        source = self._pinned.get(frame.ctypes.data)
        if source is None:
            source = place.staging
            np.copyto(place.staging_array, frame.reshape(place.staging_array.shape))
        try:
            with torch.inference_mode():
                with torch.cuda.stream(self._up):
                    place.frames.copy_(source.view(place.frames.shape), non_blocking=True)
                    place.up.record(self._up)
                with torch.cuda.stream(self._compute):
                    self._compute.wait_event(place.up)
                    place.masks.copy_(self._module(place.frames))
                    place.ran.record(self._compute)
                with torch.cuda.stream(self._down):
                    self._down.wait_event(place.ran)
                    place.pinned.copy_(place.masks, non_blocking=True)
                    place.down.record(self._down)
        except Exception as error:  # collect raises it: the mask there is an earlier frame's
            self._failures[slot] = error

    def _finish(self, slot: int) -> Mask:
        place, failure = self._slots[slot], self._failures[slot]
        self._failures[slot] = None
        try:
            if failure is None:
                place.down.synchronize()
            else:
                for stream in (self._up, self._compute, self._down):
                    stream.synchronize()
        except Exception as error:
            failure = failure or error
        if failure is not None:
            raise BackendError(
                f"torch-tensorrt failed on a frame: {one_line(failure)}"
            ) from failure
        return place.mask.reshape(self._mask_shape)

    def close(self) -> None:
        """Wait for what is in flight and let go of the GPU's memory."""
        super().close()
        self._graphs.close()
        self._module = None
        self._slots = []
        self._pinned = {}
