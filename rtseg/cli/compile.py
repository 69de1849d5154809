"""``rtseg-compile``: checkpoint → network file → engine, with the parity check."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rtseg.cli.arguments import Parser, run, size, whole
from rtseg.errors import BackendError, UsageError, require_extra

if TYPE_CHECKING:
    from rtseg.engine import Engine

PROG = "rtseg-compile"
_EPILOG = """\
A checkpoint (.safetensors, from training) is first exported as a network file, which needs the
train extra. A network file or a network of the zoo is compiled into this machine's engine cache,
and its masks are compared with an FP32 reference: below 99 % agreement it is refused.

  rtseg-compile road-unet
  rtseg-compile road-unet --backend onnxruntime --size 1024x512
  rtseg-compile runs/road-unet/best.safetensors --out road-unet.onnx --name road-unet"""


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Make a network file of a checkpoint, and an engine of a network.", _EPILOG)
    p.add_argument("network", help="a network of the zoo, a network file, or a checkpoint")
    p.add_argument("--spec", action="store_true", help="print the network's spec as JSON, and stop")

    engine = p.add_argument_group("engine")
    engine.add_argument("--backend", metavar="NAME", help="openvino (default) or onnxruntime")
    engine.add_argument("--precision", metavar="NAME", help="fp32, fp16 or bf16 (default: fastest)")
    engine.add_argument("--size", type=size, metavar="WxH", help="the network's input size")
    engine.add_argument(
        "--frames", type=whole(1), default=20, metavar="N", help="of the parity check (default: 20)"
    )

    file = p.add_argument_group("network file, from a checkpoint")
    file.add_argument(
        "--out", type=Path, metavar="FILE.onnx", help="default: beside the checkpoint"
    )
    file.add_argument("--half", action="store_true", help="FP16 weights and arithmetic")
    file.add_argument(
        "--mask-at-stride", action="store_true", help="masks at the logits' stride, not full size"
    )
    file.add_argument("--name", help="the network's name (default: the file's)")
    file.add_argument("--training-data", default="", metavar="TEXT")
    file.add_argument("--recipe", default="", metavar="TEXT")
    file.add_argument("--licence", default="", metavar="TEXT")
    file.add_argument(
        "--measured", type=Path, metavar="FILE.json", help="measured accuracy: names and numbers"
    )
    return p


def _export(options: argparse.Namespace) -> Path:
    """Make the network file of a checkpoint; returns its path."""
    require_extra("exporting a checkpoint", "train", "torch", "onnx", "onnxscript", "safetensors")
    from rtseg.atomic import require_writable
    from rtseg.engine.export import export, load_checkpoint

    checkpoint = Path(options.network)
    out: Path = options.out or checkpoint.with_suffix(".onnx")
    if out.suffix.lower() != ".onnx":
        raise UsageError(f"--out {out}: a network file ends in .onnx")
    require_writable(out)
    measured = {}
    if options.measured is not None:
        try:
            measured = {
                str(k): float(v) for k, v in json.loads(options.measured.read_text()).items()
            }
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"--measured {options.measured}: not a JSON object of names and numbers: {error}"
            ) from error
    model, spec = load_checkpoint(checkpoint)
    spec = replace(
        spec,
        name=options.name or out.name.split(".")[0],
        training_data=options.training_data,
        recipe=options.recipe,
        licence=options.licence,
        measured=measured,
    )
    if options.size is not None:
        spec = spec.resized(*options.size)
    export(model, spec, out, half=options.half, full_size=not options.mask_at_stride)
    print(f"{out}: network file, {out.stat().st_size / 1e6:.1f} MB")
    return out


def _compile(options: argparse.Namespace) -> int:
    from rtseg.spec import describe

    name: str | Path = options.network
    if Path(options.network).suffix == ".safetensors":
        name = _export(options)
    from rtseg.engine import find_network, load
    from rtseg.engine.parity import LEAST, agreement, rendered_frames

    network = find_network(name)
    if options.spec:
        print(json.dumps(describe(network.spec), indent=1, ensure_ascii=False))
        return 0
    start = time.perf_counter()
    with load(
        name, backend=options.backend, precision=options.precision, size=options.size
    ) as engine:
        seconds = time.perf_counter() - start
        with load(
            name, backend=_reference(engine), precision="fp32", size=options.size
        ) as reference:
            frames = rendered_frames(engine.spec.width, engine.spec.height, options.frames)
            share = agreement(engine, reference, frames)
    spec = engine.spec
    how = "compiled" if engine.built else "taken from the cache"
    print(
        f"{spec.name} {spec.width}x{spec.height}: {engine.backend} {engine.precision} on "
        f"{engine.device}, {how} in {seconds:.2f} s"
    )
    print(
        f"parity with {reference.backend} {reference.precision}: {share:.4%} of the pixels of "
        f"{options.frames} frames"
    )
    if not share >= LEAST:
        raise BackendError(
            f"{spec.name}: only {share:.2%} of the pixels agree with {reference.backend} "
            f"{reference.precision}, {LEAST:.0%} are needed: use --precision fp32"
        )
    return 0


def _reference(engine: Engine) -> str:
    """The backend to compare with: another program where it can run this file in FP32.

    ONNX Runtime runs a file at the file's own precision; OpenVINO can run any in FP32.
    """
    fp32 = engine.spec.precision == "fp32"
    other = engine.backend == "openvino" and importlib.util.find_spec("onnxruntime") is not None
    return "onnxruntime" if fp32 and other else "openvino"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return run(PROG, lambda: _compile(options))


if __name__ == "__main__":
    sys.exit(main())
