"""The simulated GPU: contexts on each thread's stack, memory, streams, and what went wrong on it.

One :class:`Gpu` stands behind the doubles of ``pycuda``, ``cuda.bindings`` and ``tensorrt``. Its
methods are CUDA's calls: they need a current context, refuse what CUDA refuses while a stream is
capturing, and raise :class:`~doubles.failures.CudaFailure` with CUDA's own code.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from doubles import failures
from doubles.failures import CudaFailure
from doubles.faults import Faults
from doubles.memory import Block, Memory
from doubles.queues import Queues
from doubles.streams import Event, Stream


class CudaContext:
    """A CUDA context: what was made in it, and the error that has spoilt it, if any."""

    def __init__(self, handle: int, primary: bool) -> None:
        self.handle = handle
        self.primary = primary
        self.alive = True
        self.retained = 0
        self.spoilt: CudaFailure | None = None
        self.legacy = Stream(0, self)
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, Event] = {}


class Gpu(Queues):
    """One GPU and its driver, as a test sees it. See :func:`doubles.fake_gpu` for the arguments.

    For tests: ``remarks`` (what a real GPU would have punished or slowed down without an error),
    ``launches`` (of kernels), ``builds`` (of TensorRT engines), ``calls`` (how often each TensorRT
    method was called), ``enqueues`` (of engines), ``memory.used`` and ``memory.peak``, ``leaks``.
    """

    def __init__(
        self,
        name: str,
        compute_capability: tuple[int, int],
        memory: int,
        driver: int | None,
        alignment: int,
        faults: Faults,
        kernels: dict[str, Callable[..., None]],
    ) -> None:
        super().__init__()
        self.name = name
        self.compute_capability = compute_capability
        self.driver = None if faults.no_driver else 11040 if faults.old_driver else driver
        self.faults = faults
        self.kernels = kernels
        self.memory = Memory(memory, faults.out_of_memory_after, alignment)
        self.initialised = False
        self.launches: list[Any] = []
        self.builds: list[Any] = []
        self.calls: Counter[str] = Counter()
        self.enqueues = 0
        self.leaks: list[str] = []
        self.closed = False
        self.primary: CudaContext | None = None
        self._runtime: CudaContext | None = None  # retained by the CUDA runtime, for good
        self.contexts: list[CudaContext] = []
        self._local = threading.local()
        self._stacks: list[tuple[weakref.ref[threading.Thread], list[CudaContext]]] = []

    # Contexts.

    def init(self) -> None:
        """``cuInit``."""
        if self.faults.no_device:
            raise CudaFailure(failures.NO_DEVICE)
        self.initialised = True

    def require_init(self) -> None:
        """Raise unless ``cuInit`` was called."""
        if not self.initialised:
            raise CudaFailure(failures.NOT_INITIALIZED)

    @property
    def stack(self) -> list[CudaContext]:
        """The calling thread's stack of contexts."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
            self._stacks.append((weakref.ref(threading.current_thread()), self._local.stack))
        stack: list[CudaContext] = self._local.stack
        return stack

    def current(self) -> CudaContext:
        """Return the thread's current context; ``invalid device context`` where there is none."""
        if not self.initialised:
            raise CudaFailure(failures.NOT_INITIALIZED)
        context = self.stack[-1] if self.stack else getattr(self._local, "bottom", None)
        if context is None or self.closed:
            raise CudaFailure(failures.INVALID_CONTEXT)
        if not context.alive:
            raise CudaFailure(709)
        if context.spoilt is not None:
            raise CudaFailure(context.spoilt.code, context.spoilt.detail)
        return context

    def runtime_current(self) -> CudaContext:
        """Return the current context as the runtime does: the primary one where there is none."""
        if self.driver is None or self.driver < self.required_driver:
            raise CudaFailure(failures.OLD_DRIVER)
        self.init()
        if not self.stack and not hasattr(self._local, "bottom"):
            if self._runtime is None or not self._runtime.alive:
                self._runtime = self.retain_primary()
            self._local.bottom = self._runtime
        return self.current()

    required_driver = 12000
    """The oldest driver that the simulated TensorRT and CUDA runtime run on (12000: CUDA 12.0)."""

    def retain_primary(self) -> CudaContext:
        """``cuDevicePrimaryCtxRetain``."""
        self.require_init()
        if self.primary is None or not self.primary.alive:
            self.primary = self._make(primary=True)
        self.primary.retained += 1
        return self.primary

    def release_primary(self) -> None:
        """``cuDevicePrimaryCtxRelease``: the last one destroys the context and all that is in it."""
        if self.primary is None or self.primary.retained == 0:
            raise CudaFailure(failures.INVALID_CONTEXT)
        self.primary.retained -= 1
        if self.primary.retained == 0:
            self.destroy(self.primary)

    def make_context(self) -> CudaContext:
        """``cuCtxCreate``: a context of one's own, current in this thread."""
        self.require_init()
        context = self._make(primary=False)
        self.stack.append(context)
        return context

    def destroy(self, context: CudaContext) -> None:
        """End a context; what is left in it goes with it, and is noted as a leak."""
        if self._left(context):
            gc.collect()
        self.leaks += [f"{what} when its context was destroyed" for what in self._left(context)]
        for address in [b.address for b in self.memory.blocks.values() if b.owner is context]:
            self.memory.free(address)
        for address in [b.address for b in self.memory.pinned.values() if b.owner is context]:
            self.memory.unpin(address)
        context.streams.clear()
        context.events.clear()
        context.alive = False

    def _make(self, primary: bool) -> CudaContext:
        context = CudaContext(self.handle(), primary)
        self.contexts.append(context)
        return context

    # What is left.

    def end(self) -> None:
        """Take stock at the end: ``leaks`` names what nobody gave back."""
        if any(context.alive and self._left(context) for context in self.contexts):
            gc.collect()
        for context in self.contexts:
            if context.alive:
                self.leaks += self._left(context)
                if not context.primary or context.retained > (context is self._runtime):
                    self.leaks.append("1 context")
        for thread, stack in self._stacks:
            ended = thread() is None or not thread().is_alive()  # type: ignore[union-attr]
            if stack and ended:
                self.leaks.append("a thread ended with a context on its stack: pycuda aborts there")
            elif any(context.alive for context in stack):
                self.leaks.append("a context is still on a thread's stack: pycuda aborts at exit")
        live = [graph for graph in self.graphs.values() if graph.alive]
        if live:
            self.leaks.append(f"{len(live)} graphs")
        self.closed = True

    def _left(self, context: CudaContext) -> list[str]:
        left = []
        kinds: dict[str, list[Block]] = {}
        for block in (*self.memory.blocks.values(), *self.memory.pinned.values()):
            if block.owner is context:
                kinds.setdefault(block.kind, []).append(block)
        for kind, blocks in sorted(kinds.items()):
            left.append(f"{len(blocks)} {kind} allocations ({sum(b.size for b in blocks)} bytes)")
        if context.streams:
            left.append(f"{len(context.streams)} streams")
        if context.events:
            left.append(f"{len(context.events)} events")
        return left
