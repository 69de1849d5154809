"""``python -m benchmarks.peers``: road-unet against its peers on the same frame → mask job.

Every peer takes uint8 BGR frames (H, W, 3) and gives uint8 masks of two classes at the frame's
size. Milliseconds a frame, in interleaved rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import measuring
from rtseg.cli.arguments import run, size, whole

NAME = "peers"

LABELS = {
    "road-unet, OpenVINO": "road-unet on OpenVINO, its default precision",
    "road-unet, OpenVINO fp32": "road-unet on OpenVINO, fp32",
    "road-unet, ONNX Runtime": "road-unet on ONNX Runtime, fp32",
    "road-unet, PyTorch eager": "road-unet's architecture in PyTorch eager, channels_last",
    "SMP, PyTorch eager": "SMP U-Net in PyTorch eager, default memory format",
    "SMP, PyTorch eager channels_last": "SMP U-Net in PyTorch eager, channels_last",
    "SMP, PyTorch eager one thread": "SMP U-Net in PyTorch eager, channels_last, one thread",
    "SMP, ONNX Runtime": "SMP U-Net on ONNX Runtime, fp32",
    "SMP, OpenVINO": "SMP U-Net on OpenVINO, its default precision",
}
SMP_EAGER = tuple(label for label in LABELS if label.startswith("SMP, PyTorch eager"))
"""The fastest of these counts: PyTorch's threads wait for each other wherever a core is taken."""
OURS = tuple(label for label in LABELS if label.startswith("road-unet"))
BARS = {"smp_eager": 10.0, "smp_onnxruntime": 4.0}
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
}
"""With these glibc keeps the memory that PyTorch eager allocates anew for every frame."""


