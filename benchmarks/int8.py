"""``python -m benchmarks.int8``: what INT8 costs in mIoU, and what it saves in time.

Quantises each network on frames of CamVid's train split, and compares it on OpenVINO with the network
in FP32 and at OpenVINO's own choice (BF16 where the CPU has it): whole-set mIoU on CamVid's val split,
and milliseconds a frame in interleaved rounds, by the clock and by the processor's time. ``--beside``
puts the INT8 files of another quantiser under the same clock and on the same frames
(``benchmarks.int8_modelopt`` makes NVIDIA's).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import measuring
from rtseg.cli.arguments import names, run, whole
from rtseg.data.camvid import CamVid
from rtseg.data.labels import ClassTable
from rtseg.errors import require_extra

NAME = "int8"
KINDS = ("fp32", "default", "int8")
MOST_LOST = 0.005
"""How much mIoU INT8 may cost against each of the others."""


def figures(
    networks: Sequence[str],
    samples: Mapping[str, Sequence[float]],
    accuracy: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> dict[str, Any]:
    """Derive, for each network, times, speed-ups and lost mIoU of INT8, and whether it pays.

    ``samples`` and ``accuracy`` may hold more kinds than :data:`KINDS`, all INT8 by other
    quantisers, which have the same figures in ``beside``. INT8 pays where it loses no more than
    :data:`MOST_LOST` against both others, and is faster than the default in at least three rounds of
    four, by the clock.
    """
    found: dict[str, Any] = {}
    for network in networks:
        kinds = [kind for kind in accuracy[network] if f"{network} {kind}.ms" in samples]
        times = {kind: samples[f"{network} {kind}.ms"] for kind in kinds}
        cpu = {kind: samples[f"{network} {kind}.cpu_ms"] for kind in kinds}
        miou = {kind: values["miou"] for kind, values in accuracy[network].items()}
        found[network] = {
            "ms": {kind: measuring.spread(values) for kind, values in times.items()},
            "cpu_ms": {kind: measuring.spread(values) for kind, values in cpu.items()},
            **_against_others("int8", times, cpu, miou),
            "accuracy": accuracy[network],
            "beside": {
                kind: _against_others(kind, times, cpu, miou) for kind in kinds if kind not in KINDS
            },
        }
    return {"networks": found, "quiet": measuring.quiet(samples)}


def _against_others(
    int8: str,
    times: Mapping[str, Sequence[float]],
    cpu: Mapping[str, Sequence[float]],
    miou: Mapping[str, float],
) -> dict[str, Any]:
    others = [kind for kind in KINDS if kind != "int8"]
    faster = {kind: measuring.ratio(times[kind], times[int8]) for kind in others}
    lost = {kind: miou[kind] - miou[int8] for kind in others}
    within = max(lost.values()) <= MOST_LOST
    return {
        "speed_up": faster,
        "speed_up_cpu": {kind: measuring.ratio(cpu[kind], cpu[int8]) for kind in others},
        "miou_lost": lost,
        "within_bar": within,
        "pays": within and faster["default"]["p25"] > 1,
    }


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Add what quantisers that are compared have in common: networks, and frames of CamVid."""
    p.add_argument("--camvid", type=Path, required=True, metavar="DIR", help="SegNet split")
    p.add_argument(
        "--network", type=names, default=["road-unet", "street-unet"], metavar="NAME,…",
        help="networks of the zoo (default: road-unet,street-unet)",
    )  # fmt: skip
    p.add_argument(
        "--calibration", type=whole(1), default=100, metavar="N",
        help="frames of the train split to take the ranges from (default: 100)",
    )  # fmt: skip


def training_frames(options: argparse.Namespace, table: ClassTable) -> list[NDArray[np.uint8]]:
    """Return the frames that ranges are taken from, spread evenly over CamVid's train split."""
    train = CamVid(options.camvid, "train", table)
    chosen = np.linspace(0, len(train) - 1, min(options.calibration, len(train))).astype(int)
    return [train[i][0] for i in chosen]


