"""The backends: what each needs and can do, and whether this machine has it, told in a moment."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass

from rtseg.errors import BackendError, UsageError

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


def gpu_index(device: str | None) -> int | None:
    """Return which GPU ``CUDA:1``, or just ``1``, is; None for ``CPU`` and for no device.

    ``UsageError`` for what is no device.
    """
    if device is None or device.upper() == "CPU":
        return None
    match = re.fullmatch(r"(?:cuda:)?(\d{1,3})", device, re.IGNORECASE)
    if match is None:
        raise UsageError(f"unknown device {device!r}: CPU, or CUDA:0, CUDA:1 ... for NVIDIA GPUs")
    return int(match[1])


def elsewhere(known: Backend, device: str | None) -> str:
    """Why a backend does not run on a device that was asked for; or nothing."""
    index = gpu_index(device)
    if device is None or known.on_gpu == (index is not None):
        # torch-tensorrt's engines are of the process's first GPU.
        if index and known.title == "torch-tensorrt":
            return f"device {device}: {known.title} runs on CUDA:0, see CUDA_VISIBLE_DEVICES"
        return ""
    return f"device {device}: {known.title} runs on {'NVIDIA GPUs' if known.on_gpu else 'the CPU'}"


def fault(known: Backend, precision: str | None, probability: bool = False) -> str:
    """Why a backend that is installed cannot run here, as far as can be told at once; or nothing."""
    if precision is not None and precision not in known.precisions:
        return f"precision {precision}: {known.title} runs {' or '.join(known.precisions)}"
    if probability and known.on_gpu:
        return "it gives no road probability: take --backend openvino or onnxruntime"
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
