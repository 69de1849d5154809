"""``rtseg-compile`` of a checkpoint: the network files."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rtseg.errors import UsageError, require_extra


def export_checkpoint(options: argparse.Namespace) -> Path:
    """Make the network file of a checkpoint, or both where the engine needs FP16; return its path.

    ``X.onnx``, or with ``--half`` ``X.fp16.onnx``, beside the checkpoint or where ``--out`` says. A
    strongly typed engine of FP16 needs the FP16 file, and its parity check the FP32 one.
    """
    require_extra("exporting a checkpoint", "train", "torch", "onnx", "onnxscript", "safetensors")
    from rtseg.atomic import require_writable
    from rtseg.engine.export import export, load_checkpoint
    from rtseg.engine.siblings import sibling

    checkpoint = Path(options.network)
    precision = "fp16" if options.half else "fp32"
    out = sibling(checkpoint.with_suffix(".onnx"), precision)
    if options.out is not None and options.out.suffix.lower() != ".engine":
        out = options.out
        if out.suffix.lower() != ".onnx":
            raise UsageError(f"--out {out}: a network file ends in .onnx")
    require_writable(out)
    measured = read_measured(options.measured)
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
    files = {out: options.half}
    if options.backend == "tensorrt" and options.precision in (None, "fp16") and not options.half:
        files[sibling(out, "fp16")] = True
    for path, half in files.items():
        export(model, spec, path, half=half, full_size=not options.mask_at_stride)
        print(f"{path}: network file, {path.stat().st_size / 1e6:.1f} MB")
    return out


def read_measured(path: Path | None) -> dict[str, float]:
    """What ``--measured`` says; ``UsageError`` where that is no JSON object of numbers."""
    if path is None:
        return {}
    try:
        return {str(k): float(v) for k, v in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--measured {path}: not a JSON object of names and numbers: {error}"
        ) from error
