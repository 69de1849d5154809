"""What a network is trained on: CamVid pictures and rendered frames, cropped and augmented."""

from __future__ import annotations

from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from rtseg.data.camvid import CamVid
from rtseg.data.drive import Drive
from rtseg.data.labels import VOID, ClassTable, drive_table


def augmentation(
    width: int, height: int, scale: tuple[float, float], aspect: tuple[float, float]
) -> A.Compose:
    """Crop and resize to width × height; flip, light, colour, weather of the lens, sensor, codec."""
    return A.Compose(
        [
            A.RandomResizedCrop(
                (height, width), scale, aspect, mask_interpolation=cv2.INTER_NEAREST
            ),
            A.HorizontalFlip(p=0.5),
            A.Affine(rotate=(-4, 4), fill_mask=VOID, border_mode=cv2.BORDER_CONSTANT, p=0.3),
            A.RandomBrightnessContrast(0.35, 0.35, p=0.7),
            A.RandomGamma((60, 170), p=0.4),
            A.OneOf(
                [
                    A.HueSaturationValue(15, 45, 0),
                    A.ToGray(),
                    A.RGBShift(25, 25, 25),
                ],
                p=0.6,
            ),
            A.RandomShadow(shadow_roi=(0, 0.4, 1, 1), num_shadows_limit=(1, 3), p=0.25),
            A.OneOf(
                [
                    A.GaussianBlur((3, 5)),
                    A.MotionBlur((3, 7)),
                    A.Downscale((0.4, 0.8)),
                ],
                p=0.25,
            ),
            A.OneOf([A.GaussNoise((0.01, 0.06)), A.ISONoise()], p=0.25),
            A.ImageCompression(quality_range=(35, 95), p=0.3),
        ]
    )


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """Pictures (3, H, W) uint8 RGB and masks (H, W) int64, VOID where there is no class.

    The rendered frames of an epoch come after CamVid's, from seeds in ``drive_seeds`` (half open),
    and differ from epoch to epoch.
    """

    def __init__(
        self,
        camvid: CamVid,
        classes: ClassTable,
        size: tuple[int, int],
        *,
        camvid_repeats: int = 1,
        drive_samples: int = 0,
        drive_seeds: tuple[int, int] = (100, 100_000),
        crop_scale: tuple[float, float] = (0.3, 1.0),
        crop_aspect: tuple[float, float] = (0.9, 3.6),
    ) -> None:
        self._camvid = camvid
        self._repeats = camvid_repeats
        self._drive_samples = drive_samples
        self._drive_seeds = drive_seeds
        self._drive: Drive | None = None
        self._drive_uses = 0
        self._table = drive_table(classes)
        self._augment = augmentation(*size, crop_scale, crop_aspect)

    def __len__(self) -> int:
        return len(self._camvid) * self._repeats + self._drive_samples

    def _render(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        # The worker's own torch generator is seeded anew each epoch by the DataLoader. A drive takes
        # as long to set up as to render a dozen frames, so each gives several, far apart.
        if self._drive is None or self._drive_uses >= 12:
            low, high = self._drive_seeds
            width, height = ((640, 360), (640, 480), (768, 256))[int(torch.randint(3, ()))]
            self._drive = Drive(width, height, seed=int(torch.randint(low, high, ())))
            self._drive_uses = 0
        self._drive_uses += 1
        frame, mask = self._drive.frame(int(torch.randint(6000, ())))
        return frame, self._table[mask]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        count = len(self._camvid)
        frame, mask = (
            self._camvid[index % count] if index < count * self._repeats else self._render()
        )
        # Its own generator would be the same in every worker, and another in every training.
        self._augment.set_random_seed(int(torch.randint(1 << 31, ())))
        sample: dict[str, Any] = self._augment(
            image=cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), mask=mask
        )
        picture = torch.from_numpy(np.ascontiguousarray(sample["image"].transpose(2, 0, 1)))
        return picture, torch.from_numpy(sample["mask"].astype(np.int64))
