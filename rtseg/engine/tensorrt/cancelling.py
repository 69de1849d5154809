"""Long work of a C library that Ctrl-C can end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

THREAD = "rtseg-tensorrt-build"
"""The name of the thread that builds. While one is alive the interpreter should not be torn down."""


def still_building() -> bool:
    """Whether TensorRT is at work on a thread that Ctrl-C has left behind."""
    return any(thread.name == THREAD for thread in threading.enumerate())


def cancellable(
    work: Callable[[Callable[[], bool]], T],
    cancelled: Callable[[], bool],
    on_interrupt: Callable[[], None],
) -> T:
    """Do ``work(asked_to_stop)`` on a thread of its own, and wait for it.

    The main thread alone sees signals, and only between two steps of its own Python: inside a C call
    it would not, and inside a callback from there the exception would go through C++. So it waits.
    The first Ctrl-C makes ``asked_to_stop`` true, calls ``on_interrupt`` and waits for the end of the
    work, which then counts as cancelled (``KeyboardInterrupt``); the second leaves the work behind.
    From another thread the work is done in place.
    """
    if threading.current_thread() is not threading.main_thread():
        return work(cancelled)
    stop = threading.Event()
    done = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(lambda: stop.is_set() or cancelled()))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run, name=THREAD, daemon=True)
    thread.start()
    try:
        _wait(done)
    except KeyboardInterrupt:
        stop.set()
        on_interrupt()
        _wait(done)
        thread.join()
        raise
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _wait(done: threading.Event) -> None:
    while not done.wait(0.5):  # Windows sees no Ctrl-C during a wait without an end
        pass
