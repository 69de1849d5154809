"""The GPU itself: whether there is one, its name and clocks, and how long it works on a frame."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

from rtseg.engine import Engine
from rtseg.errors import BackendError

Timer = Callable[[int], tuple[list[float], float]]
"""Takes a number of runs; gives the milliseconds of each alone, and of one where all follow at once."""

_FACTS = ("name", "compute_cap", "driver_version", "memory.total", "power.limit",
          "clocks.max.sm", "clocks.max.mem", "vbios_version", "pstate")  # fmt: skip
_STATE = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu", "utilization.gpu",
          "clocks_throttle_reasons.active")  # fmt: skip

PACKAGES = ("tensorrt", "tensorrt-cu11", "tensorrt-cu12", "tensorrt-cu13", "pycuda", "cuda-python",
            "cuda-bindings", "torch-tensorrt", "triton", "onnxruntime-gpu", "nvidia-cudnn-cu12",
            "nvidia-cudnn-cu13", "safetensors", "matplotlib")  # fmt: skip


def _smi(fields: tuple[str, ...]) -> dict[str, str]:
    """What nvidia-smi says of the first GPU; empty where it is missing or does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, "-i", "0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = done.stdout.splitlines()
    values = [value.strip() for value in lines[0].split(",")] if lines else []
    return dict(zip(fields, values, strict=True)) if len(values) == len(fields) else {}


def state() -> dict[str, str]:
    """Clocks, power draw, temperature and what slows the clocks down, now."""
    return _smi(_STATE)


def torch_with_cuda() -> Any | None:
    """PyTorch, where it is installed and sees a GPU."""
    try:
        torch = importlib.import_module("torch")
    except Exception:  # a broken installation is none
        return None
    return torch if torch.cuda.is_available() else None


def facts() -> dict[str, Any]:
    """Name, compute capability, driver, CUDA and versions; empty where no GPU can be used.

    ``unusable`` says why, where nvidia-smi shows a GPU that neither pycuda nor PyTorch can reach.
    """
    found: dict[str, Any] = {"nvidia_smi": _smi(_FACTS)}
    cuda: dict[str, str] = {}
    reasons = []
    try:
        from rtseg.engine.tensorrt.bindings import find_gpu
        from rtseg.engine.tensorrt.driver import load_driver

        gpu = find_gpu()
        found["name"] = gpu.name
        found["compute_capability"] = "{}.{}".format(*gpu.compute_capability)
        cuda["pycuda"] = ".".join(map(str, load_driver().get_version()))
        cuda["driver"] = f"{gpu.driver // 1000}.{gpu.driver % 1000 // 10}"
    except BackendError as error:
        reasons.append(f"pycuda: {error}")
    torch = torch_with_cuda()
    if torch is None:
        reasons.append("torch: not installed, or without CUDA")
    else:
        found["name"] = str(torch.cuda.get_device_name(0))
        found["compute_capability"] = "{}.{}".format(*torch.cuda.get_device_capability(0))
        cuda["torch"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())
        found["tf32"] = {
            "matmul": bool(torch.backends.cuda.matmul.allow_tf32),
            "cudnn": bool(torch.backends.cudnn.allow_tf32),
        }
    if "name" not in found:
        return {"unusable": "; ".join(reasons), **found} if found["nvidia_smi"] else {}
    return {**found, "cuda": cuda, "packages": packages()}


def packages() -> dict[str, str]:
    """The versions of what a GPU is reached by, where installed."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def timer(engine: Engine) -> Timer | None:
    """Give what times an engine's work on its device by events; None where it cannot be seen.

    The time is that of the network and of the mask's way down; the frame is there already.
    """
    own: Timer | None = getattr(engine, "device_times", None)
    if own is not None:
        return own if getattr(engine, "device", "CPU") != "CPU" else None
    if engine.backend == "tensorrt":
        return _tensorrt(engine)
    return None


def _tensorrt(engine: Any) -> Timer:
    slot, gpu = engine.slots[0], engine.gpu
    held = gpu.hold()
    start, end = held.event(timing=True), held.event(timing=True)

    def times(count: int) -> tuple[list[float], float]:
        alone = []
        with gpu.current():
            for _ in range(count):
                start.record(slot.stream)
                slot.enqueue()
                end.record(slot.stream)
                end.synchronize()
                alone.append(float(end.time_since(start)))
            start.record(slot.stream)
            for _ in range(count):
                slot.enqueue()
            end.record(slot.stream)
            end.synchronize()
            return alone, float(end.time_since(start)) / count

    return times
