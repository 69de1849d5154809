"""The net learning, as an animation: the sheets of the epochs, one after the other."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rtseg.atomic import write_atomically
from rtseg.errors import InputError, UsageError
from rtseg.training.drawing import PAPER

_WIDTH = 960
_MOST = 80
_HOLD = 2.5
"""Seconds for which the last picture stays."""


def write_animation(stills: Sequence[Path], path: Path, fps: float = 2) -> None:
    """Write ``stills`` (PNG files, in order) as an endless ``.gif`` or ``.webp``, 960 pixels wide.

    Of more than 80 stills 80 are taken, evenly spread, the first and the last among them. A still of
    another size, from before a resumed run's settings changed, is fitted into the last one's. One
    that cannot be read is left out, with a warning; ``InputError`` if none is left. ``UsageError``
    for another kind of file or a rate that is not above 0.
    """
    if path.suffix.lower() not in (".gif", ".webp"):
        raise UsageError(f"{path}: an animation is a file that ends in .gif or .webp")
    if not fps > 0:
        raise UsageError(f"an animation of {fps} pictures a second: give a number above 0")
    chosen = np.linspace(0, len(stills) - 1, min(len(stills), _MOST)).round().astype(int)
    read = [image for i in chosen if (image := _read(stills[i])) is not None]
    if not read:
        raise InputError(f"{path}: no pictures to make this animation of")
    width = min(_WIDTH, read[-1].width)
    size = (width, round(read[-1].height * width / read[-1].width))
    frames = [_fit(image, size) for image in read]
    milliseconds = [round(1000 / fps)] * len(frames)
    milliseconds[-1] = max(milliseconds[-1], round(1000 * _HOLD))
    write_atomically(path, _encode(frames, milliseconds, path.suffix.lower()))


def _read(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        logging.getLogger(__name__).warning("%s: left out of the animation: %s", path, error)
        return None


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    scale = min(size[0] / image.width, size[1] / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(inner, Image.Resampling.LANCZOS)
    if inner == size:
        return image
    paper = Image.new("RGB", size, PAPER)
    paper.paste(image, (0, 0))
    return paper


def _encode(frames: list[Image.Image], milliseconds: list[int], suffix: str) -> bytes:
    buffer = io.BytesIO()
    if suffix == ".gif":
        # One palette for all and no dithering: what does not change from epoch to epoch is the same
        # bytes, and GIF stores only what changes.
        palette = _palette(frames)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
        options = {"optimize": True, "disposal": 1}
    else:
        options = {"quality": 80, "method": 4}
    frames[0].save(
        buffer,
        suffix[1:].upper(),
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
        **options,
    )
    return buffer.getvalue()


def _palette(frames: list[Image.Image]) -> Image.Image:
    """Find 255 colours for all frames, from up to eight of them."""
    some = [frames[i] for i in np.linspace(0, len(frames) - 1, min(8, len(frames))).astype(int)]
    joined = np.concatenate([np.asarray(frame)[::5, ::5] for frame in some])
    return Image.fromarray(joined).quantize(255, Image.Quantize.MEDIANCUT, kmeans=1)
