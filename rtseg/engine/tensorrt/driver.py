"""The GPU as pycuda gives it: its driver checked, its primary context, and all that is held on it.

The primary context is the one that torch, TensorRT and cuda-python use too, so that their memory
and streams go together with those from here. It is retained once a process and given back at the
interpreter's end: TensorRT keeps things in it that outlive an engine.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rtseg.errors import BackendError, one_line

log = logging.getLogger("rtseg")

ALIGNMENT: Final = 256
"""Bytes; TensorRT takes no tensor address that is not a multiple of it."""

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, cuda.h


class OutOfMemoryError(BackendError):
    """The GPU, or the host's pinned memory, has no room for this."""


def load_driver() -> Any:
    """Import ``pycuda.driver``, initialised; ``BackendError`` says what this machine lacks.

    In this order: pycuda, the driver's library, a driver that is new enough, a GPU.
    """
    try:
        cuda = importlib.import_module("pycuda.driver")
    except ImportError as error:
        text = one_line(error)
        if "libcuda" in text or "nvcuda" in text:
            raise BackendError("no NVIDIA driver (libcuda cannot be loaded)") from error
        if "undefined symbol" in text:
            raise BackendError(f"the NVIDIA driver is too old for this pycuda: {text}") from error
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("pycuda"):
            raise BackendError("pycuda is not installed: pip install 'rtseg[tensorrt]'") from error
        raise BackendError(f"pycuda cannot be imported: {text}") from error
    try:
        cuda.init()
        count = cuda.Device.count()
    except cuda.Error as error:
        text = one_line(error)
        if "no CUDA-capable device" in text or "no device" in text:
            raise BackendError("no NVIDIA GPU that CUDA can see") from error
        if "insufficient" in text or "mismatch" in text:
            raise BackendError(f"the NVIDIA driver is too old: {text}") from error
        raise BackendError(f"the NVIDIA driver does not start: {text}") from error
    if count == 0:
        raise BackendError("no NVIDIA GPU that CUDA can see")
    supported, built = cuda.get_driver_version() // 1000, cuda.get_version()[0]
    if supported < built:
        raise BackendError(
            f"the NVIDIA driver is too old: it supports CUDA {supported}, pycuda was built for "
            f"CUDA {built}: update the driver"
        )
    return cuda


class _Primary:
    """The primary context of a device, current for the length of a ``with``, in any thread."""

    def __init__(self, cuda: Any, index: int) -> None:
        self.cuda = cuda
        self.index = index
        self.device = cuda.Device(index)
        self.context = self.device.retain_primary_context()

    def __enter__(self) -> None:
        self.context.push()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.context.pop()


_lock = threading.Lock()
_primaries: list[_Primary] = []
_open: list[Device] = []


def _retain(index: int) -> _Primary:
    cuda = load_driver()
    with _lock:
        for primary in _primaries:
            if primary.cuda is cuda and primary.index == index:
                return primary
        try:
            primary = _Primary(cuda, index)
        except cuda.MemoryError as error:
            raise OutOfMemoryError(
                f"GPU {index} has no memory left for a context: end what else runs on it"
            ) from error
        except cuda.Error as error:
            raise BackendError(f"GPU {index} cannot be used: {one_line(error)}") from error
        _primaries.append(primary)
        return primary


def shut_down() -> None:
    """Close every :class:`Device` that is open and give the primary contexts back.

    The interpreter calls it at its end, before CUDA's own end: what pycuda frees after that, or a
    context that is still on its stack, aborts the process.
    """
    for device in reversed(_open[:]):
        device.close()
    with _lock:
        while _primaries:
            primary = _primaries.pop()
            try:
                # pycuda releases a context from the thread that retained it, or where it is current.
                primary.context.push()
                primary.context.detach()
            except Exception as error:
                log.debug("the CUDA context was not given back: %s", one_line(error))


atexit.register(shut_down)


