"""How the report writes numbers: the same digits everywhere, and never more certain than they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

NOTHING = "–"
"""What stands where there is no number."""

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def percent(share: float | None) -> str:
    """Write a share (0–1) as percent with one digit; what is not all or nothing never looks so."""
    if share is None or math.isnan(share):
        return NOTHING
    text = f"{100 * share:.1f}"
    if text == "0.0" and share > 0:
        return "<0.1"
    return "99.9" if text == "100.0" and share < 1 else text


def whole_percent(share: float | None) -> str:
    """Write a share (0–1) as percent without digits, for narrow cells; nothing for 0."""
    if share is None or math.isnan(share):
        return NOTHING
    if share == 0:
        return ""
    text = f"{100 * share:.0f}"
    if text == "0":
        return "<1"
    return "99" if text == "100" and share < 1 else text


def decimal(value: float | None, digits: int = 1) -> str:
    """Write a number with ``digits`` digits after the point and commas between thousands."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:,.{digits}f}"


def count(number: int | None) -> str:
    """Write a whole number with commas between thousands."""
    return NOTHING if number is None else f"{number:,}"


def duration(seconds: float | None) -> str:
    """Write seconds as people say them: ``0.8 s``, ``41 s``, ``12 min 5 s``, ``3 h 20 min``."""
    if seconds is None or math.isnan(seconds):
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def moment(text: str) -> str:
    """Write an ISO date as ``20 November 2026, 21:14 UTC``; other text is left as it is."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = f" {date.tzname()}" if date.tzname() else ""
    return f"{date.day} {_MONTHS[date.month - 1]} {date.year}, {date:%H:%M}{zone}"


def size(value: Sequence[int] | str | None) -> str:
    """Write ``[512, 256]`` as ``512 × 256``."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else " × ".join(str(side) for side in value)


def facts(value: Mapping[str, Any] | str | None) -> list[tuple[str, str]]:
    """Lay what is known of a machine, or of versions, out as names and text."""
    if not value:
        return []
    if isinstance(value, str):
        return [("", value)]
    found = []
    for name, item in value.items():
        if item not in (None, "", [], {}):
            words, gib = str(name).replace("_", " "), str(name).endswith("_gib")
            found.append((words[:-4], f"{_text(item)} GiB") if gib else (words, _text(item)))
    return found


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return str(value)