def _measure(
    options: argparse.Namespace,
) -> tuple[dict[str, Any], dict[str, list[float]], dict[str, Any]]:
    from benchmarks.frames import rendered
    from benchmarks.scoring import class_table, score
    from benchmarks.turns import stream
    from rtseg.engine import Engine, find_network, load
    from rtseg.engine.cache import EngineCache
    from rtseg.engine.quantise import quantise
    from rtseg.engine.siblings import sibling

    accuracy: dict[str, dict[str, Any]] = {}
    settings: dict[str, Any] = {}
    turns: dict[str, measuring.Turn] = {}

    def turn_of(engine: Engine) -> measuring.Turn:
        frames = rendered(engine.spec.width, engine.spec.height, 8)
        count = options.frames

        def turn() -> dict[str, float]:
            seconds, cpu = stream(engine, frames, count)
            return {"ms": seconds / count * 1e3, "cpu_ms": cpu / count * 1e3}

        return turn

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cache = EngineCache(folder)
        for name in options.network:
            network = find_network(name)
            spec = network.spec
            table = class_table(spec)
            val = CamVid(options.camvid, "val", table)
            file = sibling(network.path, "int8").name
            path = (options.int8 or folder) / file
            if not options.int8:
                path.write_bytes(quantise(network, training_frames(options, table)))
            own = (spec.width, spec.height)
            files: dict[str, tuple[Path, str | None]] = {
                "fp32": (network.path, "fp32"),
                "default": (network.path, None),
                "int8": (path, None),
                **{label: (folder_of / file, None) for label, folder_of in options.beside},
            }
            engines = {
                kind: stack.enter_context(
                    load(file, backend="openvino", precision=precision, size=own, cache=cache)
                )
                for kind, (file, precision) in files.items()
            }
            masks = {kind: engine.infer for kind, engine in engines.items()}
            with load(path, backend="onnxruntime", size=own) as other:
                masks["int8 on onnxruntime"] = other.infer
                accuracy[name] = score(masks, spec, (val[i] for i in range(len(val))))
            for kind, engine in engines.items():
                turns[f"{name} {kind}"] = turn_of(engine)
            settings[name] = {
                "size": list(own),
                "default": engines["default"].precision,
                "calibration_frames": options.calibration,
                "frames_in_flight": engines["int8"].depth,
                "int8_file_bytes": path.stat().st_size,
            }
        for turn in turns.values():
            turn()
        samples = measuring.interleave(turns, options.rounds)
    settings = {
        "networks": settings,
        "nncf": importlib.metadata.version("nncf"),
        "beside": [label for label, _ in options.beside],
        "calibrated_on": "CamVid train",
        "scored_on": "CamVid val",
        "rounds": options.rounds,
        "frames_a_turn": options.frames,
    }
    return settings, samples, accuracy


def _beside(text: str) -> tuple[str, Path]:
    label, equals, folder = text.partition("=")
    if not label or not equals or not folder or label in KINDS:
        raise argparse.ArgumentTypeError(f"{text!r}: LABEL=DIR, as in modelopt=quantised")
    return label, Path(folder)


def _command(options: argparse.Namespace, given: list[str]) -> int:
    require_extra("quantising", "int8", "nncf", "onnx", "onnxruntime")
    settings, samples, accuracy = _measure(options)
    found = figures(options.network, samples, accuracy)
    path = measuring.write_result(
        options.out, NAME, given, settings=settings, samples=samples, figures=found
    )
    for name, values in found["networks"].items():
        default = settings["networks"][name]["default"]
        rows = [
            [
                f"default ({default})" if kind == "default" else kind,
                f"{values['accuracy'][kind]['miou']:.4f}",
                f"{values['ms'][kind]['median']:.2f}",
                f"{values['cpu_ms'][kind]['median']:.2f}",
            ]
            for kind in values["ms"]
        ]
        width, height = settings["networks"][name]["size"]
        measuring.print_table(
            f"{name} {width}×{height} on OpenVINO",
            ("arithmetic", "CamVid val mIoU", "ms a frame", "CPU ms a frame"),
            rows,
        )
        lost, faster = values["miou_lost"], values["speed_up"]
        print(
            f"INT8 loses {lost['fp32']:.4f} mIoU against FP32, {lost['default']:.4f} against "
            f"{default}; it is {faster['default']['of_medians']:.2f} times as fast as {default}: it "
            f"{'pays' if values['pays'] else 'does not pay'}"
        )
    quiet = found["quiet"]
    print(f"{quiet['quiet_rounds']} of {quiet['rounds']} rounds were quiet; {path}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    p = measuring.parser(NAME, "Measure what INT8 costs in accuracy and saves in time.")
    add_arguments(p)
    p.add_argument(
        "--int8", type=Path, metavar="DIR",
        help="take NAME.int8.onnx from there (default: quantise anew)",
    )  # fmt: skip
    p.add_argument(
        "--beside", type=_beside, action="append", default=[], metavar="LABEL=DIR",
        help="measure NAME.int8.onnx from there, too; may be given several times",
    )  # fmt: skip
    p.add_argument("--rounds", type=whole(1), default=15, metavar="N", help="default: 15")
    p.add_argument(
        "--frames", type=whole(1), default=60, metavar="N", help="frames a turn (default: 60)"
    )
    options = p.parse_args(given)
    return run(p.prog, lambda: _command(options, given))


if __name__ == "__main__":
    sys.exit(main())
