"""One record a frame, appended to a file as it is done: what an interrupted run goes on from.

Every result is reduced from the records in the samples' order (:mod:`rtseg.evaluation.reducing`),
so that it is the same to the last bit however many engines, processes or attempts there were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

from rtseg.atomic import write_atomically
from rtseg.errors import InputError, OutputError, UsageError

Status = Literal["scored", "written", "skipped"]

Counts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Record:
    """What came out of one sample.

    ``status`` is ``scored`` (against its true mask), ``written`` (without one) or ``skipped``, then
    with a ``reason`` in a word or two and a ``detail`` in a line. ``matrix`` holds (true class,
    predicted class, pixels) where these are not 0, ``boundary`` (class, boundary F1), ``miou`` the
    frame's own mIoU, None where its mask is all void. Of KITTI road, ``category`` is that of
    :func:`rtseg.evaluation.kitti_road.category_of`, and ``road`` the (2, 256) counts of
    :class:`~rtseg.evaluation.kitti_road.RoadCurve`, for ``perspective`` and ``bev``.
    """

    index: int
    name: str
    status: Status
    reason: str | None = None
    detail: str | None = None
    matrix: Sequence[tuple[int, int, int]] | None = None
    boundary: Sequence[tuple[int, float]] | None = None
    miou: float | None = None
    category: str | None = None
    road: Mapping[str, Counts] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Make a record of the values of :meth:`as_dict`; ``ValueError`` where they are none."""
        known = {field.name for field in fields(cls)}
        if not {"index", "name", "status"} <= values.keys() <= known:
            raise ValueError("not a record")
        return cls(**values)

    def line(self) -> bytes:
        """Return the record as a line of JSON."""
        text = json.dumps(vars(self), separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8", "surrogateescape") + b"\n"


class RecordFile:
    """The records of a run, ``records.jsonl``, open for more.

    Each line is handed to the system at once. ``found`` has those that were there, the last one of
    each index; a last line that is not whole, as a killed run leaves it, is cut off.

    ``InputError`` where another line is none of ours, ``OutputError`` where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[int, Record] = {}
        try:
            content = path.read_bytes() if path.exists() else b""
            whole = self._read(content)
            self._file: BinaryIO = path.open("ab")
            self._file.truncate(whole)
        except OSError as error:
            raise OutputError(f"{path}: cannot write this file: {error.strerror}") from error

    def _read(self, content: bytes) -> int:
        """Read what is whole; returns how many bytes that is."""
        at = 0
        lines = content.split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            try:
                record = Record.of(json.loads(line))
            except (ValueError, TypeError, AttributeError) as error:
                if number == len(lines) - 1 and not lines[-1]:
                    break  # the end of a file whose machine went down
                raise InputError(
                    f"{self.path}, line {number}: not a record of rtseg-eval: --again starts anew"
                ) from error
            self.found[record.index] = record
            at += len(line) + 1
        return at

    def append(self, record: Record) -> None:
        """Write a record, and keep it in ``found``; ``OutputError`` on failure."""
        self.found[record.index] = record
        try:
            self._file.write(record.line())
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot write this file: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot write this file: {error.strerror}") from error


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write ``run.json``: what the records beside it hold for."""
    text = json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode("utf-8", "surrogateescape"))


def require_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Check that ``run.json``, if it is there, has these settings.

    ``UsageError`` names the first that is another; ``InputError`` where the file cannot be read.
    """
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        if not isinstance(before, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a file of rtseg-eval: --again starts anew") from error
    now = json.loads(json.dumps(settings))
    for key in [*now, *before]:
        if before.get(key) != now.get(key):
            raise UsageError(
                f"{path.parent}: its records are of {key} {_said(before.get(key))}, this run is of "
                f"{_said(now.get(key))}: give another --out, or --again to start anew"
            )


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
