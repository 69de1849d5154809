"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from rtseg.errors import OutputError


def beside(path: Path) -> Path:
    """The name under which a file is written until it is whole."""
    return path.with_name(f".{path.name}.part")


def require_writable(path: Path) -> None:
    """Check now that ``path`` can be written later; ``OutputError`` says why not."""
    if path.is_dir():
        raise OutputError(f"{path}: cannot write this file: it is a folder")
    part = beside(path)
    try:
        with part.open("ab"):
            pass
        part.unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot write this file: {error.strerror}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all; ``OutputError`` says why not."""
    part = beside(path)
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OutputError(f"{path}: cannot write this file: {error.strerror}") from error
