"""A lock between processes, by a file: gone with its process, however that ends."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger("rtseg")

_fcntl: Any = None
with contextlib.suppress(ImportError):  # Windows has none: nobody is kept out there
    _fcntl = importlib.import_module("fcntl")


@contextlib.contextmanager
def exclusive(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock of this path; ``waiting`` is what to say if another process has it.

    Waiting can be interrupted by Ctrl-C. The system itself lets go of a killed process's lock. Where
    there is no locking nobody is kept out.
    """
    handle = _acquire(path, waiting)
    try:
        yield
    finally:
        if handle is not None:
            # Removed while it is held; who waits for it sees that it is gone, and takes a new one.
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)


def remove_if_unlocked(path: Path) -> None:
    """Remove a lock's file that no process holds."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR)
        try:
            _lock(handle, wait=False)
            if _is_still(handle, path):
                path.unlink()
        finally:
            os.close(handle)


def _acquire(path: Path, waiting: str) -> int | None:
    waited = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            log.debug("%s: no lock: %s", path, error)
            return None
        try:
            try:
                _lock(handle, wait=False)
            except BlockingIOError:
                if not waited:
                    log.info("%s", waiting, extra={"news": True})
                waited = True
                _lock(handle, wait=True)
            if _is_still(handle, path):
                return handle
            os.close(handle)
        except OSError as error:
            os.close(handle)
            log.debug("%s: no lock: %s", path, error)
            return None
        except BaseException:  # Ctrl-C while waiting
            os.close(handle)
            raise


def _is_still(handle: int, path: Path) -> bool:
    """Whether the file that is held is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _lock(handle: int, *, wait: bool) -> None:
    """Lock an open file; ``BlockingIOError`` if another has it, ``OSError`` if there are no locks."""
    if _fcntl is None:
        raise OSError("this system has no flock")
    _fcntl.flock(handle, _fcntl.LOCK_EX if wait else _fcntl.LOCK_EX | _fcntl.LOCK_NB)
