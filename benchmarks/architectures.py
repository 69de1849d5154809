"""``python -m benchmarks.architectures``: architectures compared, with equal data and budget.

``train`` trains each by the recipe ``comparison``, ``measure`` deploys them and writes
``architectures.json`` and the plot of speed and accuracy, ``plot`` draws the latter anew.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.comparison_runs import LABELS, RECIPE, chosen, read_run, train
from rtseg.cli.arguments import Parser, names, run, whole
from rtseg.errors import InputError, UsageError
from rtseg.evaluation.pareto import pareto_front

NAME = "architectures"
PROG = f"python -m benchmarks.{NAME}"
RUNS = Path("runs/comparison")
RESULTS = Path("benchmarks/results")
PLOT = Path("docs/architectures.png")

Trained = dict[str, dict[str, Any]]


def front(points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return those that no other beats in both speed and accuracy, from the slowest to the fastest."""
    return pareto_front({name: (p["fps"], p["miou"]) for name, p in points.items()})


def figures(samples: Mapping[str, Sequence[float]], trained: Trained) -> dict[str, Any]:
    """Derive FPS and its ratio to the first architecture's; the rest was counted or scored."""
    reference = next(iter(trained))
    compared = {
        name: {
            "label": LABELS[name],
            "ms_per_frame": measuring.spread(samples[name]),
            "fps": 1000 / statistics.median(samples[name]),
            # Of times a frame, the other way round: so it is the ratio of frames a second.
            "fps_to_reference": measuring.ratio(samples[reference], samples[name]),
            **values,
        }
        for name, values in trained.items()
    }
    return {
        "reference": reference,
        "architectures": compared,
        "front": front(compared),
        "quiet": measuring.quiet(samples),
    }


