"""Trees and bushes: sprites grown once a drive from blobs of leaves."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.chance import chance, generator
from rtseg.data.drive.sprites import Sprite, Texture

__all__ = ["grow_trees", "hedge_texture"]


def _leaves(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    blobs: list[tuple[float, float, float]],
    colour: NDArray[np.float64],
    count: int,
) -> None:
    """Dab leaves over blobs (x, y, radius): dark and low first, light and high last."""
    spots = np.array(blobs)
    weights = spots[:, 2] ** 2
    x, y, r = spots[rng.choice(len(blobs), count, p=weights / weights.sum())].T
    low, high = (spots[:, 1] - spots[:, 2]).min(), (spots[:, 1] + spots[:, 2]).max()
    angle, away = rng.uniform(0, math.tau, count), np.sqrt(rng.random(count)) * r
    dx, dy = away * np.cos(angle), away * np.sin(angle)
    tone = 0.74 + 0.3 * (-dx * 0.35 - dy) / r - 0.22 * ((y + dy - low) / (high - low) - 0.5)
    tone += rng.normal(0, 0.13, count)
    order = np.argsort(tone + rng.normal(0, 0.25, count))
    tints = colour * np.clip(tone, 0.28, 1.4)[:, None] * (1 + rng.normal(0, 0.05, (count, 3)))
    dabs = np.clip(tints, 0, 255)[order].tolist()
    centres = np.stack([x + dx, y + dy], axis=1).astype(int)[order].tolist()
    axes = rng.integers(2, 7, (count, 2)).tolist()
    turns = rng.uniform(0, 180, count).tolist()
    canvas = cv2.merge([image, alpha])
    for centre, axis, turn, dab in zip(centres, axes, turns, dabs, strict=True):
        cv2.ellipse(canvas, centre, axis, turn, 0, 360, [*dab, 255.0], -1, cv2.LINE_8)
    image[:], alpha[:] = canvas[..., :3], canvas[..., 3]


def _ruffle(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    reach: float,
    calm: float,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Shuffle pixels a little way, so that smooth dabs become leaves.

    Below the share `calm` of the height, where the trunk is, they hardly move.
    """
    h, w = alpha.shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    coarse = rng.normal(0, reach, (2, h // 3 + 1, w // 3 + 1)).astype(np.float32)
    coarse[:, round(h // 3 * calm) :] *= 0.15
    maps = [
        base + cv2.resize(part, (w, h)) + rng.normal(0, 0.8, (h, w)).astype(np.float32)
        for base, part in zip((x, y), coarse, strict=True)
    ]
    border = cv2.BORDER_REPLICATE
    moved = cv2.remap(image, maps[0], maps[1], cv2.INTER_NEAREST, borderMode=border)
    outline = cv2.remap(alpha, maps[0], maps[1], cv2.INTER_NEAREST, borderMode=border)
    return np.asarray(moved, np.uint8), np.asarray(outline, np.uint8)


def _tree(rng: np.random.Generator, form: int, colour: NDArray[np.float64]) -> Sprite:
    w, h = ((288, 384), (144, 416), (224, 384), (288, 192))[form]
    image = np.empty((h, w, 3), np.uint8)
    image[:] = np.clip(colour * 0.5, 0, 255)
    alpha = np.zeros((h, w), np.uint8)
    bark = np.array([44.0, 56.0, 68.0]) * rng.uniform(0.7, 1.2)
    tone = [float(c) for c in bark]
    middle = w / 2
    blobs: list[tuple[float, float, float]] = []
    if form == 0:
        for _ in range(17):
            a, r = rng.uniform(0, math.tau), math.sqrt(rng.random())
            size = rng.uniform(30, 54)
            blobs.append(
                (
                    middle + math.cos(a) * r * (w / 2 - size - 6),
                    136 + math.sin(a) * r * (132 - size),
                    size,
                )
            )
    elif form == 1:
        for y in np.linspace(50, h - 70, 12):
            part = (y / h) ** 0.6
            blobs.append((middle + rng.normal(0, 4), y, 14 + 40 * part * (1.15 - y / h) * 1.9))
    elif form == 2:
        for y in np.linspace(14, h - 50, 16):
            reach = (y / h) * (w / 2 - 14)
            blobs.extend(
                (middle + x, y + abs(x) * 0.28 + rng.normal(0, 3), 13.0)
                for x in np.linspace(-reach, reach, 2 + int(reach / 14))
            )
    else:
        for _ in range(14):
            x = rng.uniform(-1, 1)
            size = rng.uniform(26, 48) * (1.1 - 0.5 * abs(x))
            blobs.append((middle + x * (w / 2 - 44), h - size * rng.uniform(0.7, 2.2), size))
    if form < 3:
        thick = 13 if form == 0 else 9
        trunk = np.array(
            [
                [middle - thick, h],
                [middle - thick * 0.5, h * 0.4],
                [middle + thick * 0.5, h * 0.4],
                [middle + thick, h],
            ],
            np.int32,
        )
        cv2.fillConvexPoly(image, trunk, tone)
        cv2.fillConvexPoly(alpha, trunk, 255)
        shade = trunk.copy()
        shade[:2, 0] += thick
        cv2.fillConvexPoly(image, shade, [c * 0.6 for c in tone])
        if form == 0:
            for side in (-1, 1, -0.5, 0.6):
                end = (int(middle + side * 70), int(h * 0.38))
                cv2.line(image, (int(middle), int(h * 0.66)), end, tone, 6)
                cv2.line(alpha, (int(middle), int(h * 0.66)), end, 255, 6)
    _leaves(rng, image, alpha, blobs, colour, 1500 if form != 3 else 900)
    return Sprite(*_ruffle(rng, image, alpha, 5.0, 0.74 if form in (0, 1) else 0.9))


def grow_trees(seed: int) -> tuple[list[Sprite], list[Sprite]]:
    """Return a drive's trees and its bushes."""
    rng = generator(seed, 130)
    season = chance(seed, 131)
    trees: list[Sprite] = []
    bushes: list[Sprite] = []
    for i, form in enumerate((0, 0, 0, 1, 2, 3, 3)):
        if form == 2:
            colour = np.array([48.0, 84.0, 58.0])
        elif season > 0.8:
            colour = np.array([34.0, 104.0 + 20 * (i % 3), 150.0 - 22 * (i % 3)])
        else:
            colour = np.array([46.0, 112.0, 74.0]) + rng.uniform(-14, 22, 3)
        (bushes if form == 3 else trees).append(_tree(rng, form, colour))
    return trees, bushes


def hedge_texture(seed: int) -> Texture:
    """Return a hedge's side (64, 512, 3), uint8."""
    rng = generator(seed, 132)
    image = np.empty((64, 512, 3), np.uint8)
    colour = np.array([44.0, 98.0, 66.0]) + rng.uniform(-10, 14, 3)
    image[:] = colour * 0.45
    alpha = np.zeros((64, 512), np.uint8)
    blobs = [(float(x), float(y), 26.0) for x in range(0, 520, 20) for y in (12, 36)]
    _leaves(rng, image, alpha, blobs, colour, 2200)
    return Texture(_ruffle(rng, image, alpha, 4.0, 1.0)[0])
