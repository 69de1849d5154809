"""Houses: boxes with painted fronts, gables and roofs."""

import numpy as np

from rtseg.data.drive.camera import Span
from rtseg.data.drive.canvas import Canvas, Colour
from rtseg.data.drive.chance import chance, generator
from rtseg.data.drive.classes import DriveClass
from rtseg.data.drive.items import NEAR
from rtseg.data.drive.sprites import Texture

__all__ = ["Houses"]

_WALLS = (
    (92, 130, 166),
    (84, 112, 160),
    (70, 86, 138),
    (168, 186, 196),
    (196, 206, 210),
    (128, 160, 182),
    (150, 152, 150),
    (110, 150, 170),
)
_FRONTS = 8
_ROOFS: tuple[Colour, ...] = ((66, 72, 96), (78, 78, 80), (60, 60, 66), (62, 80, 118))


class Houses:
    """A drive's house fronts, painted when first seen, and how to draw a house with them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._fronts: dict[int, tuple[Texture, Colour]] = {}

    def _front(self, key: int) -> tuple[Texture, Colour]:
        index = key % _FRONTS
        if index not in self._fronts:
            self._fronts[index] = _front(generator(self._seed, 140, index), index)
        return self._fronts[index]

    def draw(
        self,
        canvas: Canvas,
        span: Span,
        key: int,
        u: float,
        deep: float,
        tall: float,
        storeys: int,
    ) -> None:
        """Paint a house along a span of the road with its front at `u`.

        It stands `deep` metres away from the road and is `tall` metres up to its eaves.
        """
        view, label = canvas.view, int(DriveClass.BUILDING)
        front, wall = self._front(key)
        near, far, a, b = span
        start = max(near, NEAR)
        if far <= start + 0.2:
            return
        back = u + deep if u > 0 else u - deep
        middle = (u + back) / 2
        pitched = chance(key, 7) < 0.75
        rise = min(deep * 0.36, tall * 0.6) if pitched else 0.0
        roof = canvas.light.colour(_ROOFS[int(chance(key, 8) * len(_ROOFS))], near)
        foot, top = view.point(a, u, -0.4), view.point(a, u, tall)
        foot_b, top_b = view.point(b, u, -0.4), view.point(b, u, tall)
        if pitched:
            ridge, ridge_b = view.point(a, middle, tall + rise), view.point(b, middle, tall + rise)
            canvas.convex([top[:2], ridge[:2], ridge_b[:2], top_b[:2]], roof, label)
        if near > NEAR:
            tone = canvas.light.colour(wall, near)
            dark = (tone[0] * 0.82, tone[1] * 0.82, tone[2] * 0.82)
            foot_c, top_c = view.point(a, back, -0.4), view.point(a, back, tall)
            outline = [foot[:2], top[:2], top_c[:2], foot_c[:2]]
            if pitched:
                outline.insert(2, view.point(a, middle, tall + rise)[:2])
            canvas.convex(outline, dark, label)
            glass = canvas.light.colour((66, 58, 52), near)
            for up in np.arange(1.2, tall - 1.4, 2.9) if tall > 3 and foot[2] > 6.0 else ():
                p, q = (
                    view.point(a, middle - 0.6, float(up)),
                    view.point(a, middle + 0.6, float(up) + 1.3),
                )
                canvas.convex([p[:2], (p[0], q[1]), q[:2], (q[0], p[1])], glass, label)
            if pitched and chance(key, 9) < 0.7:
                p = view.point(a, middle - 0.45, tall + rise - 0.5)
                q = view.point(a, middle + 0.45, tall + rise + 1.3)
                canvas.convex([p[:2], (p[0], q[1]), q[:2], (q[0], p[1])], dark, label)
        share = (start - near) / (far - near)
        corners = [top[:2], top_b[:2], foot_b[:2], foot[:2]]
        canvas.wall(front, corners, near, label, (share, (3 - min(storeys, 3)) / 3))


def _front(rng: np.random.Generator, index: int) -> tuple[Texture, Colour]:
    """Return a front of three storeys (192, 256, 3), and its wall's colour."""
    wall = np.array(_WALLS[int(rng.integers(len(_WALLS)))]) * rng.uniform(0.85, 1.08)
    image = np.empty((192, 256, 3), np.float64)
    image[:] = wall
    image *= 1.0 + rng.normal(0, 0.05, (192, 256, 1))
    if wall[0] < 130:  # bricks
        image[::4] *= 0.9
        image[:, ::8] *= 0.95
    windows = int(rng.integers(3, 6))
    pitch = 256 / windows
    shop = index % 4 == 3
    frame = np.array([214.0, 216.0, 216.0]) if rng.random() < 0.7 else wall * 0.5
    for storey in range(3):
        top = storey * 64
        image[top : top + 2] *= 0.86
        if storey == 2 and shop:
            image[top + 4 : top + 16] = rng.uniform(30, 170, 3)
            image[top + 20 : top + 58, 8:248] = (70, 62, 58)
            for x in range(8, 248, 48):
                image[top + 18 : top + 60, x : x + 4] = wall * 0.5
            image[top + 24 : top + 50, 20:100] += rng.uniform(0, 60, (26, 80, 1))
            continue
        for i in range(windows):
            x = int((i + 0.5) * pitch)
            w, h = int(pitch * 0.24), 19
            y = top + 17
            if storey == 2 and i == index % windows:  # the door
                image[y - 4 : top + 64, x - w // 2 - 2 : x + w // 2 + 4] = frame
                image[y : top + 64, x - w // 2 : x + w // 2 + 2] = rng.uniform(20, 120, 3)
                continue
            image[y - 2 : y + h + 3, x - w - 2 : x + w + 2] = frame
            glass = np.array([96.0, 84.0, 72.0]) * rng.uniform(0.5, 1.2)
            image[y : y + h, x - w : x + w] = glass
            image[y : y + h // 3, x - w : x + w] *= 1.25
            image[y : y + h, x - 1 : x + 1] = frame
            image[y + h + 3 : y + h + 5, x - w - 3 : x + w + 3] *= 0.7
    image[-4:] *= 0.7
    tone = (float(wall[0]), float(wall[1]), float(wall[2]))
    return Texture(np.clip(image, 0, 255).astype(np.uint8)), tone
