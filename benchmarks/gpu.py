"""``python -m benchmarks.gpu --out DIR``: every engine this machine has, on one clock, in 8 minutes.

Nothing is installed: what is there is measured. See benchmarks/GPU.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measuring
from benchmarks.gpu_plan import BATCHES, SIZES, cells, contenders, map_checkout
from benchmarks.gpu_supervise import NAME, Measurement, plan_of, save, say, supervise
from rtseg.cli.arguments import names, number, run, size, whole
from rtseg.errors import UsageError


def _kind(device: str) -> str:
    """``gpu`` or ``cpu``; ``UsageError`` for a GPU that is not there."""
    from benchmarks.gpu_device import facts

    # A GPU that nothing here can reach is as good as none, and the result says so.
    if device == "cpu" or "name" in facts():
        return device.replace("auto", "gpu")
    if device == "gpu":
        raise UsageError("no GPU that pycuda or PyTorch can reach: leave --device out")
    return "cpu"


def _measure(options: argparse.Namespace, given: list[str]) -> int:
    from benchmarks.gpu_accuracy import render

    deadline = time.time() + options.minutes * 60
    map_checkout()
    if options.networks is None:
        from rtseg.engine import zoo

        # The U-Nets first: what is aimed at is said of them.
        options.networks = sorted(zoo(), key=lambda name: ("unet" not in name, name))
        del options.networks[1 if options.quick else len(options.networks) :]
    kind = _kind(options.device)
    planned = [
        {**cell.values(), "takes_part": contenders(kind, cell)}
        for cell in cells(options.networks, options.size, options.batch)
    ]
    measurement = Measurement(options, given, planned, kind)
    measurement.save()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("rendering frames")
        small = (240, 136) if options.quick else (960, 540)
        render(folder / "rendered.npz", options.labelled, small, options.camera)
        supervise(measurement, plan_of(measurement, folder, deadline), folder, deadline)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return _finish(options, measurement.save())


def _finish(options: argparse.Namespace, path: Path) -> int:
    from benchmarks import gpu_report

    result = json.loads(path.read_text(encoding="utf-8"))
    written = gpu_report.write(result, options.out, path.stem)
    gpu_report.show(result)
    print(*(str(p) for p in (path, *written)), sep="\n")
    return 0


def _merge(options: argparse.Namespace, given: list[str]) -> int:
    from benchmarks.gpu_merge import merge

    runs, planned, samples = merge(options.merge)
    return _finish(options, save(options.out, options.label, given, runs, planned, samples))


def _sizes(text: str) -> list[tuple[int, int]]:
    return [size(part) for part in names(text)]


def _wholes(text: str) -> list[int]:
    return [whole(1)(part) for part in names(text)]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    p = measuring.parser(NAME, "Measure every engine that this machine has, on its GPU or its CPU.")
    add = p.add_argument
    add("--networks", type=names, metavar="NAME|FILE,…", help="default: the zoo")
    add("--size", type=_sizes, metavar="WxH,…", help="default: 512x256,1024x512,1920x1080")
    add("--batch", type=_wholes, metavar="N,…", help="default: 1,8")
    add("--device", choices=("auto", "gpu", "cpu"), default="auto")
    add("--minutes", type=number(0.1, 600), help="all of it takes at most (default: 8)")
    add("--rounds", type=whole(1), metavar="N", help="turns of each (default: 10)")
    add("--seconds", type=number(0, 60), help="a turn takes for each measure (default: 0.06)")
    add("--labelled", type=whole(1), metavar="N", help="rendered frames for mIoU (default: 20)")
    add("--camvid", type=Path, metavar="DIR", help="score on CamVid's val split instead")
    add("--camera", type=size, metavar="WxH", help="of the pictures painted (default: 1920x1080)")
    add("--cache", type=Path, metavar="DIR", help="of engines (default: one apart)")
    add("--label", type=_label, metavar="NAME", help="write gpu-NAME.json")
    add("--quick", action="store_true", help="under a minute, tiny: to see that it works")
    add("--merge", nargs="+", type=Path, metavar="FILE", help="join results of one machine")
    options = p.parse_args(given)
    tiny = options.quick
    for name, usual, small in (
        ("minutes", 8.0, 1.0),
        ("size", list(SIZES), [(96, 64)]), ("batch", list(BATCHES), [1, 2]), ("rounds", 10, 2),
        ("seconds", 0.06, 0.002), ("labelled", 20, 2), ("camera", (1920, 1080), (192, 108)),
    ):  # fmt: skip
        if getattr(options, name) is None:
            setattr(options, name, small if tiny else usual)
    return run(
        p.prog, lambda: _merge(options, given) if options.merge else _measure(options, given)
    )


def _label(text: str) -> str:
    if not text.replace("-", "").replace(".", "").isalnum():
        raise argparse.ArgumentTypeError(f"{text!r}: give letters, digits, - and .")
    return text


if __name__ == "__main__":
    sys.exit(main())
