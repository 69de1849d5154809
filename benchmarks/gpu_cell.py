"""One cell: its contenders made ready, in turns, and looked at for what is right."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.gpu_accuracy import References, Truth, agreement, score
from benchmarks.gpu_contenders import Contender, make
from benchmarks.gpu_device import state, timer
from benchmarks.gpu_plan import Cell, contenders
from benchmarks.gpu_timing import (
    flow,
    painted_by_device,
    painted_by_host,
    repeat,
    summary,
    to_mask,
)
from rtseg.engine.cache import EngineCache
from rtseg.errors import one_line
from rtseg.evaluation.machine import OthersClock
from rtseg.evaluation.speed import fill
from rtseg.video.overlay import Painter

_MOST_RUNS_ALONE = 200


class _Measured:
    """A contender that is ready, what it is to do each turn, and what came of it."""

    def __init__(self, contender: Contender, truth: Truth, seconds: float) -> None:
        self.contender = contender
        self.seconds = seconds
        self.times: dict[str, list[float]] = {}
        self.rates: list[float] = []
        one, many = contender.one, contender.many
        ones = fill(one, truth.camera, 4)
        manys = ones if many is one else fill(many, truth.camera, many.depth)
        self._mask = to_mask(one, ones)
        self._flow = partial(flow, many, manys, seconds)
        self._device = timer(one)
        self._painted: dict[str, Callable[[], float]] = {}
        if one.batch == 1:
            painter = Painter(one.spec.classes, one.spec.palette)
            self._painted["host_painted_ms"] = painted_by_host(one, painter, truth.camera)
            height, width = truth.camera[0].shape[:2]
            self.path = one.pictures(width, height)
            if self.path is not None:
                self._painted["device_painted_ms"] = painted_by_device(
                    self.path, one, painter, truth.camera
                )

    def turn(self, counted: bool) -> None:
        """Take everything once, each for the turn's seconds; forget it unless it is counted."""
        times = {"frame_to_mask_ms": repeat(self._mask, self.seconds)}
        if self._device is not None:
            runs = int(self.seconds * 1e3 / max(times["frame_to_mask_ms"]))
            alone, following = self._device(max(3, min(runs, _MOST_RUNS_ALONE)))
            times |= {"device_ms": alone, "device_back_to_back_ms": [following]}
        for name, once in self._painted.items():
            times[name] = repeat(once, self.seconds)
        rate = self._flow()
        if counted:
            self.rates.append(rate)
            for name, series in times.items():
                self.times.setdefault(name, []).extend(series)

    def result(self) -> dict[str, Any]:
        """What is known by now, as JSON values."""
        found: dict[str, Any] = {name: summary(times) for name, times in self.times.items()}
        # What "painted" means to a user: the way that the live loop takes.
        for way in ("device_painted_ms", "host_painted_ms"):
            if way in found:
                found["frame_to_painted_ms"] = {**found[way], "by": way.partition("_")[0]}
                break
        if self.rates:
            found["masks_per_second"] = sorted(self.rates)[len(self.rates) // 2]
            found["masks_per_second_by_round"] = self.rates
        return found


class CellRun:
    """Measures one cell, reporting it whole after each step; the engines are open until close()."""

    def __init__(
        self,
        cell: Cell,
        plan: dict[str, Any],
        cache: EngineCache,
        truth: Truth,
        references: References,
        pace: dict[str, float],
        is_fatal: Callable[[BaseException], bool],
        report: Callable[[dict[str, Any]], None],
    ) -> None:
        self._cell, self._plan, self._cache = cell, plan, cache
        self._truth, self._references, self._pace = truth, references, pace
        self._is_fatal, self._report = is_fatal, report
        self._ready: dict[str, _Measured] = {}
        self._opened: list[Contender] = []
        self.spoiled = False
        self._result: dict[str, Any] = {
            **cell.values(),
            "contenders": {},
            "rounds": 0,
            "doing": None,
            "finished": False,
        }

    def _left(self) -> float:
        seconds: float = self._plan["deadline"] - time.time()
        return seconds

    def _tell(self, doing: str | None = None, who: str | None = None) -> None:
        """Report the cell as far as it is; ``who`` is at fault if the process ends now."""
        self._result["doing"] = [doing, who] if doing else None
        for name, measured in self._ready.items():
            self._result["contenders"][name].update(measured.result())
        self._report({"cell": self._result})

    def _try(self, name: str, doing: str, step: Callable[[], None]) -> bool:
        """Take a step of a contender; what it raises is noted, and it takes no further part."""
        self._tell(doing, name)
        try:
            step()
        except Exception as error:  # a library's own, out of memory, or ours: all are reasons
            reason = f"{type(error).__name__}: {one_line(error)}"
            self._result["contenders"].setdefault(name, {})["failed"] = f"{doing}: {reason}"
            self._ready.pop(name, None)
            self.spoiled = self._is_fatal(error)
            return False
        return True

    def measure(self) -> None:
        """Make all ready, compare their masks, let them take turns, and score them."""
        result = self._result["contenders"]
        result.update(self._plan["excluded"].get(self._cell.key, {}))
        for name in contenders(self._plan["kind"], self._cell):
            if name in result or self.spoiled:
                continue
            guess = max(5.0 if not self._plan["quick"] else 0.0, self._pace.get(name, 0.0))
            if self._left() < guess:
                result[name] = {
                    "not_measured": f"the time was over: about {guess:.0f} s are needed"
                }
                continue
            self._try(name, "making it ready", partial(self._make, name))
        for name in list(self._ready):
            if not self.spoiled and self._left() > 0:
                self._try(name, "comparing its masks", partial(self._compare, name))
        self._turns()
        for name in list(self._ready):
            if not self.spoiled and self._left() > 0:
                self._try(name, "scoring it", partial(self._score, name))
        self._result["finished"] = not self.spoiled
        self._tell()

    def _make(self, name: str) -> None:
        def progress(phase: str, done: int, total: int) -> None:
            self._report({"say": f"{self._cell.key}: {name}: {phase} {done}/{total}"})

        start = time.perf_counter()
        contender = make(name, self._plan["kind"], self._cell, self._cache, progress)
        self._opened.append(contender)
        seconds = self._plan["seconds"] * (1.0 if self._cell.level == 0 else 0.6)
        measured = _Measured(contender, self._truth, seconds)
        took = time.perf_counter() - start
        self._pace[name] = took
        many = contender.many
        self._result["contenders"][name] = {
            "precision": many.precision,
            "device": many.device,
            "in_flight": many.depth,
            "versions": many.versions,
            "built": many.built,
            "ready_seconds": took,
            **contender.facts,
        }
        self._ready[name] = measured

    def _turns(self) -> None:
        """A B C, B C A, …: as many rounds as there is time for; the first one is not counted."""
        rounds = (
            self._plan["rounds"] if self._cell.level == 0 else max(2, self._plan["rounds"] // 2)
        )
        clock = OthersClock()
        shares: list[float] = []
        self._result["clocks"] = [state()]
        names = list(self._ready)
        for number in range(rounds + 1):
            if number > 1 and self._left() < 0:
                break
            first = number % max(1, len(names))
            for name in names[first:] + names[:first]:
                if name in self._ready and not self.spoiled:
                    measured = self._ready[name]
                    self._try(name, "running", partial(measured.turn, number > 0))
            if number:
                self._result["rounds"] = number
                shares.append(clock.lap())
            else:
                clock.lap()
        self._result["clocks"].append(state())
        self._result["others_share"] = [s for s in shares if s == s]
        self._tell()

    def _compare(self, name: str) -> None:
        contender = self._ready[name].contender
        frames = self._truth.parity_frames(contender.many.spec)
        try:
            by, masks = self._references.masks(self._cell, frames)
        except Exception as error:  # no fault of the contender's
            self._result["contenders"][name]["parity"] = {"missing": one_line(error)}
            return
        share = agreement(contender.many, frames, masks)
        self._result["contenders"][name]["parity"] = {
            "share": share, "frames": len(frames), "reference": by,
        }  # fmt: skip

    def _score(self, name: str) -> None:
        engine = self._ready[name].contender.many
        found = score(engine, self._truth.labelled(engine.spec))
        self._result["contenders"][name]["accuracy"] = {"set": self._truth.name, **found}

    def close(self) -> None:
        """Close every engine, unless the GPU takes no more calls."""
        if self.spoiled:
            return
        for contender in self._opened:
            try:
                contender.close()
            except Exception as error:
                self._report({"say": f"{self._cell.key}: {contender.name}: {one_line(error)}"})
