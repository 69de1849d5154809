"""The shadows that trees, posts and houses throw on the ground."""

import math

import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.canvas import Canvas
from rtseg.data.drive.items import NEAR, Stretch

__all__ = ["draw_shadows"]

_ANGLES = np.linspace(0, math.tau, 12, endpoint=False)
_RADII = np.array([1.0, 0.8, 1.1, 0.9, 0.75, 1.05, 0.95, 0.8, 1.1, 0.85, 1.0, 0.75])
_BLOT = np.stack([_RADII * np.cos(_ANGLES), _RADII * np.sin(_ANGLES)], axis=1)


def draw_shadows(
    canvas: Canvas, stretch: Stretch, seen: NDArray[np.intp], far: NDArray[np.float64]
) -> None:
    """Paint the shadows of the items seen, whose far ends are `far` metres ahead."""
    view, light = canvas.view, canvas.light
    throwing = stretch.trees[seen] | stretch.posts[seen] | stretch.houses[seen]
    keep = np.flatnonzero(throwing & (far > 1.0) & (far < 75.0))
    if len(keep) == 0:
        return
    long = 0.55 + 1.1 * light.glare
    seen, far = seen[keep], far[keep]
    away = light.sun - view.azimuth - view.places(far)[:, 3]
    # Where the shadow of something a metre tall ends, across the road and along it.
    du, ds = -np.sin(away) * long, -np.cos(away) * long
    u, tall = stretch.u[seen], stretch.size[seen]
    # Every shadow is twelve points (across, along) from its thing: shorter ones repeat their last.
    shapes = np.zeros((len(seen), 12, 2))
    trees = stretch.trees[seen]
    r = (tall * 0.33)[trees]
    middle = np.stack([u + du * tall * 0.6, ds * tall * 0.6], axis=1)[trees]
    blots = _BLOT * [1.0, long]
    shapes[trees] = middle[:, None, :] + r[:, None, None] * blots
    posts = stretch.posts[seen]
    e, f = (u + du * tall)[posts], (ds * tall)[posts]
    shapes[posts, 0, 0] = u[posts] - 0.08
    shapes[posts, 1] = np.stack([e, f], axis=1)
    shapes[posts, 2] = np.stack([e + 0.1, f + 0.1], axis=1)
    shapes[posts, 3:] = np.stack([u[posts] + 0.08, np.full(len(e), 0.05)], axis=1)[:, None]
    houses = stretch.houses[seen]
    back = (stretch.s - stretch.end)[seen][houses]
    reach, down = (u + du * (tall + 1.5))[houses], (ds * tall)[houses]
    shapes[houses, 0, 0] = u[houses]
    shapes[houses, 1] = np.stack([reach, down], axis=1)
    shapes[houses, 2] = np.stack([reach, down + back], axis=1)
    shapes[houses, 3:] = np.stack([u[houses], back], axis=1)[:, None]
    along = np.maximum(shapes[..., 1] + far[:, None], NEAR)
    points = view.ground(shapes[..., 0].ravel(), along.ravel()).reshape(-1, 12, 2)
    low, high = points.min(axis=1), points.max(axis=1)
    clips = view.places(along.min(axis=1))[:, 4]
    inside = (low[:, 0] < view.width) & (high[:, 0] > 0) & (low[:, 1] < clips) & (high[:, 1] > 0)
    # A house's shadow that falls away from the road is behind it.
    inside &= ~(houses & (du * u > 0))
    for i in np.flatnonzero(inside).tolist():
        canvas.hide(int(clips[i]))
        canvas.shade(points[i], 0.5 * light.shadow)
