"""Import PyPI's torchvision beside a CPU build of torch, for measurements alone.

PyPI's torchvision for Linux is built against a torch with CUDA. Beside a CPU build its compiled part
does not load, and its Python part then fails on import, since it describes operators that the
compiled part would have declared. Declared here, without an implementation, are the two that it
asks for. Networks of plain PyTorch layers, such as torchvision's MobileNetV2 and with it
segmentation_models.pytorch, then work in full; whatever calls one of these operators (detection)
fails, as it should. The package itself does no such thing: there a torchvision that does not fit is
told as what it is.

``python -m benchmarks.torchvision_on_cpu MODULE ARGUMENTS…`` runs a module after that.
"""

from __future__ import annotations

import contextlib
import importlib.util
import runpy
import sys
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[Any] = []  # a library's declarations end with it


def make_importable() -> None:
    """Declare the operators, if torchvision is installed and does not import without them."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
        return
    except (ImportError, RuntimeError):
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    import torch

    make: Any = torch.library.Library
    library = make("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _kept.append(library)
    # Where it still fails, whoever imports it is told.
    with contextlib.suppress(ImportError, RuntimeError):
        importlib.import_module("torchvision")


if __name__ == "__main__":
    make_importable()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
