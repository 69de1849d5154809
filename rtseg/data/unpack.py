"""Archives from elsewhere, unpacked so that they can harm nothing: whole, inside, and bounded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rtseg.data.members import Members, Report
from rtseg.data.partial import partial_folder
from rtseg.errors import InputError, OutputError, RtsegError

_MOST = 500 * 10**9
_RATIO = 200
_SMALL = 10**9
_HEADER = 64 << 20
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError,
    OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True)
class Unpacked:
    """What came out: the number of files (links included), and their size in bytes."""

    files: int
    size: int


def archive_kind(path: Path) -> str | None:
    """Return ``zip``, ``tar``, ``gzip``, ``bzip2`` or ``xz`` by the file's first bytes, or None."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot read this file: {error.strerror}") from error
    for kind, magic in (
        ("zip", b"PK\x03\x04"), ("zip", b"PK\x05\x06"), ("gzip", b"\x1f\x8b"), ("bzip2", b"BZh"),
        ("xz", b"\xfd7zXZ\0"),
    ):  # fmt: skip
        if head.startswith(magic):
            return kind
    return "tar" if head[257:262] == b"ustar" else None


def require_room(folder: Path, merge: bool) -> None:
    """Check that :func:`unpack` could put its files in ``folder``; ``OutputError`` says why not."""
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: a file is in the way of this folder: choose another")
        if not merge and folder.is_dir() and any(folder.iterdir()):
            raise OutputError(
                f"{folder}: this folder is not empty: choose another, or --merge to add to it"
            )
    except OSError as error:
        raise OutputError(f"{folder}: cannot read this folder: {error.strerror}") from error


def unpack(
    archive: Path,
    folder: Path,
    *,
    merge: bool = False,
    limit: int | None = None,
    report: Report = lambda done, total: None,
) -> Unpacked:
    """Unpack a zip or tar (plain, gzip, bzip2, xz) into ``folder``, all of it or nothing.

    The files appear in ``FOLDER.partial`` first. ``merge`` adds them to a folder that has others;
    none of those is replaced. ``limit`` is the most bytes to unpack; without it 500 GB, and 200
    times the archive's size where that is more than 1 GB. ``InputError`` names a member that is
    broken, would leave the folder, appears twice, or is neither file, folder nor link;
    ``OutputError`` says what cannot be written. Modes, owners and times are not taken over.
    """
    require_room(folder, merge)
    kind = archive_kind(archive)
    if kind is None:
        raise InputError(f"{archive}: not a zip or tar archive")
    if limit is None:
        limit = min(_MOST, max(_SMALL, _RATIO * archive.stat().st_size))
    folder = folder.resolve()
    partial = folder.with_name(f"{folder.name}.partial")
    with partial_folder(partial, folder):
        writer = Members(archive, partial, limit, report)
        try:
            (_unzip if kind == "zip" else _untar)(archive, kind, writer)
        except RtsegError:
            raise
        except _BROKEN as error:
            raise InputError(f"{archive}: broken or cut short: {error}") from error
        writer.make_links()
        try:
            _merge(partial, folder) if merge and folder.is_dir() else _place(partial, folder)
        except OSError as error:
            raise OutputError(f"{folder}: cannot write this folder: {error.strerror}") from error
    return Unpacked(writer.files, writer.size)


def _place(partial: Path, folder: Path) -> None:
    if folder.is_dir():
        folder.rmdir()  # it is empty, or this fails
    partial.rename(folder)


def _merge(partial: Path, folder: Path) -> None:
    files = [
        Path(parent, name).relative_to(partial)
        for parent, folders, names in os.walk(partial)
        for name in (*names, *(f for f in folders if Path(parent, f).is_symlink()))
    ]
    present = [file for file in files if os.path.lexists(folder / file)]
    if present:
        raise OutputError(
            f"{folder / present[0]}: exists already, as do {len(present) - 1} others of the "
            "archive's files: move them away"
        )
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (partial / file).rename(folder / file)


def _unzip(archive: Path, kind: str, writer: Members) -> None:
    with zipfile.ZipFile(archive) as file:
        writer.total = sum(member.file_size for member in file.infolist())
        writer.check_size(writer.total)
        for member in file.infolist():
            name, mode = member.filename, stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir() or mode == stat.S_IFDIR:
                writer.directory(name)
            elif mode not in (0, stat.S_IFREG, stat.S_IFLNK):
                raise writer.refuse(name, "is neither file, folder nor link")
            elif member.flag_bits & 1:
                raise writer.refuse(name, "is encrypted")
            elif mode == stat.S_IFLNK:
                with file.open(member) as content:
                    writer.symbolic_link(name, os.fsdecode(content.read(4096)))
            else:
                with file.open(member) as content:
                    writer.file(name, content, member.file_size)


class _Bounded:
    """The stream of a tar that may be a bomb: so much can be read in all, and so much at once."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most = stream, most

    def read(self, size: int) -> bytes:
        if size > _HEADER:  # files are read in small pieces: this is a header, held in memory
            raise tarfile.ReadError("a header of absurd size")
        self._check(self.tell() + size)
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._most:
            raise tarfile.ReadError("far more in it than its files")


_OPEN: dict[str, Callable[[Path], Any]] = {
    "tar": lambda path: path.open("rb"),
    "gzip": gzip.GzipFile,
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}


def _untar(archive: Path, kind: str, writer: Members) -> None:
    with _OPEN[kind](archive) as stream:
        bounded = _Bounded(stream, 2 * writer.limit + _SMALL)
        with tarfile.open(fileobj=bounded, mode="r:") as file:  # type: ignore[call-overload]
            while (member := file.next()) is not None:
                file.members.clear()  # it would keep millions
                if member.isdir():
                    writer.directory(member.name)
                elif member.issym():
                    writer.symbolic_link(member.name, member.linkname)
                elif member.islnk():
                    writer.hard_link(member.name, member.linkname)
                elif member.isreg():
                    content = file.extractfile(member)
                    assert content is not None
                    writer.file(member.name, content, member.size)
                else:
                    raise writer.refuse(member.name, "is neither file, folder nor link")
