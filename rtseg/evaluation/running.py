"""Samples through engines: reading and scoring beside them, every engine full, records in order.

A runner has one method, ``run(samples, work) -> records in the samples' order``, so that the same
evaluation runs on engines of this process (:class:`LocalRunner`) or elsewhere.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine
from rtseg.engine.machine import usable_cores
from rtseg.evaluation.records import Record
from rtseg.evaluation.samples import Mask, Sample
from rtseg.evaluation.scoring import Loaded, Work

_AT_ONCE = 4
"""Samples that are handed out together: a thread that sleeps and wakes for each costs more."""
_LOOK_EVERY = 16
"""Frames after which a crew looks whether it is large enough."""
_IDLE_ENOUGH = 0.1
"""The share of the time that somebody has to wait for the engine, or it waits for its crew."""


class Runner(Protocol):
    """Runs samples through engines, wherever they are."""

    def run(self, samples: Iterable[Sample], work: Work) -> Generator[Record, None, None]:
        """Yield the record of every sample, in their order; see :class:`LocalRunner`."""


@dataclass(eq=False)
class _Job:
    """A sample on its way."""

    sample: Sample
    outcome: Record | BaseException | None = None


_Done = tuple[_Job, Loaded, Mask, Mask | None]
"""A job with its mask and, if it was asked for, its probability of road."""


class LocalRunner:
    """Runs samples through engines of this process, each with a crew of threads of its own.

    Samples are dealt to whichever engine is free. A thread reads a sample, gives it to the engine,
    takes the oldest mask out in exchange, and scores that one: nothing changes hands on the way. One
    thread does for an engine that takes longer than its frames' reading and scoring; where the
    engine waits instead, its crew grows, up to a thread a core. No more samples than keep all busy
    are on their way at once. A frame's record does not depend on which engine it went through, as
    long as all are of one network, backend, precision and size.

    A runner may run several times, one after the other: crews begin as large as they have become.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = tuple(engines)
        self._sizes = [1] * len(self.engines)

    def run(self, samples: Iterable[Sample], work: Work) -> Generator[Record, None, None]:
        """Yield the record of every sample, in their order.

        ``samples`` are taken in the calling thread, some at a time, as they are wanted. Closing the
        iterator ends the run; what is in flight then has no record.

        ``BackendError`` where an engine fails, ``OutputError`` where a file cannot be written.
        """
        held = sum((engine.depth + 1) * engine.batch for engine in self.engines)
        most = held + usable_cores() + 2 * _AT_ONCE
        line = _Line()
        window: deque[_Job] = deque()
        crews = [_Crew(engine, line, work) for engine in self.engines]
        try:
            for crew, size in zip(crews, self._sizes, strict=True):
                for _ in range(size):
                    crew.grow()
            for sample in samples:
                job = _Job(sample)
                window.append(job)
                line.jobs.put(job)
                if len(window) >= most:
                    line.wait_for(window[0])
                while window and window[0].outcome is not None:
                    yield _record(window.popleft())
            line.jobs.put(None)
            while window:
                line.wait_for(window[0])
                yield _record(window.popleft())
        finally:
            line.stopping = True
            line.jobs.put(None)
            self._sizes = [crew.join() for crew in crews]


def _record(job: _Job) -> Record:
    if isinstance(job.outcome, Record):
        return job.outcome
    assert job.outcome is not None
    raise job.outcome


class _Line:
    """What all crews work from: the jobs that wait, and the way back to who hands them out.

    ``jobs`` ends with None, which stays there for the next thread.
    """

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.stopping = False
        self._running_low = threading.Event()

    def done(self, job: _Job, outcome: Record | BaseException) -> None:
        """Set what became of a job; who waits is woken when few are left, to go on with many."""
        job.outcome = outcome
        if self.jobs.qsize() <= _AT_ONCE or not isinstance(outcome, Record):
            self._running_low.set()

    def wait_for(self, job: _Job) -> None:
        """Wait for a job that no other is before."""
        while job.outcome is None:
            self._running_low.clear()
            if job.outcome is None:
                self._running_low.wait()


