"""COCO's annotations (Lin et al. 2014, cocodataset.org/#format-data): one JSON file."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from rtseg.data.convert.annotation import (
    Annotated,
    Annotations,
    Bad,
    label,
    naming,
    points,
    read_bytes,
    require_folder,
    require_picture,
    stem_of,
    whole_size,
)
from rtseg.data.convert.shapes import Bitmap, Polygon, Shape, run_lengths
from rtseg.errors import InputError


def read_coco(file: Path, images: Path, bad: Bad) -> Annotations:
    """Read ``file``, whose pictures are in or below ``images``.

    Polygons of one part or more, and run lengths, compressed or not (of crowds, by other tools of
    all). Shapes are painted in the order of the file, so a later one covers an earlier one. Labels
    are the names of the categories in the order of their ids. ``InputError`` names what is broken.
    """
    require_folder(images)
    try:
        found = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: broken JSON: {error}") from error
    keys = ("images", "annotations", "categories")
    if not isinstance(found, dict) or not all(_are_objects(found.get(key)) for key in keys):
        raise InputError(
            f"{file}: not a COCO file: it has no lists of images, annotations and categories"
        )
    with naming(f"{file}: its categories"):
        names = {
            _id(category, "id"): label(category.get("name")) for category in found["categories"]
        }
    known = set()
    for image in found["images"]:
        with naming(f"{file}: its images"):
            known.add(_id(image, "id"))
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in found["annotations"]:
        with bad.guard(), naming(f"{file}: annotation {annotation.get('id')}"):
            image_id = _id(annotation, "image_id")
            if image_id not in known:
                raise ValueError(f"there is no image {image_id}")
            by_image[image_id].append(annotation)
    pictures = []
    for image in found["images"]:
        with bad.guard(), naming(f"{file}: image {image['id']}"):
            pictures.append(_picture(file, images, image, by_image[image["id"]], names))
    return Annotations(tuple(names[key] for key in sorted(names)), tuple(pictures))


def _are_objects(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(item, dict) for item in found)


def _id(item: dict[str, Any], key: str) -> int:
    value = item.get(key)
    if not isinstance(value, int):
        raise ValueError(f"its {key} is no whole number")
    return value


def _picture(
    file: Path,
    images: Path,
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    names: dict[int, str],
) -> Annotated:
    name = image.get("file_name")
    if not isinstance(name, str):
        raise ValueError("it has no file_name")
    size = whole_size(image.get("width"), image.get("height"))
    shapes = []
    for annotation in annotations:
        with naming(f"{file}: {name}: annotation {annotation.get('id')}"):
            category = _id(annotation, "category_id")
            if category not in names:
                raise ValueError(f"there is no category {category}")
            shapes.append((names[category], _shape(annotation.get("segmentation"), size)))
    return Annotated(file, name, stem_of(name), require_picture(images, name), size, tuple(shapes))


def _shape(raw: object, size: tuple[int, int] | None) -> Shape:
    if isinstance(raw, dict):
        height, width = raw["size"]
        if size is not None and (width, height) != size:
            raise ValueError(f"its run lengths are for {width}x{height} pixels")
        counts = raw["counts"]
        if isinstance(counts, str):
            counts = decode_counts(counts)
        # They run down the columns.
        return Bitmap(0, 0, run_lengths(counts, width, height).T)
    if not isinstance(raw, list) or not raw:
        raise ValueError("it has no segmentation: a box alone gives no mask")
    if not all(isinstance(part, list) and len(part) % 2 == 0 for part in raw):
        raise ValueError("its polygons are not lists of x, y, x, y ...")
    return Polygon(
        tuple(
            points([[x, y] for x, y in zip(part[::2], part[1::2], strict=True)], 3, "polygon")
            for part in raw
        )
    )


def decode_counts(text: str) -> list[int]:
    """Return the run lengths in COCO's compressed form; ``ValueError`` if it is cut short.

    A number is written five bits a character from the lowest, each as a character from 48 on; 32
    says that more follow, 16 in the last one that the number is negative. From the fourth on it is
    the difference from the number two before (the COCO API's mask format).
    """
    counts: list[int] = []
    value = shift = 0
    for byte in text.encode():
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its compressed run lengths are broken")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths are cut short")
    return counts
