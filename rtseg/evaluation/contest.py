"""Engines measured against each other: a process each, in turns, round after round."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rtseg.errors import BackendError, NetworkError
from rtseg.evaluation.contender import Contender, Measured, NullContender
from rtseg.evaluation.frames import Frames
from rtseg.evaluation.nvidia import SETTLING, Sample, Sampler
from rtseg.evaluation.speed import Turn
from rtseg.evaluation.workers import Progress, Worker

log = logging.getLogger("rtseg")

SUSTAIN_SECONDS = 4.0
"""How long a GPU's engine runs without a pause, for its power: see ``nvidia.SETTLING``."""

Building = Callable[[str], AbstractContextManager[Progress | None]]
"""Makes, for an engine's name, what shows the progress of its build."""

Say = Callable[[str], None]
"""Told what is going on."""


@dataclass
class Entry:
    """A contender in a contest, and what came of it.

    ``facts`` are :meth:`Measured.prepare`'s, ``accuracy`` :meth:`Measured.score`'s, ``load`` the long
    turn on a GPU with the samples that were taken in it. ``failed`` says why it is out, if it is;
    ``twice`` that it is the same engine as one before it.
    """

    contender: Contender
    facts: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    load: tuple[Turn, list[Sample]] | None = None
    failed: str | None = None
    twice: bool = False
    worker: Worker | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells an engine from others: two entries with the same are one engine."""
        names = ("network", "sha256", "backend", "precision", "batch", "mode")
        return (*(self.facts[name] for name in names), tuple(self.facts["size"]))

    def describe(self) -> dict[str, Any]:
        """What tells it from others, as far as it is known; None is the default, not known yet."""
        asked = self.contender.describe()
        return {name: self.facts.get(name, value) for name, value in asked.items()}

    @property
    def label(self) -> str:
        """The engine in words."""
        told = self.describe()
        size = "×".join(map(str, told["size"] or ()))
        batch = f"batch {told['batch']}" if told["batch"] > 1 else ""
        words = (told["network"], told["backend"], told["precision"], size, batch)
        return " ".join(str(word) for word in words if word)


class Contest:
    """Prepares, scores and times contenders.

    Args:
        contenders: Those to be measured. ``idle``, which does nothing, is measured beside them.
        frames: What they are measured on.
        folder: A folder for what their processes print.
        say: Told what is going on.
        building: Makes what shows a build's progress.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        frames: Frames,
        folder: Path,
        say: Say = lambda _: None,
        building: Building = lambda _: nullcontext(),
    ) -> None:
        self.entries = [Entry(contender) for contender in contenders]
        self.idle: Entry | None = None
        self._frames = frames
        self._folder = folder
        self._say = say
        self._building = building
        self.samples: list[Sample] = []

    @property
    def running(self) -> list[Entry]:
        """The entries that have not failed, ``idle`` not among them."""
        return [entry for entry in self.entries if entry.failed is None]

    @property
    def _all(self) -> list[Entry]:
        return self.entries + ([] if self.idle is None else [self.idle])

    def run(self, rounds: int, frames: int) -> None:
        """Do it all: ``rounds`` of ``frames`` each. Errors of an engine's own put it out alone.

        ``UsageError``, ``InputError``: what was asked for does not fit, or the frames cannot be read.
        """
        done = False
        try:
            for entry in self.entries:
                self._prepare(entry)
            self._add_idle()
            for entry in self.running:
                self._say(f"scoring {entry.label}")
                entry.accuracy = self._ask(entry, "score") or {}
            self._rounds(rounds, frames)
            done = True
        finally:
            for entry in self._all:
                if entry.worker is not None:
                    entry.worker.end(now=not done)
                    entry.worker = None

    def _prepare(self, entry: Entry) -> None:
        self._say(f"preparing {entry.label}")
        output = self._folder / f"worker-{self._all.index(entry)}.log"
        entry.worker = Worker(partial(Measured, entry.contender, self._frames), output)
        with self._building(entry.label) as progress:
            facts = self._ask(entry, "prepare", on_progress=progress)
        if facts is None:
            return
        entry.facts = facts
        if any(
            other.key == entry.key for other in self.running if other.facts and other is not entry
        ):
            entry.twice = True
            self._put_out(entry, "the same engine as one before it")

    def _add_idle(self) -> None:
        """Add the null engine, for the largest mask of all: copying it costs the most."""
        running = self.running
        if not running:
            return
        facts = [entry.facts for entry in running]
        width, height = max((f["size"] for f in facts), key=lambda size: size[0] * size[1])
        batch = max(f["batch"] for f in facts)
        null = NullContender("null", size=(width, height), batch=batch, mode=facts[0]["mode"])
        self.idle = Entry(null)
        self._prepare(self.idle)

    def _rounds(self, rounds: int, frames: int) -> None:
        """One round that is not counted, then those that are: A B C, B C A, C A B, …

        So none is always the one after a certain other, and a machine that slows down for a minute
        slows down everybody.
        """
        with Sampler() as sampler:
            start = time.perf_counter()
            for number in range(rounds + 1):
                order = [entry for entry in self._all if entry.failed is None]
                first = number % max(1, len(order))
                for entry in order[first:] + order[:first]:
                    self._say(f"round {number} of {rounds}: {entry.label}")
                    turn = self._ask(entry, "turn", frames)
                    if turn is not None and number:
                        entry.turns.append(turn)
            self.samples = sampler.between(start, time.perf_counter())
            for entry in [e for e in self.running if e.facts["on_gpu"] and self.samples]:
                self._say(f"power of {entry.label}")
                start = time.perf_counter()
                turn = self._ask(entry, "sustain", SUSTAIN_SECONDS)
                if turn is not None:
                    # The turn ends when its answer comes; what is before it is warm-up.
                    end = time.perf_counter()
                    since = max(start, end - turn.seconds) + SETTLING
                    entry.load = turn, sampler.between(since, end)

    def _ask(self, entry: Entry, method: str, *arguments: Any, on_progress: Any = None) -> Any:
        """Call a worker's method; None where that put the entry out."""
        assert entry.worker is not None
        try:
            return entry.worker.ask(method, *arguments, on_progress=on_progress)
        except (BackendError, NetworkError) as error:
            self._put_out(entry, str(error))
            log.warning("left out: %s: %s", entry.label, error)
        return None

    def _put_out(self, entry: Entry, why: str) -> None:
        entry.failed = why
        if entry.worker is not None:
            entry.worker.end(now=True)
            entry.worker = None
