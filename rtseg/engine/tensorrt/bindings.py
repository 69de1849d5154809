"""TensorRT's Python bindings, imported when they are needed, or one line that says what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import re
from collections.abc import Callable
from typing import Any, Literal, cast

from rtseg.engine.tensorrt.driver import load_driver
from rtseg.engine.tensorrt.log import make_log
from rtseg.engine.tensorrt.options import Gpu
from rtseg.errors import BackendError, one_line

log = logging.getLogger("rtseg")

Generation = Literal[8, 10, 11]
"""What differs between TensorRT versions here. 8 is 8.6; versions after 11 are taken as 11."""

_NEEDED = ("Builder", "Runtime", "OnnxParser", "IBuilderConfig", "ILogger", "BuilderFlag")


def import_tensorrt() -> Any:
    """Import ``tensorrt``, with a driver that it can run on.

    ``BackendError`` where there is no driver, no GPU, a driver too old, no TensorRT, a broken one, or
    a version that is not supported: in this order, so that TensorRT itself never meets a machine
    without a GPU, on which it says only that a factory function returned nullptr.
    """
    cuda = load_driver()
    try:
        trt = importlib.import_module("tensorrt")
    except ModuleNotFoundError as error:
        if error.name == "tensorrt":
            raise BackendError(
                "TensorRT is not installed: pip install 'rtseg[tensorrt]'"
            ) from error
        raise _broken(one_line(error)) from error
    except Exception as error:  # a library that cannot be loaded is an ImportError, or an OSError
        raise _broken(one_line(error)) from error
    if any(not hasattr(trt, name) for name in _NEEDED):
        # torch-tensorrt without TensorRT puts a stand-in in its place.
        raise _broken("its module lacks the builder and the runtime")
    generation(trt)
    needed = _cuda_of_installation()
    supported = int(cuda.get_driver_version()) // 1000
    if needed is not None and supported < needed:
        raise BackendError(
            f"the NVIDIA driver is too old for TensorRT {version(trt)}: it supports CUDA "
            f"{supported}, CUDA {needed} is needed: update the driver, or pip install "
            f"tensorrt-cu{supported}"
        )
    return trt


def _broken(what: str) -> BackendError:
    return BackendError(
        f"TensorRT is installed but cannot be loaded: {what}: "
        "pip install --force-reinstall 'rtseg[tensorrt]'"
    )


def version(trt: Any) -> str:
    """The version of the module, such as ``10.16.1.11``."""
    return str(trt.__version__)


def generation(trt: Any) -> Generation:
    """The generation of the module; ``BackendError`` for versions that are not supported."""
    numbers = re.findall(r"\d+", version(trt))[:2]
    major, minor = (int(n) for n in (*numbers, "0", "0")[:2])
    if major >= 11:
        return 11
    if major == 10 or (major == 8 and minor >= 6):
        return cast(Generation, major)
    raise BackendError(
        f"TensorRT {version(trt)} is not supported: install 8.6, 10 or 11, "
        "such as pip install 'tensorrt>=10'"
    )


def _cuda_of_installation() -> int | None:
    """The CUDA major version that the installed TensorRT is built for, where its name tells it."""
    for cuda in range(11, 16):
        for part in ("", "_bindings", "_libs"):
            try:
                importlib.metadata.distribution(f"tensorrt_cu{cuda}{part}")
            except importlib.metadata.PackageNotFoundError:
                continue
            return cuda
    return None


def create(trt: Any, kind: Callable[..., Any], *arguments: Any) -> Any:
    """Make one of TensorRT's objects; ``BackendError`` with TensorRT's own words where it cannot.

    ``create(trt, trt.Runtime, make_log(trt))`` and the like.
    """
    messages = make_log(trt)
    messages.take_errors()
    try:
        made = kind(*arguments)
    except (TypeError, RuntimeError) as error:  # "factory function returned nullptr"
        made = None
        cause: Exception | None = error
    else:
        cause = None
    if made is not None:
        if kind is trt.Runtime:
            # Version-compatible plans hold a runtime of their own; they are from our own cache.
            made.engine_host_code_allowed = True
        return made
    said = "; ".join(messages.take_errors())
    what = getattr(kind, "__name__", "object")
    raise BackendError(
        f"TensorRT {version(trt)} cannot make its {what} on this machine"
        f"{f': {said}' if said else ''}: check the driver with nvidia-smi"
    ) from cause


def find_gpu(index: int = 0) -> Gpu:
    """Describe a GPU; errors as in :func:`rtseg.engine.tensorrt.driver.load_driver`."""
    cuda = load_driver()
    device = cuda.Device(index)
    major, minor = device.compute_capability()
    return Gpu(
        name=str(device.name()),
        compute_capability=(int(major), int(minor)),
        driver=int(cuda.get_driver_version()),
        uuid=str(device.pci_bus_id()),
    )
