"""Ground textures: asphalt, marks, kerbs, pavements and verges, at several resolutions."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.chance import chance, generator
from rtseg.data.drive.classes import DriveClass
from rtseg.data.drive.grain import PERIOD, Grains
from rtseg.data.drive.roads import LineMark, RoadKind

__all__ = ["Level", "Paving"]

Image = NDArray[np.uint8]

# Metres each side, pixels a metre across, and along as painted and as kept.
_LEVELS = (
    (9.0, 40.0, 22.0, 22.0),
    (28.0, 14.0, 6.0, 6.0),
    (28.0, 14.0, 6.0, 1.5),
    (100.0, 4.0, 2.0, 0.5),
    (100.0, 4.0, 2.0, 1.0 / 12.0),
)


@dataclass(frozen=True)
class Level:
    """A texture of the ground: `half` metres each side, `across` and `along` pixels a metre."""

    half: float
    across: float
    along: float
    texture: Image
    labels: Image


class Paving:
    """The ground of one kind of road. Far ground takes coarser textures, or it would flicker."""

    def __init__(self, kind: RoadKind, side: int, seed: int, grains: Grains) -> None:
        self._kind, self._side, self._seed, self._grains = kind, side, seed, grains
        self._painted: dict[tuple[float, float], Level] = {}
        self._begun: dict[tuple[float, float], Iterator[None]] = {}

    def levels(
        self, depths: NDArray[np.float64], half_angle: float
    ) -> list[tuple[int, int, Level]]:
        """Return which rows take which texture: runs of rows, far ones first.

        `depths` are the rows' depths in metres, `half_angle` the tangent of half the field of view.
        """
        reach = depths * half_angle
        step = (reach >= 6.7).astype(np.int8) + (reach >= 14.0) + (reach >= 24.0)
        step += (reach >= 24.0) & (depths >= 110.0)
        edges = (np.flatnonzero(np.diff(step)) + 1).tolist()
        return [
            (low, high, self._level(*_LEVELS[step[low]]))
            for low, high in zip([0, *edges], [*edges, len(step)], strict=True)
        ]

    def work(self) -> bool:
        """Paint a little of what has not been looked at yet; False if nothing is left to do."""
        for half, across, painted, along in reversed(_LEVELS):
            if (half, along) not in self._painted:
                next(self._painting(half, across, painted, along), None)
                return True
        return False

    def _level(self, half: float, across: float, painted: float, along: float) -> Level:
        key = (half, along)
        if key not in self._painted:
            for _ in self._painting(half, across, painted, along):
                pass
        return self._painted[key]

    def _painting(self, half: float, across: float, painted: float, along: float) -> Iterator[None]:
        """Return the steps left in painting a texture; the last one keeps it."""
        key = (half, along)
        if key not in self._begun:
            steps = self._paint(half, across, along)
            self._begun[key] = steps if along == painted else self._shorten(key, across, painted)
        return self._begun[key]

    def _shorten(self, key: tuple[float, float], across: float, painted: float) -> Iterator[None]:
        half, along = key
        whole = (half, painted)
        if whole not in self._painted:
            yield from self._painting(half, across, painted, painted)
        self._painted[key] = _shorten(self._painted[whole], along)

    def _paint(self, half: float, across: float, along: float) -> Iterator[None]:
        grain = self._grains.grain(half, across, along)
        rows, columns = grain.shape
        yield
        canvas = np.empty((rows, columns, 3), np.uint8)
        labels = np.full((1, columns), DriveClass.TREE, np.uint8)
        tracks = self._wheel_tracks(grain, half, across)
        yield
        _fill(canvas, grain, _material("grass", self._seed), 0, columns)
        for strip in self._kind.strips:
            yield
            low = min(max(round((strip.left * 1.0 + half) * across), 0), columns)
            high = min(max(round((strip.right + half) * across), 0), columns)
            surface = tracks if strip.material == "asphalt" else grain
            _fill(canvas, surface, _material(strip.material, self._seed), low, high)
            labels[0, low:high] = strip.label
            if strip.material == "pavement":
                _joints(canvas, low, high, across, along)
        yield
        self._repairs(canvas, labels, half, across, along)
        worn = 0.25 + 0.5 * chance(self._seed, 101)
        for line in self._kind.lines:
            yield
            _mark(canvas, line, half, across, along, grain, worn)
        yield
        if self._side < 0:
            canvas, labels = np.ascontiguousarray(canvas[:, ::-1]), labels[:, ::-1]
        # One row more than a period, so that interpolation can run over the seam; and a fourth
        # channel that nobody looks at: OpenCV looks four up twice as fast as three.
        texture = np.empty((rows + 1, columns, 4), np.uint8)
        cv2.cvtColor(canvas, cv2.COLOR_BGR2BGRA, texture[:rows])
        texture[rows] = texture[0]
        self._painted[(half, along)] = Level(
            half, across, along, texture, np.ascontiguousarray(labels)
        )

    def _wheel_tracks(self, grain: Image, half: float, across: float) -> Image:
        """Return the grain of the carriageway: lighter where wheels run, darker between them."""
        kind = self._kind
        u = (np.arange(grain.shape[1]) + 0.5) / across - half
        shade = np.zeros(grain.shape[1])
        for lane in (kind.ego, *kind.oncoming, *kind.overtaken):
            for offset, size, depth in ((-0.8, 0.32, 19.0), (0.8, 0.32, 19.0), (0.0, 0.3, -15.0)):
                shade += depth * np.exp(-(((u - lane - offset) / size) ** 2))
        shade[np.abs(u) > max(kind.half, 22.0 * kind.motorway)] = 0.0
        lighter = np.clip(shade, 0, 60).astype(np.uint8)
        darker = np.clip(-shade, 0, 60).astype(np.uint8)
        tracks: Image = np.maximum(grain, darker) - darker
        return np.minimum(tracks, 255 - lighter) + lighter

    def _repairs(
        self, canvas: Image, labels: Image, half: float, across: float, along: float
    ) -> None:
        rng = generator(self._seed, 102, len(self._kind.name))
        reach = min(self._kind.half, 10.0)
        overlay = canvas.copy()
        period = PERIOD * along
        for kind in rng.integers(0, 6, 46):
            u, s = rng.uniform(-reach, reach), rng.uniform(0, PERIOD)
            tone = float(rng.uniform(0.72, 1.2))
            shape = _repair_shape(int(kind), rng)
            base = canvas[int(s * along) % len(canvas), _column(u, half, across, canvas)]
            colour = [float(c) * (tone if kind < 2 else 0.62) for c in base]
            for turn in (0.0, -period):
                points = (shape + np.array([u + half, s])) * [across, along] + [0.0, turn]
                fixed = np.round(points * 16).astype(np.int32)
                if kind >= 3:
                    thick = max(1, round(0.03 * across))
                    cv2.polylines(overlay, [fixed], False, colour, thick, cv2.LINE_AA, 4)
                else:
                    cv2.fillPoly(overlay, [fixed], colour, cv2.LINE_AA, 4)
        # Thin cracks fade as a pixel comes to cover more ground than they do.
        strength = 0.55 if across > 10 else 0.2
        road = np.concatenate([[False], labels[0] == DriveClass.ROAD, [False]])
        for low, high in np.flatnonzero(np.diff(road)).reshape(-1, 2).tolist():
            part = canvas[:, low:high]
            canvas[:, low:high] = cv2.addWeighted(
                overlay[:, low:high], strength, part, 1 - strength, 0
            )


def _column(u: float, half: float, across: float, canvas: Image) -> int:
    columns = int(canvas.shape[1])
    return min(max(int((u + half) * across), 0), columns - 1)


def _repair_shape(kind: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if kind == 0:  # a patch
        w, h = rng.uniform(0.5, 1.6), rng.uniform(0.8, 5.0)
        return np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    if kind in (1, 2):  # a stain
        angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        radius = rng.uniform(0.6, 1.2, 14) * rng.uniform(0.15, 0.5)
        return np.stack([radius * np.cos(angle), 2 * radius * np.sin(angle)], axis=1)
    steps = rng.normal(0, 0.1, (14, 2)) + (
        [0.0, 0.35] if kind == 3 else [0.25, 0.05] if kind == 4 else [0.12, 0.2]
    )
    walk: NDArray[np.float64] = np.cumsum(steps, axis=0)
    return walk


def _material(name: str, seed: int) -> tuple[tuple[float, float, float], float]:
    """Return a material's colour (BGR) and how strongly its grain shows."""
    tone = 88.0 + 44.0 * chance(seed, 110)
    warm = 8.0 * (chance(seed, 111) - 0.5)
    dry = chance(seed, 112)
    if name == "asphalt":
        return (tone - warm, tone, tone + warm), 0.30
    if name == "pavement":
        base = 138.0 + 34.0 * chance(seed, 113)
        return (base - 8 - 14 * chance(seed, 114), base, base + 6), 0.28
    if name == "kerb":
        return (158.0, 166.0, 170.0), 0.25
    if name == "gravel":
        return (78.0 + 10 * dry, 102.0 + 8 * dry, 104.0 + 22 * dry), 0.7
    return (38.0 + 20 * dry, 92.0 + 8 * dry, 70.0 + 34 * dry), 0.85


