"""Paints everything that stands or moves on the ground, from the farthest to the nearest."""

import math

import numpy as np

from rtseg.data.drive.buildings import Houses
from rtseg.data.drive.canvas import Canvas
from rtseg.data.drive.chance import chance, generator
from rtseg.data.drive.classes import DriveClass
from rtseg.data.drive.people import draw_cyclist, draw_walker
from rtseg.data.drive.route import Route
from rtseg.data.drive.scenery import CHUNK, REACH, Item, Scenery
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

_NEAR = 0.9
_BLOT = [
    (math.cos(a) * r, math.sin(a) * r)
    for a, r in zip(
        np.linspace(0, math.tau, 12, endpoint=False).tolist(),
        (1.0, 0.8, 1.1, 0.9, 0.75, 1.05, 0.95, 0.8, 1.1, 0.85, 1.0, 0.75),
        strict=True,
    )
]


class Painter:
    """The things of one drive, and the order in which they are painted."""

    def __init__(self, seed: int, route: Route) -> None:
        self._route = route
        self._scenery = Scenery(seed, route)
        self._traffic = Traffic(seed, route)
        self._trees, self._bushes = grow_trees(seed)
        self._houses = Houses(seed)
        self._hedge = hedge_texture(seed)
        self._fence = _fence(seed)
        self._wall = _stones(seed)

    def draw(self, canvas: Canvas) -> None:
        """Paint all that is in sight."""
        view = canvas.view
        here, time = view.s, view.time
        queue: list[tuple[float, Item | Driver]] = []
        for index in range(int((here - 14.0) // CHUNK), int((here + 240.0) // CHUNK) + 1):
            for item in self._scenery.chunk(index):
                s, end = item.s, item.end
                if item.speed:
                    # It is in its own place just as the camera comes by.
                    s = end = item.s + item.speed * (time - (item.s - 40.0) / self._route.speed)
                if end - here > _NEAR and s - here < REACH[item.name]:
                    queue.append((end - here, item))
        queue.extend(
            # By its far end, as everything long is.
            (driver.s - here + driver.vehicle.length, driver)
            for driver in self._traffic.drivers(time, here)
        )
        queue.sort(key=lambda entry: -entry[0])
        if canvas.light.shadow > 0.05:
            self._shadows(canvas, queue)
        for distance, thing in queue:
            if isinstance(thing, Driver):
                self._drive(canvas, thing)
            else:
                self._paint(canvas, thing, distance)
        canvas.behind(view.place(_NEAR))

    def _drive(self, canvas: Canvas, driver: Driver) -> None:
        distance = driver.s - canvas.view.s
        if distance < -driver.vehicle.length + 1.0:
            return
        place = canvas.view.place(distance)
        if canvas.behind(place):
            driver.vehicle.draw(
                canvas,
                place,
                driver.u,
                max(distance, 0.0),
                flip=driver.oncoming,
                brake=driver.brake,
            )

    def _paint(self, canvas: Canvas, item: Item, distance: float) -> None:
        view, name, u = canvas.view, item.name, item.u
        near = item.s - view.s if item.end > item.s else distance
        # A brow hides what its nearest end stands behind, not what its far end does.
        place = view.place(max(near, _NEAR))
        if not canvas.behind(place):
            return
        # What comes into sight grows out of the ground, behind everything nearer: nothing pops up.
        tall = item.size * min(1.0, (REACH[name] - near) / 45.0)
        if name in ("tree", "bush"):
            sprites = self._trees if name == "tree" else self._bushes
            x, y, m = view.point(place, u, -0.05)
            sprite = sprites[item.key % len(sprites)]
            canvas.sprite(sprite, x, y, tall * m, distance, int(DriveClass.TREE))
        elif name == "house":
            deep = 7.0 + 3.0 * chance(item.key, 1)
            self._houses.draw(
                canvas, near, distance, u, deep, item.key, tall, round(item.size / 2.9)
            )
        elif name == "hedge":
            draw_ribbon(canvas, near, distance, u, tall, self._hedge, DriveClass.TREE, 1.0)
        elif name == "fence":
            draw_ribbon(canvas, near, distance, u, tall, self._fence, DriveClass.FENCE, 0.0)
        elif name == "wall":
            draw_ribbon(canvas, near, distance, u, tall, self._wall, DriveClass.FENCE, 0.3)
        elif name == "rail":
            draw_rail(canvas, near, distance, u)
        elif name == "lamp":
            draw_lamp(canvas, place, u, tall, distance)
        elif name == "pole":
            draw_pole(canvas, place, u, tall, distance)
        elif name == "sign":
            draw_sign(canvas, place, u, item.key, distance)
        elif name == "gantry":
            draw_gantry(canvas, place, u, item.size, item.key, distance)
        elif name == "parked":
            tail = view.place(max(near, -3.0))
            vehicle = self._traffic.vehicle(item.key % 40)
            if near > -3.0:
                flip = u * self._route.side < 0
                vehicle.draw(canvas, tail, u, max(near, 0.0), flip=flip, brake=False)
        else:
            x, y, m = view.point(place, u, 0.0)
            draw = draw_walker if name == "walker" else draw_cyclist
            draw(canvas, x, y, m, item.key, distance)

    def _shadows(self, canvas: Canvas, queue: list[tuple[float, Item | Driver]]) -> None:
        view, light = canvas.view, canvas.light
        strength = 0.5 * light.shadow
        long = 0.55 + 1.1 * light.glare
        shapes: list[list[tuple[float, float]]] = []
        starts: list[float] = []
        for distance, thing in queue:
            if isinstance(thing, Driver) or not 1.0 < distance < 75.0:
                continue
            tall = thing.size
            away = light.sun - view.azimuth - view.place(distance).turn
            du, ds = -math.sin(away) * long, -math.cos(away) * long
            if thing.name == "tree":
                cu, cs, r = thing.u + du * tall * 0.6, ds * tall * 0.6, tall * 0.33
                shape = [(cu + r * a, cs + r * long * b) for a, b in _BLOT]
            elif thing.name in ("lamp", "pole"):
                e, f = du * tall, ds * tall
                shape = [
                    (thing.u - 0.08, 0.0),
                    (thing.u + e, f),
                    (thing.u + e + 0.1, f + 0.1),
                    (thing.u + 0.08, 0.05),
                ]
            elif thing.name == "house":
                if du * thing.u > 0:
                    continue
                back = thing.s - thing.end
                reach = thing.u + du * (tall + 1.5)
                shape = [
                    (thing.u, 0.0),
                    (reach, ds * tall),
                    (reach, ds * tall + back),
                    (thing.u, back),
                ]
            else:
                continue
            shapes.append(shape)
            starts.append(distance)
        if not shapes:
            return
        spots = np.array(
            [(u, at + s) for shape, at in zip(shapes, starts, strict=True) for u, s in shape]
        )
        points = view.ground(spots[:, 0], np.maximum(spots[:, 1], _NEAR))
        first = 0
        for shape, at in zip(shapes, starts, strict=True):
            last = first + len(shape)
            nearest = max(at + min(s for _, s in shape), _NEAR)
            if canvas.behind(view.place(nearest)):
                canvas.shade(points[first:last], strength)
            first = last


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
