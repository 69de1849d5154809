"""Paints everything that stands or moves on the ground, from the farthest to the nearest."""

import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.buildings import Houses
from rtseg.data.drive.camera import Place, Span, View
from rtseg.data.drive.canvas import Canvas
from rtseg.data.drive.chance import chance, generator
from rtseg.data.drive.classes import DriveClass
from rtseg.data.drive.items import NEAR, REACH, Item, Stretch
from rtseg.data.drive.people import draw_cyclist, draw_walker
from rtseg.data.drive.route import Route
from rtseg.data.drive.scenery import Scenery
from rtseg.data.drive.shadows import draw_shadows
from rtseg.data.drive.sprites import Texture
from rtseg.data.drive.street import (
    draw_gantry,
    draw_lamp,
    draw_pole,
    draw_rail,
    draw_ribbon,
    draw_sign,
)
from rtseg.data.drive.traffic import Driver, Traffic
from rtseg.data.drive.trees import grow_trees, hedge_texture

__all__ = ["Painter"]


class Painter:
    """The things of one drive, and the order in which they are painted."""

    def __init__(self, seed: int, route: Route) -> None:
        self._route = route
        self._scenery = Scenery(seed, route)
        self._traffic = Traffic(seed, route)
        self._trees, self._bushes = grow_trees(seed)
        self._houses = Houses(seed)
        self._borders = {
            "hedge": (hedge_texture(seed), DriveClass.TREE, 1.0),
            "fence": (_fence(seed), DriveClass.FENCE, 0.0),
            "wall": (_stones(seed), DriveClass.FENCE, 0.3),
        }

    def draw(self, canvas: Canvas) -> None:
        """Paint all that is in sight."""
        view = canvas.view
        stretch = self._scenery.stretch(view.s - 14.0, view.s + 240.0)
        near, far = self._distances(stretch, view)
        seen = np.flatnonzero((far > NEAR) & (near < stretch.reach))
        if canvas.light.shadow > 0.05:
            draw_shadows(canvas, stretch, seen, far[seen])
        # A brow hides what its nearest end stands behind, not what its far end does.
        fronts = view.places(np.maximum(near, stretch.least)[seen])
        backs = view.places(far[seen])
        inside = _in_sight(view, stretch, seen, fronts, backs)
        seen, fronts, backs = seen[inside], fronts[inside], backs[inside]
        drivers = self._traffic.drivers(view.time, view.s)
        ahead = np.array([driver.s - view.s for driver in drivers])
        # By its far end, as everything long is.
        ends = ahead + np.array([driver.vehicle.length for driver in drivers])
        places = [Place(*row) for row in np.vstack([fronts, view.places(ahead)]).tolist()]
        behind = [Place(*row) for row in backs.tolist()]
        order = np.argsort(-np.concatenate([far[seen], ends]), kind="stable")
        for i in order.tolist():
            if i >= len(seen):
                self._drive(canvas, drivers[i - len(seen)], places[i])
            else:
                at = int(seen[i])
                item = stretch.items[at]
                self._paint(canvas, item, float(near[at]), float(far[at]), places[i], behind[i])

    def _distances(
        self, stretch: Stretch, view: View
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how far away everything's nearest and farthest ends are."""
        near, far = stretch.s - view.s, stretch.end - view.s
        if len(stretch.moving):
            s = stretch.s[stretch.moving]
            # It is in its own place just as the camera comes by.
            walked = stretch.speed[stretch.moving] * (view.time - (s - 40.0) / self._route.speed)
            near[stretch.moving] = far[stretch.moving] = s + walked - view.s
        return near, far

    def _drive(self, canvas: Canvas, driver: Driver, place: Place) -> None:
        distance = driver.s - canvas.view.s
        if distance >= -driver.vehicle.length + 1.0 and canvas.behind(place):
            flip, brake = driver.oncoming, driver.brake
            driver.vehicle.draw(canvas, place, driver.u, max(distance, 0.0), flip=flip, brake=brake)

    def _paint(
        self, canvas: Canvas, item: Item, near: float, far: float, front: Place, back: Place
    ) -> None:
        view, name, u = canvas.view, item.name, item.u
        if not canvas.behind(front):
            return
        # What comes into sight grows out of the ground, behind everything nearer: nothing pops up.
        tall = item.size * min(1.0, (REACH[name] - near) / 45.0)
        if name in ("tree", "bush"):
            sprites = self._trees if name == "tree" else self._bushes
            x, y, m = view.point(front, u, -0.05)
            sprite = sprites[item.key % len(sprites)]
            canvas.sprite(sprite, x, y, tall * m, far, int(DriveClass.TREE))
        elif name == "house":
            deep = 7.0 + 3.0 * chance(item.key, 1)
            shape = u, deep, tall, round(item.size / 2.9)
            self._houses.draw(canvas, Span(near, far, front, back), item.key, *shape)
        elif name in self._borders:
            texture, label, depth = self._borders[name]
            draw_ribbon(canvas, Span(near, far, front, back), u, tall, texture, label, depth)
        elif name == "rail":
            draw_rail(canvas, Span(near, far, front, back), u)
        elif name == "lamp":
            draw_lamp(canvas, front, u, tall, far)
        elif name == "pole":
            draw_pole(canvas, front, u, tall, far)
        elif name == "sign":
            draw_sign(canvas, front, u, item.key, far)
        elif name == "gantry":
            draw_gantry(canvas, front, u, item.size, item.key, far)
        elif name == "parked":
            vehicle = self._traffic.vehicle(item.key % 40)
            if near > -3.0:
                flip = u * self._route.side < 0
                vehicle.draw(canvas, front, u, max(near, 0.0), flip=flip, brake=False)
        else:
            x, y, m = view.point(front, u, 0.0)
            draw = draw_walker if name == "walker" else draw_cyclist
            draw(canvas, x, y, m, item.key, far)


def _in_sight(
    view: View,
    stretch: Stretch,
    seen: NDArray[np.intp],
    fronts: NDArray[np.float64],
    backs: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which of the items seen are neither beside the picture nor behind a hill."""
    u, wide = stretch.u[seen], stretch.width[seen]
    ends = np.stack([fronts, backs])
    columns, reach = ends[..., 5] + u * ends[..., 6], wide * ends[..., 8]
    least, most = (columns - reach).min(axis=0), (columns + reach).max(axis=0)
    inside: NDArray[np.bool_] = (least < view.width) & (most > 0.0) & (fronts[:, 4] > 0)
    return inside


def _fence(seed: int) -> Texture:
    """Return a fence of boards (48, 384, 3), uint8."""
    rng = generator(seed, 190)
    wood = np.array([70.0, 96.0, 122.0]) * rng.uniform(0.7, 1.2)
    boards = wood * (1 + rng.normal(0, 0.1, (1, 48, 1)))
    image = np.repeat(boards, 8, axis=1) * np.ones((48, 1, 1))
    image[:, ::8] *= 0.6
    image[:3] *= 1.15
    return Texture(np.clip(image, 0, 255).astype(np.uint8))


def _stones(seed: int) -> Texture:
    """Return a wall of stones or bricks (48, 384, 3), uint8."""
    rng = generator(seed, 191)
    base = np.array([110.0, 128.0, 140.0]) if rng.random() < 0.5 else np.array([74.0, 96.0, 146.0])
    cells = base * (1 + rng.normal(0, 0.12, (8, 32, 1)))
    image = np.repeat(np.repeat(cells, 6, axis=0), 12, axis=1)
    image[::6] *= 0.72
    for row in range(8):
        image[row * 6 : row * 6 + 6, (row % 2) * 6 :: 12] *= 0.78
    image[:4] *= 1.2
    return Texture(np.clip(image, 0, 255).astype(np.uint8))
