"""Is that very engine right? Its masks against a reference in FP32, and its mIoU on labelled frames."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_plan import Cell
from benchmarks.scoring import Labelled, class_table
from rtseg.atomic import write_atomically
from rtseg.data.camvid import CamVid
from rtseg.data.drive import HELD_OUT_FRAMES, Drive
from rtseg.data.labels import drive_table
from rtseg.engine import Engine
from rtseg.engine.machine import usable_cores
from rtseg.errors import BackendError
from rtseg.evaluation import ConfusionMatrix
from rtseg.spec import Spec

Pictures = NDArray[np.uint8]

PARITY_FRAMES = 8
_CHUNK = 16


def _render(task: tuple[int, int, int, int]) -> tuple[Pictures, Pictures]:
    width, height, seed, index = task
    return Drive(width, height, seed=seed).frame(index)


def render(path: Path, count: int, size: tuple[int, int], camera: tuple[int, int]) -> None:
    """Render what is measured on, once for all processes, by as many processes as there are cores.

    ``count`` labelled frames of held-out drives at ``size``, evenly chosen, and four pictures of a
    camera of ``camera`` (width, height), to ``path``.
    """
    chosen = np.linspace(0, len(HELD_OUT_FRAMES) - 1, min(count, len(HELD_OUT_FRAMES))).astype(int)
    labelled = [(*size, *HELD_OUT_FRAMES[i]) for i in chosen]
    seen = [(*camera, seed, 37) for seed in (0, 2, 4, 6)]
    tasks = labelled + seen
    workers = min(8, usable_cores(), len(tasks))
    if camera[0] * camera[1] * len(tasks) < 1_000_000:  # a process takes longer to start than this
        made = list(map(_render, tasks))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            made = list(pool.map(_render, tasks))
    frames, masks = zip(*made[: len(labelled)], strict=True)
    pictures = [picture for picture, _ in made[len(labelled) :]]
    with path.open("wb") as file:
        np.savez(file, frames=np.stack(frames), masks=np.stack(masks), camera=np.stack(pictures))


class Truth:
    """Frames with their true masks, for any network: the rendered drive, or CamVid's val split."""

    def __init__(self, rendered: Path, camvid: str | None) -> None:
        with np.load(rendered) as file:
            self._frames, self._masks = file["frames"], file["masks"]
            self.camera: list[Pictures] = list(file["camera"])
        self._camvid = camvid
        self.name = "camvid_val" if camvid else "held_out_drives"

    def labelled(self, spec: Spec) -> Iterator[Labelled]:
        """Yield frames and their truths in ``spec``'s classes; errors as those of CamVid."""
        if self._camvid:
            camvid = CamVid(self._camvid, "val", class_table(spec))
            yield from (camvid[i] for i in range(len(camvid)))
            return
        table = drive_table(class_table(spec))
        for frame, mask in zip(self._frames, self._masks, strict=True):
            yield frame, table[mask]

    def parity_frames(self, spec: Spec) -> Pictures:
        """Return a few of the rendered frames, (N, H, W, 3), at the network's size."""
        return _small(list(self._frames[:PARITY_FRAMES]), spec)


def _small(frames: list[Pictures], spec: Spec) -> Pictures:
    small = np.empty((len(frames), spec.height, spec.width, 3), np.uint8)
    for slot, frame in zip(small, frames, strict=True):
        cv2.resize(frame, (spec.width, spec.height), dst=slot)
    return small


def score(engine: Engine, labelled: Iterator[Labelled]) -> dict[str, Any]:
    """Score an engine at the truth's own size, from one confusion matrix over all frames.

    Frames are shrunk bilinearly, masks stretched by the nearest pixel; void is left out.
    """
    spec = engine.spec
    matrix = ConfusionMatrix(len(spec.classes))
    count = 0
    chunk: list[Labelled] = []

    def add() -> None:
        masks = engine.infer(_small([frame for frame, _ in chunk], spec))
        for (_, truth), mask in zip(chunk, masks, strict=True):
            stretched = cv2.resize(mask, truth.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            matrix.add(truth, stretched.astype(np.uint8, copy=False))
        chunk.clear()

    for pair in labelled:
        count += 1
        chunk.append(pair)
        if len(chunk) == _CHUNK:
            add()
    if chunk:
        add()
    return {
        "frames": count,
        "miou": matrix.miou,
        "iou": dict(zip(spec.classes, map(float, matrix.iou), strict=True)),
    }


class References:
    """The masks to compare with, by network and size; kept in a folder for other interpreters.

    An interpreter that has no engine in FP32 takes the masks that another has left there, for the
    same network file and the same frames.
    """

    def __init__(self, folder: Path, make: Callable[[Cell], tuple[str, Engine]]) -> None:
        self._folder = folder
        self._make = make
        self._known: dict[str, tuple[str, Pictures]] = {}

    def masks(self, cell: Cell, frames: Pictures) -> tuple[str, Pictures]:
        """Return the reference's name and its masks of ``frames``; ``BackendError`` without one."""
        width, height = cell.size
        key = f"{cell.name}-{width}x{height}"
        if key not in self._known:
            digest = hashlib.sha256(frames.tobytes()).hexdigest()
            path = self._folder / f"{key}.npz"
            try:
                name, engine = self._make(cell)
            except BackendError as error:
                found = _read(path, cell.sha256, digest)
                if found is None:
                    raise BackendError(
                        f"{error}; and no masks of another run in {path.name}"
                    ) from error
                self._known[key] = found
            else:
                with engine:
                    self._known[key] = name, engine.infer(frames)
                self._keep(path, cell.sha256, digest, *self._known[key])
        return self._known[key]

    def _keep(self, path: Path, network: str, frames: str, name: str, masks: Pictures) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez_compressed(content, of=np.array([network, frames, name]), masks=masks)
        write_atomically(path, content.getvalue())


def _read(path: Path, network: str, frames: str) -> tuple[str, Pictures] | None:
    try:
        with np.load(path) as file:
            of, masks = [str(text) for text in file["of"]], file["masks"]
    except (OSError, ValueError, KeyError):
        return None
    return (f"{of[2]}, of another run", masks) if of[:2] == [network, frames] else None


def agreement(engine: Engine, frames: Pictures, masks: Pictures) -> float:
    """Return the share of pixels on which an engine gives the class that ``masks`` have."""
    return float(np.mean(engine.infer(frames) == masks))