def _finished(only: list[str] | None, runs: Path) -> dict[str, dict[str, Any]]:
    """Read the finished runs; ``InputError`` without any, ``UsageError`` where the budgets differ."""
    found = {}
    for name in chosen(only):
        told = read_run(runs / name)
        if told is not None and told["finished"]:
            found[name] = told
        elif only is not None:
            raise InputError(f"{runs / name}: no finished run: {PROG} train --only {name}")
        else:
            print(f"{name}: left out, no finished run in {runs / name}", flush=True)
    if not found:
        raise InputError(f"{runs}: no finished run in it: {PROG} train")
    first = next(iter(found))
    for name, told in found.items():
        if told["settings"] != found[first]["settings"]:
            raise UsageError(
                f"{runs / name} was not trained as {first} was: compared are runs with the same"
                " settings alone"
            )
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _trained(told: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a run tells of its training: epochs, seconds with validations (the clock's, and the
    processor's), and where it was made.
    """
    from rtseg.training.curves import read_rows_csv

    rows = read_rows_csv(folder / "metrics.csv")
    where = told["machine"]
    return {
        "epochs": len(rows),
        "training_seconds": sum(row["seconds"] for row in rows),
        "training_cpu_seconds": sum(row["cpu_seconds"] for row in rows),
        "trained_on": f"{where['usable_cores']} cores of {where['processor']}",
    }


def _measure(
    options: argparse.Namespace,
) -> tuple[dict[str, Any], dict[str, list[float]], Trained]:
    from benchmarks.frames import rendered
    from benchmarks.scoring import class_table, score
    from benchmarks.torchvision_on_cpu import make_importable
    from benchmarks.turns import engine_turn
    from rtseg.data.camvid import CamVid
    from rtseg.engine import Engine, load
    from rtseg.engine.cache import EngineCache
    from rtseg.engine.export import export, load_checkpoint
    from rtseg.models.registry import flops, parameters

    finished = _finished(options.only, options.runs)
    make_importable()
    trained: Trained = {}
    engines: dict[str, Engine] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, told in finished.items():
            model, spec = load_checkpoint(options.runs / name / "best.safetensors")
            network: Any = model
            trained[name] = {
                "parameters": parameters(network),
                "flop": flops(network, spec.width, spec.height),
                "logits_stride": int(network.logits_stride),
                **_trained(told, options.runs / name),
            }
            export(network, spec, folder / f"{name}.onnx")
            engine = load(folder / f"{name}.onnx", cache=EngineCache(folder))
            engines[name] = stack.enter_context(engine)
        spec = next(iter(engines.values())).spec
        for name, engine in engines.items():
            if (engine.spec.width, engine.spec.height, engine.spec.classes) != (
                spec.width, spec.height, spec.classes,
            ):  # fmt: skip
                raise UsageError(f"{options.runs / name}: its size or classes are not the others'")
        val = CamVid(options.camvid, "val", class_table(spec))
        scores = score(
            {name: engine.infer for name, engine in engines.items()},
            spec,
            (val[i] for i in range(len(val))),
        )
        for name, values in scores.items():
            trained[name] |= {key: values[key] for key in ("miou", "pixel_accuracy", "iou")}
        frames = rendered(spec.width, spec.height, 8)
        turns = {name: engine_turn(e, frames, options.frames) for name, e in engines.items()}
        for turn in turns.values():
            turn()
        samples = measuring.interleave(turns, options.rounds)
        first = next(iter(engines.values()))
        told = next(iter(finished.values()))
        settings = {
            "recipe": RECIPE,
            "training": told["settings"],
            "training_versions": told["versions"],
            "libraries": {
                package: _version(package)
                for package in ("lightning", "segmentation-models-pytorch", "torchvision")
            },
            "size": [spec.width, spec.height],
            "classes": list(spec.classes),
            "engine": {
                "backend": first.backend,
                "precision": {name: engine.precision for name, engine in engines.items()},
                "frames_in_flight": first.depth,
                "mode": first.mode,
            },
            "job": "uint8 BGR frame (H, W, 3) to uint8 mask (H, W), in host memory",
            "rounds": options.rounds,
            "frames_a_turn": options.frames,
            "camvid_val_frames": len(val),
        }
    return settings, samples, trained


def _measuring(options: argparse.Namespace, given: list[str]) -> int:
    settings, samples, trained = _measure(options)
    found = figures(samples, trained)
    path = measuring.write_result(
        options.out, NAME, given, settings=settings, samples=samples, figures=found
    )
    rows = [
        [
            values["label"], f"{values['miou']:.4f}", f"{values['pixel_accuracy']:.4f}",
            f"{values['fps']:.1f}", f"{values['fps_to_reference']['of_medians']:.2f}",
            f"{values['parameters'] / 1e6:.2f}", f"{values['flop'] / 1e9:.2f}",
            f"{values['training_cpu_seconds'] / 60:.1f}",
        ]
        for values in found["architectures"].values()
    ]  # fmt: skip
    width, height = settings["size"]
    measuring.print_table(
        f"{width}×{height}, CamVid val",
        ("", "mIoU", "pixel accuracy", "FPS", "to the first", "M parameters", "GFLOP", "training, CPU min"),
        rows,
    )  # fmt: skip
    quiet = found["quiet"]
    print(f"{quiet['quiet_rounds']} of {quiet['rounds']} rounds were quiet; {path}")
    return _plotting(path, options.plot)


def _plotting(result: Path, plot: Path) -> int:
    from benchmarks.architectures_plot import write_plot

    try:
        found = json.loads(result.read_text(encoding="utf-8"))["figures"]
        points, best = found["architectures"], found["front"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{result}: cannot read this result: {error}") from error
    write_plot(points, best, plot)
    print(plot)
    return 0


def _training(options: argparse.Namespace, more: list[str]) -> int:
    train(
        chosen(options.only), options.runs, data=options.data, encoder=options.encoder,
        epochs=options.epochs, more=more,
    )  # fmt: skip
    return 0


def _parser() -> Parser:
    p = Parser(PROG, "Compare architectures: train, then measure, each with the same budget.")
    steps: Any = p.add_subparsers(dest="step", required=True, metavar="train|measure|plot")

    def step(name: str, about: str) -> Any:
        return steps.add_parser(name, help=about, description=about)

    t = step("train", "Train what is not finished; after -- come further arguments of rtseg-train.")
    t.add_argument("--data", type=Path, required=True, metavar="DIR", help="where camvid/ lies")
    t.add_argument("--encoder", type=Path, metavar="FILE", help="MobileNetV2's ImageNet weights")
    t.add_argument("--epochs", type=whole(1), metavar="N", help="default: the recipe's")
    m = step("measure", "Deploy and measure what is finished; write the result and the plot.")
    m.add_argument("--camvid", type=Path, required=True, metavar="DIR", help="SegNet split")
    m.add_argument("--rounds", type=whole(1), default=15, metavar="N", help="default: 15")
    m.add_argument("--frames", type=whole(1), default=20, metavar="N", help="a turn (default: 20)")
    m.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help=f"default: {RESULTS}")
    for s in (t, m):
        s.add_argument("--only", type=names, metavar="A,B", help=f"of {', '.join(LABELS)}")
        s.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help=f"default: {RUNS}")
    q = step("plot", "Draw the plot from the result.")
    q.add_argument(
        "--result", type=Path, default=RESULTS / f"{NAME}.json", metavar="FILE",
        help=f"default: {RESULTS / NAME}.json",
    )  # fmt: skip
    for s in (m, q):
        s.add_argument("--plot", type=Path, default=PLOT, metavar="FILE", help=f"default: {PLOT}")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    cut = given.index("--") if "--" in given else len(given)
    p = _parser()
    options = p.parse_args(given[:cut])
    more = given[cut + 1 :]
    if more and options.step != "train":
        p.error(f"{options.step} takes nothing after --")
    steps = {
        "train": lambda: _training(options, more),
        "measure": lambda: _measuring(options, given),
        "plot": lambda: _plotting(options.result, options.plot),
    }
    return run(f"{PROG} {options.step}", steps[options.step])


if __name__ == "__main__":
    sys.exit(main())
