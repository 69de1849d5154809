"""The members of an archive from elsewhere, written so that none leaves its folder."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from rtseg.errors import InputError, OutputError

Report = Callable[[int, int | None], None]
"""Told the bytes that are done, and of how many where that is known."""

_MEMBERS = 5_000_000
_CHUNK = 1 << 20


class Members:
    """Writes members below a new folder, and refuses what would leave it or fill the disk."""

    def __init__(self, archive: Path, folder: Path, limit: int, report: Report) -> None:
        self._archive, self._folder, self._report = archive, folder, report
        self.limit = limit
        self._links: list[tuple[str, Path, str]] = []
        self.total: int | None = None
        self.files = self.size = 0

    def refuse(self, name: str, why: str) -> InputError:
        """Return the error that names a member and says what is wrong with it."""
        return InputError(f"{self._archive}: its member {name!r} {why}: nothing was unpacked")

    def check_size(self, size: int) -> None:
        """``InputError`` if ``size`` bytes in all are more than the limit."""
        if size > self.limit:
            raise InputError(
                f"{self._archive}: unpacks to more than {self.limit / 1e9:.1f} GB: "
                "give --limit GB if that is meant"
            )

    def _path(self, name: str) -> Path:
        """The place of a member; ``InputError`` if that is not below the folder."""
        posix = name.replace("\\", "/")
        parts = [part for part in posix.split("/") if part not in ("", ".")]
        if posix.startswith("/") or re.match(r"[A-Za-z]:", posix):
            raise self.refuse(name, "has an absolute path")
        if ".." in parts or "\0" in posix:
            raise self.refuse(name, "would leave the folder")
        return self._folder.joinpath(*parts)

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise self.refuse(name, "appears twice") from error
        except OSError as error:
            full = ": free some space" if error.errno == errno.ENOSPC else ""
            raise OutputError(
                f"{self._archive}: cannot write its member {name!r}: {error.strerror}{full}"
            ) from error

    def _count(self, name: str) -> None:
        self.files += 1
        if self.files > _MEMBERS:
            raise self.refuse(name, f"comes after {_MEMBERS} others, which is no data set")

    def directory(self, name: str) -> None:
        """Make a folder."""
        path = self._path(name)
        with self._writing(name):
            path.mkdir(parents=True, exist_ok=True)

    def file(self, name: str, content: IO[bytes], size: int) -> None:
        """Write a file of ``size`` bytes."""
        path = self._path(name)
        self._count(name)
        self.check_size(self.size + size)
        with self._writing(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            out = path.open("xb", buffering=0)  # no rest to fail at the end
        with out:
            written = 0
            while chunk := content.read(_CHUNK):  # never more than ``size`` in all
                written += len(chunk)
                self.size += len(chunk)
                with self._writing(name):
                    while chunk:
                        chunk = chunk[out.write(chunk) :]
                self._report(self.size, self.total)
        if written != size:
            raise self.refuse(name, "is cut short")

    def hard_link(self, name: str, target: str) -> None:
        """Make a hard link to a file that has been written."""
        path = self._path(name)
        self._count(name)
        try:
            source = self._path(target)
        except InputError as error:
            raise self.refuse(name, f"is a link out of the folder, to {target!r}") from error
        if not source.is_file():
            raise self.refuse(name, f"is a link to {target!r}, which is no file of the archive's")
        with self._writing(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, path)

    def symbolic_link(self, name: str, target: str) -> None:
        """Note a link; it is made when all files are written, so that none is written through it."""
        path = self._path(name)
        self._count(name)
        where = os.path.normpath(
            PurePosixPath(path.relative_to(self._folder).parent.as_posix(), target)
        )
        if (
            PurePosixPath(target).is_absolute()
            or "\0" in target
            or where == ".."
            or (where.startswith(".." + os.sep))
        ):
            raise self.refuse(name, f"is a link out of the folder, to {target!r}")
        self._links.append((name, path, target))

    def make_links(self) -> None:
        """Make the symbolic links; ``InputError`` if one leads out of the folder, however."""
        for name, path, target in self._links:
            with self._writing(name):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(target)
        root = os.path.realpath(self._folder)
        for name, path, target in self._links:  # a link may lead through others
            if not (os.path.realpath(path) + os.sep).startswith(root + os.sep):
                raise self.refuse(name, f"is a link out of the folder, to {target!r}")
