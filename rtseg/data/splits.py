"""Which pictures are for training and which for validation, where a dataset does not say itself.

A picture's part follows from its name and the seed alone: the same on every machine, whatever order
the files are listed in. Frames of one video resemble each other: give such data as folders, each
recording whole on one side, so that nothing is scored on a picture that it was all but trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rtseg.errors import InputError

Part = Literal["train", "val", "all"]


@dataclass(frozen=True)
class Split:
    """One part of a random split, by a share for validation or by folds.

    With ``folds``, fold number ``fold`` (from 0) is for validation: every picture is in one fold.
    Else the share ``val_fraction`` of the pictures is, rounded, but at least one on either side.
    """

    part: Part = "all"
    val_fraction: float = 0.1
    seed: int = 0
    folds: int | None = None
    fold: int = 0

    def of(self, names: Iterable[str]) -> list[str]:
        """Return this part of the distinct ``names``, sorted; ``InputError`` where it is empty."""
        ranked = sorted(set(names), key=lambda name: (self._rank(name), name))
        if self.part == "all":
            return sorted(ranked)
        if self.folds is not None:
            val = set(ranked[self.fold :: self.folds])
        else:
            count = round(len(ranked) * self.val_fraction)
            val = set(ranked[: min(max(count, 1), len(ranked) - 1)])
        chosen = sorted(name for name in ranked if (name in val) == (self.part == "val"))
        if not chosen:
            raise InputError(
                f"{len(ranked)} pictures are too few to split: none is for {self.part}"
            )
        return chosen

    def _rank(self, name: str) -> bytes:
        return hashlib.sha256(f"{self.seed}/{name}".encode("utf-8", "surrogateescape")).digest()
