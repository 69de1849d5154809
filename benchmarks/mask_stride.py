"""``python -m benchmarks.mask_stride``: masks at full size, or at the stride of the logits?

Exports one checkpoint both ways and measures, in interleaved rounds, what each costs a frame up to
a mask at the picture's size, and its accuracy on CamVid's val split and on held-out frames of the
rendered drive.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import measuring
from rtseg.cli.arguments import run, whole
from rtseg.errors import InputError

NAME = "mask_stride"
KINDS = ("full_size", "logits_stride")
PICTURE = (960, 540)
"""(width, height) of the picture that the timed masks are stretched to."""


def figures(
    samples: Mapping[str, Sequence[float]], accuracy: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Derive the times of both kinds, their ratio, and what the smaller masks cost in IoU."""
    cost = {}
    for data, kinds in accuracy.items():
        full, small = kinds["full_size"], kinds["logits_stride"]
        cost[data] = {key: full[key] - small[key] for key in full if key != "iou"}
    return {
        "engine_ms": {k: measuring.spread(samples[f"{k}.engine_ms"]) for k in KINDS},
        "to_picture_ms": {k: measuring.spread(samples[f"{k}.to_picture_ms"]) for k in KINDS},
        "engine_full_to_stride": measuring.ratio(*(samples[f"{k}.engine_ms"] for k in KINDS)),
        "to_picture_full_to_stride": measuring.ratio(
            *(samples[f"{k}.to_picture_ms"] for k in KINDS)
        ),
        "accuracy": accuracy,
        "full_less_stride": cost,
        "quiet": measuring.quiet(samples),
    }


def _compared(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of each kind's scores what is compared, road's IoU by itself."""
    found: dict[str, dict[str, Any]] = {}
    for kind, values in scores.items():
        found[kind] = {key: values[key] for key in ("miou", "pixel_accuracy")}
        if "road" in values["iou"]:
            found[kind]["road_iou"] = values["iou"]["road"]
        found[kind]["iou"] = values["iou"]
    return found


def _measure(
    options: argparse.Namespace,
) -> tuple[dict[str, Any], dict[str, list[float]], dict[str, Any]]:
    import cv2
    import numpy as np

    from benchmarks.frames import rendered
    from benchmarks.scoring import class_table, drives, score
    from benchmarks.turns import stream
    from rtseg.data.camvid import CamVid
    from rtseg.engine import load
    from rtseg.engine.cache import EngineCache
    from rtseg.engine.export import export, load_checkpoint

    if not options.checkpoint.is_file():
        raise InputError(f"{options.checkpoint}: no such checkpoint: give --checkpoint")
    model, spec = load_checkpoint(options.checkpoint)
    val = CamVid(options.camvid, "val", class_table(spec))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = {}
        for kind in KINDS:
            export(model, spec, folder / f"{kind}.onnx", full_size=kind == "full_size")
            engines[kind] = stack.enter_context(
                load(
                    folder / f"{kind}.onnx",
                    precision=options.precision,
                    cache=EngineCache(folder),
                )
            )
        frames = rendered(spec.width, spec.height, 8)
        picture = np.empty(PICTURE[::-1], np.uint8)

        def turn_of(kind: str) -> measuring.Turn:
            engine, count = engines[kind], options.frames

            def stretch(mask: Any) -> None:
                cv2.resize(mask, PICTURE, dst=picture, interpolation=cv2.INTER_NEAREST_EXACT)

            def turn() -> dict[str, float]:
                return {
                    "engine_ms": stream(engine, frames, count)[0] / count * 1e3,
                    "to_picture_ms": stream(engine, frames, count, stretch)[0] / count * 1e3,
                }

            return turn

        turns = {kind: turn_of(kind) for kind in KINDS}
        for turn in turns.values():
            turn()
        samples = measuring.interleave(turns, options.rounds)
        infer = {kind: engine.infer for kind, engine in engines.items()}
        some = itertools.islice(drives(spec), options.drives)
        accuracy = {
            "camvid_val": _compared(score(infer, spec, (val[i] for i in range(len(val))))),
            "held_out_drives": _compared(score(infer, spec, some)),
        }
        settings = {
            "checkpoint": options.checkpoint.name,
            "size": [spec.width, spec.height],
            "classes": list(spec.classes),
            "mask_stride": {kind: e.spec.mask_stride for kind, e in engines.items()},
            "precision": engines["full_size"].precision,
            "frames_in_flight": engines["full_size"].depth,
            "to_picture": f"mask stretched to {PICTURE[0]}x{PICTURE[1]}, nearest",
            "rounds": options.rounds,
            "frames_a_turn": options.frames,
            "camvid_val_frames": len(val),
            "drive_frames": options.drives,
        }
    return settings, samples, accuracy


def _command(options: argparse.Namespace, given: list[str]) -> int:
    settings, samples, accuracy = _measure(options)
    found = figures(samples, accuracy)
    path = measuring.write_result(
        options.out, NAME, given, settings=settings, samples=samples, figures=found
    )
    rows = []
    for kind in KINDS:
        row = [f"{kind.replace('_', ' ')} ({settings['mask_stride'][kind]})"]
        row += [f"{found[key][kind]['median']:.3f}" for key in ("engine_ms", "to_picture_ms")]
        for data in accuracy:
            row += [
                f"{accuracy[data][kind].get(key, float('nan')):.4f}" for key in ("miou", "road_iou")
            ]
        rows.append(row)
    measuring.print_table(
        f"Masks of {settings['checkpoint']}, {settings['precision']}",
        (
            "mask at (stride)", "engine, ms", "to picture, ms", "CamVid mIoU", "road IoU",
            "drive mIoU", "road IoU",
        ),
        rows,
    )  # fmt: skip
    ratio = found["to_picture_full_to_stride"]
    print(f"full size takes {ratio['of_medians']:.3f} times as long up to the picture's mask")
    quiet = found["quiet"]
    print(f"{quiet['quiet_rounds']} of {quiet['rounds']} rounds were quiet; {path}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    p = measuring.parser(NAME, "Measure both sizes of mask: time and accuracy.")
    p.add_argument("--camvid", type=Path, required=True, metavar="DIR", help="SegNet split")
    p.add_argument(
        "--checkpoint", type=Path, default=Path("runs/road-unet/best.safetensors"), metavar="FILE",
        help="written by rtseg.training (default: runs/road-unet/best.safetensors)",
    )  # fmt: skip
    p.add_argument("--precision", metavar="NAME", help="fp32, fp16 or bf16 (default: fastest)")
    p.add_argument("--rounds", type=whole(1), default=15, metavar="N", help="default: 15")
    p.add_argument(
        "--frames", type=whole(1), default=60, metavar="N", help="frames a turn (default: 60)"
    )
    p.add_argument(
        "--drives", type=whole(1), default=60, metavar="N",
        help="held-out rendered frames to score (default: 60, all)",
    )  # fmt: skip
    options = p.parse_args(given)
    return run(p.prog, lambda: _command(options, given))


if __name__ == "__main__":
    sys.exit(main())
