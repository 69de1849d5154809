"""What a network sees: augmented samples for training, whole pictures for scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from rtseg.data.dataset import LabelledImages
from rtseg.errors import InputError, UsageError
from rtseg.training.chance import chance
from rtseg.training.mixture import Draw

Augment = Callable[[NDArray[np.uint8], NDArray[np.uint8], int], tuple[Any, Any]]
OnCorrupt = Literal["stop", "skip"]

_ATTEMPTS = 8


@dataclass
class Sample:
    """One sample on its way from a worker: tensors, or why there are none.

    ``skipped`` holds one line a picture that could not be read and was replaced by another.
    """

    picture: Tensor | None = None
    target: Tensor | None = None
    skipped: list[str] = field(default_factory=list)
    failure: str = ""


class TrainingSamples(Dataset[Sample]):
    """Augmented samples of the mixed ``sources``, asked for by :class:`~rtseg.training.mixture.Draw`.

    Pictures (3, H, W) uint8 RGB and targets (H, W) int64 of class indices, VOID where there is none.
    A picture that cannot be read ends the run with ``on_corrupt="stop"``; with ``"skip"`` another of
    the same source takes its place, and the batch says so. With ``cache`` decoded pictures are kept
    in memory, in every worker.
    """

    def __init__(
        self,
        sources: Sequence[LabelledImages],
        augment: Augment,
        on_corrupt: OnCorrupt = "stop",
        cache: bool = False,
    ) -> None:
        self._sources = sources
        self._augment = augment
        self._on_corrupt = on_corrupt
        self._cache: dict[tuple[int, int], tuple[Any, Any]] | None = {} if cache else None

    def _read(self, draw: Draw) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        source = self._sources[draw.source]
        if self._cache is None or getattr(source, "endless", False):
            return source.read(draw.picture, draw.chance)
        key = (draw.source, draw.picture)
        if key not in self._cache:
            self._cache[key] = source.read(draw.picture, draw.chance)
        return self._cache[key]

    def __getitem__(self, draw: Draw) -> Sample:
        sample = Sample()
        for attempt in range(_ATTEMPTS):
            try:
                frame, mask = self._read(draw)
            except InputError as error:
                # Returned, not raised: an exception would come out of the worker as a traceback.
                if self._on_corrupt == "stop":
                    return Sample(failure=str(error))
                sample.skipped.append(str(error))
                count = len(self._sources[draw.source])
                draw = draw._replace(picture=chance(draw.chance, attempt) % count)
                continue
            try:
                picture, target = self._augment(frame, mask, draw.chance)
            except UsageError as error:  # the recipe crops more than this picture has, say
                sample.failure = f"{self._sources[draw.source].name(draw.picture)}: {error}"
                return sample
            sample.picture = torch.from_numpy(picture)
            sample.target = torch.from_numpy(target).long()
            return sample
        sample.failure = f"{_ATTEMPTS} pictures in a row could not be read: {sample.skipped[-1]}"
        return sample


@dataclass
class Batch:
    """``pictures`` (N, 3, H, W) uint8 RGB and ``targets`` (N, H, W) int64, or a ``failure``."""

    pictures: Tensor
    targets: Tensor
    skipped: list[str]
    failure: str = ""

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """Return the batch on ``device``."""
        pictures = self.pictures.to(device, non_blocking=non_blocking)
        targets = self.targets.to(device, non_blocking=non_blocking)
        return Batch(pictures, targets, self.skipped, self.failure)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (called by the data loader)."""
        pinned = self.pictures.pin_memory(), self.targets.pin_memory()
        return Batch(*pinned, self.skipped, self.failure)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples to a batch."""
    skipped = [line for sample in samples for line in sample.skipped]
    failure = next((sample.failure for sample in samples if sample.failure), "")
    pictures = [sample.picture for sample in samples if sample.picture is not None]
    targets = [sample.target for sample in samples if sample.target is not None]
    if failure:
        return Batch(torch.empty(0), torch.empty(0), skipped, failure)
    return Batch(torch.stack(pictures), torch.stack(targets), skipped)


@dataclass
class Scored:
    """A whole picture to be scored: ``picture`` (1, 3, H, W) uint8 RGB at the network's size.

    ``truth`` (h, w) uint8 and ``frame`` (h, w, 3) uint8 BGR have the picture's own size.
    """

    picture: Tensor
    truth: NDArray[np.uint8]
    frame: NDArray[np.uint8]
    name: str
    failure: str = ""

    def to(self, device: torch.device, non_blocking: bool = False) -> Scored:
        """Return it with the picture on ``device``."""
        picture = self.picture.to(device, non_blocking=non_blocking)
        return Scored(picture, self.truth, self.frame, self.name, self.failure)


class ScoredPictures(Dataset[Scored]):
    """The pictures of ``sources``, one after the other, resized as the engines resize frames.

    With several ranks each takes every ``ranks``-th, and none twice.
    """

    def __init__(
        self,
        sources: Sequence[LabelledImages],
        size: tuple[int, int],
        seed: int = 0,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._size = size
        self._seed = seed
        places = [(source, index) for source in sources for index in range(len(source))]
        self._places = places[rank::ranks]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Scored:
        source, place = self._places[index]
        name = source.name(place)
        try:
            frame, truth = source.read(place, chance(self._seed, "scored", place))
        except InputError as error:
            empty = np.empty((0, 0), np.uint8)
            return Scored(torch.empty(0), empty, empty, name, str(error))
        rgb = cv2.cvtColor(cv2.resize(frame, self._size), cv2.COLOR_BGR2RGB)
        picture = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)[None]))
        return Scored(picture, truth, frame, name)


def only(batch: list[Scored]) -> Scored:
    """Collate a batch of one: pictures of different sizes are scored one at a time."""
    (scored,) = batch
    return scored
