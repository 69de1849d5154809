"""People on foot and on bicycles, mid-stride at the right moment."""

import math

from rtseg.data.drive.canvas import Canvas, Colour
from rtseg.data.drive.chance import chance
from rtseg.data.drive.classes import DriveClass

__all__ = ["draw_cyclist", "draw_walker"]

_COATS: tuple[Colour, ...] = (
    (50, 48, 52),
    (120, 70, 40),
    (40, 40, 150),
    (150, 150, 146),
    (70, 110, 60),
    (60, 130, 170),
    (30, 30, 34),
    (160, 120, 130),
)
_LEGS: tuple[Colour, ...] = ((60, 44, 34), (34, 34, 36), (96, 92, 88), (80, 60, 44))
_SKINS: tuple[Colour, ...] = ((150, 175, 215), (110, 140, 190), (60, 85, 130))


def _outfit(canvas: Canvas, key: int, away: float) -> tuple[Colour, Colour, Colour, Colour]:
    light = canvas.light
    coat = _COATS[int(chance(key, 1) * len(_COATS))]
    legs = _LEGS[int(chance(key, 2) * len(_LEGS))]
    skin = _SKINS[int(chance(key, 3) * len(_SKINS))]
    hair: Colour = (30, 36, 50) if chance(key, 4) < 0.7 else (90, 130, 160)
    return (
        light.colour(coat, away),
        light.colour(legs, away),
        light.colour(skin, away),
        light.colour(hair, away),
    )


def draw_walker(canvas: Canvas, x: float, y: float, scale: float, key: int, away: float) -> None:
    """Paint someone on foot with the feet at column `x`, row `y`; `scale` is pixels a metre."""
    label = int(DriveClass.PEDESTRIAN)
    coat, legs, skin, hair = _outfit(canvas, key, away)
    m = scale * (0.92 + 0.12 * chance(key, 5))
    if m < 9.0:  # too small for limbs
        canvas.bar(x, y, x, y - 0.85 * m, 0.24 * m, legs, label)
        canvas.bar(x, y - 0.8 * m, x, y - 1.46 * m, 0.42 * m, coat, label)
        canvas.bar(x, y - 1.46 * m, x, y - 1.74 * m, 0.22 * m, skin, label)
        return
    swing = math.sin(canvas.view.time * 6.2 + 6.28 * chance(key, 6))
    stride = 0.22 * swing * m
    hip = y - 0.84 * m
    for side, step in ((-1, stride), (1, -stride)):
        foot = y - max(0.0, 0.06 * side * swing) * m
        knee_x, knee_y = x + side * 0.08 * m + step * 0.6, y - 0.45 * m
        canvas.bar(x + side * 0.07 * m, hip, knee_x, knee_y, 0.15 * m, legs, label)
        canvas.bar(knee_x, knee_y, x + side * 0.07 * m + step, foot, 0.12 * m, legs, label)
    shoulder = y - 1.42 * m
    for side, step in ((-1, -stride), (1, stride)):
        canvas.bar(
            x + side * 0.2 * m,
            shoulder,
            x + side * 0.24 * m + step * 0.7,
            y - 0.85 * m,
            0.1 * m,
            coat,
            label,
        )
    canvas.convex(
        [
            (x - 0.15 * m, shoulder - 0.03 * m),
            (x + 0.15 * m, shoulder - 0.03 * m),
            (x + 0.22 * m, shoulder + 0.06 * m),
            (x + 0.18 * m, hip + 0.08 * m),
            (x - 0.18 * m, hip + 0.08 * m),
            (x - 0.22 * m, shoulder + 0.06 * m),
        ],
        coat,
        label,
    )
    _head(canvas, x, y - 1.6 * m, 0.115 * m, skin, hair, label)


def draw_cyclist(canvas: Canvas, x: float, y: float, scale: float, key: int, away: float) -> None:
    """Paint someone cycling away, the wheel at column `x`, row `y`."""
    label = int(DriveClass.BICYCLIST)
    coat, legs, skin, hair = _outfit(canvas, key, away)
    m = scale
    x += 0.03 * m * math.sin(canvas.view.time * 3.0)
    black = canvas.light.colour((30, 30, 32), away)
    canvas.bar(x, y, x, y - 0.68 * m, 0.06 * m, black, label)
    canvas.bar(x, y - 0.6 * m, x, y - 0.95 * m, 0.05 * m, black, label)
    pedal = 0.16 * m * math.sin(canvas.view.time * 7.5)
    for side, step in ((-1, pedal), (1, -pedal)):
        knee_y = y - 0.62 * m + step
        canvas.bar(
            x + side * 0.09 * m, y - 0.98 * m, x + side * 0.16 * m, knee_y, 0.15 * m, legs, label
        )
        canvas.bar(
            x + side * 0.16 * m,
            knee_y,
            x + side * 0.12 * m,
            y - 0.24 * m + step,
            0.1 * m,
            legs,
            label,
        )
    for side in (-1, 1):
        canvas.bar(
            x + side * 0.2 * m, y - 1.44 * m, x + side * 0.26 * m, y - 1.0 * m, 0.1 * m, coat, label
        )
    canvas.convex(
        [
            (x - 0.14 * m, y - 1.52 * m),
            (x + 0.14 * m, y - 1.52 * m),
            (x + 0.22 * m, y - 1.42 * m),
            (x + 0.17 * m, y - 0.9 * m),
            (x - 0.17 * m, y - 0.9 * m),
            (x - 0.22 * m, y - 1.42 * m),
        ],
        coat,
        label,
    )
    _head(canvas, x, y - 1.65 * m, 0.12 * m, skin, hair, label)


def _head(
    canvas: Canvas, x: float, y: float, r: float, skin: Colour, hair: Colour, label: int
) -> None:
    ring = [(x + r * math.cos(a), y + 1.25 * r * math.sin(a)) for a in _ANGLES]
    canvas.convex(ring, skin, label)
    canvas.convex([(px, min(py, y - 0.1 * r)) for px, py in ring], hair, label)


_ANGLES = tuple(math.tau * i / 9 for i in range(9))
