"""The progress bar of downloads."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar


class Bytes:
    """A progress bar on standard error that counts bytes, drawn ten times a second at the most."""

    def __init__(self, what: str) -> None:
        self._seen = sys.stderr is not None and sys.stderr.isatty()
        self._bar = Bar(
            TextColumn("{task.description}"),
            DownloadColumn(),
            BarColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task(what, total=None)
        self._drawn = 0.0

    def __enter__(self) -> Bytes:
        if self._seen:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._seen:
            self._bar.stop()

    def report(self, done: int, total: int | None) -> None:
        """Say how many bytes are done, and of how many."""
        clock = time.perf_counter()
        if self._seen and clock - self._drawn >= 0.1:
            self._drawn = clock
            self._bar.update(self._task, completed=done, total=total, refresh=True)

    def say(self, line: str) -> None:
        """Print a warning above the bar."""
        self._bar.console.print(
            f"rtseg-data: warning: {line}", highlight=False, markup=False, soft_wrap=True
        )
