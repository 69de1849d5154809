"""The backends: what each needs and can do, and whether this machine has it, told in a moment."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass

from rtseg.errors import BackendError

BACKENDS = ("tensorrt", "torch-tensorrt", "openvino", "onnxruntime")
"""The fastest first: the order in which :func:`rtseg.load` tries them."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class Backend:
    """What there is to know of a backend without importing it.

    ``modules`` are those that ``extra`` installs, ``precisions`` what it can be asked for.
    """

    title: str
    extra: str
    modules: tuple[str, ...]
    precisions: tuple[str, ...]
    on_gpu: bool = False


KNOWN: dict[str, Backend] = {
    "openvino": Backend("OpenVINO", "rtseg", ("openvino",), ("fp32", "fp16", "bf16", "int8")),
    "onnxruntime": Backend(
        "ONNX Runtime", "rtseg[onnxruntime]", ("onnxruntime",), ("fp16", "fp32", "int8")
    ),
    "tensorrt": Backend(
        "TensorRT", "rtseg[tensorrt]", ("tensorrt", "pycuda"), ("fp16", "fp32", "int8"), True
    ),
    "torch-tensorrt": Backend(
        "torch-tensorrt", "rtseg[torch-tensorrt]", ("torch_tensorrt", "torch"), ("fp16", "fp32"), True
    ),
}  # fmt: skip


def installed(known: Backend) -> bool:
    """Whether the modules of a backend are there; none is imported."""
    return all(map(_has, known.modules))


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module that something has put there without a spec
        return module in sys.modules


def fault(known: Backend, precision: str | None) -> str:
    """Why a backend that is installed cannot run here, as far as can be told at once; or nothing."""
    if precision is not None and precision not in known.precisions:
        return f"precision {precision}: {known.title} runs {' or '.join(known.precisions)}"
    if known.title == "TensorRT":
        from rtseg.engine.tensorrt.driver import load_driver

        try:
            load_driver()
        except BackendError as error:
            return str(error)
    elif known.on_gpu:
        from rtseg.engine.torch_tensorrt import gpu_fault

        return gpu_fault()
    return ""
