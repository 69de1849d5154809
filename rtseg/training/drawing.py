"""What the pictures of a training share: masks over frames, panels, text and legends.

Pictures are (H, W, 3) uint8 RGB here; frames are BGR, as everywhere else.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rtseg.atomic import write_atomically
from rtseg.data.labels import ClassTable

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (30, 34, 40)
FADED: Colour = (96, 102, 110)
WRONG: Colour = (255, 70, 0)
"""Wrong pixels: stands out from grey by lightness as well as by hue."""
VOID_SWATCH: Colour = (58, 58, 62)

GAP = 8
TEXT = 19
_OPACITY = 0.6


@lru_cache(maxsize=16)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which comes with matplotlib, at ``size`` pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def shorten(text: str, width: int, size: int, bold: bool = False) -> str:
    """Cut ``text`` so that it is at most ``width`` pixels long."""
    face = font(size, bold)
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def rgb_at_width(frame: Picture, width: int) -> Picture:
    """Return the BGR ``frame`` as RGB, resized to ``width`` and to its own shape."""
    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    way = cv2.INTER_AREA if width < frame.shape[1] else cv2.INTER_LINEAR
    small = cv2.resize(frame, (width, height), interpolation=way)
    return cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def mask_at(mask: Picture, shape: Sequence[int]) -> Picture:
    """Return ``mask`` (h, w), nearest, at the height and width that ``shape`` begins with."""
    size = (shape[1], shape[0])
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(
        np.uint8, copy=False
    )


def dim_void(picture: Picture, void: NDArray[np.bool_]) -> None:
    """Darken the pixels of ``void`` (H, W) and hatch them, in place."""
    dark = picture[void].astype(np.float32) * 0.3
    y, x = np.nonzero(void)
    dark[(x + y) % 12 < 2] += 50
    picture[void] = dark.astype(np.uint8)


def paint(picture: Picture, mask: Picture, table: ClassTable, opacity: float = _OPACITY) -> Picture:
    """Return ``picture`` with the classes of ``mask`` (h, w) over it, ``opacity`` from 0 to 1.

    ``background`` is left as it is; pixels without a class are dark and hatched.
    """
    mask = mask_at(mask, picture.shape)
    colours = np.zeros((256, 3), np.float32)
    shares = np.zeros((256, 1), np.float32)
    for i, (name, colour) in enumerate(zip(table.names, table.colours, strict=True)):
        colours[i] = colour
        shares[i] = 0 if name.lower() == "background" else opacity
    share = shares[mask]
    painted = np.rint(picture * (1 - share) + colours[mask] * share).astype(np.uint8)
    dim_void(painted, mask >= len(table.names))
    return painted


def line_of_text(
    text: str, width: int, size: int = TEXT, *, bold: bool = False, colour: Colour = INK
) -> Picture:
    """Return a strip, ``width`` wide, with one line of text, cut where it is too long."""
    face = font(size, bold)
    image = Image.new("RGB", (width, round(size * 1.6)), PAPER)
    middle = image.height // 2
    text = shorten(text, width - 4, size, bold)
    ImageDraw.Draw(image).text((2, middle), text, colour, face, anchor="lm")
    return np.asarray(image, np.uint8)


def entries(
    table: ClassTable, *, void: bool = False, wrong: bool = False
) -> list[tuple[str, Colour]]:
    """Return the legend of a class table, with what else the pictures show.

    ``background`` is not painted, so it has no entry.
    """
    pairs = zip(table.names, table.colours, strict=True)
    found = [(name, colour) for name, colour in pairs if name.lower() != "background"]
    return found + [("no class", VOID_SWATCH)] * void + [("wrong", WRONG)] * wrong


def legend(named: Sequence[tuple[str, Colour]], width: int, size: int = TEXT) -> Picture:
    """Return a strip, ``width`` wide, with a swatch and a name each, in columns."""
    face, swatch = font(size), round(size * 0.9)
    longest = max((face.getlength(name) for name, _ in named), default=0)
    cell = min(width, round(longest) + swatch + round(1.6 * size))
    columns = max(1, width // cell)
    row = round(size * 1.6)
    image = Image.new("RGB", (width, row * -(-len(named) // columns) or row), PAPER)
    draw = ImageDraw.Draw(image)
    for i, (name, colour) in enumerate(named):
        x, y = 2 + i % columns * cell, i // columns * row + row // 2
        box = (x, y - swatch // 2, x + swatch, y - swatch // 2 + swatch)
        draw.rectangle(box, colour, FADED)
        name = shorten(name, cell - swatch - size, size)
        draw.text((x + swatch + size // 3, y), name, INK, face, anchor="lm")
    return np.asarray(image, np.uint8)


def beside(panels: Sequence[Picture], gap: int = GAP) -> Picture:
    """Put panels side by side, tops level."""
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + gap * (len(panels) - 1)
    sheet = np.full((height, width, 3), PAPER, np.uint8)
    x = 0
    for panel in panels:
        sheet[: panel.shape[0], x : x + panel.shape[1]] = panel
        x += panel.shape[1] + gap
    return sheet


def stack(strips: Sequence[Picture], gap: int = GAP, margin: int = 12) -> Picture:
    """Put strips one below the other, with a margin around."""
    width = max(strip.shape[1] for strip in strips) + 2 * margin
    height = sum(strip.shape[0] for strip in strips) + gap * (len(strips) - 1) + 2 * margin
    sheet = np.full((height, width, 3), PAPER, np.uint8)
    y = margin
    for strip in strips:
        sheet[y : y + strip.shape[0], margin : margin + strip.shape[1]] = strip
        y += strip.shape[0] + gap
    return sheet


def write_png(picture: Picture, path: Path) -> None:
    """Write ``picture`` as PNG, whole or not at all; ``OutputError`` says why not."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())
