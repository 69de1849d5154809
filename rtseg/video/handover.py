"""How frames pass between threads: bounded, and for live sources the newest wins."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):  # noqa: N818  an ending, not an error
    """Nothing more comes: the other side has finished or given up."""


class Handover(Generic[T]):
    """A queue of at most ``capacity`` items between two threads.

    :meth:`put` waits while it is full. With ``newest`` it does not wait: it takes the oldest item
    out and gives it back to its caller, so that the reader always finds the latest there is.
    """

    def __init__(self, capacity: int, *, newest: bool = False) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._newest = newest
        self._closed = False
        self._error: BaseException | None = None
        self._change = threading.Condition()

    def put(self, item: T) -> T | None:
        """Add ``item``; return what it displaced, if anything. ``Closed`` after :meth:`close`."""
        with self._change:
            displaced = None
            if self._newest and not self._closed and len(self._items) >= self._capacity:
                displaced = self._items.popleft()
            while len(self._items) >= self._capacity and not self._closed:
                self._change.wait()
            if self._closed:
                raise Closed
            self._items.append(item)
            self._change.notify_all()
            return displaced

    def take(self, timeout: float | None = None) -> T | None:
        """Return the oldest item, waiting up to ``timeout`` seconds (None: for ever).

        None when the time is over; ``Closed`` when it is closed and empty. The error given to
        :meth:`close` is raised here instead, once the items before it are taken.
        """
        with self._change:
            if not self._items and not self._closed and timeout != 0:
                self._change.wait_for(lambda: self._items or self._closed, timeout)
            if self._items:
                item = self._items.popleft()
                self._change.notify_all()
                return item
            if not self._closed:
                return None
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise Closed

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more will be put; waiting threads wake up. What was put can still be taken."""
        with self._change:
            if not self._closed:
                self._closed = True
                self._error = error
            self._change.notify_all()
