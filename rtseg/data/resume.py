"""The part of a download that has come, to be gone on with later."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rtseg.errors import OutputError


class Part:
    """What has come of ``whole``, the file at ``url``: ``size`` bytes of ``total``, if that is known.

    ``validator`` tells the server which file it is; ``digest_tells`` says that a SHA-256 will.
    """

    def __init__(self, whole: Path, url: str, digest_tells: bool) -> None:
        self.path = whole.with_name(f"{whole.name}.part")
        self._note = whole.with_name(f"{whole.name}.part.json")
        self._whole = whole
        self._url = hashlib.sha256(url.encode()).hexdigest()  # the address may hold a secret
        self._digest_tells = digest_tells
        self._file: IO[bytes]
        self.size = 0
        self.total: int | None = None
        self.validator: str | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Open and lock it, and find out how much of it is of use; ``OutputError`` if that fails."""
        with self._writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        with self._file:
            self._lock()
            self.size = self._file.tell()
            try:
                note = json.loads(self._note.read_bytes())
                if note["url"] == self._url:
                    self.total, self.validator = note["total"], note["validator"]
                    if not self.can_go_on:
                        self.size = 0
                else:
                    self.size = 0
            except (OSError, ValueError, LookupError, TypeError):
                self.size = 0
            yield

    @property
    def can_go_on(self) -> bool:
        """Whether something will tell if what comes next belongs to another file."""
        return bool(self.validator) or self._digest_tells

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{self.path}: another program is fetching this file") from error
        except OSError:  # this file system has no locks
            return

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = ": free some space, then go on" if error.errno == errno.ENOSPC else ""
            raise OutputError(
                f"{self._whole}: cannot write this file: {error.strerror}{full}"
            ) from error

    def start(self, total: int | None, validator: str | None) -> None:
        """Throw away what is there: another file, or the whole of this one, is coming."""
        with self._writing():
            self._file.truncate(0)
            self.size, self.total, self.validator = 0, total, validator
            note = {"url": self._url, "total": total, "validator": validator}
            self._note.write_text(json.dumps(note))

    def require_space(self) -> None:
        """``OutputError`` if the disk cannot take the rest."""
        if self.total is None:
            return
        free = shutil.disk_usage(self.path.parent).free
        if self.total - self.size > free:
            raise OutputError(
                f"{self._whole}: {(self.total - self.size) / 1e9:.1f} GB are to come, "
                f"{free / 1e9:.1f} GB are free: free some space"
            )

    def write(self, chunk: bytes) -> None:
        """Add ``chunk``; ``OutputError`` says why it cannot be written."""
        with self._writing():
            while chunk:
                written = self._file.write(chunk)
                self.size += written
                chunk = chunk[written:]

    def sync(self) -> None:
        """See to it that what was written is on the disk before it gets its name."""
        with self._writing():
            os.fsync(self._file.fileno())

    def remove(self) -> None:
        """Remove what is there, and the note on it."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
