"""The arguments of ``rtseg-live``, and which of them go together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rtseg.cli.arguments import (
    BACKENDS_HELP,
    PRECISIONS_HELP,
    Parser,
    names,
    number,
    size,
    whole,
)
from rtseg.errors import UsageError

if TYPE_CHECKING:
    from rtseg.video.sources import Source

PROG = "rtseg-live"
_EPILOG = """\
sources:
  demo                    a rendered drive that knows its own truth: shows mIoU, needs no download
  --camera 0              a camera; also /dev/video0
  clip.mp4, frames/       a video; a folder of pictures, or a glob in quotes
  2011_09_26_drive_0001_sync/, sequences/00/, data_road/training/    KITTI's layouts
  rtsp://…, http://…      a network stream; "v4l2src ! …" a GStreamer string

keys in the window:
  q or Esc quit, space pause, n step, o overlay, + - opacity, c contours, h text,
  s snapshot, r record

A file gives every frame in order; a camera or stream always the newest, and counts the others.
The exit status is 0, 1 for a failure, 2 for a wrong argument, 130 after Ctrl-C."""


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Paint the road on a live picture, and measure speed and accuracy.", _EPILOG)
    p.add_argument("source", nargs="?", help="see below (default: demo)")
    p.add_argument("--camera", metavar="N", type=whole(0), help="camera number N")

    network = p.add_argument_group("network and engine")
    network.add_argument("--network", default="road-unet", metavar="NAME|FILE.onnx")
    network.add_argument("--backend", metavar="NAME", help=BACKENDS_HELP)
    network.add_argument("--precision", metavar="NAME", help=PRECISIONS_HELP)
    network.add_argument("--size", type=size, metavar="WxH", help="the network's input size")
    network.add_argument(
        "--mode",
        choices=("throughput", "latency"),
        help="default: latency for cameras and streams, throughput for files and demo",
    )

    out = p.add_argument_group("outputs, several at once")
    out.add_argument("--headless", action="store_true", help="no window")
    out.add_argument("--record", type=Path, metavar="FILE", help="H.264 video: .mp4, .mov or .mkv")
    out.add_argument("--masks", type=Path, metavar="DIR", help="a PNG of class indices a frame")
    out.add_argument("--sheet", type=Path, metavar="FILE.png", help="contact sheet of the run")
    out.add_argument("--stats", type=Path, metavar="FILE", help="what was measured, as JSON")

    picture = p.add_argument_group("picture")
    picture.add_argument(
        "--paint", type=names, metavar="CLASS,…", help="default: all but background"
    )
    picture.add_argument("--opacity", type=number(0, 1), default=0.45, metavar="0..1")
    picture.add_argument("--contours", action="store_true", help="outline the painted classes")
    picture.add_argument("--no-hud", action="store_true", help="no text on the picture")

    course = p.add_argument_group("course")
    course.add_argument("--start", type=whole(0), default=0, metavar="N", help="skip N frames")
    course.add_argument("--limit", type=whole(1), metavar="N", help="stop after N frames")
    course.add_argument("--loop", action="store_true", help="begin again at the end of a file")
    course.add_argument(
        "--realtime",
        action="store_true",
        help="play a file or the demo at its own rate, as a camera",
    )
    course.add_argument(
        "--capture-size", type=size, metavar="WxH", help="asked of a camera, or the demo's size"
    )
    course.add_argument(
        "--capture-fps", type=number(0.1, 1000), metavar="FPS",
        help="asked of a camera, or the demo's or a folder's rate",
    )  # fmt: skip
    course.add_argument("--seed", type=whole(0), metavar="N", help="which demo drive")
    course.add_argument("--quiet", action="store_true", help="no progress bar and no table")
    return p


_FOR = {
    "realtime": ("file", "images", "demo"),
    "loop": ("file", "images"),
    "capture_size": ("camera", "demo"),
    "capture_fps": ("camera", "demo", "images"),
    "seed": ("demo",),
}
_CALLED = {
    "camera": "a camera", "stream": "a stream", "file": "a video file", "images": "pictures",
    "demo": "the demo",
}  # fmt: skip


def outputs(options: argparse.Namespace) -> dict[str, Path]:
    """The files and folders that the run is to write, by the option that names them."""
    found = {f"--{name}": getattr(options, name) for name in ("record", "masks", "sheet", "stats")}
    return {option: path for option, path in found.items() if path is not None}


def check_source(options: argparse.Namespace, source: Source) -> None:
    """Refuse options that mean nothing for this source; ``UsageError`` says which."""
    for name, kinds in _FOR.items():
        value = getattr(options, name)
        given = value is not None and value is not False
        finite = name == "loop" and source.count is not None
        if given and source.kind not in kinds and not finite:
            wanted = " or ".join(_CALLED[kind] for kind in kinds)
            raise UsageError(
                f"--{name.replace('_', '-')} is for {wanted}, and "
                f"{source.name} is {_CALLED[source.kind]}"
            )


def check_outputs(options: argparse.Namespace, network: Path, inputs: list[Path]) -> None:
    """Refuse outputs that would overwrite the source, the network or each other."""
    files = {option: path for option, path in outputs(options).items() if option != "--masks"}
    for option, path in files.items():
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UsageError(f"{option} {path}: not a plain file")
        if path.exists() and any(path.samefile(file) for file in (network, *inputs)):
            raise UsageError(f"{option} {path}: this is what the run reads")
    if len({path.resolve() for path in files.values()}) < len(files):
        raise UsageError(f"{' and '.join(files)} cannot share a file")
    if options.masks is not None and options.masks.is_dir():
        folders = {file.parent for file in inputs}
        if any(options.masks.samefile(folder) for folder in folders):
            raise UsageError(
                f"--masks {options.masks}: this folder holds the source's own pictures"
            )
