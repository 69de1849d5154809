"""``pycuda.driver``'s devices, contexts, streams and events, on the simulated GPU."""

from __future__ import annotations

import threading
import warnings
from types import SimpleNamespace
from typing import Any

from doubles.device import CudaContext, Gpu
from doubles.failures import INVALID_CONTEXT, INVALID_HANDLE, NOT_READY, CudaFailure
from doubles.pycuda_errors import LogicError, call

ATTRIBUTES = {
    "MULTIPROCESSOR_COUNT": (16, 132), "CLOCK_RATE": (13, 1_980_000),
    "MEMORY_CLOCK_RATE": (36, 3_201_000), "GLOBAL_MEMORY_BUS_WIDTH": (37, 6144),
    "L2_CACHE_SIZE": (38, 62_914_560), "MAX_THREADS_PER_BLOCK": (1, 1024), "WARP_SIZE": (10, 32),
    "ASYNC_ENGINE_COUNT": (40, 3), "UNIFIED_ADDRESSING": (41, 1), "INTEGRATED": (18, 0),
    "CAN_MAP_HOST_MEMORY": (19, 1), "CONCURRENT_KERNELS": (31, 1), "ECC_ENABLED": (32, 1),
    "COMPUTE_CAPABILITY_MAJOR": (75, None), "COMPUTE_CAPABILITY_MINOR": (76, None),
}  # fmt: skip