def _fill(
    canvas: Image,
    grain: Image,
    material: tuple[tuple[float, float, float], float],
    low: int,
    high: int,
) -> None:
    if high <= low:
        return
    colour, strength = material
    swing = 1.0 + strength * (np.arange(256) - 128.0) / 64.0
    table = np.clip(np.array(colour) * swing[:, None], 0, 255).astype(np.uint8)[None]
    part = grain[:, low:high]
    canvas[:, low:high] = cv2.LUT(cv2.merge([part, part, part]), table)


def _joints(canvas: Image, low: int, high: int, across: float, along: float) -> None:
    """Draw the joints between paving slabs where the texture is fine enough to hold them."""
    if along < 5:
        return
    every = 0.9
    for s in np.arange(0.0, PERIOD, every):
        row = int(s * along)
        canvas[row : row + 1, low:high] = canvas[row : row + 1, low:high] // 4 * 3
    if across > 20:
        for x in range(low, high, int(every * across)):
            canvas[:, x : x + 1] = canvas[:, x : x + 1] // 4 * 3


def _mark(
    canvas: Image,
    line: LineMark,
    half: float,
    across: float,
    along: float,
    grain: Image,
    worn: float,
) -> None:
    rows, columns = canvas.shape[:2]
    left = (line.centre - line.width / 2 + half) * across
    right = (line.centre + line.width / 2 + half) * across
    low, high = max(int(left), 0), min(int(right) + 1, columns)
    if high <= low:
        return
    x = np.arange(low, high, dtype=np.float32)
    cover = np.clip(np.minimum(x + 1, right) - np.maximum(x, left), 0, 1)[None, :, None]
    along_cover = np.ones(rows, np.float32)
    if line.period:
        edges = np.arange(rows + 1) / along
        lit = np.floor(edges / line.period) * line.dash + np.minimum(
            np.mod(edges, line.period), line.dash
        )
        along_cover = np.array([(b - a) * along for a, b in pairwise(lit)], np.float32)
    part = canvas[:, low:high].astype(np.float32)
    wear = grain[:, low:high].astype(np.float32) / np.float32(128.0)
    paint = np.clip(1.25 - worn * wear, 0.15, 0.97)[:, :, None]
    weight = cover * along_cover[:, None, None] * paint
    part += (np.array(line.colour, np.float32) - part) * weight
    canvas[:, low:high] = np.clip(part, 0, 255).astype(np.uint8)


def _shorten(level: Level, along: float) -> Level:
    rows = max(1, round(PERIOD * along))
    body = level.texture[:-1]
    small = cv2.resize(body, (body.shape[1], rows), interpolation=cv2.INTER_AREA)
    texture = np.ascontiguousarray(np.vstack([small, small[:1]]))
    return Level(level.half, level.across, rows / PERIOD, texture, level.labels)
