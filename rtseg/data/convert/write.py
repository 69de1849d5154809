"""From annotations to a folder of pictures and masks."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.convert.annotation import Annotated, Annotations, Bad
from rtseg.data.convert.classes import Classes, class_file
from rtseg.data.convert.orientation import exif_orientation, turn
from rtseg.data.convert.shapes import paint
from rtseg.data.labels import VOID
from rtseg.data.partial import partial_folder
from rtseg.data.pictures import read_picture
from rtseg.errors import InputError, OutputError


@dataclass
class Summary:
    """What came of a conversion.

    Attributes:
        pictures: The number of pictures converted.
        bare: Those without a shape.
        shapes: For each class the number of its shapes.
        pixels: (256,) int64, the number of pixels of each value of the masks.
        void_shapes: Shapes that became void.
        ignored: Shapes without an area (points, tags).
        missed: Shapes that cover no pixel's centre, or lie outside of their picture.
        skipped: What was passed over, a line each.
    """

    shapes: list[int]
    pictures: int = 0
    bare: int = 0
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    void_shapes: int = 0
    ignored: int = 0
    missed: int = 0
    skipped: list[str] = field(default_factory=list)


def require_absent(out: Path) -> None:
    """``OutputError`` if there is something at ``out`` already."""
    if os.path.lexists(out):
        raise OutputError(f"{out}: exists already: choose another folder")


def convert(
    annotations: Annotations,
    out: Path,
    classes: Classes,
    bad: Bad,
    *,
    link: bool = False,
    report: Callable[[int], None] = lambda done: None,
) -> Summary:
    """Write ``out``: ``images/STEM.ext``, ``masks/STEM.png`` and ``classes.txt``, or nothing.

    Masks are uint8 of one channel: indices of the class file's lines, 255 where there is no class.
    A mask lies on its picture as it is shown, that is, turned by its EXIF orientation; see
    :mod:`rtseg.data.convert.orientation`. Pictures are copied as they are, or hard-linked with
    ``link``. ``report`` is told the number of pictures that are done. ``InputError`` names a picture
    that is missing, damaged, not of the size that was drawn on, or whose label has no class;
    ``OutputError`` says what cannot be written.
    """
    require_absent(out)
    # A label without a class is a mistake of the command's: no picture is passed over for it.
    for picture in annotations.pictures:
        for label, _ in picture.shapes:
            try:
                classes.value(label)
            except InputError as error:
                raise InputError(f"{picture.file}: {picture.name}: {error}") from error
    summary = Summary([0] * len(classes.legend.names), skipped=bad.lines)
    folder = out.resolve()
    partial = folder.with_name(f"{folder.name}.partial")
    taken: dict[str, Annotated] = {}
    with partial_folder(partial, out):
        try:
            (partial / "images").mkdir()
            (partial / "masks").mkdir()
            (partial / "classes.txt").write_text(class_file(classes.legend), encoding="utf-8")
            for done, picture in enumerate(annotations.pictures, 1):
                with bad.guard():
                    _require_own_stem(picture, taken)
                    _convert_one(picture, partial, classes, link, summary)
                report(done)
            if not summary.pictures:
                raise InputError(
                    f"{out}: nothing was converted: "
                    + (bad.lines[0] if bad.lines else "no pictures")
                )
            require_absent(out)  # made by another meanwhile
            partial.rename(folder)
        except OSError as error:
            raise OutputError(f"{out}: cannot write this folder: {error.strerror}") from error
    return summary


def _require_own_stem(picture: Annotated, taken: dict[str, Annotated]) -> None:
    other = taken.setdefault(picture.stem.casefold(), picture)
    if other is not picture:
        raise InputError(
            f"{picture.file}: {picture.name} and {other.name} would both be named {picture.stem}"
        )


def _convert_one(
    annotated: Annotated, folder: Path, classes: Classes, link: bool, summary: Summary
) -> None:
    image, mask_file = folder / "images", folder / "masks" / f"{annotated.stem}.png"
    if isinstance(annotated.picture, Path):
        source = annotated.picture
        picture = read_picture(source)
        target = image / f"{annotated.stem}{source.suffix.lower()}"
        mask, missed = _mask(annotated, picture.shape[:2], source, classes)
        if link:
            _link(source, target)
        else:
            shutil.copyfile(source, target)
    else:
        content = annotated.picture()
        target = image / f"{annotated.stem}{_suffix(annotated, content)}"
        target.write_bytes(content)
        try:
            picture = read_picture(target)
            mask, missed = _mask(annotated, picture.shape[:2], target, classes)
        except InputError as error:
            target.unlink()
            told = str(error).removeprefix(f"{target}: ")
            raise InputError(f"{annotated.file}: its embedded picture: {told}") from error
    done, png = cv2.imencode(".png", mask)
    assert done
    mask_file.write_bytes(png.tobytes())
    for label, _ in annotated.shapes:
        value = classes.value(label)
        if value == VOID:
            summary.void_shapes += 1
        else:
            summary.shapes[value] += 1
    summary.pictures += 1
    summary.bare += not annotated.shapes
    summary.pixels += np.bincount(mask.ravel(), minlength=256)
    summary.ignored += annotated.ignored
    summary.missed += missed


def _mask(
    annotated: Annotated, shown: tuple[int, ...], source: Path, classes: Classes
) -> tuple[NDArray[np.uint8], int]:
    """The mask of a picture that is ``shown`` as (H, W); and the shapes that cover nothing of it."""
    height, width = shown
    drawn = (width, height) if annotated.size is None else annotated.size
    orientation = 1
    if drawn != (width, height):
        orientation = exif_orientation(source.read_bytes()) if drawn == (height, width) else 1
        if orientation < 5:
            raise InputError(
                f"{annotated.file}: was drawn on {drawn[0]}x{drawn[1]} pixels, "
                f"{source} has {width}x{height}"
            )
    mask = np.full((drawn[1], drawn[0]), classes.unlabelled, np.uint8)
    missed = 0
    for label, shape in annotated.shapes:
        missed += not paint(shape, mask, classes.value(label))
    return (mask if orientation == 1 else turn(mask, orientation)), missed


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP):
            raise OutputError(
                f"{source}: cannot be linked into another disk or file system: leave out --link"
            ) from error
        raise


def _suffix(annotated: Annotated, content: bytes) -> str:
    for suffix, magic in ((".png", b"\x89PNG"), (".jpg", b"\xff\xd8"), (".bmp", b"BM")):
        if content.startswith(magic):
            return suffix
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content[:4] in (b"II*\0", b"MM\0*"):
        return ".tif"
    raise InputError(f"{annotated.file}: its embedded picture is none that is read")
