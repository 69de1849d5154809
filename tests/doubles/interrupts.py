"""Ctrl-C and exceptions, where C++ calls back into Python."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, Self


class Interrupts:
    """Ctrl-C during a call into C++: Python's handler runs in callbacks and afterwards only."""

    def __init__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        self._pending = False
        self._handler: Any = None

    def __enter__(self) -> Self:
        if self._main:
            self._handler = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._handler)
            self._deliver()

    def _note(self, number: int, frame: Any) -> None:
        self._pending = True

    def _deliver(self) -> None:
        if self._pending and callable(self._handler):
            self._pending = False
            self._handler(signal.SIGINT, None)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let the handler run, for as long as Python code does."""
        if not self._main:
            yield
            return
        signal.signal(signal.SIGINT, self._handler)
        try:
            self._deliver()
            yield
        finally:
            signal.signal(signal.SIGINT, self._note)

    def callback(self, method: Any, *args: Any) -> bool:
        """Call back as the bindings do: what is raised is printed and lost, and means False."""
        try:
            with self.allowed():
                return bool(method(*args))
        except BaseException as error:
            print(f"[ERROR] Exception caught in {method.__name__}(): {error!r}", file=sys.stderr)
            return False
