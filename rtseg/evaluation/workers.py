"""Processes that do one thing each: asked by the parent, gone with it, and their death survived.

What an engine uses in CPU time and memory can be told apart only where it has a process of its own,
and only so does a crash in a backend's native code cost no more than that engine.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rtseg import errors
from rtseg.errors import BackendError, RtsegError, one_line

log = logging.getLogger("rtseg")

Progress = Callable[[str, int, int], None]

_PATIENCE = 10.0  # seconds that a worker has to end by itself
_ENDING = {
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
}


class Worker:
    """An object in a process of its own, whose methods are called by name.

    Args:
        make: Makes the object, in the process; it is pickled. It is called with a function that
            takes a build's progress (what it is at, steps done, steps in all).
        output: A file that takes what the process's libraries print, which is nobody's business
            unless it dies.
    """

    def __init__(self, make: Callable[[Progress], object], output: Path) -> None:
        self._output = output
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, make, str(output)), name="rtseg-worker", daemon=True
        )
        try:
            with _undisturbed():
                self._process.start()
        except BaseException:
            if self._process.pid is not None:
                self._process.kill()
            raise
        theirs.close()  # so that the other end is closed when the process is gone

    @property
    def pid(self) -> int | None:
        """The process's number."""
        return self._process.pid

    def ask(self, method: str, *arguments: Any, on_progress: Progress | None = None) -> Any:
        """Call a method and wait for what it returns.

        Errors of rtseg's are raised here as they were there, others and the process's death as
        ``BackendError``. Warnings go on to this process's log.
        """
        try:
            self._connection.send((method, arguments))
            while True:
                kind, value = self._connection.recv()
                if kind == "returned":
                    return value
                if kind == "progress" and on_progress is not None:
                    on_progress(*value)
                elif kind == "log":
                    level, text, news = value
                    log.log(level, "%s", text, extra={"news": news})
                elif kind == "raised":
                    name, text = value
                    raise getattr(errors, name)(text)
        except (EOFError, OSError) as error:
            raise BackendError(self._death()) from error

    def _death(self) -> str:
        """How the process ended, and the last that it said."""
        self._process.join(_PATIENCE)
        status = self._process.exitcode
        try:
            lines = self._output.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        said = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
        how = f"with status {status}"
        if status is not None and status < 0:
            how = f"by {signal.Signals(-status).name}"
            if status == -getattr(signal, "SIGKILL", 9):
                how += ", as when memory runs out"
        return f"its process was ended {how}" + (f": {said[:300]}" if said else "")

    def end(self, *, now: bool = False) -> None:
        """End the process, by its own will unless ``now``; at the latest after ten seconds."""
        if not now:
            with contextlib.suppress(OSError):
                self._connection.send(None)
            self._process.join(_PATIENCE)
        self._connection.close()
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._process.close()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Put off the signals that end a program until a process is started, and block them in it.

    Else a Ctrl-C, which a terminal sends to all processes of a command, would come upon Python's own
    start there, or here upon a child that is half told what it is to do.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # it would let them through again
    caught: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        # The mask is this thread's, which the child inherits: another may still take a signal, and
        # its handler would run here.
        for number in _ENDING:
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, _: caught.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in caught:
            signal.raise_signal(number)


class _Relay(logging.Handler):
    """Sends warnings and news to the parent."""

    def __init__(self, send: Callable[[tuple[str, Any]], None]) -> None:
        super().__init__(logging.INFO)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        news = bool(getattr(record, "news", False))
        if news or record.levelno >= logging.WARNING:
            self._send(("log", (record.levelno, record.getMessage(), news)))


def _serve(connection: Connection, make: Callable[[Progress], object], output: str) -> None:
    """Be the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    with Path(output).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="rtseg-follow", daemon=True).start()
    lock = threading.Lock()

    def send(message: tuple[str, Any]) -> None:
        with lock:  # builds tell their progress from several threads
            connection.send(message)

    log.addHandler(_Relay(send))
    log.propagate = False
    log.setLevel(logging.INFO)
    made: object = None
    with contextlib.suppress(EOFError, OSError):  # the parent wants no more
        while (request := connection.recv()) is not None:
            method, arguments = request
            try:
                if made is None:
                    made = make(lambda *told: send(("progress", told)))
                send(("returned", getattr(made, method)(*arguments)))
            except RtsegError as error:
                send(("raised", (type(error).__name__, str(error))))
            except Exception as error:  # backends' errors have no common base
                text = f"{type(error).__name__}: {one_line(error)}"
                send(("raised", ("BackendError", text)))
    if hasattr(made, "close"):
        with contextlib.suppress(Exception):
            made.close()
