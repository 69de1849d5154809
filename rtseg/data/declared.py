"""The keys of a declared source: which there are for each kind, and what each takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rtseg.errors import UsageError

RANDOM = ("val_fraction", "seed", "folds", "fold")
"""The keys of a random split."""

_MERGE = ("merge", "partial")
KEYS: Mapping[str, tuple[str, ...]] = {
    "camvid": ("kind", "folder", "split", *_MERGE),
    "camvid32": ("kind", "folder", "split", *RANDOM, "classes_file", "masks", "unknown", *_MERGE),
    "kitti-road": ("kind", "folder", "split", *RANDOM, *_MERGE),
    "folder": (
        "kind", "folder", "split", *RANDOM, "classes_file", "masks", "unknown", *_MERGE,
    ),
    "drive": ("kind", "frames", "split", "seeds", "sizes", "drives", *_MERGE),
}  # fmt: skip
"""The keys of each kind of source."""


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int for v in value)
    )


def _one_of(*names: str) -> tuple[str, Callable[[Any], bool]]:
    return f"one of {', '.join(names)}", lambda value: value in names


_TEXT: tuple[str, Callable[[Any], bool]] = ("a path", lambda v: isinstance(v, str | Path))
_COUNT: tuple[str, Callable[[Any], bool]] = (
    "a whole number from 1 up",
    lambda v: _is_whole(v, 1),
)
_VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "folder": _TEXT,
    "classes_file": _TEXT,
    "val_fraction": (
        "a number above 0 and below 1",
        lambda v: type(v) in (int, float) and 0 < v < 1,
    ),
    "seed": ("a whole number", lambda v: type(v) is int),
    "folds": ("a whole number from 2 up", lambda v: _is_whole(v, 2)),
    "fold": ("a whole number from 0 up", lambda v: _is_whole(v, 0)),
    "masks": _one_of("auto", "indices", "colours"),
    "unknown": _one_of("error", "void"),
    "partial": ("true or false", lambda v: type(v) is bool),
    "merge": (
        "a mapping of the masks' classes to the training's, or to void",
        lambda v: (
            isinstance(v, Mapping) and all(isinstance(n, str) for item in v.items() for n in item)
        ),
    ),
    "frames": _COUNT,
    "drives": _COUNT,
    "seeds": (
        "two whole numbers, the first below the second",
        lambda v: _is_pair(v) and 0 <= v[0] < v[1],
    ),
    "sizes": (
        "a list of [width, height], each 64 to 8192",
        lambda v: (
            isinstance(v, list | tuple)
            and len(v) > 0
            and all(_is_pair(size) and min(size) >= 64 and max(size) <= 8192 for size in v)
        ),
    ),
}


def require_keys(declared: Mapping[str, Any], where: str) -> str:
    """Check that a declared source has a kind, and only that kind's keys with values that fit.

    Returns the kind. ``UsageError`` names ``where``, the key, and what it takes.
    """
    kind = declared.get("kind")
    if not isinstance(kind, str) or kind not in KEYS:
        what = "missing" if kind is None else f"{kind!r}: no such kind"
        raise UsageError(f"{where}.kind: {what}: one of {', '.join(KEYS)}")
    for key, value in declared.items():
        if key not in KEYS[kind]:
            raise UsageError(f"{where}.{key}: unknown key: one of {', '.join(KEYS[kind])}")
        words, fits = _VALUES.get(key, ("", lambda _: True))
        if not fits(value):
            raise UsageError(f"{where}.{key}: {value!r}: give {words}")
    for key in ("folder", "split") if "folder" in KEYS[kind] else ():
        if key not in declared:
            hint = "where it lies" if key == "folder" else "train, val or all"
            raise UsageError(f"{where}.{key}: missing: {hint}")
    return kind
