"""``rtseg-data convert``: polygon annotations to a folder of pictures and masks."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg.cli.arguments import number
from rtseg.cli.interrupts import Interrupts

if TYPE_CHECKING:
    from rtseg.data.convert import Annotations, Bad, Classes, Summary

_EPILOG = """\
Makes OUT/images, OUT/masks (class indices, 255 where there is no class) and OUT/classes.txt, all of
it or nothing. A pixel belongs to a shape if its centre lies in it; where shapes overlap, the one
that comes later (in CVAT: higher) covers the other. Masks lie on the pictures as they are shown,
turned by their EXIF orientation. Labels named void, unlabelled or __ignore__ become 255.

  rtseg-data convert labelme drawn/ --out data/mine
  rtseg-data convert coco instances.json --images photos/ --out data/mine --classes classes.txt
  rtseg-data convert cvat annotations.xml --images images/ --out data/mine --unlabelled void"""

_FORMATS = {
    "labelme": ("FOLDER", "LabelMe's JSON files, in and below a folder"),
    "coco": ("FILE.json", "COCO's instances: polygons and run lengths"),
    "cvat": ("FILE.xml", "CVAT for images 1.1"),
}


def add(subparsers: Any) -> None:
    """Add the command to those of ``rtseg-data``; its ``run`` is :func:`run`."""
    about = "Make a folder of pictures and masks from polygons that were drawn in another program."
    command = subparsers.add_parser("convert", help=about, description=about, epilog=_EPILOG)
    formats = command.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for name, (what, description) in _FORMATS.items():
        p = formats.add_parser(name, help=description, description=description, epilog=_EPILOG)
        p.add_argument("annotations", type=Path, metavar=what)
        if name != "labelme":
            p.add_argument(
                "--images", type=Path, required=True, metavar="FOLDER", help="with the pictures"
            )
        if name != "coco":
            p.add_argument(
                "--line-width",
                type=number(0.1, 1000),
                default=10,
                metavar="PIXELS",
                help="of lines (default: 10)",
            )
        _add_common(p)
        p.set_defaults(run=run)


def _add_common(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="must not exist")
    p.add_argument(
        "--classes", type=Path, metavar="FILE", help="R G B Name a line: their order and colours"
    )
    p.add_argument(
        "--others",
        choices=("background", "void"),
        help="what labels become that --classes lacks (default: an error)",
    )
    p.add_argument(
        "--background",
        default="background",
        metavar="NAME",
        help="class of the pixels under no shape (default: background, as class 0)",
    )
    p.add_argument(
        "--unlabelled",
        choices=("background", "void"),
        default="background",
        help="what those pixels become (default: background)",
    )
    p.add_argument("--link", action="store_true", help="hard-link the pictures, do not copy them")
    p.add_argument(
        "--skip-bad", action="store_true", help="pass over what is broken; count and list it"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from rtseg.data.convert import Bad, choose_classes, convert, require_absent
    from rtseg.video.quiet import quiet_opencv

    quiet_opencv()
    with Interrupts(own_process=False) as interrupts:
        try:
            require_absent(options.out)
            bad = Bad(options.skip_bad)
            annotations = _read(options, bad)
            classes = choose_classes(
                annotations.labels,
                file=options.classes,
                background=options.background,
                unlabelled=options.unlabelled,
                others=options.others,
            )
            with _progress(len(annotations.pictures)) as report:
                summary = convert(
                    annotations, options.out, classes, bad, link=options.link, report=report
                )
        except KeyboardInterrupt:
            return interrupts.status
    _print(summary, classes, options.out)
    return 0


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, where somebody can see it."""
    from rtseg.cli.progress import Progress

    if not sys.stderr.isatty():
        yield lambda done: None
        return
    bar = Progress(total)
    try:
        yield bar.update
    finally:
        bar.close()


def _read(options: argparse.Namespace, bad: Bad) -> Annotations:
    from rtseg.data.convert import read_coco, read_cvat, read_labelme

    if options.format == "labelme":
        return read_labelme(options.annotations, bad, line_width=options.line_width)
    if options.format == "coco":
        return read_coco(options.annotations, options.images, bad)
    return read_cvat(options.annotations, options.images, bad, line_width=options.line_width)


def _print(summary: Summary, classes: Classes, out: Path) -> None:
    for line in summary.skipped:
        print(f"skipped: {line}")
    names = classes.legend.names
    total = int(summary.pixels.sum())
    width = max(map(len, (*names, "(no class)")))
    for index, name in enumerate(names):
        share, shapes = summary.pixels[index] / total, summary.shapes[index]
        print(f"{index:3d} {name:{width}} {shapes:7d} shapes {share:8.2%} of the pixels")
    share = summary.pixels[255] / total
    print(f"255 {'(no class)':{width}} {summary.void_shapes:7d} shapes {share:8.2%} of the pixels")
    counted = (
        (summary.bare, "pictures without a shape"),
        (summary.ignored, "points or tags, which have no area, ignored"),
        (summary.missed, "shapes that cover no pixel"),
        (len(summary.skipped), "skipped"),
    )
    notes = "".join(f"; {count} {what}" for count, what in counted if count)
    print(f"{out}: {summary.pictures} pictures{notes}")
