"""Power, clocks and temperature of an NVIDIA GPU, sampled by ``nvidia-smi`` beside a measurement."""

from __future__ import annotations

import math
import os
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

_FACTS = (
    "name",
    "driver_version",
    "power.limit",
    "clocks.max.sm",
    "clocks.max.mem",
    "memory.total",
)
_STATE = ("power.draw", "clocks.sm", "clocks.mem", "temperature.gpu")
_EVERY_MS = 100

SETTLING = 1.2
"""Seconds until ``power.draw`` is that of a new load: since Ampere it is the mean of one second."""


@dataclass(frozen=True)
class Sample:
    """The GPU at a time of ``time.perf_counter``; NaN for what it does not tell."""

    at: float
    watts: float
    clock_sm_mhz: float
    clock_memory_mhz: float
    temperature_c: float


def _program() -> list[str] | None:
    """The start of a command line for the GPU that CUDA's programs use first; None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    # An index or a UUID: nvidia-smi takes either.
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    return [program, "-i", first]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # [N/A], [Not Supported]
        return math.nan


def gpu_facts() -> dict[str, str] | None:
    """Return the GPU's name, driver, limits and memory; None where nvidia-smi finds no GPU."""
    start = _program()
    if start is None:
        return None
    command = [*start, f"--query-gpu={','.join(_FACTS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    values = [value.strip() for value in done.stdout.partition("\n")[0].split(",")]
    return dict(zip(_FACTS, values, strict=True)) if len(values) == len(_FACTS) else None


class Sampler:
    """Samples ten times a second from construction to :meth:`close`; without a GPU there are none."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._process: subprocess.Popen[str] | None = None
        start = _program()
        if start is None:
            return
        query = f"--query-gpu={','.join(_STATE)}"
        command = [*start, query, "--format=csv,noheader,nounits", f"--loop-ms={_EVERY_MS}"]
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:
            return
        self._thread = threading.Thread(target=self._read, name="rtseg-nvidia-smi", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            values = [_number(part.strip()) for part in line.split(",")]
            if len(values) == len(_STATE):
                self._samples.append(Sample(time.perf_counter(), *values))

    def between(self, start: float, end: float) -> list[Sample]:
        """Return the samples of a span of ``time.perf_counter``."""
        return [sample for sample in self._samples if start <= sample.at <= end]

    def close(self) -> None:
        """End it. Safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._thread.join()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def summed_up(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the mean power (watts) and the median clocks and temperature, None if not told."""

    def known(name: str) -> list[float]:
        values = [float(getattr(sample, name)) for sample in samples]
        return [value for value in values if math.isfinite(value)]

    watts = known("watts")
    found: dict[str, Any] = {
        "samples": len(samples),
        "watts": statistics.fmean(watts) if watts else None,
    }
    for name in ("clock_sm_mhz", "clock_memory_mhz", "temperature_c"):
        values = known(name)
        found[name] = statistics.median(values) if values else None
    return found
