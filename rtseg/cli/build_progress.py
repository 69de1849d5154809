"""The progress bar of a build that a command may come upon, or not."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rtseg.cli.compile_progress import BuildProgress


class MaybeBuilding:
    """What :func:`rtseg.load` takes as ``on_progress``: a bar from the first call on, on a terminal.

    The bar's library takes longer to import than an engine takes to come from the cache.
    """

    def __init__(self, prog: str, name: str, *, show: bool = True) -> None:
        self._prog = prog
        self._name = name
        self._show = show and sys.stderr is not None and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._bar: BuildProgress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._show = False
            self._stack.close()

    def __call__(self, phase: str, done: int, whole: int) -> None:
        """Say what a build is at, and how much of the whole is done; from any thread."""
        with self._lock:
            if not self._show:
                return
            if self._bar is None:
                from rtseg.cli.compile_progress import BuildProgress

                self._bar = self._stack.enter_context(BuildProgress(self._prog, self._name))
            self._bar(phase, done, whole)