def figures(samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Derive medians, ratios to the best of road-unet, and the bars."""
    medians = {label: statistics.median(samples[label]) for label in LABELS}
    best = min(OURS, key=lambda label: medians[label])
    eager = min(SMP_EAGER, key=lambda label: medians[label])
    ratios = {
        label: measuring.ratio(samples[label], samples[best]) for label in LABELS if label != best
    }
    reached = {
        "smp_eager": ratios[eager]["of_medians"],
        "smp_onnxruntime": ratios["SMP, ONNX Runtime"]["of_medians"],
    }
    return {
        "ms_per_frame": {label: measuring.spread(samples[label]) for label in LABELS},
        "best_of_road_unet": best,
        "fastest_smp_eager": eager,
        "times_slower_than_best": ratios,
        "bars": {
            name: {"bar": bar, "ratio": reached[name], "reached": reached[name] >= bar}
            for name, bar in BARS.items()
        },
        "quiet": measuring.quiet(samples),
    }


def _calibrated(model: Any, width: int, height: int) -> Any:
    """Give random weights healthy batch-norm statistics, so that no subnormal number slows them."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain average of what is seen
    with torch.no_grad():
        model.train()(torch.randn(2, 3, max(height, 64), max(width, 64)))
    return model.eval()


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[float]]]:
    import cv2
    import torch

    from benchmarks.frames import rendered
    from benchmarks.smp_unet import VERIFIED, SMPUNet
    from benchmarks.turns import eager_turn, engine_turn
    from rtseg.data.labels import ROAD
    from rtseg.engine import load
    from rtseg.engine.cache import EngineCache
    from rtseg.engine.export import Contract, export
    from rtseg.models import build
    from rtseg.models.registry import flops, parameters
    from rtseg.spec import Spec

    class Contiguous(torch.nn.Module):
        """Takes the images in PyTorch's default memory format, where the contract's are NHWC."""

        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(x.contiguous())
            return logits

    torch.manual_seed(0)
    width, height = options.size
    frames = rendered(width, height, 8)
    count, threads = options.frames, torch.get_num_threads()
    own = _calibrated(build("unet-mobilenetv2", 2), width, height)
    smp = _calibrated(SMPUNet(2), width, height)
    # torch's stubs do not know this argument of Module.to.
    last: Any = {"memory_format": torch.channels_last}
    own_eager, smp_last = Contract(own).to(**last), Contract(smp).to(**last)
    smp_default = Contract(smp)
    smp_default.network = Contiguous(smp_default.network)

    cv2.setNumThreads(1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        smp_file = folder / "smp-unet.onnx"
        export(smp, Spec("smp-unet", width, height, ROAD.names, ROAD.colours), smp_file)

        def engine(network: str | Path, backend: str, precision: str | None = None) -> Any:
            return stack.enter_context(
                load(
                    network,
                    backend=backend,
                    precision=precision,
                    size=(width, height),
                    cache=EngineCache(folder),
                )
            )

        engines = {
            "road-unet, OpenVINO": engine(options.network, "openvino"),
            "road-unet, OpenVINO fp32": engine(options.network, "openvino", "fp32"),
            "road-unet, ONNX Runtime": engine(options.network, "onnxruntime", "fp32"),
            "SMP, ONNX Runtime": engine(smp_file, "onnxruntime", "fp32"),
            "SMP, OpenVINO": engine(smp_file, "openvino"),
        }
        modules = {
            "road-unet, PyTorch eager": own_eager,
            "SMP, PyTorch eager": smp_default,
            "SMP, PyTorch eager channels_last": smp_last,
            "SMP, PyTorch eager one thread": smp_last,
        }
        turns: dict[str, measuring.Turn] = {
            label: engine_turn(engines[label], frames, count)
            if label in engines
            else eager_turn(
                modules[label], frames, count, 1 if label.endswith("one thread") else threads
            )
            for label in LABELS
        }
        for turn in turns.values():  # first runs allocate: nobody's round pays for them
            turn()
        samples = measuring.interleave(turns, options.rounds)
        settings = {
            "job": "uint8 BGR frame (H, W, 3) to uint8 mask (H, W) of 2 classes, in host memory",
            "size": [width, height],
            "rounds": options.rounds,
            "frames_a_turn": count,
            "network": engines["road-unet, OpenVINO"].spec.name,
            "peers": LABELS,
            "smp": VERIFIED,
            "engines": {
                label: {
                    "precision": e.precision,
                    "frames_in_flight": e.depth,
                    "mode": e.mode,
                    "mask_stride": e.spec.mask_stride,
                }
                for label, e in engines.items()
            },
            "torch_threads": threads,
            "malloc": {key: os.environ.get(key) for key in _MALLOC},
            "gflop": {
                "road-unet": flops(own, width, height) / 1e9,
                "SMP": flops(smp, width, height) / 1e9,
            },
            "parameters": {"road-unet": parameters(own), "SMP": parameters(smp)},
        }
    return settings, samples


def _command(options: argparse.Namespace, given: list[str]) -> int:
    settings, samples = _measure(options)
    found = figures(samples)
    path = measuring.write_result(
        options.out, NAME, given, settings=settings, samples=samples, figures=found
    )
    best = found["best_of_road_unet"]
    rows = []
    for label in LABELS:
        times = found["ms_per_frame"][label]
        slower = found["times_slower_than_best"].get(label)
        rows.append(
            (
                label + (" (best)" if label == best else ""),
                f"{times['median']:.2f}",
                f"{times['p25']:.2f}–{times['p75']:.2f}",
                f"{slower['of_medians']:.2f}" if slower else "1",
            )
        )
    width, height = options.size
    measuring.print_table(
        f"{width}×{height}, 2 classes, frame to mask",
        ("", "ms a frame", "p25–p75", "times road-unet's best"),
        rows,
    )
    for name, bar in found["bars"].items():
        print(
            f"{name}: {bar['ratio']:.2f} (bar {bar['bar']:g}): "
            f"{'reached' if bar['reached'] else 'missed'}"
        )
    quiet = found["quiet"]
    print(f"{quiet['quiet_rounds']} of {quiet['rounds']} rounds were quiet; {path}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    p = measuring.parser(NAME, "Measure road-unet against its peers on the same job.")
    p.add_argument("--rounds", type=whole(1), default=15, metavar="N", help="default: 15")
    p.add_argument(
        "--frames", type=whole(1), default=20, metavar="N", help="frames a turn (default: 20)"
    )
    p.add_argument("--size", type=size, default=(512, 256), metavar="WxH", help="default: 512x256")
    p.add_argument("--network", default="road-unet", metavar="NAME|FILE.onnx")
    p.add_argument(
        "--malloc", choices=("default", "tuned"), default="default",
        help="tuned: glibc keeps freed memory, which favours PyTorch eager (default: default)",
    )  # fmt: skip
    options = p.parse_args(given)
    if options.malloc == "tuned" and any(os.environ.get(k) != v for k, v in _MALLOC.items()):
        # glibc reads these when a process starts.
        os.environ.update(_MALLOC)
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.peers", *given])
    return run(p.prog, lambda: _command(options, given))


if __name__ == "__main__":
    sys.exit(main())
