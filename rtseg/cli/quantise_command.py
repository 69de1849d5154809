"""``rtseg-compile NETWORK --int8 FOLDER``: the network file in INT8, calibrated on pictures."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rtseg.errors import BackendError, UsageError, require_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rtseg.spec import NetworkFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--int8`` and ``--calibration-frames``."""
    from rtseg.cli.arguments import whole

    group = parser.add_argument_group("INT8")
    group.add_argument(
        "--int8",
        type=Path,
        metavar="FOLDER",
        help="quantise the network file for INT8, with the ranges of the pictures in FOLDER (some of "
        "those that it was trained on), and stop; --out FILE.onnx (default: NAME.int8.onnx)",
    )
    group.add_argument(
        "--calibration-frames",
        type=whole(1),
        default=100,
        metavar="N",
        help="pictures taken, spread over the folder (default: 100)",
    )


def quantise(options: argparse.Namespace, prog: str) -> int:
    """Write the INT8 network file of ``options.network``; returns the exit status.

    Its masks of ``options.frames`` of the pictures are compared with the FP32 file's first: a file
    below :data:`rtseg.engine.parity.LEAST_INT8` is refused. Reads ``network``, ``int8``,
    ``calibration_frames``, ``frames``, ``size``, ``measured`` and ``out``.
    """
    if Path(options.network).suffix == ".safetensors":
        raise UsageError(
            f"--int8: {options.network} is a checkpoint: export it first, with rtseg-compile "
            f"{options.network}, then quantise the network file"
        )
    require_extra("quantising", "int8", "nncf", "onnx", "onnxruntime")
    from rtseg.atomic import require_writable, write_atomically
    from rtseg.cli.compile_export import read_measured
    from rtseg.cli.compile_progress import BuildProgress
    from rtseg.engine import find_network
    from rtseg.engine.parity import LEAST_INT8
    from rtseg.engine.quantise import quantise as quantise_network
    from rtseg.engine.siblings import sibling

    network = find_network(options.network)
    # Beside a file of one's own; a network of the zoo lies where rtseg is installed.
    beside = Path(options.network).suffix.lower() == ".onnx"
    out = sibling(network.path if beside else Path(f"{network.spec.name}.onnx"), "int8")
    if options.out is not None:
        out = options.out
        if out.suffix.lower() != ".onnx":
            raise UsageError(f"--out {out}: a network file ends in .onnx")
    require_writable(out)
    measured = read_measured(options.measured)
    if options.size is not None:
        network = replace(network, spec=network.spec.resized(*options.size))
    pictures = _Pictures(options.int8, options.calibration_frames)
    with BuildProgress(prog, f"{network.spec.name} in INT8") as progress:
        content = quantise_network(network, pictures, measured=measured, on_progress=progress)
    checked = _Pictures(options.int8, options.frames)
    share = _agreement(network, content, checked)
    print(
        f"agrees with onnxruntime fp32 on {share:.4%} of the pixels of {len(checked)} pictures",
        flush=True,
    )
    if not share >= LEAST_INT8:
        raise BackendError(
            f"{network.spec.name}: in INT8 only {share:.2%} of the pixels are those of FP32, at least "
            f"{LEAST_INT8:.0%} are needed: nothing written: are the pictures in {options.int8} like "
            "those that it was trained on?"
        )
    write_atomically(out, content)
    print(
        f"{out}: network file of INT8, ranges of {len(pictures)} pictures, "
        f"{len(content) / 1e6:.1f} MB"
    )
    return 0


class _Pictures:
    """Up to ``count`` of a folder's pictures, evenly spread, each read when its turn comes."""

    def __init__(self, folder: Path, count: int) -> None:
        from rtseg.video.images import pictures_of

        files = sorted(pictures_of(folder))
        count = min(count, len(files))
        self._files = [files[i * len(files) // count] for i in range(count)]

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        from rtseg.data.pictures import read_picture

        return map(read_picture, self._files)


def _agreement(network: NetworkFile, content: bytes, pictures: _Pictures) -> float:
    """The share of pixels on which the INT8 file agrees with the FP32 one, on ONNX Runtime."""
    from rtseg.engine.onnxruntime import ONNXRuntimeEngine
    from rtseg.engine.parity import agreement
    from rtseg.spec import read_network

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantised.int8.onnx"
        path.write_bytes(content)
        with (
            ONNXRuntimeEngine(read_network(path), "int8", "throughput") as quantised,
            ONNXRuntimeEngine(network, "fp32", "throughput") as reference,
        ):
            return agreement(quantised, reference, pictures)
