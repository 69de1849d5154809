"""The output folder of ``rtseg-eval``: whose it is, and what of an earlier run it holds."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtseg.errors import OutputError, UsageError
from rtseg.evaluation.records import RecordFile, require_settings, write_settings

RECORDS, SETTINGS, RESULT = "records.jsonl", "run.json", "result.json"
_FILES = (RECORDS, RESULT, "frames.csv", "classes.csv", "report.html", "painted.mp4")
_FOLDERS = ("masks", "painted")


def prepare(out: Path) -> None:
    """Make the folder; ``UsageError`` where it holds what is not an evaluation's.

    Nobody's dataset is to be written over, whose folders have the names of ours.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        others = [path.name for path in out.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise OutputError(f"{out}: cannot make this folder: {error.strerror}") from error
    if others and SETTINGS not in others:
        raise UsageError(f"--out {out}: holds {sorted(others)[0]}, and no evaluation: give another")


def open_records(out: Path, settings: Mapping[str, Any], *, again: bool) -> RecordFile:
    """Open the records of a run with these settings, to go on or, with ``again``, to start anew.

    ``UsageError`` where the records that are there are of other settings.
    """
    if again:
        _clear(out)
    else:
        require_settings(out / SETTINGS, settings)
    write_settings(out / SETTINGS, settings)
    return RecordFile(out / RECORDS)


def _clear(out: Path) -> None:
    """Take away what an earlier run has written; only in a folder that :func:`prepare` let pass."""
    try:
        for name in _FILES:
            with contextlib.suppress(FileNotFoundError):
                (out / name).unlink()
        for name in _FOLDERS:
            if (out / name).is_dir():
                shutil.rmtree(out / name)
    except OSError as error:
        raise OutputError(f"{out}: cannot start anew: {error.strerror}") from error
