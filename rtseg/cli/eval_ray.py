"""``rtseg-eval --ray``: the same evaluation on the engines of a Ray cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Set
from pathlib import Path

from rtseg.cli.eval_source import Frames
from rtseg.engine import Engine, zoo
from rtseg.engine.backends import KNOWN, gpu_index
from rtseg.errors import UsageError
from rtseg.evaluation.ray_cluster import check_address
from rtseg.evaluation.ray_runner import RayPlan, RayRunner
from rtseg.evaluation.ray_worker import EnginePlan
from rtseg.evaluation.samples import FileSample


def check(options: argparse.Namespace) -> None:
    """Check what can be told before the long work; one line says what is wrong."""
    if options.measure is not None:
        raise UsageError("--measure: it is of this process's own engines: leave out --ray")
    if len({gpu_index(device) is None for device in options.devices or ()}) > 1:
        raise UsageError("--devices: with --ray all engines are of one kind, CPU or CUDA")
    check_address(_address(options))


def ray_runner(
    options: argparse.Namespace,
    frames: Frames,
    engine: Engine,
    sha256: str,
    done: Set[int],
    stopped: Callable[[], bool],
) -> RayRunner:
    """Return the runner whose engines are like ``engine``, this process's own."""
    devices: list[str] = options.devices or ["one"]
    gpus = 0.0
    if KNOWN[engine.backend].on_gpu:
        gpus = round(len({device.lower() for device in devices}) / len(devices), 4)
    plan = EnginePlan(
        network=str(options.network),
        sha256=sha256,
        backend=engine.backend,
        precision=options.precision,
        in_force=engine.precision,
        versions=engine.versions,
        size=options.size,
        batch=options.batch,
        probability=engine.probability,
        folder=str(Path.cwd()),
        needs=tuple(_needs(options, frames)),
    )
    reading = frames if frames.video is not None else None
    return RayRunner(
        RayPlan(plan, _address(options), len(devices), gpus), stopped, reading=reading, done=done
    )


def _address(options: argparse.Namespace) -> str | None:
    """The cluster's address; None for one of this process's own."""
    return None if options.ray == "local" else str(options.ray)


def _needs(options: argparse.Namespace, frames: Frames) -> list[str]:
    """The files and folders that every node has to find."""
    network = str(options.network)
    needs = [] if network in zoo() else [network]
    if frames.video is not None:
        needs.append(str(frames.video))
    first = next((s for s in frames.dataset.samples if isinstance(s, FileSample)), None)
    if first is not None:
        needs.append(str(first.picture.parent))
    if options.masks or options.painted:
        needs.append(str(options.out))
    return needs
