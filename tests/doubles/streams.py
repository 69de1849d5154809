"""Streams, events and captures of the simulated GPU: work waits until somebody waits for it.

Nothing that is put in a stream happens before the stream, or an event recorded behind the work, is
synchronised or queried. So a missing synchronisation shows at once, as stale data. Within a stream
work is done in order; streams know of each other through events only, and through the legacy
default stream, which waits for every blocking stream and they for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from doubles.failures import CAPTURING, UNJOINED, CudaFailure

Work = Callable[[], None]
NON_BLOCKING = 1
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2


@dataclass(eq=False)
class Stream:
    """A queue of work. ``issued`` and ``done`` count what was put in and what was executed."""

    handle: int
    context: Any
    flags: int = 0
    queue: deque[Work] = field(default_factory=deque)
    issued: int = 0
    done: int = 0
    capture: Capture | None = None
    alive: bool = True

    @property
    def legacy(self) -> bool:
        """Whether this is the default stream (handle 0)."""
        return self.handle == 0

    @property
    def blocking(self) -> bool:
        """Whether it waits for the default stream, and the default stream for it."""
        return not self.flags & NON_BLOCKING

    def put(self, work: Work) -> None:
        """Append work, or a node to the graph that is being captured."""
        if self.capture is not None:
            self.capture.nodes.append(work)
            self.capture.last = self
        else:
            self.queue.append(work)
            self.issued += 1

    def run(self, until: int | None = None) -> None:
        """Execute what waits, up to and with the ``until``-th piece of work ever issued."""
        goal = self.issued if until is None else until
        while self.done < goal and self.queue:
            work = self.queue.popleft()
            self.done += 1
            work()

    def behind(self) -> Work:
        """Return work that waits for what is in this stream now."""
        goal = self.issued
        return lambda: self.run(goal)


@dataclass(eq=False)
class Event:
    """A mark in a stream. Recorded while capturing it is an edge of the graph, never a mark."""

    handle: int
    context: Any
    timing: bool = True
    stream: Stream | None = None
    serial: int = 0
    at: float | None = None
    capture: Capture | None = None
    alive: bool = True

    @property
    def complete(self) -> bool:
        """Whether the work before the mark is done; true of an event never recorded."""
        return self.stream is None or self.stream.done >= self.serial

    def record(self, stream: Stream) -> None:
        """Put the mark behind the work in ``stream``."""
        if stream.capture is not None:
            self.capture = stream.capture
            stream.capture.edges.append((self, stream))
            return
        self.capture, self.at = None, None

        def reached() -> None:
            if self.serial == serial and self.stream is stream:
                self.at = time.perf_counter()

        stream.put(reached)
        serial = stream.issued
        self.stream, self.serial = stream, serial

    def wait(self) -> None:
        """Execute the work before the mark."""
        if self.stream is not None:
            self.stream.run(self.serial)


@dataclass(eq=False)
class Capture:
    """What a stream records instead of doing it, from begin to end of a capture."""

    origin: Stream
    mode: int
    thread: int = field(default_factory=threading.get_ident)
    nodes: list[Work] = field(default_factory=list)
    edges: list[tuple[Event, Stream]] = field(default_factory=list)
    joined: list[Stream] = field(default_factory=list)
    last: Stream | None = None
    invalid: bool = False

    def forbids(self, thread: int) -> bool:
        """Whether it forbids the calls that CUDA names unsafe to ``thread``."""
        return self.mode == GLOBAL or (self.mode == THREAD_LOCAL and self.thread == thread)

    def join(self, stream: Stream, event: Event) -> None:
        """Let ``stream`` wait for an event of this capture: it captures along from now on."""
        if stream is self.origin:
            if (source := next((s for e, s in self.edges if e is event), None)) is not None:
                self.joined = [other for other in self.joined if other is not source]
            return
        if stream.capture is None:
            stream.capture = self
            self.joined.append(stream)

    def end(self) -> None:
        """Take the streams out of the capture."""
        left = list(self.joined)
        for stream in (self.origin, *left):
            stream.capture = None
        for event, stream in self.edges:
            if stream.capture is self:
                stream.capture = None
            event.capture = self
        if left and not self.invalid:
            raise CudaFailure(UNJOINED)

    def fail(self, code: int = CAPTURING) -> CudaFailure:
        """Spoil the capture and return the error of the call that did it."""
        self.invalid = True
        return CudaFailure(code)


@dataclass(eq=False)
class Graph:
    """A captured graph; ``runs`` counts the launches of an executable one."""

    handle: int
    nodes: tuple[Work, ...]
    executable: bool = False
    runs: int = 0
    alive: bool = True

    def destroy(self) -> None:
        """Give it back."""
        self.alive, self.nodes = False, ()

    def launch(self) -> Work:
        """Return the captured work, done in the order of its capture; it outlives the graph."""
        nodes = self.nodes
        self.runs += 1

        def work() -> None:
            for node in nodes:
                node()

        return work
