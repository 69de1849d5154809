"""One engine of a benchmark, in the process that it has for itself: made ready, timed and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine, Mode, find_network, load
from rtseg.engine.backends import KNOWN
from rtseg.engine.parity import can_check, reference_engine
from rtseg.engine.tensorrt.files import precision_of
from rtseg.errors import BackendError, RtsegError
from rtseg.evaluation.engine_accuracy import score, unscored
from rtseg.evaluation.frames import Frames
from rtseg.evaluation.machine import forget_peak, memory_mib
from rtseg.evaluation.speed import NullEngine, Turn, fill, take_turn
from rtseg.evaluation.workers import Progress
from rtseg.spec import Spec

_POOL = 16
"""So many different arrays of frames are taken in turn: more than any processor's cache holds."""

_FIRST = 20
"""Submissions before the memory is read: backends take some of theirs at the first frames."""


@dataclass(frozen=True)
class Contender:
    """An engine to be measured, as it was asked for; can be sent to another process.

    ``network`` is a name or a path, ``title`` what it is called where that is not the file's own
    name, and ``weights`` says where they mean nothing (``random``): then it is not scored.
    """

    network: str
    backend: str | None = None
    precision: str | None = None
    size: tuple[int, int] | None = None
    batch: int = 1
    mode: Mode = "throughput"
    title: str = ""
    weights: str = "trained"
    classes: bool = True
    """Whether the names of the classes are known."""

    def load(self, on_progress: Progress) -> Engine:
        """Make the engine; errors as those of :func:`rtseg.load`."""
        if self.title and self.precision == "int8":
            network = find_network(self.network)
            if precision_of(network.path.read_bytes(), network) != "int8":
                raise BackendError(f"{self.title} is not quantised: a peer is measured as it is")
        return load(
            self.network,
            backend=self.backend,
            precision=self.precision,
            size=self.size,
            mode=self.mode,
            batch=self.batch,
            on_progress=on_progress,
        )

    def sha256(self) -> str | None:
        """The network file's SHA-256: of the one in FP32, where there are several."""
        return find_network(self.network).sha256

    def reference(self, engine: Engine) -> Engine | None:
        """Make the engine in FP32 whose masks this one's are compared with; None if there is none."""
        return reference_engine(engine, find_network(self.network)) if can_check() else None

    def pictures(self, frames: Frames, count: int) -> list[NDArray[np.uint8]]:
        """Return up to ``count`` pictures to be timed with."""
        return frames.pictures(count)

    def describe(self) -> dict[str, Any]:
        """What a result says of one that could not be measured."""
        name = self.title
        if not name:
            try:
                name = find_network(self.network).spec.name
            except RtsegError:
                name = self.network
        return {
            "network": name, "backend": self.backend,
            "precision": self.precision, "size": list(self.size) if self.size else None,
            "batch": self.batch, "mode": self.mode,
        }  # fmt: skip


@dataclass(frozen=True)
class NullContender(Contender):
    """The engine that does nothing, for frames of ``size``."""

    def load(self, on_progress: Progress) -> Engine:
        """Make it."""
        assert self.size is not None
        palette = ((0, 0, 0), (0, 200, 90))
        spec = Spec("null", *self.size, ("background", "road"), palette, size_divisor=1)
        return NullEngine(spec, self.mode, self.batch)

    def sha256(self) -> str | None:
        """There is no file."""
        return None

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"network": "null", "backend": "null", "precision": None, "size": list(self.size or ()),
                "batch": self.batch, "mode": self.mode}  # fmt: skip

    def reference(self, engine: Engine) -> Engine | None:
        """There is nothing to compare."""
        return None

    def pictures(self, frames: Frames, count: int) -> list[NDArray[np.uint8]]:
        """Return a black picture: nobody looks at it."""
        assert self.size is not None
        return [np.zeros((self.size[1], self.size[0], 3), np.uint8)]


class Measured:
    """A contender in its process; the parent calls these methods through a ``Worker``."""

    def __init__(self, contender: Contender, frames: Frames, progress: Progress) -> None:
        self._contender = contender
        self._frames = frames
        self._progress = progress
        self._engine: Engine
        self._arrays: list[NDArray[np.uint8]]

    def prepare(self) -> dict[str, Any]:
        """Load the engine and warm it up; returns what it is, and the memory that it took, MiB."""
        cv2.setNumThreads(1)
        pictures = self._contender.pictures(self._frames, _POOL)
        forget_peak()
        before, _ = memory_mib()
        engine = self._engine = self._contender.load(self._progress)
        _, loading = memory_mib()
        self._arrays = fill(engine, pictures, max(2, _POOL // engine.batch))
        forget_peak()
        take_turn(engine, self._arrays, _FIRST)
        _, running = memory_mib()
        spec = engine.spec
        return {
            "network": self._contender.title or spec.name,
            "sha256": self._contender.sha256(),
            "weights": self._contender.weights,
            "backend": engine.backend,
            "precision": engine.precision,
            "rest": engine.rest,
            "size": [spec.width, spec.height],
            "mask_stride": spec.mask_stride,
            "classes": list(spec.classes) if self._contender.classes else None,
            "batch": engine.batch,
            "mode": engine.mode,
            "frames_in_flight": engine.depth * engine.batch,
            "device": engine.device,
            "on_gpu": engine.backend in KNOWN and KNOWN[engine.backend].on_gpu,
            "built": engine.built,
            "versions": engine.versions,
            "memory_mib": {"before": before, "peak_loading": loading, "peak": running},
        }

    def turn(self, frames: int) -> Turn:
        """Take a turn of at least so many frames."""
        return take_turn(self._engine, self._arrays, -(-frames // self._engine.batch))

    def sustain(self, seconds: float) -> Turn:
        """Keep the engine busy for so long."""
        return take_turn(self._engine, self._arrays, 1, seconds)

    def score(self) -> dict[str, Any]:
        """Score the engine's masks on the frames, and compare them with the reference's."""
        contender = self._contender
        if contender.weights == "random":
            return unscored("its weights are random")
        return score(
            self._engine,
            self._frames,
            lambda: contender.reference(self._engine),
            known_classes=contender.classes,
        )

    def close(self) -> None:
        """Give back what the engine holds."""
        if hasattr(self, "_engine"):
            self._engine.close()
