"""What stands along a road: lamp posts, poles, signs, rails, fences, walls and hedges."""

import math

from rtseg.data.drive.camera import Place, Span
from rtseg.data.drive.canvas import Canvas, Colour
from rtseg.data.drive.chance import chance
from rtseg.data.drive.classes import DriveClass
from rtseg.data.drive.items import NEAR
from rtseg.data.drive.sprites import Texture

__all__ = ["draw_gantry", "draw_lamp", "draw_pole", "draw_rail", "draw_ribbon", "draw_sign"]

_STEEL: Colour = (128, 130, 128)


def draw_pole(canvas: Canvas, place: Place, u: float, height: float, away: float) -> None:
    """Paint a wooden pole with a crossbar."""
    x, y, m = canvas.view.point(place, u, 0.0)
    tone = canvas.light.colour((58, 72, 86), away)
    label = int(DriveClass.POLE)
    canvas.bar(x, y, x, y - height * m, 0.24 * m, tone, label)
    if m > 4:
        top = y - (height - 0.5) * m
        canvas.bar(x - 0.8 * m, top, x + 0.8 * m, top, 0.12 * m, tone, label)


def draw_lamp(canvas: Canvas, place: Place, u: float, height: float, away: float) -> None:
    """Paint a lamp post with its arm over the road."""
    x, y, m = canvas.view.point(place, u, 0.0)
    tone = canvas.light.colour((104, 106, 102), away)
    label = int(DriveClass.POLE)
    canvas.bar(x, y, x, y - height * m, 0.15 * m, tone, label)
    if m > 8:
        canvas.bar(x, y, x, y - 1.2 * m, 0.24 * m, tone, label)
    arm = x - math.copysign(1.5, u) * m
    canvas.bar(x, y - height * m, arm, y - (height + 0.35) * m, 0.09 * m, tone, label)
    head: Colour = (190, 236, 255) if canvas.light.lamps > 0.6 else tone
    canvas.bar(
        arm,
        y - (height + 0.35) * m,
        arm - math.copysign(0.6, u) * m,
        y - (height + 0.38) * m,
        0.16 * m,
        head,
        label,
    )


def draw_sign(canvas: Canvas, place: Place, u: float, key: int, away: float) -> None:
    """Paint a road sign on its post."""
    x, y, m = canvas.view.point(place, u, 0.0)
    light, label = canvas.light, int(DriveClass.SIGN)
    canvas.bar(x, y, x, y - 2.3 * m, 0.08 * m, light.colour(_STEEL, away), int(DriveClass.POLE))
    form = int(chance(key, 1) * 5)
    red, white = light.colour((40, 36, 186), away), light.colour((224, 226, 226), away)
    cy, r = y - 2.5 * m, 0.38 * m
    if form == 0:
        canvas.convex(_ring(x, cy, r, 14, 0.0), red, label)
        canvas.convex(_ring(x, cy, r * 0.72, 14, 0.0), white, label)
        if r > 5:
            black = light.colour((30, 30, 30), away)
            canvas.bar(x - r * 0.3, cy, x + r * 0.3, cy, r * 0.6, black, label)
    elif form == 1:
        canvas.convex(_ring(x, cy, r * 1.25, 3, -math.pi / 2), red, label)
        canvas.convex(_ring(x, cy, r * 0.8, 3, -math.pi / 2), white, label)
    elif form == 2:
        canvas.convex(_ring(x, cy, r, 14, 0.0), light.colour((150, 80, 24), away), label)
        canvas.bar(x, cy + r * 0.6, x, cy - r * 0.6, r * 0.25, white, label)
    else:
        w, h = (0.9 * m, 0.35 * m) if form == 3 else (0.32 * m, 0.45 * m)
        ground: Colour = (96, 110, 24) if form == 3 else (150, 86, 30)
        for size, tone in ((1.0, white), (0.92, light.colour(ground, away))):
            a, b = w * size, h * size
            canvas.convex(
                [(x - a, cy - b), (x + a, cy - b), (x + a, cy + b), (x - a, cy + b)], tone, label
            )
        if w > 8:
            for row in (-0.4, 0.3):
                canvas.bar(
                    x - w * 0.7, cy + h * row, x + w * 0.5, cy + h * row, h * 0.3, white, label
                )


