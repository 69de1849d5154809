"""The arguments of ``rtseg-eval``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rtseg.cli.arguments import BACKENDS_HELP, PRECISIONS_HELP, Parser, names, size, whole

PROG = "rtseg-eval"

SPACES = ("perspective", "bev")

_EPILOG = """\
sources:
  data/CamVid            a labelled dataset: CamVid (the SegNet split, or its own 32 labels), KITTI
                         road, or a folder of your own; see rtseg-data check --help
  drive                  the rendered drive's held-out frames, which know their own truth
  frames/  clip.mp4      pictures or a video without labels: --masks, --painted or both are written

OUT gets result.json, frames.csv, classes.csv and report.html, masks/ and painted/ (of a video
painted.mp4), and records.jsonl: after an interruption the same command goes on from there. A frame
without a mask, with one of another size, or that cannot be read is skipped: it is listed with its
reason in result.json, and a warning says how many there are.

Masks of classes that the network does not have are merged by name: street-unet is scored on KITTI
road as road and background, road-unet on CamVid likewise.

  rtseg-eval road-unet data/kitti_road --out results/kitti
  rtseg-eval street-unet data/CamVid --split val --out results/camvid --boundary
  rtseg-eval road-unet clip.mp4 --out clip --masks --painted

The exit status is 0, 1 for a failure (with --strict for a skipped frame too), 2 for a wrong
argument, 130 after Ctrl-C."""


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Evaluate a network on a dataset, or segment pictures and videos.", _EPILOG)
    p.add_argument("network", metavar="NETWORK", help="a network of the zoo, or an ONNX file")
    p.add_argument("source", metavar="SOURCE", help="see below")
    p.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for the results")

    data = p.add_argument_group("dataset")
    data.add_argument("--kind", metavar="KIND", help="default: what the folder is laid out as")
    data.add_argument(
        "--split", choices=("train", "val", "test", "all"),
        help="default: val where the dataset has folders for it, else all",
    )  # fmt: skip
    data.add_argument(
        "--classes-file", metavar="TABLE",
        help="what the masks hold: a class file, camvid11, camvid32 or road (default: classes.txt)",
    )  # fmt: skip
    data.add_argument(
        "--truths", choices=("auto", "indices", "colours"), default="auto",
        help="what a folder's masks hold (default: by their channels)",
    )  # fmt: skip
    data.add_argument("--limit", type=whole(1), metavar="N", help="the first N frames only")

    engine = p.add_argument_group("engine")
    engine.add_argument("--backend", metavar="NAME", help=BACKENDS_HELP)
    engine.add_argument("--precision", metavar="NAME", help=PRECISIONS_HELP)
    engine.add_argument("--size", type=size, metavar="WxH", help="the network's input size")
    engine.add_argument("--batch", type=whole(1), default=1, metavar="N", help="frames at once")
    engine.add_argument(
        "--devices", type=names, metavar="NAME,…",
        help="CPU, CUDA:0, CUDA:1 …: an engine on each; one that is named twice gets two",
    )  # fmt: skip
    engine.add_argument(
        "--ray", metavar="ADDRESS", nargs="?", const="local",
        help="on a Ray cluster, HOST:PORT or auto, or one of this machine alone; --devices is then "
        "what each node has (see docs/scale.md)",
    )  # fmt: skip

    measures = p.add_argument_group("measures")
    measures.add_argument(
        "--boundary", action="store_true",
        help="boundary F1 too, which takes longer than a network on a CPU",
    )  # fmt: skip
    measures.add_argument(
        "--space", type=_spaces, metavar="perspective,bev",
        help="where KITTI road's measures are taken, or none (default: both)",
    )  # fmt: skip
    measures.add_argument(
        "--measure", type=whole(1), nargs="?", const=5, metavar="ROUNDS",
        help="also measure the bare engine in turns with the evaluation (default: 5 rounds)",
    )  # fmt: skip

    out = p.add_argument_group("outputs")
    out.add_argument("--masks", action="store_true", help="a PNG of class indices a frame")
    out.add_argument("--painted", action="store_true", help="painted copies; of a video: a video")
    out.add_argument("--no-report", action="store_true", help="no report.html")
    out.add_argument("--again", action="store_true", help="start anew, not from what is there")
    out.add_argument("--strict", action="store_true", help="status 1 if a frame is skipped")
    out.add_argument("--quiet", action="store_true", help="no progress bar and no table")
    return p


def _spaces(text: str) -> tuple[str, ...]:
    found = names(text)
    if found == ["none"]:
        return ()
    if not set(found) <= set(SPACES):
        raise argparse.ArgumentTypeError(f"{text!r}: give perspective, bev, both, or none")
    return tuple(space for space in SPACES if space in found)