class Buffer:
    """Memory on the GPU: ``address`` (bytes, a multiple of 256) and ``nbytes``."""

    def __init__(self, cuda: Any, nbytes: int) -> None:
        self.nbytes = nbytes
        self._allocation = cuda.mem_alloc(nbytes + ALIGNMENT - 1)
        self.address = -(-int(self._allocation) // ALIGNMENT) * ALIGNMENT

    def free(self) -> None:
        """Give it back; the context must be current. Safe to call twice."""
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            allocation.free()


class Holding:
    """What one user of a device holds on it, given back in the reverse order by :meth:`close`.

    Every method makes the context current itself, from any thread.
    ``OutOfMemoryError``, a ``BackendError``, where there is no room.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._undo: list[Callable[[], object]] = []
        self._closed = False

    def _make(self, what: str, make: Callable[[Any], Any]) -> Any:
        cuda = self._device.cuda
        if self._closed:
            raise RuntimeError("what was held on this device has been given back")
        try:
            with self._device.current():
                return make(cuda)
        except cuda.MemoryError as error:
            raise OutOfMemoryError(
                f"out of memory on {self._device.name} for {what}: end what else runs on it, or "
                "take a smaller --size"
            ) from error
        except cuda.Error as error:
            raise BackendError(
                f"{self._device.name} cannot give {what}: {one_line(error)}"
            ) from error

    def stream(self) -> Any:
        """Make a ``pycuda.driver.Stream`` that waits for no other, the default stream included."""
        stream = self._make("a stream", lambda cuda: cuda.Stream(_NON_BLOCKING))
        self._undo.append(_keep(stream))
        return stream

    def event(self, *, timing: bool = False) -> Any:
        """Make a ``pycuda.driver.Event``; with ``timing`` it can be asked for milliseconds."""

        def make(cuda: Any) -> Any:
            flags = cuda.event_flags
            return cuda.Event(flags.DEFAULT if timing else flags.DISABLE_TIMING)

        event = self._make("an event", make)
        self._undo.append(_keep(event))
        return event

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """Make an array in page-locked memory of the host, from which copies run by themselves.

        Its memory stays as long as anybody has it, also after :meth:`close`.
        """
        array: NDArray[Any] = self._make(
            "pinned memory", lambda cuda: cuda.pagelocked_empty(shape, dtype)
        )
        self._undo.append(_keep(array))
        return array

    def buffer(self, nbytes: int) -> Buffer:
        """Take ``nbytes`` on the GPU, at an address that is a multiple of 256."""
        buffer: Buffer = self._make(f"{nbytes / 1e6:.2f} MB", lambda cuda: Buffer(cuda, nbytes))
        self._undo.append(buffer.free)
        return buffer

    def on_close(self, undo: Callable[[], object]) -> None:
        """Have ``undo`` called by :meth:`close`, with the context current, before what is older."""
        self._undo.append(undo)

    def close(self) -> None:
        """Give all back, the newest first. Safe to call twice.

        Work on it must have ended. A GPU that has failed takes nothing back: that is not an error
        here, the driver does it when the process ends.
        """
        self._closed = True
        if not self._undo:
            return
        with self._device.current():
            while self._undo:
                try:
                    self._undo.pop()()
                except Exception as error:
                    log.debug("%s: not given back: %s", self._device.name, one_line(error))
        self._device.forget(self)


def _keep(thing: object) -> Callable[[], object]:
    """An undoing that only lets go: pycuda frees it with the last reference to it."""
    return lambda: thing


class Device:
    """One GPU: ``name``, ``compute_capability`` (``9.0``), ``index``, and what is held on it.

    ``cuda`` is ``pycuda.driver``, ``driver_version`` the driver's own version where it can be read,
    else the CUDA version that it supports.
    ``BackendError`` (:func:`load_driver`) where there is no driver or no GPU.
    """

    def __init__(self, index: int = 0) -> None:
        self._primary = _retain(index)
        self.cuda = self._primary.cuda
        self.index = index
        device = self._primary.device
        self.name = str(device.name())
        self.compute_capability = ".".join(str(n) for n in device.compute_capability())
        supported = self.cuda.get_driver_version()
        self.cuda_version = f"{supported // 1000}.{supported % 1000 // 10}"
        self.driver_version = _driver_version() or f"CUDA {self.cuda_version}"
        self._holdings: list[Holding] = []
        self._closed = False
        _open.append(self)

    def current(self) -> _Primary:
        """``with device.current():`` makes the context current in the calling thread.

        It may be nested, and leaves the thread as it was, with another library's context if it had
        one.
        """
        return self._primary

    def hold(self) -> Holding:
        """Begin to hold something on this device."""
        if self._closed:
            raise RuntimeError("this device has been closed")
        holding = Holding(self)
        self._holdings.append(holding)
        return holding

    def forget(self, holding: Holding) -> None:
        """A holding has been given back."""
        if holding in self._holdings:
            self._holdings.remove(holding)

    def close(self) -> None:
        """Give back all that is held, the newest first; the context stays. Safe to call twice."""
        self._closed = True
        while self._holdings:
            self._holdings.pop().close()
        if self in _open:
            _open.remove(self)


def _driver_version() -> str | None:
    """The version of NVIDIA's kernel module, as Linux tells it: ``580.65.06``."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    words = text.partition("\n")[0].split()
    return next((w for w in words if w[0].isdigit() and "." in w), None)
