"""``python -m benchmarks.int8_modelopt``: the zoo in INT8 by NVIDIA's modelopt, to be measured.

Quantises the same layers on the same frames as ``benchmarks.int8``, by
``modelopt.onnx.quantization``, and writes ``NAME.int8.onnx`` with the network's spec, for
``python -m benchmarks.int8 --beside modelopt=DIR``. It is run in a Python of its own: modelopt
(``pip install "nvidia-modelopt[onnx]"``) asks for versions of ONNX and ONNX Runtime that are older
than rtseg's.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.int8 import add_arguments, training_frames
from rtseg.atomic import write_atomically
from rtseg.cli.arguments import Parser, run
from rtseg.errors import UsageError

PROG = "python -m benchmarks.int8_modelopt"


def _quantise(name: str, options: argparse.Namespace) -> bytes:
    import cv2
    import numpy as np
    import onnx
    from modelopt.onnx.quantization import quantize

    from benchmarks.scoring import class_table
    from rtseg import spec as specification
    from rtseg.engine import find_network
    from rtseg.engine.quantise import name_nodes, outer_nodes

    network = find_network(name)
    spec = network.spec
    model = onnx.load(str(network.path))
    name_nodes(model.graph)
    size = (spec.width, spec.height)
    pictures = training_frames(options, class_table(spec))
    frames = np.stack([cv2.resize(picture, size) for picture in pictures])
    with tempfile.TemporaryDirectory() as folder:
        named, made = Path(folder) / "named.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, str(named))
        quantize(
            str(named),
            calibration_data={model.graph.input[0].name: frames},
            calibration_method=options.method,
            calibration_eps=["cpu"],
            nodes_to_exclude=[f"^{re.escape(node)}$" for node in outer_nodes(model.graph)],
            high_precision_dtype="fp32",
            output_path=str(made),
            log_level="WARNING",
        )
        quantised = onnx.load(str(made))
    versions = {**spec.versions, "modelopt": importlib.metadata.version("nvidia-modelopt")}
    own = replace(spec, precision="int8", measured={}, versions=versions)
    quantised.metadata_props.add(key=specification.KEY, value=own.to_json())
    content: bytes = quantised.SerializeToString()
    return content


def _command(options: argparse.Namespace) -> int:
    try:
        import modelopt.onnx.quantization  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"modelopt cannot be imported ({error}): pip install 'nvidia-modelopt[onnx]'"
        ) from error
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.network:
        path = options.out / f"{name}.int8.onnx"
        write_atomically(path, _quantise(name, options))
        print(path)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    p = Parser(PROG, "Quantise networks of the zoo by NVIDIA's modelopt.")
    add_arguments(p)
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="NAME.int8.onnx")
    p.add_argument(
        "--method", choices=("entropy", "max"), default="entropy",
        help="how ranges are chosen (default: entropy, modelopt's own)",
    )  # fmt: skip
    options = p.parse_args(arguments)
    return run(PROG, lambda: _command(options))


if __name__ == "__main__":
    sys.exit(main())
