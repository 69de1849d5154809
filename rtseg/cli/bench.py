"""``rtseg-bench``: FPS alongside mIoU, for networks × backends × precisions × sizes."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import platform
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg import __version__
from rtseg.cli.arguments import BACKENDS_HELP, PRECISIONS_HELP, Parser, names, run, size, whole
from rtseg.errors import BackendError, NetworkError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rtseg.engine import Engine

    Pictures = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]

PROG = "rtseg-bench"
_EPILOG = """\
Every combination is measured in turns on frames of the rendered drive that no network was trained
on: frame in, mask out, as many frames in flight as keep the engine busy. Its mIoU is that of the
very engine. Combinations that this machine cannot run are named and left out.

  rtseg-bench road-unet
  rtseg-bench road-unet --backend openvino,onnxruntime --size 512x256,1024x512 --json bench.json"""


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Measure engines: FPS alongside mIoU.", _EPILOG)
    p.add_argument("network", nargs="*", default=["road-unet"], help="default: road-unet")
    p.add_argument("--backend", type=names, default=[None], metavar="NAME,…", help=BACKENDS_HELP)
    p.add_argument(
        "--precision", type=names, default=[None], metavar="NAME,…", help=PRECISIONS_HELP
    )
    p.add_argument("--size", type=_sizes, default=[None], metavar="WxH,…")
    p.add_argument("--rounds", type=whole(1), default=9, metavar="N", help="default: 9")
    p.add_argument("--frames", type=whole(1), default=60, metavar="N", help="a round (default: 60)")
    p.add_argument("--json", type=Path, metavar="FILE", help="what was measured, as JSON")
    return p


def _sizes(text: str) -> list[tuple[int, int]]:
    return [size(part) for part in names(text)]


def _engines(options: argparse.Namespace, stack: ExitStack) -> dict[str, Engine]:
    from rtseg.cli.build_progress import MaybeBuilding
    from rtseg.engine import load

    log = logging.getLogger("rtseg")
    engines: dict[str, Engine] = {}
    every = itertools.product(options.network, options.backend, options.precision, options.size)
    for network, backend, precision, wanted in every:
        try:
            with MaybeBuilding(PROG, network) as progress:
                engine = stack.enter_context(
                    load(
                        network,
                        backend=backend,
                        precision=precision,
                        size=wanted,
                        on_progress=progress,
                    )
                )
        except (BackendError, NetworkError) as error:
            log.warning("left out: %s", error)
            continue
        spec = engine.spec
        engines[f"{spec.name} {engine.backend} {engine.precision} {spec.width}x{spec.height}"] = (
            engine
        )
    if not engines:
        raise UsageError("nothing to measure: this machine can run none of these combinations")
    return engines


def _pictures(count: int) -> Pictures:
    """Frames and truths of held-out drives, two seconds apart."""
    from rtseg.data.drive import Drive

    pictures: Pictures = []
    for i in range(count):
        if i % 10 == 0:
            drive = Drive(960, 540, seed=i % 100)
        pictures.append(drive.frame(60 * i))
    return pictures


def _accuracy(engine: Engine, pictures: Pictures) -> dict[str, Any]:
    import cv2
    import numpy as np

    from rtseg.data.labels import CAMVID11, ClassTable, covers, drive_table
    from rtseg.evaluation import ConfusionMatrix

    spec = engine.spec
    table = ClassTable(spec.classes, spec.palette)
    if not covers(CAMVID11, table):
        return {"miou": None, "iou": {}}
    to_classes = drive_table(table)
    matrix = ConfusionMatrix(len(spec.classes))
    for frame, truth in pictures:
        small = cv2.resize(frame, (spec.width, spec.height)).astype(np.uint8, copy=False)
        mask = cv2.resize(
            engine.infer(small[None])[0], truth.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT
        )
        matrix.add(to_classes[truth], mask.astype(np.uint8, copy=False))
    iou = {
        name: None if np.isnan(value) else round(float(value), 4)
        for name, value in zip(spec.classes, matrix.iou, strict=True)
    }
    return {"miou": round(matrix.miou, 4), "iou": iou}


def _bench(options: argparse.Namespace, command: list[str]) -> int:
    if options.json is not None:
        from rtseg.atomic import require_writable

        require_writable(options.json)
    with ExitStack() as stack:
        engines = _engines(options, stack)
        import cv2
        import numpy as np
        from rich.console import Console
        from rich.table import Table

        from rtseg.evaluation.speed import in_turns

        cv2.setNumThreads(1)
        pictures = _pictures(options.frames)
        frames = {}
        for name, engine in engines.items():
            wanted = (engine.spec.width, engine.spec.height)
            frames[name] = [
                cv2.resize(picture, wanted).astype(np.uint8, copy=False) for picture, _ in pictures
            ]
        samples = in_turns(engines, frames, options.rounds)
        rows: list[dict[str, Any]] = []
        for name, engine in engines.items():
            spec = engine.spec
            median = statistics.median(samples[name])
            rows.append(
                {
                    "network": spec.name,
                    "backend": engine.backend,
                    "precision": engine.precision,
                    "size": [spec.width, spec.height],
                    "device": engine.device,
                    "frames_in_flight": engine.depth,
                    "ms_a_frame": round(median * 1e3, 3),
                    "fps": round(1 / median, 2),
                    "rounds_ms": [round(s * 1e3, 3) for s in samples[name]],
                    **_accuracy(engine, pictures),
                    "versions": engine.versions,
                }
            )
    values = {
        "command": " ".join(command),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {"system": platform.platform(), "python": platform.python_version()},
        "rtseg": __version__,
        "opencv": cv2.__version__,
        "frames": options.frames,
        "rounds": options.rounds,
        "results": rows,
    }
    table = Table(
        title="frame in, mask out; mIoU on held-out rendered frames", title_justify="left"
    )
    for column in ("network", "engine", "size"):
        table.add_column(column)
    for column in ("ms a frame", "rounds", "FPS", "mIoU"):
        table.add_column(column, justify="right")
    for row in rows:
        miou = "–" if row["miou"] is None else f"{row['miou']:.4f}"
        table.add_row(
            row["network"],
            f"{row['backend']} {row['precision']}",
            f"{row['size'][0]}×{row['size'][1]}",
            f"{row['ms_a_frame']:.2f}",
            f"{min(row['rounds_ms']):.2f} – {max(row['rounds_ms']):.2f}",
            f"{row['fps']:.1f}",
            miou,
        )
    Console(file=sys.stdout).print(table, highlight=False)
    if options.json is not None:
        from rtseg.atomic import write_atomically

        write_atomically(options.json, (json.dumps(values, indent=1) + "\n").encode())
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(given)
    return run(PROG, lambda: _bench(options, [PROG, *given]))


if __name__ == "__main__":
    sys.exit(main())
