"""The data of a training: sources mixed for training, whole pictures for scoring."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import cv2
import lightning as L
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from rtseg.data.dataset import LabelledImages
from rtseg.data.labels import ClassTable, class_table
from rtseg.data.source import open_source
from rtseg.errors import UsageError
from rtseg.training.augmentation import build_augmentation
from rtseg.training.chance import chance
from rtseg.training.mixture import Mixture
from rtseg.training.samples import (
    Batch,
    OnCorrupt,
    Scored,
    ScoredPictures,
    TrainingSamples,
    collate,
    only,
)
from rtseg.training.unlabelled import UnlabelledPictures

Declared = Mapping[str, Any]


def _quiet_worker(_: int) -> None:
    cv2.setNumThreads(1)  # the workers are the parallelism


class RoadScenes(L.LightningDataModule):
    """Everything a recipe's ``data`` key says.

    Args:
        classes: ``road``, ``camvid11``, ``camvid32``, or a file with a class table.
        size: Width and height of the network's input.
        train: Sources of training samples; each may have a ``weight`` (default 1 for its pictures).
        val: Sources scored while training, and by ``validate``.
        test: Sources scored by ``test``.
        predict: Folder of pictures for ``predict``.
        root: Folder in which the sources' folders are looked for.
        augmentation: Transforms of albumentations, one a list entry; the last decides the size.
        batch: Samples a step and a process.
        samples: Samples an epoch; without it as many as the training sources have pictures.
        workers: Processes that read and augment.
        cache: Keep decoded pictures in memory, in every worker.
        on_corrupt: ``stop`` at a picture that cannot be read, or ``skip`` it and count.
        seed: Decides order and augmentation.
    """

    def __init__(
        self,
        classes: str,
        size: tuple[int, int],
        train: list[dict[str, Any]],
        val: list[dict[str, Any]],
        augmentation: list[dict[str, Any]],
        test: list[dict[str, Any]] | None = None,
        predict: str | None = None,
        root: str = ".",
        batch: int = 8,
        samples: int | None = None,
        workers: int = 2,
        cache: bool = False,
        on_corrupt: OnCorrupt = "stop",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for key, number, least in (
            ("batch", batch, 1),
            ("workers", workers, 0),
            ("samples", samples, 1),
            ("size", min(size), 1),
        ):
            if number is not None and number < least:
                raise UsageError(f"data.{key} is {number}: {least} or more")
        self.classes: ClassTable = class_table(classes)
        self.size = size
        self.seed = seed
        self.batch = batch
        self._declared = {"train": train, "val": val, "test": test or []}
        self._predict = predict
        self._root = Path(root)
        self._augmentation = build_augmentation(augmentation, classes=self.classes)
        self._samples = samples
        self._workers = workers
        self._cache = cache
        self._on_corrupt: OnCorrupt = on_corrupt
        self._opened: dict[str, list[LabelledImages]] = {}

    def sources(self, part: str) -> list[LabelledImages]:
        """Return the opened sources of ``train``, ``val`` or ``test``; ``UsageError`` if none."""
        if part not in self._opened:
            declared = self._declared[part]
            if not declared:
                raise UsageError(f"data.{part} names no source: give it at least one")
            self._opened[part] = [
                self._open(source, f"data.{part}[{i}]") for i, source in enumerate(declared)
            ]
        return self._opened[part]

    def _open(self, declared: Declared, where: str) -> LabelledImages:
        if not isinstance(declared, Mapping):
            raise UsageError(f"{where} is not a mapping like {{kind: camvid, folder: FOLDER}}")
        declared = {key: value for key, value in declared.items() if key != "weight"}
        if isinstance(declared.get("folder"), str):
            declared["folder"] = str(self._root / declared["folder"])
        source = open_source(declared, self.classes, where=where)
        if len(source) == 0:
            raise UsageError(f"{where} has no pictures")
        return source

    def _weights(self) -> list[float]:
        weights = []
        for i, (declared, source) in enumerate(
            zip(self._declared["train"], self.sources("train"), strict=True)
        ):
            weight = declared.get("weight", 1)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
                raise UsageError(f"data.train[{i}].weight is {weight!r}: a number above 0")
            weights.append(weight * len(source))
        return weights

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def setup(self, stage: str) -> None:
        """Open what the stage needs, so that a mistake is told before anything is trained."""
        parts = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for part in parts.get(stage, ()):
            self.sources(part)
        if stage == "fit":
            ranks = self._ranks()[1]
            samples = self.samples_an_epoch()
            if samples < self.batch * ranks:
                raise UsageError(
                    f"data.batch is {self.batch} on {ranks} process(es), but an epoch has only"
                    f" {samples} samples: lower data.batch or raise data.samples"
                )

    def samples_an_epoch(self) -> int:
        """How many samples all ranks see together in an epoch."""
        return self._samples or round(sum(self._weights()))

    def _loader(self, workers: int) -> dict[str, Any]:
        return {
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "prefetch_factor": 3 if workers else None,
            "worker_init_fn": _quiet_worker,
            # Forked workers share what is read-only; spawned ones import everything anew.
            "multiprocessing_context": multiprocessing.get_context("fork") if workers else None,
        }

    def _epoch(self) -> int:
        # A state saved at an epoch's end has it processed, but not yet completed.
        progress: Any = self.trainer.fit_loop.epoch_progress.current if self.trainer else None
        return int(progress.processed) if progress else 0

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return batches of augmented samples, the last incomplete one left out."""
        rank, ranks = self._ranks()
        sources = self.sources("train")
        samples = self.samples_an_epoch()
        samples -= samples % (self.batch * ranks)
        order = Mixture(
            [len(s) for s in sources], self._weights(), samples, self.seed, self._epoch,
            rank=rank, ranks=ranks,
        )  # fmt: skip
        dataset = TrainingSamples(sources, self._augmentation, self._on_corrupt, self._cache)
        loader: Any = DataLoader(  # of samples, which it collates to batches
            dataset,
            batch_size=self.batch,
            sampler=order,
            collate_fn=collate,
            **self._loader(self._workers),
        )
        return cast(DataLoader[Batch], loader)

    def _scored(self, part: str) -> DataLoader[Scored]:
        rank, ranks = self._ranks()
        pictures = ScoredPictures(self.sources(part), self.size, rank=rank, ranks=ranks)
        loader = self._loader(min(self._workers, 1))
        return DataLoader(pictures, batch_size=1, collate_fn=only, **loader)

    def val_dataloader(self) -> DataLoader[Scored]:
        """Return the validation pictures, one at a time."""
        return self._scored("val")

    def test_dataloader(self) -> DataLoader[Scored]:
        """Return the test pictures, one at a time."""
        return self._scored("test")

    def predict_dataloader(self) -> DataLoader[Scored]:
        """Return the pictures of the folder ``predict``, without a truth."""
        if not self._predict:
            raise UsageError("data.predict names no folder of pictures: give one")
        source = UnlabelledPictures(self._predict, self.classes)
        rank, ranks = self._ranks()
        pictures = ScoredPictures([source], self.size, rank=rank, ranks=ranks)
        return DataLoader(pictures, batch_size=1, collate_fn=only, **self._loader(0))

    def frequencies(self) -> list[float]:
        """Return each class's share of the labelled pixels of the training sources, as mixed.

        Every picture of a source of files is counted, and up to 64 frames of the rendered drive.
        """
        total: NDArray[np.float64] = np.zeros(len(self.classes.names))
        for source, weight in zip(self.sources("train"), self._weights(), strict=True):
            count = min(len(source), 64) if getattr(source, "endless", False) else len(source)
            seen = np.zeros(256, np.int64)
            drives = chance(self.seed, "frequencies") >> 20 << 20  # the same few for all frames
            for i in range(count):
                mask = source.read(i, drives | i)[1]
                seen += np.bincount(mask.ravel(), minlength=256)
            known = seen[: len(total)]
            if known.sum():
                total += weight * known / known.sum()
        return list((total / total.sum()).tolist()) if total.any() else [0.0] * len(total)
