"""Ctrl-C, SIGTERM and a closed terminal: the first ends a run properly, the second at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Interrupts:
    """Catches the signals that end a program, within a ``with``.

    From :meth:`hand_to` on the given function is told, and everything is closed in its own time.
    Before that there is nothing to close yet. ``own_process`` then ends the process on the spot: an
    exception may come in the middle of an import, which swallows it or is left locked. Without it,
    when another program calls, ``KeyboardInterrupt`` has to do. ``status`` is the exit status of a
    run that was ended so: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, *, own_process: bool) -> None:
        self._own_process = own_process
        self.caught: int | None = None
        self._stop: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    @property
    def status(self) -> int:
        """128 and the signal's number."""
        return 128 + (self.caught or signal.SIGINT)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # nohup has its programs ignore the end of the terminal: let them.
                if number is None or (
                    name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN
                ):
                    continue
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._own_process:  # the little that follows is not to be interrupted
            return
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def hand_to(self, stop: Callable[[], None]) -> None:
        """From here on tell ``stop``; ``KeyboardInterrupt`` if a signal has come before."""
        self._stop = stop
        if self.caught is not None:  # and an import has swallowed it
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None:
            if sys.stderr is not None and sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h")  # the progress bar hides the cursor
                sys.stderr.flush()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.caught = number
        if self._stop is not None:
            self._stop()
        elif self._own_process:
            os._exit(self.status)
        else:
            raise KeyboardInterrupt


def interruptible(work: Callable[[], T]) -> T:
    """Do ``work`` on a thread of its own, so that Ctrl-C need not wait for a C library to return."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="rtseg-opening", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
