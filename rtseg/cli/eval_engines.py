"""The engines of ``rtseg-eval``, one a device, and what they are told to do."""

from __future__ import annotations

import argparse
import functools
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rtseg.cli.build_progress import MaybeBuilding
from rtseg.cli.eval_options import PROG
from rtseg.cli.eval_source import Frames, spaces_of
from rtseg.engine import Engine, load
from rtseg.engine.probability import road_index
from rtseg.errors import BackendError, NetworkError, UsageError
from rtseg.evaluation.scoring import Work

log = logging.getLogger("rtseg")


def load_engines(
    options: argparse.Namespace, frames: Frames, stack: ExitStack
) -> tuple[list[Engine], tuple[str, ...]]:
    """Load an engine for each device; they are closed with ``stack``.

    Returns them and the spaces of KITTI's measures. Where these were not asked for and cannot be
    had, for want of probabilities, they are left out with a warning.
    """
    spaces = spaces_of(options, frames)
    bare = sum(sample.calibration is None for sample in frames.dataset.samples)
    if "bev" in spaces and bare:
        which = "1 frame has" if bare == 1 else f"{bare} frames have"
        log.warning("%s no calibration, and no part in the bird's-eye view", which)
    try:
        return _load(options, stack, probability=bool(spaces)), spaces
    except (BackendError, NetworkError, UsageError) as error:
        if not spaces or options.space is not None:
            raise
        engines = _load(options, stack, probability=False)
        log.warning("without KITTI road's own measures: %s", error)
        return engines, ()


def _load(options: argparse.Namespace, stack: ExitStack, *, probability: bool) -> list[Engine]:
    engines: list[Engine] = []
    # Of Ray's engines this process has one of the kind, which says what the others have to be.
    devices = (options.devices or [None])[: None if options.ray is None else 1]
    for device in devices:
        with MaybeBuilding(PROG, str(options.network), show=not options.quiet) as progress:
            engine = load(
                options.network,
                backend=options.backend,
                precision=options.precision,
                size=options.size,
                batch=options.batch,
                device=device,
                probability=probability,
                on_progress=progress,
            )
        engines.append(stack.enter_context(engine))
    first = engines[0]
    for device, engine in zip(devices, engines, strict=True):
        theirs, ours = (f"{e.backend} {e.precision}" for e in (engine, first))
        if theirs != ours:
            raise UsageError(
                f"--devices: {device} runs {theirs}, {options.devices[0]} {ours}: their masks are "
                "not the same: say --backend and --precision"
            )
    return engines


def work_of(
    options: argparse.Namespace, frames: Frames, engine: Engine, spaces: tuple[str, ...]
) -> Work:
    """Return what is to be done with every frame."""
    from rtseg.evaluation.scored_classes import identity
    from rtseg.video.overlay import overlay

    spec, dataset = engine.spec, frames.dataset
    scored = dataset.scored
    out: Path = options.out
    road = 0
    if spaces and scored is not None:
        road = [name.lower() for name in scored.classes.names].index("road")
        road_index(spec)
    return Work(
        size=(spec.width, spec.height),
        classes=len(spec.classes if scored is None else scored.classes.names),
        to_classes=identity(spec.classes) if scored is None else scored.mask,
        truths=dataset.truths,
        boundary=options.boundary,
        spaces=spaces,
        road=road,
        masks=out / "masks" if writes_masks(options, frames) else None,
        painted=out / "painted" if options.painted and frames.video is None else None,
        paint=functools.partial(overlay, spec=spec),
    )


def writes_masks(options: argparse.Namespace, frames: Frames) -> bool:
    """Whether masks are written: a video is painted from them."""
    return bool(options.masks or (options.painted and frames.video is not None))


def settings_of(
    options: argparse.Namespace,
    frames: Frames,
    engine: Engine,
    sha256: str,
    spaces: tuple[str, ...],
) -> dict[str, Any]:
    """Return all that decides what a record holds, by the names that a message may have."""
    from rtseg import __version__

    spec, dataset = engine.spec, frames.dataset
    return {
        "rtseg": __version__,
        "network": spec.name,
        "network's SHA-256": sha256,
        "backend": engine.backend,
        "version": " ".join(f"{name} {text}" for name, text in engine.versions.items()),
        "precision": engine.precision,
        "size": f"{spec.width}x{spec.height}",
        "batch": engine.batch,
        "dataset": "drive" if dataset.kind == "drive" else str(Path(options.source).resolve()),
        "kind": dataset.kind,
        "split": dataset.split,
        "classes": list(dataset.scored.classes.names) if dataset.scored else [],
        "truths": options.truths,
        "boundary": options.boundary,
        "space": list(spaces),
        "masks": writes_masks(options, frames),
        "painted": options.painted,
    }
