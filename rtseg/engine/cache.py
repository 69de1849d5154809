"""The cache of compiled engines: one file each, keyed by everything that makes it valid.

An entry is a line of JSON (the key, and the payload's SHA-256) and the payload. An entry that is
cut short, altered or of another key is as good as none: it is built anew and replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rtseg import __version__

log = logging.getLogger("rtseg")

_LONGEST_HEAD = 1 << 16


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/rtseg``, or ``~/.cache/rtseg``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "rtseg"


class EngineCache:
    """Compiled engines of one network on one machine, by key."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def _entry(self, name: str, key: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
        whole = {"rtseg": __version__, **key}
        digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{name}-{digest[:16]}.engine", whole

    def read(self, name: str, key: Mapping[str, str]) -> bytes | None:
        """Return the payload stored for exactly this key, or None."""
        path, whole = self._entry(name, key)
        try:
            with path.open("rb") as file:
                head = json.loads(file.readline(_LONGEST_HEAD))
                payload = file.read()
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
        return payload

    def write(self, name: str, key: Mapping[str, str], payload: bytes) -> None:
        """Store a payload, whole or not at all; a cache that cannot be written is said, not fatal."""
        path, whole = self._entry(name, key)
        head = {"key": whole, "sha256": hashlib.sha256(payload).hexdigest()}
        beside: str | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self.folder, prefix=f".{name}-", delete=False
            ) as file:
                beside = file.name
                file.write(json.dumps(head).encode() + b"\n")
                file.write(payload)
            os.replace(beside, path)
        except OSError as error:
            if beside is not None:
                with contextlib.suppress(OSError):
                    Path(beside).unlink()
            log.warning(
                "%s: cannot write the engine cache, so the next start compiles again: %s",
                self.folder,
                error.strerror,
            )
