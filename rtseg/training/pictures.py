"""A sheet of samples: the picture, the truth, the prediction, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from rtseg.data.labels import ClassTable
from rtseg.training.drawing import (
    TEXT,
    WRONG,
    Picture,
    beside,
    dim_void,
    entries,
    legend,
    line_of_text,
    mask_at,
    paint,
    rgb_at_width,
    stack,
    write_png,
)

_PANEL = 320
_HEADINGS = ("picture", "truth", "prediction", "errors")


def write_pictures(
    frames: Sequence[Picture],
    truths: Sequence[Picture],
    masks: Sequence[Picture],
    table: ClassTable,
    path: Path,
    *,
    caption: str = "",
) -> None:
    """Write a PNG with one row a sample, and a legend.

    ``frames`` are (H, W, 3) uint8 BGR; ``truths`` and ``masks`` (predictions) are (h, w) uint8 class
    indices of any size, VOID in ``truths`` where there is no class. A row's errors show the share
    of wrong pixels among those with a class. ``ValueError`` without samples; ``OutputError`` where
    the file cannot be written.
    """
    if not frames:
        raise ValueError("a sheet of samples takes at least one")
    width = len(_HEADINGS) * _PANEL + (len(_HEADINGS) - 1) * 8
    strips = [line_of_text(caption, width, 24, bold=True)] if caption else []
    strips.append(beside([line_of_text(heading, _PANEL) for heading in _HEADINGS]))
    for frame, truth, mask in zip(frames, truths, masks, strict=True):
        picture = rgb_at_width(frame, _PANEL)
        panels = [picture, paint(picture, truth, table), paint(picture, mask, table)]
        strips.append(beside([*panels, _errors(picture, truth, mask, table)]))
    # The legend is the same for every epoch, so that the sheets of a run are of one size.
    strips.append(legend(entries(table, void=True, wrong=True), width))
    write_png(stack(strips), path)


def _errors(picture: Picture, truth: Picture, mask: Picture, table: ClassTable) -> Picture:
    """Return the picture in grey, wrong pixels in one bright colour, void dark and hatched."""
    mask = mask_at(mask, truth.shape)
    known = truth < len(table.names)
    wrong = known & (mask != truth)
    share = wrong.sum() / max(1, known.sum())
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    panel = (grey * 0.6 + 45).astype(np.uint8)
    shape = panel.shape
    panel[mask_at(wrong.astype(np.uint8), shape) > 0] = WRONG
    dim_void(panel, mask_at((~known).astype(np.uint8), shape) > 0)
    return _labelled(panel, f"{share:.1%} wrong" if known.any() else "no truth")


def _labelled(panel: Picture, text: str) -> Picture:
    """Write ``text`` on the panel's lower left corner."""
    label = line_of_text(text, panel.shape[1], TEXT - 3)
    ink = np.nonzero((label < 200).any(axis=(0, 2)))[0]
    label = label[:, : int(ink.max()) + 6] if ink.size else label[:, :0]
    rows = min(label.shape[0], panel.shape[0])
    panel[panel.shape[0] - rows :, : label.shape[1]] = label[label.shape[0] - rows :]
    return panel
