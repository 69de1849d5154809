"""CVAT's annotations, "CVAT for images 1.1" (docs.cvat.ai): one XML file."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from rtseg.data.convert.annotation import (
    Annotated,
    Annotations,
    Bad,
    label,
    naming,
    number,
    points,
    read_bytes,
    require_folder,
    require_picture,
    stem_of,
    whole_size,
)
from rtseg.data.convert.shapes import Bitmap, Ellipse, Polygon, Shape, Stroke, box, run_lengths
from rtseg.errors import InputError

_IGNORED = ("points", "cuboid", "skeleton", "tag")


def read_cvat(file: Path, images: Path, bad: Bad, *, line_width: float = 10) -> Annotations:
    """Read ``file``, whose pictures are in or below ``images``.

    Polygons, boxes and ellipses (turned ones too), masks, and polylines, drawn ``line_width`` pixels
    wide; points, cuboids, skeletons and tags are ignored. Shapes are painted in their ``z_order``,
    and in the order of the file within one. Labels are in the order of the task's; those that
    the file does not list come last, in alphabetical order. ``InputError`` names what is broken.
    """
    require_folder(images)
    root = _parse(file)
    if root.tag != "annotations":
        raise InputError(f"{file}: not a CVAT file: it has no annotations")
    if root.find("track") is not None:
        raise InputError(f'{file}: for videos: export it from CVAT as "CVAT for images 1.1"')
    pictures = []
    for image in root.iter("image"):
        with bad.guard(), naming(f"{file}: {image.get('name')}"):
            pictures.append(_picture(file, images, image, line_width))
    with naming(f"{file}: its labels"):
        labels = [
            label(task_label.findtext("name"))
            for task_label in root.iterfind("./meta//labels/label")
            if task_label.find("parent") is None  # that would be a part of a skeleton
        ]
    used = {name for picture in pictures for name, _ in picture.shapes}
    return Annotations((*labels, *sorted(used.difference(labels))), tuple(pictures))


def _parse(file: Path) -> Element:
    """Parse XML that may mean harm: entities, which can grow without end, need a DOCTYPE."""

    def refuse(*_: object) -> NoReturn:
        raise InputError(f"{file}: has a DOCTYPE, which no annotation needs: refused")

    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_bytes(file), True)
    except (expat.ExpatError, ValueError) as error:
        raise InputError(f"{file}: broken XML: {error}") from error
    return builder.close()


def _picture(file: Path, images: Path, image: Element, line_width: float) -> Annotated:
    name = image.get("name")
    if not name:
        raise ValueError("an image without a name")
    found, ignored = [], 0
    for place, raw in enumerate(image, 1):
        with naming(f"{file}: {name}: shape {place} ({raw.tag})"):
            if raw.tag in _IGNORED:
                ignored += 1
                continue
            z_order = number(raw.get("z_order", 0))
            found.append((z_order, label(raw.get("label")), _shape(raw, line_width)))
    found.sort(key=lambda item: item[0])
    size = whole_size(image.get("width"), image.get("height"))
    shapes = tuple((name, shape) for _, name, shape in found)
    picture = require_picture(images, name)
    return Annotated(file, name, stem_of(name), picture, size, shapes, ignored)


def _shape(raw: Element, line_width: float) -> Shape:
    if raw.tag == "polygon":
        return Polygon((points(_pairs(raw), 3, raw.tag),))
    if raw.tag == "polyline":
        return Stroke(points(_pairs(raw), 2, raw.tag), line_width)
    turned = number(raw.get("rotation", 0))
    if raw.tag == "box":
        return box(*_numbers(raw, "xtl", "ytl", "xbr", "ybr"), turned)
    if raw.tag == "ellipse":
        x, y, rx, ry = _numbers(raw, "cx", "cy", "rx", "ry")
        if min(rx, ry) <= 0:
            raise ValueError("an ellipse without a radius")
        return Ellipse(x, y, rx, ry, turned)
    if raw.tag == "mask":
        left, top, width, height = (int(v) for v in _numbers(raw, "left", "top", "width", "height"))
        counts = [int(v) for v in raw.get("rle", "").split(",")]
        return Bitmap(left, top, run_lengths(counts, height, width))
    raise ValueError("no shape of CVAT's")


def _numbers(raw: Element, *names: str) -> tuple[float, float, float, float]:
    a, b, c, d = (number(raw.get(name)) for name in names)
    return a, b, c, d


def _pairs(raw: Element) -> list[list[str]]:
    text = raw.get("points", "")
    return [pair.split(",") for pair in text.split(";") if pair.strip()]