def _ring(x: float, y: float, r: float, n: int, start: float) -> list[tuple[float, float]]:
    return [
        (x + r * math.cos(start + math.tau * i / n), y + r * math.sin(start + math.tau * i / n))
        for i in range(n)
    ]


def draw_gantry(
    canvas: Canvas, place: Place, left: float, right: float, key: int, away: float
) -> None:
    """Paint a motorway gantry with its boards."""
    view, light = canvas.view, canvas.light
    tone = light.colour((120, 124, 122), away)
    x0, y0, m = view.point(place, left, 0.0)
    x1, _, _ = view.point(place, right, 0.0)
    pole = int(DriveClass.POLE)
    for x in (x0, x1):
        canvas.bar(x, y0, x, y0 - 7.4 * m, 0.35 * m, tone, pole)
    canvas.bar(x0, y0 - 6.9 * m, x1, y0 - 6.9 * m, 0.5 * m, tone, pole)
    board = light.colour((140, 76, 26), away)
    white = light.colour((226, 228, 228), away)
    count = 2 + key % 2
    for i in range(count):
        x = x0 + (x1 - x0) * (i + 0.5) / count
        w, h, y = 1.9 * m, 1.2 * m, y0 - 6.8 * m
        for size, colour in ((1.0, white), (0.95, board)):
            a, b = w * size, h * size
            canvas.convex(
                [(x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b)],
                colour,
                int(DriveClass.SIGN),
            )
        for row in (-0.5, 0.0):
            canvas.bar(
                x - w * 0.7,
                y + h * row,
                x + w * (0.2 + 0.4 * chance(key, i)),
                y + h * row,
                h * 0.22,
                white,
                int(DriveClass.SIGN),
            )


def draw_rail(canvas: Canvas, span: Span, u: float) -> None:
    """Paint a stretch of guard rail on its posts."""
    view, label = canvas.view, int(DriveClass.FENCE)
    near, far, a, b = span
    if far <= NEAR + 0.2:
        return
    near = max(near, NEAR)
    steel = canvas.light.colour(_STEEL, near)
    dark = canvas.light.colour((92, 94, 92), near)
    x, y, m = view.point(b, u, 0.0)
    canvas.bar(x, y, x, y - 0.6 * m, 0.12 * m, dark, label)
    for low, high, tone in ((0.42, 0.58, dark), (0.58, 0.76, steel)):
        canvas.convex(
            [
                view.point(a, u, low)[:2],
                view.point(a, u, high)[:2],
                view.point(b, u, high)[:2],
                view.point(b, u, low)[:2],
            ],
            tone,
            label,
        )


def draw_ribbon(
    canvas: Canvas,
    span: Span,
    u: float,
    height: float,
    texture: Texture,
    label: DriveClass,
    depth: float,
) -> None:
    """Paint a stretch of hedge, fence or wall, with its top if it is `depth` metres thick."""
    view = canvas.view
    near, far, a, b = span
    start = max(near, NEAR)
    if far <= start + 0.2:
        return
    top, top_b = view.point(a, u, height)[:2], view.point(b, u, height)[:2]
    if depth > 0.0:
        back = u + math.copysign(depth, u)
        blue, green, red = texture.top
        tone = canvas.light.colour((blue * 1.15, green * 1.15, red * 1.15), near)
        canvas.convex(
            [top, view.point(a, back, height)[:2], view.point(b, back, height)[:2], top_b],
            tone,
            int(label),
        )
    foot, foot_b = view.point(a, u, -0.15)[:2], view.point(b, u, -0.15)[:2]
    share = (start - near) / (far - near)
    canvas.wall(texture, [top, top_b, foot_b, foot], near, int(label), (share, 0.0))