class _Crew:
    """The threads that keep one engine full; it is used by one of them at a time."""

    def __init__(self, engine: Engine, line: _Line, work: Work) -> None:
        self._engine = engine
        self._line = line
        self._work = work
        self._threads: list[threading.Thread] = []
        self._at_engine = threading.Lock()
        self._error: BaseException | None = None
        self._group: list[tuple[_Job, Loaded]] = []
        self._flying: deque[list[tuple[_Job, Loaded]]] = deque()
        # A batch's frames lie in arrays of the engine's own, each for one batch in flight.
        several = engine.batch > 1
        self._arrays = deque(engine.frame() for _ in range(engine.depth + 1) if several)
        self._frames = 0
        self._looked = time.perf_counter()
        self._waited = 0.0

    def grow(self) -> None:
        """Add a thread."""
        thread = threading.Thread(target=self._serve, name="rtseg-evaluating")
        self._threads.append(thread)
        thread.start()

    def join(self) -> int:
        """Wait for all threads to end, and for what is in the engine; return how many there were."""
        for thread in self._threads:  # a thread that is added meanwhile is waited for, too
            thread.join()
        self._engine.drain()
        return max(1, len(self._threads))

    def _serve(self) -> None:
        while not self._line.stopping:
            try:
                job = self._line.jobs.get_nowait()
            except queue.Empty:
                # Who waits for these records may hold the next samples back until they are there.
                if self._step_without_a_job():
                    continue
                job = self._line.jobs.get()
            if job is None:
                self._line.jobs.put(None)
                while not self._line.stopping and self._step_without_a_job():
                    pass
                return
            self._take(job)

    def _take(self, job: _Job) -> None:
        """Read a job's sample and give it to the engine; score what comes out."""
        try:
            loaded = self._work.load(job.sample)
        except BaseException as error:  # none that a sample should raise
            self._line.done(job, error)
            return
        if isinstance(loaded, Record):
            self._line.done(job, loaded)
            return
        with self._at_engine:
            self._group.append((job, loaded))
            done = self._guarded(submit=len(self._group) == self._engine.batch)
        self._score(done)

    def _step_without_a_job(self) -> bool:
        """Go on with what there is: collect a batch, or send the rest of one; False if all is done."""
        with self._at_engine:
            if not self._flying and not self._group:
                return False
            collect = bool(self._flying)
            done = self._guarded(submit=not collect, collect=collect)
        self._score(done)
        return True

    def _guarded(self, *, submit: bool = False, collect: bool = False) -> list[_Done]:
        """Use the engine; where it fails now, or has failed, that is what becomes of its jobs."""
        done: list[_Done] = []
        try:
            if self._error is not None:
                raise self._error
            if collect or (submit and self._engine.pending == self._engine.depth):
                done = self._collect()
            if submit:
                self._submit()
        except BaseException as error:
            self._error = error
            for group in (*self._flying, self._group):
                for job, _ in group:
                    self._line.done(job, error)
            self._flying.clear()
            self._group = []
        return done

    def _submit(self) -> None:
        """Send the group to the engine, as a batch."""
        if self._arrays:
            frames = self._arrays[0]
            self._arrays.rotate(-1)
            for place, (_, loaded) in zip(frames, self._group, strict=False):
                np.copyto(place, loaded.small)
            frames[len(self._group) :] = 0  # the last batch is filled up with black
        else:
            frames = self._group[0][1].small
        self._engine.submit(frames)
        self._flying.append(self._group)
        self._group = []

    def _collect(self) -> list[_Done]:
        """Take the oldest batch's masks from the engine."""
        began = time.perf_counter()
        masks, probabilities = collect(self._engine, probability=bool(self._work.spaces))
        self._waited += time.perf_counter() - began
        self._look()
        if self._engine.batch == 1:
            masks = masks[None]
            probabilities = None if probabilities is None else probabilities[None]
        return [
            (job, loaded, masks[i], None if probabilities is None else probabilities[i])
            for i, (job, loaded) in enumerate(self._flying.popleft())
        ]

    def _look(self) -> None:
        """Add a thread if nobody waits for the engine although there are samples enough."""
        self._frames += self._engine.batch
        if self._frames < _LOOK_EVERY:
            return
        self._frames = 0
        now = time.perf_counter()
        hurried = self._waited < _IDLE_ENOUGH * (now - self._looked)
        self._looked, self._waited = now, 0.0
        if hurried and not self._line.jobs.empty() and len(self._threads) < usable_cores():
            self.grow()

    def _score(self, done: Sequence[_Done]) -> None:
        for job, loaded, mask, probability in done:
            outcome: Record | BaseException
            try:
                outcome = self._work.finish(loaded, mask, probability)
            except BaseException as error:
                outcome = error
            self._line.done(job, outcome)


def collect(
    engine: Engine, *, probability: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Collect an engine's oldest masks, and its probabilities of road if they are asked for."""
    if not probability:
        return engine.collect(), None
    return engine.collect_probability()
