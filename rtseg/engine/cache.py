"""The cache of compiled engines: one file each, keyed by everything that makes it valid.

An entry is a line of JSON, its head, and the payload. The head is the entry's sidecar, which cannot
be parted from it: the key, the payload's size and SHA-256, and facts that do not make it another
engine (when it was built, in how long, its parity). An entry that is cut short, altered or of another
key is as good as none: it is built anew and replaced.

Of several processes that want the same engine one builds, and the others wait
(:meth:`EngineCache.building`). What a killed process leaves behind hinders nobody, and goes when the
cache is next written an hour later.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rtseg import __version__
from rtseg.engine.cache_entry import LONGEST_HEAD, Entry, Facts, digest, read_entry
from rtseg.engine.cache_lock import exclusive, remove_if_unlocked

log = logging.getLogger("rtseg")

_Entry = tuple[dict[str, Any], bytes]

KERNELS = "kernels"
"""The folder, in that of the engines, of the kernels that resize and paint on a GPU."""

_LITTER_AFTER = 3600.0
"""Seconds. A file that is being written for longer is that of a process that was killed."""


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/rtseg``, or ``~/.cache/rtseg``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "rtseg"


class EngineCache:
    """Compiled engines by network name and key.

    With ``fresh`` only what this object has written is read: everything is built anew. What could not
    be written is kept for as long as this object, so that a process never builds an engine twice.
    """

    def __init__(self, folder: Path | None = None, *, fresh: bool = False) -> None:
        self.folder = folder or cache_folder()
        self._fresh = fresh
        self._written: set[Path] = set()
        self._unwritten: dict[Path, _Entry] = {}
        self._last: Path | None = None

    def path(self, name: str, key: Mapping[str, str]) -> Path:
        """Where the entry of this key lies, or would."""
        return self._entry(name, key)[0]

    def _entry(self, name: str, key: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
        whole = {"rtseg": __version__, **key}
        return self.folder / f"{name}-{digest(whole)}.engine", whole

    def read(self, name: str, key: Mapping[str, str]) -> bytes | None:
        """Return the payload stored for exactly this key, or None."""
        found = self.find(name, key)
        return found[0] if found is not None else None

    def find(self, name: str, key: Mapping[str, str]) -> tuple[bytes, Facts] | None:
        """Return the payload stored for exactly this key and the facts beside it, or None."""
        path, whole = self._entry(name, key)
        if path in self._unwritten:
            self._last = path
            head, payload = self._unwritten[path]
            return payload, head["facts"]
        if self._fresh and path not in self._written:
            return None
        try:
            head, payload = _read(path)
        except (FileNotFoundError, NotADirectoryError):  # the latter is for write to say
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s: cannot read this cached engine, building it anew: %s", path, error)
            return None
        intact = (
            isinstance(head, dict)
            and head.get("key") == whole
            and head.get("sha256") == hashlib.sha256(payload).hexdigest()
        )
        if not intact:
            log.warning("%s: this cached engine is damaged, building it anew", path)
            return None
        self._last = path
        facts = head.get("facts")
        return payload, facts if isinstance(facts, dict) else {}

    def write(
        self,
        name: str,
        key: Mapping[str, str],
        payload: bytes,
        facts: Mapping[str, str | float] | None = None,
    ) -> None:
        """Store a payload, whole or not at all; a cache that cannot be written is said, not fatal.

        ``facts`` go into the head beside the key, and the date too.
        """
        path, whole = self._entry(name, key)
        head = {
            "key": whole,
            "sha256": hashlib.sha256(payload).hexdigest(),
            "size": len(payload),
            "facts": {"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **(facts or {})},
        }
        self._last = path
        self._unwritten.pop(path, None)
        if self._store(path, head, payload):
            self._written.add(path)
        else:
            self._unwritten[path] = head, payload

    def last(self) -> tuple[bytes, dict[str, Any]] | None:
        """Return the payload and the head of the entry that was read or written last, if any."""
        if self._last is None:
            return None
        if self._last in self._unwritten:
            head, payload = self._unwritten[self._last]
            return payload, head
        try:
            head, payload = _read(self._last)
        except (OSError, ValueError, RecursionError):  # gone meanwhile
            return None
        return (payload, head) if isinstance(head, dict) else None

    def stored(self) -> Path | None:
        """Where the entry lies that was read or written last; None if it is not on the disk."""
        return None if self._last in self._unwritten else self._last

    def note(self, facts: Mapping[str, str | float]) -> None:
        """Add facts to the head of the entry that was read or written last, if there is one."""
        found = self.last()
        if found is None or self._last is None:
            return
        payload, head = found
        head["facts"] = {**head.get("facts", {}), **facts}
        if self._last not in self._unwritten:
            self._store(self._last, head, payload)

    def _store(self, path: Path, head: Mapping[str, Any], payload: bytes) -> bool:
        line = json.dumps(head, ensure_ascii=False).encode() + b"\n"
        self._sweep()
        error = store(path, line, payload)
        if error is not None:
            log.warning(
                "%s: cannot write the engine cache, so the next start compiles again: %s",
                self.folder,
                error.strerror,
            )
        return error is None

    @contextlib.contextmanager
    def building(self, name: str, key: Mapping[str, str]) -> Iterator[None]:
        """Build within this: no other process builds the same engine meanwhile.

        If another does so now, that is said in the log, and waited for: then look into the cache
        again. Where the cache cannot be written, or its file system has no locks, nobody is kept out.
        """
        path = self.path(name, key)
        lock = path.with_name(f".{path.stem}.lock")
        with exclusive(lock, f"another process builds the engine of {name} now: waiting for it"):
            yield

    def entries(self, name: str | None = None, *, whole: bool = True) -> list[Entry]:
        """List what is in the cache (of the network ``name`` only, if given), by name and date.

        With ``whole`` every payload is read too, for its SHA-256. ``OSError`` if the folder is there
        but cannot be read.
        """
        if not self.folder.exists():
            return []
        found = [
            read_entry(path, whole=whole)
            for path in self.folder.iterdir()
            if path.name.endswith(".engine")
        ]
        chosen = [e for e in found if e is not None and name in (None, e.name)]
        return sorted(chosen, key=lambda e: (e.name, str(e.facts.get("date", "")), e.path.name))

    def clear(self, name: str | None = None) -> tuple[int, int]:
        """Take out all entries (of one network, if given), timings, GPU kernels and litter.

        Returns how many engines, and how many bytes in all. An engine that another process builds
        now stays locked and is written when it is done. ``OSError`` if a file cannot be removed.
        """
        engines = size = 0
        if not self.folder.is_dir():
            return 0, 0
        for path in list(self.folder.iterdir()):
            if name is not None and path.name.lstrip(".").rpartition("-")[0] != name:
                continue
            if path.suffix == ".lock":
                remove_if_unlocked(path)
            elif path.suffix in (".engine", ".part", ".timing"):
                with contextlib.suppress(FileNotFoundError):
                    bytes_ = path.stat().st_size
                    path.unlink()
                    size += bytes_
                    engines += path.suffix == ".engine"
        if name is None:
            size += EngineCache(self.folder / KERNELS).clear()[1] if self.kernels() else 0
        return engines, size

    def kernels(self) -> list[Path]:
        """The compiled kernels that resize and paint on a GPU: they belong to no network."""
        return sorted((self.folder / KERNELS).glob("*.engine"))

    def _sweep(self) -> None:
        """Take away what processes that were killed have left."""
        limit = time.time() - _LITTER_AFTER
        for path in list(self.folder.glob(".*")) if self.folder.is_dir() else []:
            with contextlib.suppress(OSError):
                if path.stat().st_mtime > limit:
                    continue
                if path.suffix == ".part":
                    path.unlink()
                elif path.suffix == ".lock":
                    remove_if_unlocked(path)


def store(path: Path, *content: bytes) -> OSError | None:
    """Write a file of the cache, whole or not at all; returns what hindered it."""
    beside: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.stem}-", suffix=".part", delete=False
        ) as file:
            beside = file.name
            for piece in content:
                file.write(piece)
        os.replace(beside, path)
    except OSError as error:
        if beside is not None:
            with contextlib.suppress(OSError):
                Path(beside).unlink()
        return error
    return None


def _read(path: Path) -> tuple[Any, bytes]:
    with path.open("rb") as file:
        return json.loads(file.readline(LONGEST_HEAD)), file.read()
