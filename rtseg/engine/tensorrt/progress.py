"""How far a build is, from TensorRT's progress monitor, and the way to end one early."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("rtseg")

OnProgress = Callable[[str, int, int], None]
"""Called with a phase's name, how much is done and the whole; from any thread but the main one."""

WHOLE = 1000
"""The whole of a build as :func:`make_monitor` counts it."""


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Progress:
    """How much of a build is done: phases within phases, an inner one a part of its outer's step."""

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self._most = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins; without a parent everything begins anew."""
        if parent is None:
            self._phases.clear()
            self._most = 0.0
        self._phases[name] = _Phase(parent, max(1, steps))

    def step(self, name: str, step: int) -> None:
        """The step of this number, from 0, is done."""
        if phase := self._phases.get(name):
            phase.done = min(phase.steps, max(phase.done, step + 1))

    def finish(self, name: str) -> None:
        """A phase has ended, perhaps before its last step."""
        phase = self._phases.pop(name, None)
        if phase is not None and phase.parent is None:
            self._most = 1.0

    def fraction(self) -> float:
        """0 to 1; it never goes back within an outermost phase."""
        roots = [name for name, phase in self._phases.items() if phase.parent is None]
        self._most = max([self._most, *(self._of(name) for name in roots)])
        return self._most

    def _of(self, name: str) -> float:
        phase = self._phases[name]
        inner = [self._of(n) for n, p in self._phases.items() if p.parent == name and n != name]
        within = max(inner, default=0.0) if phase.done < phase.steps else 0.0
        return (phase.done + within) / phase.steps


def make_monitor(
    trt: Any, on_progress: OnProgress | None, cancelled: Callable[[], bool]
) -> Any | None:
    """Return an ``IProgressMonitor`` for a build, or None where TensorRT has none (8.6).

    ``on_progress`` hears the name of the phase that is at work and how much of :data:`WHOLE` is
    done. ``cancelled`` is asked after every step; True ends the build.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Called from any of TensorRT's threads; an exception must not get out."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = threading.Lock()
            self._progress = Progress()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._progress.start(phase_name, parent_phase, num_steps)
                self._say(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                self._progress.step(phase_name, step)
                self._say(phase_name)
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._progress.finish(phase_name)
                self._say(phase_name)

        def _say(self, phase: str) -> None:
            if on_progress is None or cancelled():
                return
            try:
                on_progress(phase, round(WHOLE * self._progress.fraction()), WHOLE)
            except Exception as error:
                log.debug("a build's progress cannot be shown: %s", error)

    return Monitor()
