"""Samples through engines: reading and scoring on threads, every engine full, records in order.

A runner has one method, ``run(samples, work) -> records in the samples' order``, so that the same
evaluation runs on engines of this process (:class:`LocalRunner`) or elsewhere.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine
from rtseg.engine.machine import usable_cores
from rtseg.evaluation.records import Record
from rtseg.evaluation.samples import Mask, Sample
from rtseg.evaluation.scoring import Loaded, Work


class Runner(Protocol):
    """Runs samples through engines, wherever they are."""

    def run(self, samples: Iterable[Sample], work: Work) -> Generator[Record, None, None]:
        """Yield the record of every sample, in their order; see :class:`LocalRunner`."""


@dataclass(eq=False)
class _Job:
    """A sample on its way."""

    loaded: Future[Loaded | Record]
    record: Future[Record] = field(default_factory=Future)


class LocalRunner:
    """Runs samples through engines of this process, each on a thread of its own.

    Samples are dealt to whichever engine is free. Each engine has ``depth`` batches in flight, while
    threads read the samples that come next and others score those that are done. No more samples
    than keep all busy are on their way at once. A frame's record does not depend on which engine it
    went through, as long as all are of one network, backend, precision and size.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = tuple(engines)

    def run(self, samples: Iterable[Sample], work: Work) -> Generator[Record, None, None]:
        """Yield the record of every sample, in their order.

        ``samples`` are taken one after the other in the calling thread, as they are wanted. Closing
        the iterator ends the run; what is in flight then has no record.

        ``BackendError`` where an engine fails, ``OutputError`` where a file cannot be written.
        """
        cores = usable_cores()
        held = sum(engine.depth * engine.batch + engine.batch for engine in self.engines)
        most = held + max(engine.batch for engine in self.engines) + 3 * cores
        jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        stopping = threading.Event()
        window: deque[_Job] = deque()
        readers = ThreadPoolExecutor(cores, "rtseg-reading")
        scorers = ThreadPoolExecutor(cores, "rtseg-scoring")
        serving = [_Serving(engine, jobs, scorers, work, stopping) for engine in self.engines]
        try:
            for thread in serving:
                thread.start()
            for sample in samples:
                job = _Job(readers.submit(work.load, sample))
                jobs.put(job)
                window.append(job)
                while window and (len(window) >= most or window[0].record.done()):
                    yield window.popleft().record.result()
            for _ in serving:
                jobs.put(None)
            while window:
                yield window.popleft().record.result()
        finally:
            stopping.set()
            for _ in serving:
                jobs.put(None)
            readers.shutdown(cancel_futures=True)
            for thread in serving:
                thread.join()
            scorers.shutdown(cancel_futures=True)


class _Serving(threading.Thread):
    """Keeps one engine full."""

    def __init__(
        self,
        engine: Engine,
        jobs: queue.SimpleQueue[_Job | None],
        scorers: ThreadPoolExecutor,
        work: Work,
        stopping: threading.Event,
    ) -> None:
        super().__init__(name="rtseg-engine")
        self._engine = engine
        self._jobs = jobs
        self._scorers = scorers
        self._work = work
        self._stopping = stopping
        self._group: list[tuple[_Job, Loaded]] = []
        self._flying: deque[list[tuple[_Job, Loaded]]] = deque()
        # A batch's frames lie in arrays of the engine's own, each for one batch in flight.
        several = engine.batch > 1
        self._arrays = deque(engine.frame() for _ in range(engine.depth + 1) if several)

    def run(self) -> None:
        try:
            while (job := self._next()) is not None:
                loaded = self._loaded(job)
                if loaded is not None:
                    self._group.append((job, loaded))
                    if len(self._group) == self._engine.batch:
                        self._submit()
            while not self._stopping.is_set() and (self._group or self._flying):
                self._submit() if self._group else self._collect()
            self._engine.drain()
        except BaseException as error:
            self._fail(error)

    def _next(self) -> _Job | None:
        """The next job; masks are collected while there is none to be had."""
        while not self._stopping.is_set():
            try:
                return self._jobs.get_nowait()
            except queue.Empty:
                # Who waits for these records may hold the next samples back until they are there.
                if self._flying:
                    self._collect()
                elif self._group:
                    self._submit()
                else:
                    return self._jobs.get()
        return None

    def _loaded(self, job: _Job) -> Loaded | None:
        """What the reading threads made of a job's sample; None where that is its record already."""
        while self._flying and not job.loaded.done():
            self._collect()
        try:
            loaded = job.loaded.result()
        except BaseException as error:  # none that a sample should raise
            job.record.set_exception(error)
            return None
        if isinstance(loaded, Record):
            job.record.set_result(loaded)
            return None
        return loaded

    def _submit(self) -> None:
        """Send the group to the engine, as a batch."""
        if self._engine.pending == self._engine.depth:
            self._collect()
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

    def _collect(self) -> None:
        """Take the oldest batch's masks from the engine, and have them scored."""
        masks, probabilities = collect(self._engine, probability=bool(self._work.spaces))
        if self._engine.batch == 1:
            masks = masks[None]
            probabilities = None if probabilities is None else probabilities[None]
        for i, (job, loaded) in enumerate(self._flying.popleft()):
            probability = None if probabilities is None else probabilities[i]
            self._scorers.submit(_finish, self._work, job, loaded, masks[i], probability)

    def _fail(self, error: BaseException) -> None:
        """Hand the error to every job that this engine had or would get, so that the run ends."""
        for group in (*self._flying, self._group):
            for job, _ in group:
                if not job.record.done():
                    job.record.set_exception(error)
        while not self._stopping.is_set() and (other := self._jobs.get()) is not None:
            other.record.set_exception(error)


def _finish(work: Work, job: _Job, loaded: Loaded, mask: Mask, probability: Mask | None) -> None:
    try:
        job.record.set_result(work.finish(loaded, mask, probability))
    except BaseException as error:
        job.record.set_exception(error)


def collect(
    engine: Engine, *, probability: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Collect an engine's oldest masks, and its probabilities of road if they are asked for."""
    if not probability:
        return engine.collect(), None
    return engine.collect_probability()