def make_contexts(gpu: Gpu) -> SimpleNamespace:
    """Return the classes ``Device``, ``Context``, ``Stream``, ``Event``, bound to a GPU."""
    local = threading.local()

    def stack() -> list[Any]:
        """pycuda's own stack of contexts in this thread; CUDA's is never deeper than one."""
        if not hasattr(local, "stack"):
            local.stack = []
        found: list[Any] = local.stack
        return found

    def top() -> Any:
        while stack() and not stack()[-1].valid:
            stack().pop()
        return stack()[-1] if stack() else None

    class Attribute(int):
        """A member of ``device_attribute``."""

    attributes = SimpleNamespace(**{name: Attribute(n) for name, (n, _) in ATTRIBUTES.items()})

    class Device:
        def __init__(self, ordinal: int | str) -> None:
            with call("cuDeviceGet"):
                gpu.require_init()
                if ordinal not in (0, "0000:00:04.0"):
                    raise CudaFailure(101)

        @staticmethod
        def count() -> int:
            with call("cuDeviceGetCount"):
                gpu.require_init()
            return 1

        def name(self) -> str:
            return gpu.name

        def pci_bus_id(self) -> str:
            return "0000:00:04.0"

        def compute_capability(self) -> tuple[int, int]:
            return gpu.compute_capability

        def total_memory(self) -> int:
            return gpu.memory.total

        def get_attribute(self, attr: Any) -> int:
            if not isinstance(attr, Attribute):
                raise TypeError(f"get_attribute takes a device_attribute, not {attr!r}")
            for number, value in ATTRIBUTES.values():
                if number == attr:
                    part = 0 if number == 75 else 1
                    return gpu.compute_capability[part] if value is None else value
            raise LogicError("cuDeviceGetAttribute failed: invalid argument")

        def get_attributes(self) -> dict[Any, int]:
            return {key: self.get_attribute(key) for key in vars(attributes).values()}

        def __getattr__(self, name: str) -> int:
            return self.get_attribute(getattr(attributes, name.upper()))

        def make_context(self, flags: int = 0) -> Context:
            leave()
            with call("cuCtxCreate"):
                made = Context._of(gpu.make_context())
            stack().append(made)
            return made

        def retain_primary_context(self) -> Context:
            with call("cuDevicePrimaryCtxRetain"):
                return Context._of(gpu.retain_primary())

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Device)

        def __hash__(self) -> int:
            return 0

    def leave() -> None:
        if stack():
            with call("cuCtxPopCurrent"):
                if not gpu.stack:
                    raise CudaFailure(INVALID_CONTEXT)
                gpu.stack.pop()

    def enter(context: Context) -> None:
        leave()
        with call("cuCtxPushCurrent"):
            if not context._context.alive:
                raise CudaFailure(709)
            gpu.stack.append(context._context)
        stack().append(context)

    class Context:
        _context: CudaContext

        def __init__(self) -> None:
            raise RuntimeError("This class cannot be instantiated from Python")

        @classmethod
        def _of(cls, context: CudaContext) -> Context:
            made = object.__new__(cls)
            made._context = context
            made.valid = True
            made.thread = threading.get_ident()
            return made

        handle = property(lambda self: self._context.handle)

        def push(self) -> None:
            enter(self)

        @staticmethod
        def pop() -> None:
            leave()
            if not stack():
                raise LogicError(
                    "context::pop failed: invalid device context - cannot pop non-current context"
                )
            stack().pop()
            current = top()
            if current is not None:
                gpu.stack.append(current._context)

        def detach(self) -> None:
            if not self.valid:
                raise LogicError(
                    "context::detach failed: invalid device context - cannot detach from invalid "
                    "context"
                )
            active = top() is self
            if active or self.thread == threading.get_ident():
                if self._context.primary:
                    gpu.release_primary()
                else:
                    gpu.destroy(self._context)
            self.valid = False
            if active:
                if gpu.stack:
                    gpu.stack.pop()
                below = top()
                if below is not None:
                    gpu.stack.append(below._context)

        def __del__(self) -> None:
            if getattr(self, "valid", False) and not gpu.closed:
                self.detach()

        @staticmethod
        def get_current() -> Any:
            return top()

        @staticmethod
        def get_device() -> Device:
            with call("cuCtxGetDevice"):
                gpu.current()
            return Device(0)

        @staticmethod
        def synchronize() -> None:
            with call("cuCtxSynchronize"):
                gpu.synchronise_all()

        def get_api_version(self) -> int:
            return 3020

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Context) and self._context is other._context

        def __hash__(self) -> int:
            return hash(self._context)

    class Dependent:
        """What is made in a context and given back in it."""

        def _acquire(self) -> None:
            self._ward = top()
            if self._ward is None:
                raise LogicError(
                    "explicit_context_dependent failed: invalid device context - no currently "
                    "active context?"
                )

        def _cleanup(self, what: str, routine: str, act: Any) -> None:
            """Clean up in the object's own context; from another thread that is not possible."""
            ward = self._ward
            self._ward = None
            if ward is None or gpu.closed or not ward.valid:
                return
            switch = top() is not ward
            if switch and ward.thread != threading.get_ident():
                text = f"{what} in out-of-thread context could not be cleaned up"
                gpu.remarks.append(text)
                warnings.warn(text, UserWarning, stacklevel=3)
                return
            if switch:
                enter(ward)
            try:
                gpu.current()
                act()
            except CudaFailure as failure:
                gpu.remarks.append(f"a clean-up failed: {routine} failed: {failure}")
            finally:
                if switch:
                    Context.pop()

    class Stream(Dependent):
        def __init__(self, flags: int = 0) -> None:
            self._acquire()
            with call("cuStreamCreate"):
                self._stream = gpu.new_stream(flags)

        handle = property(lambda self: self._stream.handle)

        def synchronize(self) -> None:
            with call("cuStreamSynchronize"):
                gpu.synchronise(gpu.stream(self.handle))

        def is_done(self) -> bool:
            with call("cuStreamQuery"):
                return gpu.is_done(gpu.stream(self.handle))

        def wait_for_event(self, evt: Event) -> None:
            if not isinstance(evt, Event):
                raise TypeError(f"wait_for_event takes an Event, not {evt!r}")
            with call("cuStreamWaitEvent"):
                gpu.wait_for_event(gpu.stream(self.handle), evt._event)

        def __del__(self) -> None:
            if hasattr(self, "_stream"):
                self._cleanup("stream", "cuStreamDestroy", lambda: gpu.end_stream(self._stream))

    class Event(Dependent):
        def __init__(self, flags: int = 0) -> None:
            self._acquire()
            with call("cuEventCreate"):
                self._event = gpu.new_event(timing=not int(flags) & 2)

        def _live(self) -> Any:
            if gpu.current() is not self._event.context:
                raise CudaFailure(INVALID_HANDLE)
            return self._event

        def record(self, stream: Any = None) -> Event:
            with call("cuEventRecord"):
                gpu.record(self._live(), gpu.stream(0 if stream is None else stream.handle))
            return self

        def synchronize(self) -> Event:
            with call("cuEventSynchronize"):
                gpu.wait_event(self._live())
            return self

        def query(self) -> bool:
            with call("cuEventQuery"):
                return gpu.query_event(self._live())

        def time_since(self, event: Event) -> float:
            with call("cuEventElapsedTime"):
                return elapsed(event._live(), self._live())

        def time_till(self, event: Event) -> float:
            with call("cuEventElapsedTime"):
                return elapsed(self._live(), event._live())

        def __del__(self) -> None:
            if hasattr(self, "_event"):
                self._cleanup("event", "cuEventDestroy", lambda: gpu.end_event(self._event))

    return SimpleNamespace(
        Device=Device, Context=Context, Stream=Stream, Event=Event, Dependent=Dependent,
        device_attribute=attributes,
    )  # fmt: skip


def elapsed(start: Any, end: Any) -> float:
    """Return the milliseconds between two events that are both reached."""
    for event in (start, end):
        if not event.timing or event.stream is None:
            raise CudaFailure(INVALID_HANDLE)
        if event.at is None:
            raise CudaFailure(NOT_READY)
    return float((end.at - start.at) * 1000)
