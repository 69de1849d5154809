"""A crop that looks for what is rare: of several candidates it takes the one that shows most of it."""

from __future__ import annotations

import os
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import VOID

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # see rtseg.training.augmentation

import albumentations as A
from pydantic import Field


class RareClassCrop(A.RandomResizedCrop):  # type: ignore[misc]
    """``RandomResizedCrop``, the best of ``candidates`` draws.

    With ``classes`` (indices) the best has the greatest share of their pixels; without, the most
    even mix of classes (the entropy of its class histogram). Among equals the first is taken, so
    that a picture without any of ``classes`` is cropped as by ``RandomResizedCrop``. Pixels that are
    VOID count for nothing.
    """

    class InitSchema(A.RandomResizedCrop.InitSchema):  # type: ignore[misc]
        """The checked arguments."""

        candidates: Annotated[int, Field(ge=1, le=100)]
        classes: tuple[Annotated[int, Field(ge=0, lt=VOID)], ...]

    def __init__(
        self,
        size: tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (0.75, 1.3333333333333333),
        interpolation: int = 1,
        mask_interpolation: int = 0,
        area_for_downscale: str | None = None,
        candidates: int = 8,
        classes: tuple[int, ...] = (),
        p: float = 1.0,
    ) -> None:
        super().__init__(
            size=size,
            scale=scale,
            ratio=ratio,
            interpolation=interpolation,
            mask_interpolation=mask_interpolation,
            area_for_downscale=area_for_downscale,
            p=p,
        )
        self.candidates = candidates
        self.classes = classes

    @property
    def targets_as_params(self) -> list[str]:
        """What the choice depends on."""
        return ["mask"]

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """Draw the candidates and return the best one's corners."""
        draws = [
            super(RareClassCrop, self).get_params_dependent_on_data(params, data)
            for _ in range(self.candidates)
        ]
        # A quarter of the pixels tells the share of a class as well.
        mask: NDArray[np.uint8] = data["mask"]
        return max(draws, key=lambda draw: self._worth(mask, draw["crop_coords"]))

    def _worth(self, mask: NDArray[np.uint8], corners: tuple[int, int, int, int]) -> float:
        left, top, right, bottom = corners
        part = mask[top:bottom:2, left:right:2]
        counts = np.bincount(part.ravel(), minlength=256)[:VOID]
        if self.classes:
            return float(counts[list(self.classes)].sum() / part.size)
        shares = counts[counts > 0] / max(1, counts.sum())
        return float(-(shares * np.log(shares)).sum())
