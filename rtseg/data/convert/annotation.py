"""What the readers of annotation files have in common: what they return, and what they refuse."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.data.convert.shapes import Shape
from rtseg.data.pictures import PICTURE_SUFFIXES
from rtseg.errors import InputError

_SUFFIXES = ", ".join(PICTURE_SUFFIXES)
_FARTHEST = 1e7  # pixels: what lies beyond is a mistake, and would not be exact


@dataclass(frozen=True)
class Annotated:
    """A picture and the shapes drawn on it, in the order in which they are painted.

    Attributes:
        file: The annotation file.
        name: What the picture is called there.
        stem: The name of the picture and its mask in the converted folder, without a suffix.
        picture: The picture file, or a function that returns the content of one.
        size: Width and height of the picture that was drawn on, where the annotation says so.
        shapes: Labels and shapes.
        ignored: The number of shapes without an area (points, tags).
    """

    file: Path
    name: str
    stem: str
    picture: Path | Callable[[], bytes]
    size: tuple[int, int] | None
    shapes: tuple[tuple[str, Shape], ...]
    ignored: int = 0


@dataclass(frozen=True)
class Annotations:
    """The pictures of one conversion, and the labels in the order that the classes get."""

    labels: tuple[str, ...]
    pictures: tuple[Annotated, ...]


@dataclass
class Bad:
    """What cannot be converted: raised at once, or noted and passed over."""

    skip: bool = False
    lines: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Pass over an ``InputError`` within, and note its line, if ``skip``."""
        try:
            yield
        except InputError as error:
            if not self.skip:
                raise
            self.lines.append(str(error))


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Turn what parsing raises within into an ``InputError`` that begins with ``what``."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        told = (
            str(error) if type(error) is ValueError else f"not as the format wants it ({error!r})"
        )
        raise InputError(f"{what}: {told}") from error


def number(value: object) -> float:
    """Return a coordinate as a float; ``ValueError`` if it is none."""
    try:
        real = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        real = math.nan
    if isinstance(value, bool) or not abs(real) <= _FARTHEST:
        raise ValueError(f"{str(value)[:40]!r} is no coordinate")
    return real


def points(pairs: Any, least: int, what: str) -> NDArray[np.float64]:
    """Return points (N, 2) float64; ``ValueError`` if they are none, or fewer than ``least``."""
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError(f"the points of a {what} are not pairs of numbers")
    if len(pairs) < least:
        raise ValueError(f"a {what} with {len(pairs)} points: it takes {least}")
    return np.array([[number(x), number(y)] for x, y in pairs], np.float64).reshape(-1, 2)


def label(value: object) -> str:
    """Return a label without blanks around it; ``ValueError`` if a class file could not hold it."""
    name = value.strip() if isinstance(value, str) else ""
    if not name or name.startswith(",") or not name.isprintable():
        raise ValueError(f"the label {str(value)[:60]!r} cannot be the name of a class")
    return name


def whole_size(width: object, height: object) -> tuple[int, int] | None:
    """Return a picture's size if it is given; ``ValueError`` if it is no size."""
    if width is None and height is None:
        return None
    w, h = number(width), number(height)
    if w != int(w) or h != int(h) or min(w, h) < 1:
        raise ValueError(f"{width}x{height} is no size of a picture")
    return int(w), int(h)


def stem_of(name: str) -> str:
    """Return the name in the converted folder: ``day/1.jpg`` becomes ``day-1``."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.with_suffix("").parts if part not in ("/", "..")]
    stem = "-".join(parts)
    if not stem or not stem.isprintable() or len(stem) > 240:
        raise ValueError(f"{name[:60]!r} is no name of a picture")
    return stem


def find_picture(folder: Path, name: str) -> Path | None:
    """Return the picture ``name`` in ``folder``, below the folders it names or without them."""
    if "\0" in name:
        return None
    path = PurePosixPath(name.replace("\\", "/"))
    for candidate in (folder / path, folder / path.name):
        if candidate.is_file() and candidate.suffix.lower() in PICTURE_SUFFIXES:
            return candidate
    return None


def require_picture(folder: Path, name: str) -> Path:
    """Like :func:`find_picture`, but ``InputError`` where there is none, or the name leads out."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{name!r}: leads out of --images {folder}")
    found = find_picture(folder, name)
    if found is None:
        raise InputError(f"{folder / path}: this picture is missing, or none of {_SUFFIXES}")
    return found


def read_bytes(file: Path) -> bytes:
    """Return a file's content; ``InputError`` says why not."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot read this file: {error.strerror}") from error


def require_folder(folder: Path) -> None:
    """``InputError`` if there is no such folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
