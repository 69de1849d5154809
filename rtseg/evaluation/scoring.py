"""From a sample to its record: read, shrunk for the network, its mask scored and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.atomic import write_atomically
from rtseg.errors import BackendError, InputError, OutputError
from rtseg.evaluation.birds_eye import BirdsEye
from rtseg.evaluation.boundary import BoundaryF1
from rtseg.evaluation.byte_counts import count_bytes
from rtseg.evaluation.confusion import VOID, ConfusionMatrix
from rtseg.evaluation.kitti_road import RoadCurve
from rtseg.evaluation.records import Counts, Record
from rtseg.evaluation.samples import Mask, Picture, Sample, SkippedError, Truths

Paint = Callable[[Picture, Mask], Picture]
"""Returns a painted copy of a picture; the mask is of any size."""

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_INDICES = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A sample that has been read: its picture, its true mask, and what the network takes of it."""

    sample: Sample
    picture: Picture
    truth: Mask | None
    small: Picture


@dataclass(frozen=True, eq=False)
class Work:
    """What is done with every sample; it can be pickled, and used by many threads at once.

    ``size`` is the (width, height) that the network takes, ``classes`` how many are scored,
    ``to_classes`` (256,) uint8 the table from the network's indices to them. Without ``truths``
    nothing is scored. ``boundary`` adds the boundary F1, which takes longer than a network;
    ``spaces`` are those of KITTI's measures (``perspective``, ``bev``), ``road`` the index of the
    class that they are of. ``masks`` is the folder for masks, ``painted`` that for painted copies,
    by ``paint``.
    """

    size: tuple[int, int]
    classes: int
    to_classes: NDArray[np.uint8]
    truths: Truths | None = None
    boundary: bool = False
    spaces: tuple[str, ...] = ()
    road: int = 1
    masks: Path | None = None
    painted: Path | None = None
    paint: Paint | None = None

    def load(self, sample: Sample) -> Loaded | Record:
        """Read a sample and shrink its picture; the record of one that is skipped."""
        try:
            picture, truth = sample.read(self.truths)
            if "bev" in self.spaces and sample.calibration is not None:
                _view(sample.calibration)
        except SkippedError as skipped:
            return Record(
                sample.index, sample.name, "skipped", skipped.reason, skipped.detail,
                category=sample.category,
            )  # fmt: skip
        small = picture
        if picture.shape[1::-1] != self.size:
            small = cv2.resize(picture, self.size).astype(np.uint8, copy=False)
        return Loaded(sample, picture, truth, small)

    def finish(self, loaded: Loaded, mask: Mask, probability: Mask | None = None) -> Record:
        """Score and write the network's mask (h, w), and its probability of road if there is one.

        ``OutputError`` where a file cannot be written.
        """
        sample = loaded.sample
        self._write(loaded, mask)
        if loaded.truth is None:
            return Record(sample.index, sample.name, "written", category=sample.category)
        scored = to_scored(mask, self.to_classes, loaded.truth)
        counts = count_pixels(loaded.truth, scored, self.classes)
        miou = ConfusionMatrix.of(counts).miou
        rows, columns = np.nonzero(counts)
        seen = rows.tolist(), columns.tolist(), counts[rows, columns].tolist()
        return Record(
            sample.index,
            sample.name,
            "scored",
            matrix=list(zip(*seen, strict=True)),
            boundary=self._boundary(loaded.truth, scored) if self.boundary else None,
            miou=None if np.isnan(miou) else miou,
            category=sample.category,
            road=None if probability is None else self._road(loaded, loaded.truth, probability),
        )

    def _write(self, loaded: Loaded, mask: Mask) -> None:
        output = loaded.sample.output
        height, width = loaded.picture.shape[:2]
        if self.masks is not None:
            _encode(self.masks / f"{output}.png", stretch(mask, width, height), _PNG)
        if self.painted is not None and self.paint is not None:
            _encode(self.painted / f"{output}.jpg", self.paint(loaded.picture, mask), _JPEG)

    def _boundary(self, truth: Mask, scored: Mask) -> list[tuple[int, float]]:
        measure = BoundaryF1(self.classes)
        measure.add(truth, scored)
        return [(c, float(total)) for c, (total, n) in enumerate(measure.sums[:-1]) if n]

    def _road(self, loaded: Loaded, truth: Mask, probability: Mask) -> dict[str, Counts]:
        """Count the pixels by their probability of road, (2, 256) a space."""
        table = np.zeros(256, np.uint8)
        table[self.road], table[VOID] = 1, VOID
        road = cv2.LUT(truth, table).astype(np.uint8, copy=False)
        height, width = truth.shape
        if probability.shape != truth.shape:
            probability = cv2.resize(probability, (width, height)).astype(np.uint8, copy=False)
        found: dict[str, Counts] = {}
        for space in self.spaces:
            curve = RoadCurve()
            if space == "perspective":
                curve.add(road, probability)
            elif loaded.sample.calibration is not None:
                view = _view(loaded.sample.calibration)
                curve.add(view.warp_truth(road), view.warp(probability))
            else:
                continue
            found[space] = curve.counts.tolist()
        return found


