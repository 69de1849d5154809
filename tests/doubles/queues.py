"""CUDA's calls for streams, events, captures, graphs and copies, on the simulated GPU."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np

from doubles import failures
from doubles.failures import CudaFailure
from doubles.memory import Bytes, Memory
from doubles.streams import RELAXED, Capture, Event, Graph, Stream, Work


class Queues:
    """The part of :class:`doubles.device.Gpu` that is work: its methods are CUDA's calls."""

    memory: Memory

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.remarks: list[str] = []
        self.graphs: dict[int, Graph] = {}
        self.captures: list[Capture] = []
        self._handles = itertools.count(0x5601_0000_1000, 0x40)

    def current(self) -> Any:
        """Return the calling thread's context."""
        raise NotImplementedError

    def handle(self) -> int:
        """Return a new handle."""
        return next(self._handles)

    # Streams and events.

    def stream(self, handle: int) -> Stream:
        """Return the stream of a handle; ``invalid resource handle`` outside its context."""
        context = self.current()
        if handle in (0, 1):
            return context.legacy
        stream = context.streams.get(handle)
        if stream is None or not stream.alive:
            raise CudaFailure(failures.INVALID_HANDLE)
        return stream

    def new_stream(self, flags: int = 0) -> Stream:
        """``cuStreamCreate``."""
        context = self.current()
        stream = Stream(self.handle(), context, flags)
        context.streams[stream.handle] = stream
        return stream

    def end_stream(self, stream: Stream) -> None:
        """``cuStreamDestroy``: what is in it is still done."""
        if stream.context.streams.pop(stream.handle, None) is None:
            raise CudaFailure(failures.INVALID_HANDLE)
        stream.alive = False
        if stream.context.spoilt is None:
            self.wait(stream.context, stream.run)

    def put(self, stream: Stream, work: Work) -> None:
        """Append work to a stream, with the legacy stream's implicit waits."""
        if stream.capture is not None and stream.capture.invalid:
            raise CudaFailure(failures.CAPTURE_INVALIDATED)
        with self.lock:
            if stream.legacy:
                for other in list(stream.context.streams.values()):
                    if not other.blocking:
                        continue
                    if other.capture is not None and other.capture.mode != RELAXED:
                        raise other.capture.fail(failures.IMPLICIT)
                    stream.put(other.behind())
            elif stream.blocking and stream.capture is None and stream.context.legacy.queue:
                stream.put(stream.context.legacy.behind())
            stream.put(work)

    def wait(self, context: Any, run: Work) -> None:
        """Let work be done; what goes wrong in it spoils the context for good."""
        with self.lock:
            try:
                run()
            except CudaFailure as failure:
                context.spoilt = failure
                raise

    def synchronise(self, stream: Stream) -> None:
        """``cuStreamSynchronize``."""
        if stream.capture is not None:
            raise stream.capture.fail()
        self.wait(stream.context, stream.run)

    def synchronise_all(self) -> None:
        """``cuCtxSynchronize``."""
        context = self.current()
        self.refuse_in_capture()
        for stream in (context.legacy, *context.streams.values()):
            self.wait(context, stream.run)

    def is_done(self, stream: Stream) -> bool:
        """``cuStreamQuery``; a query lets one piece of work be done, so that polling ends."""
        if stream.capture is not None:
            raise stream.capture.fail()
        done = not stream.queue
        self.wait(stream.context, lambda: stream.run(stream.done + 1))
        return done

    def new_event(self, timing: bool = True) -> Event:
        """``cuEventCreate``."""
        context = self.current()
        event = Event(self.handle(), context, timing)
        context.events[event.handle] = event
        return event

    def end_event(self, event: Event) -> None:
        """``cuEventDestroy``."""
        if event.context.events.pop(event.handle, None) is None:
            raise CudaFailure(failures.INVALID_HANDLE)
        event.alive = False

    def record(self, event: Event, stream: Stream) -> None:
        """``cuEventRecord``."""
        if event.context is not stream.context:
            raise CudaFailure(failures.INVALID_HANDLE)
        if stream.capture is None and stream.blocking and stream.context.legacy.queue:
            stream.put(stream.context.legacy.behind())
        with self.lock:
            event.record(stream)

    def wait_for_event(self, stream: Stream, event: Event) -> None:
        """``cuStreamWaitEvent``; with an event of a capture the stream captures along."""
        if event.capture is not None and event.capture in self.captures:
            event.capture.join(stream, event)
        elif stream.capture is not None and event.stream is not None:
            raise stream.capture.fail(failures.UNCAPTURED)
        elif event.stream is not None:
            source, serial = event.stream, event.serial
            self.put(stream, lambda: source.run(serial))

    def wait_event(self, event: Event) -> None:
        """``cuEventSynchronize``."""
        self.refuse_captured(event)
        self.wait(event.context, event.wait)

    def query_event(self, event: Event) -> bool:
        """``cuEventQuery``; a query lets one piece of work be done, so that polling ends."""
        self.refuse_captured(event)
        self.refuse_in_capture()
        done, stream = event.complete, event.stream
        if stream is not None and not done:
            self.wait(event.context, lambda: stream.run(stream.done + 1))
        return done

    def refuse_captured(self, event: Event) -> None:
        """Refuse to wait for an event that was last recorded while capturing."""
        if event.capture is not None:
            event.capture.invalid = True
            raise CudaFailure(failures.CAPTURED_EVENT)

    def refuse_in_capture(self) -> None:
        """Refuse a call that CUDA names unsafe while a stream captures, and spoil the capture."""
        thread = threading.get_ident()
        for capture in self.captures:
            if capture.forbids(thread):
                raise capture.fail()

    # Captures and graphs.

    def begin_capture(self, stream: Stream, mode: int) -> None:
        """``cudaStreamBeginCapture``."""
        if stream.legacy:
            raise CudaFailure(failures.CAPTURING)
        if stream.capture is not None:
            raise CudaFailure(failures.INVALID_VALUE)
        stream.capture = Capture(stream, mode)
        self.captures.append(stream.capture)

    def end_capture(self, stream: Stream) -> Graph:
        """``cudaStreamEndCapture``."""
        capture = stream.capture
        if capture is None or capture.origin is not stream:
            raise CudaFailure(failures.INVALID_VALUE)
        if capture.mode != RELAXED and capture.thread != threading.get_ident():
            raise CudaFailure(failures.WRONG_THREAD)
        self.captures.remove(capture)
        capture.end()
        if capture.invalid:
            raise CudaFailure(failures.CAPTURE_INVALIDATED)
        return self._graph(tuple(capture.nodes), executable=False)

    def instantiate(self, graph: Graph) -> Graph:
        """``cudaGraphInstantiate``."""
        return self._graph(graph.nodes, executable=True)

    def graph(self, handle: int, executable: bool) -> Graph:
        """Return the graph of a handle."""
        found = self.graphs.get(handle)
        if found is None or not found.alive or found.executable != executable:
            raise CudaFailure(failures.INVALID_VALUE)
        return found

    def _graph(self, nodes: tuple[Work, ...], executable: bool) -> Graph:
        graph = Graph(self.handle(), nodes, executable)
        self.graphs[graph.handle] = graph
        return graph

    # Copies.

    def copy_in(self, address: int, source: Bytes, stream: Stream | None) -> None:
        """Copy from the host to the device; ``stream`` None waits for the copy."""
        self.memory.view(address, source.size)
        if stream is None:
            self._copy_now(lambda: np.copyto(self.memory.view(address, source.size), source))
            return
        if not self.memory.is_pinned(source):
            self._pageable(stream, "to")
            staged = source.copy()  # as the driver does, before the call returns
            self.put(stream, lambda: np.copyto(self.memory.view(address, staged.size, 700), staged))
            return
        # By address: a copy that is queued or captured keeps nobody's memory alive.
        start, size = source.ctypes.data, source.size

        def copy() -> None:
            np.copyto(self.memory.view(address, size, 700), self.memory.kernel_view(start, size))

        self.put(stream, copy)

    def copy_out(self, target: Bytes, address: int, stream: Stream | None) -> None:
        """Copy from the device to the host; ``stream`` None waits for the copy."""
        self.memory.view(address, target.size)

        def copy_here() -> None:
            np.copyto(target, self.memory.view(address, target.size, 700))

        if stream is None:
            self._copy_now(copy_here)
        elif not self.memory.is_pinned(target):
            self._pageable(stream, "from")
            self.put(stream, copy_here)
            self.synchronise(stream)
        else:
            start, size = target.ctypes.data, target.size

            def copy() -> None:
                source = self.memory.view(address, size, 700)
                np.copyto(self.memory.kernel_view(start, size), source)

            self.put(stream, copy)

    def copy_across(self, target: int, source: int, size: int, stream: Stream | None) -> None:
        """Copy within the device."""
        self.memory.view(target, size)
        self.memory.view(source, size)

        def copy() -> None:
            np.copyto(self.memory.view(target, size, 700), self.memory.view(source, size, 700))

        self.put(self.current().legacy if stream is None else stream, copy)

    def _copy_now(self, copy: Work) -> None:
        context = self.current()
        self.refuse_in_capture()
        self.put(context.legacy, copy)
        self.wait(context, context.legacy.run)

    def _pageable(self, stream: Stream, direction: str) -> None:
        if stream.capture is not None:
            raise stream.capture.fail()
        self.remarks.append(
            f"an asynchronous copy {direction} host memory that is not page-locked waits for itself"
        )
