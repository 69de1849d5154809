"""Videos with a mask for every frame, in memory: what streaming mIoU is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtseg.data.dataset import LabelledImages
from rtseg.data.drive import Drive
from rtseg.data.labels import CAMVID11, CAMVID11_VOID, ClassTable, merge_table
from rtseg.errors import InputError, UsageError

_BEGIN_S = 10.0  # where drives are joined


@dataclass(frozen=True)
class MaskedVideo:
    """Frames in order and their masks.

    ``pictures`` are (H, W, 3) uint8 BGR, ``truths`` (H, W) uint8 of the classes asked for, 255 where
    a pixel has none; ``fps`` is the rate at which the scene was as they show it.
    """

    name: str
    fps: float
    pictures: list[NDArray[np.uint8]]
    truths: list[NDArray[np.uint8]]


def drive_video(
    classes: ClassTable, seed: int, fps: float, count: int, size: tuple[int, int]
) -> MaskedVideo:
    """Render ``count`` frames of a drive, ``size`` (width, height), at ``fps``.

    A drive is a scene in time that can be rendered at any moment, so every rate is its own: nothing
    is interpolated between frames. The car's own bonnet has no class: it is not scored, since not
    all networks are taught what it is.
    """
    drive = Drive(*size, fps=fps, seed=seed)
    table = merge_table(CAMVID11, classes, CAMVID11_VOID)
    begin = round(_BEGIN_S * fps)
    pictures, truths = [], []
    for index in range(begin, begin + count):
        picture, mask = drive.frame(index)
        pictures.append(picture)
        truths.append(table[mask])
    return MaskedVideo(f"drive {seed}", fps, pictures, truths)


def dataset_video(images: LabelledImages, name: str, fps: float, limit: int) -> MaskedVideo:
    """Read a dataset's first ``limit`` frames, which are a video at ``fps``, in their order.

    ``InputError`` for a file that cannot be read, frames of several sizes, or fewer than two.
    """
    pictures: list[NDArray[np.uint8]] = []
    truths: list[NDArray[np.uint8]] = []
    for index in range(min(len(images), limit)):
        picture, truth = images.read(index)
        if pictures and picture.shape != pictures[0].shape:
            (height, width), (first_height, first_width) = picture.shape[:2], pictures[0].shape[:2]
            raise InputError(
                f"{images.name(index)}: {width}x{height}, the first is {first_width}x{first_height}:"
                " frames of a video have one size"
            )
        pictures.append(picture)
        truths.append(truth)
    if len(pictures) < 2:
        raise InputError(f"{name}: {len(pictures)} frames: a video has two at least")
    return MaskedVideo(name, fps, pictures, truths)


def step_of(video_fps: float, fps: float) -> int:
    """Return of how many frames of a video one is taken to play it at ``fps``.

    ``UsageError`` where that is no whole number: frames in between do not exist.
    """
    step = round(video_fps / fps)
    if step < 1 or abs(step * fps - video_fps) > 1e-6 * video_fps:
        raise UsageError(
            f"--fps {fps:g}: these frames come at {video_fps:g} a second, which can be played at "
            f"{video_fps:g}, {video_fps / 2:g}, {video_fps / 3:g}, ..."
        )
    return step
