"""LabelMe's annotations (Wada, github.com/wkentaro/labelme): a JSON file a picture."""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rtseg.data.convert.annotation import (
    Annotated,
    Annotations,
    Bad,
    find_picture,
    label,
    naming,
    points,
    read_bytes,
    require_folder,
    stem_of,
    whole_size,
)
from rtseg.data.convert.shapes import Bitmap, Ellipse, Polygon, Shape, Stroke, box
from rtseg.errors import InputError


def read_labelme(folder: Path, bad: Bad, *, line_width: float = 10) -> Annotations:
    """Read the JSON files in and below ``folder``.

    Polygons, rectangles (turned ones too), circles, masks, and lines, which are drawn
    ``line_width`` pixels wide (LabelMe's own conversion takes 10); points are ignored. Shapes are
    painted in the order of the file. The picture is the one at ``imagePath``, or of that name beside
    the file, or else the one that is embedded as ``imageData``. Labels are in alphabetical order.
    ``InputError`` names the file that is broken.
    """
    require_folder(folder)
    files = sorted(folder.rglob("*.json"))
    if not files:
        raise InputError(f"{folder}: no JSON files in this folder")
    pictures = []
    for file in files:
        with bad.guard(), naming(str(file)):
            pictures.append(_read(file, folder, line_width))
    labels = {name for picture in pictures for name, _ in picture.shapes}
    return Annotations(tuple(sorted(labels, key=lambda x: (x.lower(), x))), tuple(pictures))


def _load(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: broken JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("shapes"), list):
        raise InputError(f"{file}: not a LabelMe file: it has no list of shapes")
    return found


def _read(file: Path, folder: Path, line_width: float) -> Annotated:
    found = _load(file)
    name = found.get("imagePath")
    if not isinstance(name, str):
        raise ValueError("it has no imagePath")
    picture: Path | Callable[[], bytes] | None = find_picture(file.parent, name)
    if picture is None:
        if not isinstance(found.get("imageData"), str):
            raise ValueError(f"its picture {name} is missing, and none is embedded")
        picture = functools.partial(_embedded, file)
    shapes, ignored = [], 0
    for number, raw in enumerate(found["shapes"], 1):
        with naming(f"{file}: shape {number}"):
            shape = _shape(raw, line_width)
            if shape is None:
                ignored += 1
            else:
                shapes.append((label(raw.get("label")), shape))
    size = whole_size(found.get("imageWidth"), found.get("imageHeight"))
    stem = stem_of(file.relative_to(folder).as_posix())
    return Annotated(file, name, stem, picture, size, tuple(shapes), ignored)


def _shape(raw: dict[str, Any], line_width: float) -> Shape | None:
    kind = raw.get("shape_type") or "polygon"
    given = raw["points"]
    if kind == "polygon":
        return Polygon((points(given, 3, kind),))
    if kind == "rectangle" and len(given) == 2:
        (x1, y1), (x2, y2) = points(given, 2, kind).tolist()
        return box(x1, y1, x2, y2)
    if kind in ("rectangle", "oriented_rectangle"):
        return Polygon((points(given, 4, kind)[:4],))
    if kind == "circle":
        (x, y), rim = points(given, 2, kind)[:2].tolist()
        radius = float(np.hypot(rim[0] - x, rim[1] - y))
        if radius == 0:
            raise ValueError("a circle without a radius")
        return Ellipse(x, y, radius, radius)
    if kind in ("line", "linestrip"):
        return Stroke(points(given, 2, kind), line_width)
    if kind == "mask":
        return _bitmap(raw)
    if kind in ("point", "points"):
        return None
    raise ValueError(f"an unknown shape_type {str(kind)[:40]!r}")


def _bitmap(raw: dict[str, Any]) -> Bitmap:
    """A mask is a PNG of the pixels from the first point to the last, both included."""
    x1, y1, x2, y2 = (round(v) for v in points(raw["points"], 2, "mask")[:2].ravel().tolist())
    pixels = None
    try:
        content = base64.b64decode(raw["mask"], validate=True)
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    except (binascii.Error, TypeError, cv2.error) as error:
        raise ValueError("its mask is not a PNG in Base64") from error
    if pixels is None:
        raise ValueError("its mask is not a PNG in Base64")
    if pixels.shape != (y2 - y1 + 1, x2 - x1 + 1):
        raise ValueError(
            f"its mask has {pixels.shape[1]}x{pixels.shape[0]} pixels, "
            f"its points say {x2 - x1 + 1}x{y2 - y1 + 1}"
        )
    return Bitmap(x1, y1, pixels > 0)


def _embedded(file: Path) -> bytes:
    try:
        return base64.b64decode(_load(file)["imageData"], validate=True)
    except (binascii.Error, TypeError) as error:
        raise InputError(f"{file}: its imageData is not in Base64") from error
