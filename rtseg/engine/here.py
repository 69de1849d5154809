"""What this machine runs engines with: what the key of a cached engine is compared to."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping

from rtseg.errors import BackendError


def facts_here(backends: Iterable[str]) -> dict[str, Mapping[str, str] | str]:
    """For each backend those facts of a key that this machine decides, or why it cannot run here."""
    return {backend: _facts(backend) for backend in backends}


def _facts(backend: str) -> Mapping[str, str] | str:
    if backend == "openvino":
        # The one core of this process: a second would take its signal stack with it.
        from rtseg.engine.openvino import the_core
        from rtseg.engine.untracked import ov

        device = str(the_core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
        return {"version": ov.get_version(), "device": device}
    if backend == "tensorrt":
        from rtseg.engine.tensorrt.bindings import find_gpu, import_tensorrt
        from rtseg.engine.tensorrt.builder import here

        try:
            return here(import_tensorrt(), find_gpu())
        except BackendError as error:
            return str(error)
    if backend == "torch-tensorrt":
        return _torch_tensorrt()
    return f"{backend or 'its backend'} is not known to this rtseg"


def _torch_tensorrt() -> Mapping[str, str] | str:
    from importlib.metadata import version

    if importlib.util.find_spec("torch_tensorrt") is None:
        return "torch-tensorrt is not installed"
    from rtseg.engine.tensorrt.bindings import find_gpu

    try:
        gpu = find_gpu()
    except BackendError as error:
        return str(error)
    return {
        "version": version("torch-tensorrt"),
        "torch": version("torch"),
        "device": gpu.name,
        "compute_capability": "{}.{}".format(*gpu.compute_capability),
    }
