"""How far a build is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

_EVERY = 30.0  # seconds between two lines, where a tenth takes longer


class BuildProgress:
    """Shows what a build tells of itself, on standard error; nothing before it tells something.

    It is called from the threads that build.
    """

    def __init__(self, prog: str, name: str) -> None:
        self._prog = prog
        self._name = name
        self._seen = sys.stderr is not None and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._bar = Bar(
            TextColumn(f"building {name}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", start=False)
        self._started = False
        self._said = -1
        self._said_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._started:
                self._bar.stop()
            self._seen = self._started = False
            self._said_at = float("inf")  # a build that was left behind says nothing more

    def __call__(self, phase: str, done: int, whole: int) -> None:
        """Say what a build is at, and how much of the whole is done."""
        with self._lock:
            if self._seen:
                if not self._started:
                    self._started = True
                    self._bar.start()
                    self._bar.start_task(self._task)
                self._bar.update(self._task, description=phase, completed=done, total=whole)
                return
            tenth = 10 * done // whole if whole else 0
            now = time.monotonic()
            if tenth != self._said or now - self._said_at >= _EVERY:
                if self._said_at == float("inf"):
                    return
                self._said, self._said_at = tenth, now
                share = 100 * done // whole if whole else 0
                print(
                    f"{self._prog}: building {self._name}: {share} % ({phase})",
                    file=sys.stderr,
                    flush=True,
                )
