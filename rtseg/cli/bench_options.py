"""The arguments of ``rtseg-bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rtseg.cli.arguments import BACKENDS_HELP, PRECISIONS_HELP, Parser, names, size, whole
from rtseg.data.layouts import FILE_KINDS

PROG = "rtseg-bench"
_EPILOG = """\
Every combination is an engine in a process of its own. They take turns, round after round: frame in,
full-size mask out, as many frames in flight as keep the engine busy. Figures are medians with 95 %
bootstrap intervals; no frame is left out. mIoU and parity are those of the very engine, on frames of
the rendered drive that no network was trained on, or on a dataset of yours. Combinations that this
machine cannot run are named and left out.

  rtseg-bench road-unet
  rtseg-bench road-unet --backend openvino,onnxruntime --size 512x256,1024x512 --json bench.json
  rtseg-bench street-unet street-fcn8s --data CamVid --split test --plot bench.png
  rtseg-bench road-unet --peer theirs.onnx --peer smp:Unet/mobilenet_v2
  rtseg-bench road-unet --compare bench.json        (exit status 1 if something got worse)

  rtseg-bench live --help       the real loop, at a frame rate
  rtseg-bench choose --help     which network is best on this machine, at a frame rate

docs/bench.md says what each figure is, and how two results are compared."""


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Measure engines: FPS alongside mIoU.", _EPILOG)
    p.add_argument(
        "network", nargs="*", metavar="NETWORK", help="name or file (default: road-unet)"
    )
    what = p.add_argument_group("what is measured; each is a list, and every combination is taken")
    what.add_argument("--backend", type=names, default=[None], metavar="NAME,…", help=BACKENDS_HELP)
    what.add_argument(
        "--precision", type=names, default=[None], metavar="NAME,…", help=PRECISIONS_HELP
    )
    what.add_argument(
        "--size", type=_sizes, default=[None], metavar="WxH,…", help="default: its own"
    )
    what.add_argument(
        "--batch", type=_batches, default=[1], metavar="N,…", help="frames at once (default: 1)"
    )
    what.add_argument(
        "--peer", action="append", default=[], metavar="PEER",
        help="somebody else's network, on OpenVINO and ONNX Runtime: FILE.onnx, "
        "smp:Unet/mobilenet_v2, torchvision:NAME; may be given again",
    )  # fmt: skip
    how = p.add_argument_group("how")
    how.add_argument(
        "--mode", choices=("throughput", "latency"), default="throughput",
        help="throughput: frames in flight; latency: one at a time (default: throughput)",
    )  # fmt: skip
    how.add_argument("--rounds", type=whole(1), default=15, metavar="N", help="default: 15")
    how.add_argument(
        "--frames", type=whole(1), default=60, metavar="N", help="frames a turn (default: 60)"
    )
    on = p.add_argument_group("on which frames")
    on.add_argument(
        "--data", type=Path, metavar="DIR", help="a labelled dataset (default: the rendered drive)"
    )
    on.add_argument("--kind", choices=FILE_KINDS, help="of the dataset (default: as it looks)")
    on.add_argument(
        "--split",
        metavar="NAME",
        help="train, val, test or all (default: val, or all where there is none)",
    )
    on.add_argument(
        "--limit", type=whole(1), metavar="N", help="so many, evenly spread (default: all)"
    )
    out = p.add_argument_group("results")
    out.add_argument("--json", type=Path, metavar="FILE", help="everything, raw samples included")
    out.add_argument("--csv", type=Path, metavar="FILE", help="a line for each engine")
    out.add_argument("--markdown", type=Path, metavar="FILE", help="the table, for a README")
    out.add_argument("--plot", type=Path, metavar="FILE.png", help="FPS against mIoU")
    out.add_argument(
        "--compare", type=Path, metavar="OLD.json", help="say what changed since, beyond noise"
    )
    return p


def _sizes(text: str) -> list[tuple[int, int]]:
    return [size(part) for part in names(text)]


def _batches(text: str) -> list[int]:
    return [whole(1)(part) for part in names(text)]


def check(options: argparse.Namespace, p: Parser) -> None:
    """Refuse arguments that do not go together."""
    if options.data is None and (options.kind or options.split):
        p.error(f"--{'kind' if options.kind else 'split'} is of a dataset: give --data, too")
    if options.plot is not None and options.plot.suffix.lower() != ".png":
        p.error(f"--plot {options.plot}: give a file name that ends in .png")
    outputs = [options.json, options.csv, options.markdown, options.plot]
    given = [path.resolve() for path in outputs if path is not None]
    if len(set(given)) < len(given):
        p.error("two of the results would go to the same file")
