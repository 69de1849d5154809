"""What a measurement was made on: the machine, the versions, who else used it, and memory."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import sys
from pathlib import Path
from typing import Any

from rtseg.engine.machine import usable_cores

_PACKAGES = (
    "rtseg", "numpy", "opencv-python", "opencv-python-headless", "openvino", "onnxruntime", "onnx",
    "onnxscript", "torch", "torchvision", "segmentation-models-pytorch", "tensorrt", "pycuda",
    "torch-tensorrt", "nncf", "av", "rich",
)  # fmt: skip

QUIET_SHARE = 0.05
"""A round is quiet when others, the hypervisor included, took less than this share of the cores."""

_PROCESS = Path("/proc/self")


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores, memory, kernel; None for what cannot be told."""
    model = platform.processor() or platform.machine()
    flags: list[str] = []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        told: dict[str, str] = {}
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            told[key.strip()] = value.strip()
        model = told.get("model name", model)
        wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
        flags = [flag for flag in wanted if flag in told.get("flags", "").split()]
    memory: float | None = None
    load: list[float] | None = None
    try:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
        load = [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError, ValueError):  # not on Windows
        pass
    return {
        "processor": model,
        "vector_extensions": flags,
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_gib": memory,
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average": load,
    }


def versions() -> dict[str, str]:
    """Tell the versions of Python and of every package that takes part, where installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class OthersClock:
    """Tells which share of the cores others use: all busy and stolen time less this process's own.

    Children of this process count as its own once they have been waited for. NaN where the kernel
    has no ``/proc/stat``.
    """

    def __init__(self) -> None:
        self._last = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float]:
        try:
            with Path("/proc/stat").open(encoding="ascii") as file:
                ticks = [int(text) for text in file.readline().split()[1:9]]
        except OSError:
            return math.nan, math.nan, math.nan
        user, nice, system, idle, iowait, irq, softirq, steal = ticks
        hertz = os.sysconf("SC_CLK_TCK")
        busy = (user + nice + system + irq + softirq + steal) / hertz
        own = os.times()
        return busy, busy + (idle + iowait) / hertz, sum(own[:4])

    def lap(self) -> float:
        """Return the others' share (0–1) since the last call."""
        now = self._read()
        busy, total, own = (b - a for a, b in zip(self._last, now, strict=True))
        self._last = now
        if not total > 0:
            return math.nan
        return min(1.0, max(0.0, (busy - own) / total))


def memory_mib() -> tuple[float | None, float | None]:
    """Return this process's resident memory and its peak since :func:`forget_peak`, in MiB.

    Where the kernel has no ``/proc`` (macOS) the first is None and the second the peak since the
    process began; on Windows both are None.
    """
    try:
        lines = (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines()
        told = dict(line.split(":", 1) for line in lines if ":" in line)
        resident, peak = (int(told[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
        return resident, peak
    except (OSError, KeyError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None, None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return None, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def forget_peak() -> bool:
    """Let the peak of :func:`memory_mib` begin anew; False where the kernel cannot do that."""
    try:
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")  # proc(5)
    except OSError:
        return False
    return True


class EnergyCounter:
    """What the processor's packages have used, by Linux's RAPL counters, where they can be read.

    Most systems let nobody but root read them. The counters see the whole processor: who else uses
    it is in the figure.
    """

    def __init__(self, folder: Path = Path("/sys/class/powercap")) -> None:
        self._zones: list[tuple[Path, int, int]] = []
        for zone in sorted(folder.glob("*-rapl:*")):
            if zone.name.count(":") > 1:  # a part of another zone
                continue
            try:
                turns_at = int((zone / "max_energy_range_uj").read_text())
                self._zones.append((zone / "energy_uj", turns_at, self._read(zone / "energy_uj")))
            except (OSError, ValueError):
                continue

    @staticmethod
    def _read(file: Path) -> int:
        return int(file.read_text())

    def lap(self) -> float | None:
        """Return the joules since the last call, or since construction; None if unknown."""
        if not self._zones:
            return None
        used, zones = 0, []
        try:
            for file, turns_at, before in self._zones:
                now = self._read(file)
                used += now - before if now >= before else now - before + turns_at
                zones.append((file, turns_at, now))
        except (OSError, ValueError):
            self._zones = []
            return None
        self._zones = zones
        return used / 1e6
