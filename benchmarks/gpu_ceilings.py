"""The machine's two ceilings, measured in the same run: bytes a second, and operations a second.

A copy of a block far larger than any cache, bytes read plus bytes written; and a large product of
two matrices of random numbers (zeros would run faster than any real data). The fastest of several
runs counts, since a ceiling is what the machine can reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu_device import torch_with_cuda
from rtseg.errors import one_line

RUNS = 10


def measure(kind: str, *, quick: bool = False) -> dict[str, Any]:
    """Measure both; what cannot be measured is missing, and ``missing`` says why.

    ``bytes_per_second``, ``bytes_by``; ``operations_per_second`` by precision (``fp16``, ``tf32``,
    ``fp32``, ``bf16``), ``operations_by``.
    """
    found: dict[str, Any] = {"operations_per_second": {}, "missing": []}
    torch = torch_with_cuda() if kind == "gpu" else None
    if torch is not None:
        steps: list[Callable[[dict[str, Any]], None]] = [
            lambda f: _torch_copy(torch, f, quick),
            lambda f: torch.cuda.empty_cache(),
            lambda f: _torch_products(torch, f, quick),
        ]
    elif kind == "gpu":
        from benchmarks.gpu_ceilings_tensorrt import copy, product

        steps = [lambda f: copy(f, quick), lambda f: product(f, quick)]
    else:
        steps = [lambda f: _numpy(f, quick), lambda f: _torch_bf16(f, quick)]
    for step in steps:
        try:
            step(found)
        except Exception as error:  # whatever a library raises: this ceiling is not known then
            found["missing"].append(f"{type(error).__name__}: {one_line(error)}")
    return found


def _by_events(torch: Any, work: Callable[[], object], runs: int = RUNS) -> float:
    """Seconds of the fastest run, by device events."""
    for _ in range(3):
        work()
    times = []
    for _ in range(runs):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(float(start.elapsed_time(end)) / 1e3)
    return min(times)


def _torch_copy(torch: Any, found: dict[str, Any], quick: bool) -> None:
    free, _ = torch.cuda.mem_get_info()
    count = min(1 << 24 if quick else 4 << 30, free // 4)
    source = torch.empty(count // 4, dtype=torch.int32, device="cuda").random_()
    target = torch.empty_like(source)
    seconds = _by_events(torch, lambda: target.copy_(source))
    found["bytes_per_second"] = 2 * source.numel() * 4 / seconds
    found["bytes_by"] = f"torch copy of {source.numel() * 4 / 2**30:.1f} GiB on the device"


def _torch_products(torch: Any, found: dict[str, Any], quick: bool) -> None:
    n = 1024 if quick else 8192
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        for precision, dtype, tf32 in (
            ("fp16", torch.float16, before),
            ("tf32", torch.float32, True),
            ("fp32", torch.float32, False),
        ):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            a, b = (torch.randn(n, n, device="cuda").to(dtype) for _ in range(2))
            out = torch.empty_like(a)
            seconds = _by_events(torch, lambda: torch.mm(a, b, out=out))  # noqa: B023 - used at once
            found["operations_per_second"][precision] = 2 * n**3 / seconds
        found["operations_by"] = f"torch product of two {n}×{n} matrices of random numbers"
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
        torch.cuda.empty_cache()


def _by_clock(work: Callable[[], object], runs: int = 5) -> float:
    """Seconds of the fastest run, by the clock."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _numpy(found: dict[str, Any], quick: bool) -> None:
    count, n = (1 << 24, 256) if quick else (1 << 28, 2048)
    source = np.random.default_rng(0).integers(0, 256, count, np.uint8)
    target = np.empty_like(source)
    found["bytes_per_second"] = 2 * count / _by_clock(lambda: np.copyto(target, source))
    found["bytes_by"] = f"NumPy copy of {count >> 20} MiB by one thread"
    a, b = np.random.default_rng(1).random((2, n, n), np.float32)
    out = np.empty_like(a)
    seconds = _by_clock(lambda: np.matmul(a, b, out=out))
    found["operations_per_second"]["fp32"] = 2 * n**3 / seconds
    found["operations_by"] = f"NumPy product of two {n}×{n} matrices of random numbers"


def _torch_bf16(found: dict[str, Any], quick: bool) -> None:
    import torch

    n = 256 if quick else 2048
    a, b = (torch.randn(n, n).bfloat16() for _ in range(2))
    seconds = _by_clock(lambda: a @ b)
    found["operations_per_second"]["bf16"] = 2 * n**3 / seconds
