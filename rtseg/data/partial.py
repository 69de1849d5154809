"""Folders that appear whole or not at all: filled beside their place, then renamed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from rtseg.errors import OutputError


@contextlib.contextmanager
def partial_folder(partial: Path, folder: Path) -> Iterator[None]:
    """Make ``partial``, in which ``folder`` comes to be; what is left of it in the end is removed."""
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write this folder: {error.strerror}") from error
    try:
        partial.mkdir()
    except FileExistsError as error:
        raise OutputError(
            f"{partial}: left by a run that was cut off, or of one that is at work: remove it"
        ) from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot write this folder: {error.strerror}") from error
    try:
        yield
    finally:
        shutil.rmtree(partial, ignore_errors=True)
