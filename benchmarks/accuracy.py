"""How right a network is on every engine, and how far the engines agree.

Whole-set IoU from one confusion matrix, at the truth's own size: frames are resized for the network
(bilinear), masks back (nearest), void is left out. Agreement is the share of equal pixels in the
masks of 50 CamVid frames, against PyTorch's FP32 where the checkpoint is given, else against ONNX
Runtime's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import parser, print_table, write_result
from benchmarks.scoring import Labelled, Masks, class_table, drives, score
from rtseg.cli.arguments import names, run, size, whole
from rtseg.data.camvid import CamVid
from rtseg.data.labels import ROAD
from rtseg.engine import find_network, load
from rtseg.engine.siblings import sibling
from rtseg.errors import InputError
from rtseg.spec import Spec
from rtseg.video.images import pictures_of, read_kitti_road_truth

PROG = "python -m benchmarks.accuracy"


def _kitti(folder: Path) -> Iterator[Labelled]:
    for file in sorted(pictures_of(folder)):
        frame = cv2.imread(str(file), cv2.IMREAD_COLOR)
        truth = read_kitti_road_truth(file)
        if frame is None or truth is None:
            raise InputError(f"{file}: this picture or its truth in gt_image_2 cannot be read")
        yield frame.astype(np.uint8, copy=False), truth


def _torch_masks(checkpoint: Path) -> Masks:
    import torch

    from rtseg.engine.export import Contract, load_checkpoint

    model, _ = load_checkpoint(checkpoint)
    contract = Contract(model).eval()

    def masks(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with torch.inference_mode():
            found: NDArray[np.uint8] = contract(torch.from_numpy(frames)).numpy()
        return found

    return masks


def road(classes: Mapping[str, object]) -> str:
    """The key of the class road, however it is written."""
    return next(name for name in classes if name.lower() == "road")


def _engines(
    options: argparse.Namespace, size: tuple[int, int] | None, stack: ExitStack
) -> tuple[Spec, dict[str, Masks], str]:
    """Load the engines; returns what they take, their masks by name, and the name of the default."""
    engines: dict[str, Masks] = {}
    network = find_network(options.network)
    default = ""
    if options.checkpoint is not None:
        engines["torch fp32"] = _torch_masks(options.checkpoint)
    for backend, precision in (
        ("onnxruntime", "fp32"),
        ("openvino", "fp32"),
        ("openvino", None),
        ("onnxruntime", "fp16"),
        ("openvino", "int8"),
        ("onnxruntime", "int8"),
    ):
        if precision == "int8" and not sibling(network.path, precision).exists():
            continue
        engine = stack.enter_context(
            load(options.network, backend=backend, precision=precision, size=size)
        )
        name = f"{backend} {engine.precision}"
        engines[name] = engine.infer
        if precision is None:
            default = name
    return network.spec if size is None else network.spec.resized(*size), engines, default


def _at_size(options: argparse.Namespace, size: tuple[int, int] | None) -> dict[str, Any]:
    with ExitStack() as stack:
        spec, engines, default = _engines(options, size, stack)
        camvid = CamVid(options.camvid, "val", class_table(spec))
        sets = {
            "camvid_val": score(engines, spec, (camvid[i] for i in range(len(camvid)))),
            "held_out_drives": score(engines, spec, drives(spec)),
        }
        if options.kitti is not None:
            sets["kitti_road"] = score(engines, spec, _kitti(options.kitti), ROAD)
        chosen = np.linspace(0, len(camvid) - 1, min(options.frames, len(camvid))).astype(int)
        small = np.empty((len(chosen), spec.height, spec.width, 3), np.uint8)
        for slot, i in zip(small, chosen, strict=True):
            cv2.resize(camvid[i][0], (spec.width, spec.height), dst=slot)
        masks = {name: infer(small) for name, infer in engines.items()}
    reference = next(iter(engines))
    agreement = {name: float(np.mean(m == masks[reference])) for name, m in masks.items()}
    rows = [
        [
            name,
            *(f"{values[name]['miou']:.4f}" for values in sets.values()),
            *(f"{values[name]['iou'][road(values[name]['iou'])]:.4f}" for values in sets.values()),
            f"{agreement[name]:.4%}",
        ]
        for name in engines
    ]
    columns = [
        "engine",
        *(f"mIoU {name}" for name in sets),
        *(f"road {name}" for name in sets),
        f"agrees with {reference}",
    ]
    print_table(f"{spec.name} {spec.width}×{spec.height}", columns, rows)
    return {
        "size": [spec.width, spec.height],
        "default": default,
        "reference": reference,
        "agreement": agreement,
        **sets,
    }


def _measure(options: argparse.Namespace, given: list[str]) -> int:
    network = find_network(options.network).spec
    figures = [_at_size(options, size) for size in options.size]
    path = write_result(
        options.out,
        "accuracy",
        given,
        of=network.name,
        settings={"network": network.name, "classes": network.classes, "frames": options.frames},
        samples={},
        figures={"sizes": figures},
    )
    print(path)
    return 0


def _sizes(text: str) -> list[tuple[int, int]]:
    return [size(part) for part in names(text)]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    p = parser("accuracy", "Measure a network's accuracy on every engine, and their agreement.")
    p.add_argument("--network", default="road-unet", metavar="NAME", help="a network of the zoo")
    p.add_argument(
        "--size", type=_sizes, default=[None], metavar="WxH,…", help="default: the network's own"
    )
    p.add_argument("--camvid", type=Path, required=True, metavar="DIR", help="SegNet split")
    p.add_argument("--kitti", type=Path, metavar="DIR", help="KITTI road's training folder")
    p.add_argument("--checkpoint", type=Path, metavar="FILE", help="to compare PyTorch, too")
    p.add_argument("--frames", type=whole(1), default=50, metavar="N", help="of the agreement")
    options = p.parse_args(given)
    return run(PROG, lambda: _measure(options, given))


if __name__ == "__main__":
    sys.exit(main())
