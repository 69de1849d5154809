"""The progress bar of long runs."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from rtseg.video.quiet import TERMINAL


class Progress:
    """A progress bar on standard error, drawn ten times a second at the most."""

    def __init__(self, total: int | None) -> None:
        self._bar = Bar(
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("", total=total, rate="")
        self._bar.start()
        self._drawn = self._first = time.perf_counter()
        self._before = 0

    def update(self, done: int) -> None:
        """Say how many frames are done."""
        clock = time.perf_counter()
        if clock - self._drawn < 0.1:
            return
        rate = (done - self._before) / (clock - self._drawn)
        self._drawn, self._before = clock, done
        self._bar.update(self._task, completed=done, rate=f"{rate:.0f} FPS")
        with TERMINAL:
            self._bar.refresh()

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