_views: dict[bytes, BirdsEye] = {}
_KEPT = 16  # KITTI road has a calibration a day, in a file a frame


def _view(calibration: Path) -> BirdsEye:
    """Return the bird's-eye view of a calibration file; ``SkippedError`` where it is none."""
    try:
        content = calibration.read_bytes()
        view = _views.get(content) or BirdsEye(calibration)
    except OSError as error:
        raise SkippedError("calibration", f"{calibration}: {error.strerror}") from error
    except InputError as error:
        raise SkippedError("calibration", str(error)) from error
    if len(_views) < _KEPT:
        _views[content] = view
    return view


def to_scored(mask: Mask, to_classes: NDArray[np.uint8], truth: Mask) -> Mask:
    """Return the network's mask (h, w) in the classes that are scored, at the truth's size."""
    classes = np.count_nonzero(to_classes != VOID)
    if not np.array_equal(to_classes[:classes], _INDICES[:classes]):  # else they are the same
        mask = cv2.LUT(mask, to_classes).astype(np.uint8, copy=False)
    return stretch(mask, truth.shape[1], truth.shape[0])


def stretch(mask: Mask, width: int, height: int) -> Mask:
    """Stretch a mask to a picture's size: the nearest of its pixels, by their centres."""
    if mask.shape == (height, width):
        return mask
    size = (width, height)
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(
        np.uint8, copy=False
    )


def count_pixels(truth: Mask, prediction: Mask, classes: int) -> NDArray[np.int64]:
    """Count (true class, predicted class) pixels, (classes, classes), void left out.

    As :class:`~rtseg.evaluation.ConfusionMatrix`, in a third of the time where there are up to 15
    classes: both classes fit in one byte then. The truth holds classes and void only; a prediction
    outside of the classes is a ``BackendError``.
    """
    if classes * (classes + 1) > 256:
        matrix = ConfusionMatrix(classes)
        matrix.add(truth, prediction)
        return matrix.matrix
    most = cv2.minMaxLoc(prediction)[1]
    if most >= classes:
        raise BackendError(f"the engine gave the class {most:.0f}, of {classes}")
    # Bytes wrap: void is 255, or -1, so that its pixels come to lie in the last `classes` codes,
    # behind the squares of the classes.
    code = np.multiply(truth, np.uint8(classes))
    np.add(code, prediction, out=code)
    return count_bytes(code)[: classes * classes].reshape(classes, classes)


def _encode(path: Path, pixels: NDArray[np.uint8], options: list[int]) -> None:
    done, content = cv2.imencode(path.suffix, pixels, options)
    if not done:
        raise OutputError(f"{path}: this picture cannot be encoded")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot make this folder: {error.strerror}") from error
    write_atomically(path, content.tobytes())
