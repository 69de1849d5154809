"""What runs on the machines of a Ray cluster: an engine in a process of its own.

Nothing here imports Ray: to it :class:`EngineActor` is a class that maps batches of rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import platform
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2

from rtseg import __version__
from rtseg.engine import find_network, load
from rtseg.engine.cache import EngineCache
from rtseg.engine.cache_lock import exclusive
from rtseg.errors import BackendError, InputError, RtsegError, UsageError
from rtseg.evaluation.records import Record
from rtseg.evaluation.running import LocalRunner
from rtseg.evaluation.samples import PixelSample, Sample
from rtseg.evaluation.scoring import Work

READING, SAMPLES, LINES = "reading", "samples", "lines"
"""The columns of the pipeline: what is to be read, pickled samples, and a record a line."""

_ATTEMPTS = 5
_GROUP_BYTES = 16 << 20  # of decoded pictures that travel together

Batch = Mapping[str, Sequence[bytes]]


@dataclass(frozen=True)
class EnginePlan:
    """The engine that every worker loads, which has to be that of the process which asks for it.

    ``network`` is a name of the zoo or a path, ``precision`` the one that was asked for and
    ``in_force`` the one that came of it. ``folder`` is where relative paths start, ``needs`` are the
    files and folders that a worker has to find, ``cpus`` the cores that an engine has, ``run`` what
    the engines of one run have in common.
    """

    network: str
    sha256: str
    backend: str
    precision: str | None
    in_force: str
    versions: Mapping[str, str]
    size: tuple[int, int] | None
    batch: int
    probability: bool
    folder: str
    needs: tuple[str, ...]
    cpus: int = 1
    run: str = ""
    rtseg: str = __version__


class EngineActor:
    """An engine that maps pickled samples to the lines of their records.

    ``begin`` counts the attempts at a group of samples, by the index of the first: what has killed
    several processes is not tried again. What goes wrong is told as a line, too, so that the process
    which asked raises it as it was: see :func:`raise_error`.
    """

    def __init__(self, plan: EnginePlan, work: Work, begin: Callable[[int], int]) -> None:
        self._work = work
        self._begin = begin
        self._runner: LocalRunner | None = None
        self._error: RtsegError | None = None
        try:
            self._runner = LocalRunner([_load(plan)])
        except RtsegError as error:
            self._error = error

    def __call__(self, batch: Batch) -> dict[str, list[bytes]]:
        """Return the column of lines for a column of pickled samples."""
        return {LINES: [self._lines(pickle.loads(bytes(part))) for part in batch[SAMPLES]]}

    def _lines(self, samples: Sequence[Sample] | bytes) -> bytes:
        if isinstance(samples, bytes):
            return samples  # a line that the reader has written
        try:
            if self._runner is None:
                raise self._error or BackendError("no engine")
            if self._begin(samples[0].index) > _ATTEMPTS:
                raise BackendError(
                    f"{samples[0].name} and the {len(samples) - 1} frames after it: their engine's "
                    f"process died {_ATTEMPTS} times"
                )
            with contextlib.closing(self._runner.run(samples, self._work)) as records:
                return b"".join(record.line() for record in records)
        except RtsegError as error:
            return error_line(error)


class Reading(Protocol):
    """A video, or what else can only be read in order; it can be pickled.

    ``total`` and ``faults`` hold once all samples have been taken: how many there are, done or not,
    and a record of each part that could not be read.
    """

    total: int | None
    faults: list[Record]

    def samples(self, done: set[int]) -> Iterator[Sample]:
        """Yield the samples whose index is not in ``done``, in order."""


def read_groups(batch: Batch) -> Iterator[dict[str, list[bytes]]]:
    """Read what has to be read in order, once for all engines: pickled groups of its samples.

    The last of them is the line that :func:`ended` takes.
    """
    reading, done = pickle.loads(bytes(batch[READING][0]))
    group: list[Sample] = []
    size = 0
    try:
        for sample in reading.samples(done):
            group.append(sample)
            size += sample.picture.nbytes if isinstance(sample, PixelSample) else 0
            if size >= _GROUP_BYTES:
                yield {SAMPLES: [pickle.dumps(group)]}
                group, size = [], 0
        faults = [record.as_dict() for record in reading.faults]
        line = json.dumps({"total": reading.total, "faults": faults}).encode() + b"\n"
    except RtsegError as error:
        line = error_line(error)
    if group:
        yield {SAMPLES: [pickle.dumps(group)]}
    yield {SAMPLES: [pickle.dumps(line)]}


def ended(values: Mapping[str, Any], reading: Reading) -> bool:
    """Whether a line is the last of :func:`read_groups`, which ``reading`` is then told of."""
    if "total" not in values:
        return False
    reading.total = values["total"]
    reading.faults = [Record.of(fault) for fault in values["faults"]]
    return True


def error_line(error: RtsegError) -> bytes:
    """Return the line that stands for an error, with the machine that it is of."""
    told = {"error": type(error).__name__, "detail": f"{platform.node()}: {error}"}
    return json.dumps(told).encode() + b"\n"


def raise_error(values: Mapping[str, Any]) -> None:
    """Raise the error that a line of :class:`EngineActor` stands for, if it is one."""
    if "error" in values:
        known = {kind.__name__: kind for kind in RtsegError.__subclasses__()}
        raise known.get(values["error"], BackendError)(values["detail"])


def _load(plan: EnginePlan) -> Any:
    """Load the engine; errors of rtseg's where it would not be the one that was planned."""
    cv2.setNumThreads(1)  # the cores are the engine's
    _keep_to_own_cores(plan.cpus, plan.run)
    if __version__ != plan.rtseg:
        raise UsageError(f"has rtseg {__version__}, this process {plan.rtseg}")
    with contextlib.suppress(OSError):
        os.chdir(plan.folder)
    for path in plan.needs:
        if not Path(path).exists():
            raise InputError(
                f"cannot find {Path(plan.folder) / path}: the network, the dataset and --out have to "
                "lie at the same path on every node (a shared file system)"
            )
    if find_network(plan.network).sha256 != plan.sha256:
        raise InputError(f"{plan.network}: another network than this process has by that name")
    cache = EngineCache()
    # Engines of one machine that start together are compiled once.
    with exclusive(cache.folder / "ray.lock", "waiting for another engine"):
        engine = load(
            plan.network,
            backend=plan.backend,
            precision=plan.precision,
            size=plan.size,
            batch=plan.batch,
            cache=cache,
            probability=plan.probability,
        )
    if engine.precision != plan.in_force:
        raise BackendError(
            f"its engine runs {engine.precision}, that of this process {plan.in_force}: their masks "
            "are not the same: say --precision"
        )
    if dict(engine.versions) != dict(plan.versions):
        theirs, ours = (", ".join(f"{k} {v}" for k, v in versions.items())
                        for versions in (engine.versions, plan.versions))  # fmt: skip
        raise BackendError(f"has {theirs}, this process {ours}: their masks may not be the same")
    return engine


_held: list[socket.socket] = []


def _keep_to_own_cores(count: int, run: str) -> None:
    """Keep this process to ``count`` cores that no other engine of this run keeps to.

    Ray counts CPUs but hands out none, and OpenVINO binds the threads of each process to the first
    of its cores: two engines of one thread would share one core and leave the other idle. Where
    there is no affinity, or there are not so many cores, the process stays where it is.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    parts = [cores[i : i + count] for i in range(0, len(cores) - count + 1, count)]
    if not parts:
        return
    own = next((part for part in parts if _hold(part, run)), parts[os.getpid() % len(parts)])
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # gone since
            os.sched_setaffinity(int(thread.name), own)


def _hold(cores: Sequence[int], run: str) -> bool:
    """Whether these cores are this process's now, and until it ends, however it does."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        # An abstract socket: its name goes with its process.
        held.bind(f"\0rtseg-{run}-{cores[0]}")
    except OSError:
        held.close()
        return False
    _held.append(held)
    return True
