"""The ground: textures fixed to the world, laid out under the camera row by row."""

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.camera import View
from rtseg.data.drive.classes import DriveClass
from rtseg.data.drive.grain import PERIOD, Grains
from rtseg.data.drive.light import Light
from rtseg.data.drive.paving import Level, Paving
from rtseg.data.drive.roads import RoadKind, Strip
from rtseg.data.drive.route import Route

__all__ = ["Ground"]

_JUNCTION = RoadKind(
    "junction",
    half=200.0,
    ego=0.0,
    oncoming=(),
    strips=(Strip(-300.0, 300.0, "asphalt", DriveClass.ROAD),),
    lines=(),
)


class Ground:
    """Draws the ground of one drive. It keeps scratch buffers: one thread at a time."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self._seed = seed
        self._columns = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5)
        self._map_x = np.empty((height, width), np.float32)
        self._map_y = np.empty((height, width), np.float32)
        across, down = (width + 1) // 2, (height + 1) // 2
        self._half_columns = ((np.arange(across) + 0.5) * width / across).astype(np.float32)[None]
        self._half_x = np.empty((down, across), np.float32)
        self._half_y = np.empty((down, across), np.float32)
        self._small = np.empty((down, across, 3), np.uint8)
        self._half_wide = np.empty((down, across, 4), np.uint8)
        self._wide = np.empty((height, width, 4), np.uint8)
        self._pavings: dict[str, Paving] = {}
        self._grains = Grains(seed)

    def _paving(self, kind: RoadKind, side: int) -> Paving:
        # A drive has at most a handful of kinds, so this stays small.
        if kind.name not in self._pavings:
            self._pavings[kind.name] = Paving(kind, side, self._seed, self._grains)
        return self._pavings[kind.name]

    def draw(
        self,
        view: View,
        route: Route,
        light: Light,
        frame: NDArray[np.uint8],
        mask: NDArray[np.uint8],
    ) -> None:
        """Paint all rows from the view's top of the ground down to the bottom."""
        top, height = view.top, view.height
        if top >= height:
            return
        rows = len(view.row_z)
        z = view.row_z
        ratio = (z / view.focal).astype(np.float32)[:, None]
        start = (view.offset - view.row_x - view.centre * z / view.focal).astype(np.float32)
        map_x, map_y = self._map_x[:rows], self._map_y[:rows]
        along = view.s + view.row_s
        half_angle = view.width / 2 / view.focal
        for low, high, kind in self._bands(view, route):
            paving = self._paving(kind, route.side)
            for first, last, level in paving.levels(z[low:high], half_angle):
                part = slice(low + first, low + last)
                out, labels = frame[top:][part], mask[top:][part]
                # Two pixels of the picture for each of the texture's, at its far end at least.
                near = view.focal / float(z[part.start]) > 1.6 * level.across
                if near and last - first > 16:
                    _label(level, ratio[part, 0], start[part], labels)
                    self._draw_near(level, ratio[part, 0], start[part], along[part], out)
                    continue
                mx, my = map_x[part], map_y[part]
                _lay(mx, self._columns, ratio[part], start[part], level)
                my[:] = 0.0
                cv2.remap(level.labels, mx, my, cv2.INTER_NEAREST, labels, cv2.BORDER_REPLICATE)
                my[:] = _rows(along[part], level)
                _look_up(level, mx, my, self._wide[part], out)
        _light(light, z, frame[top:])

    def prepare(self, view: View, route: Route) -> None:
        """Paint a little of the textures that the next frames may need: no frame waits for one."""
        _, kind, _, end = route.section(view.s)
        for coming in (kind, _JUNCTION, route.section(end + 1.0)[1]):
            if self._paving(coming, route.side).work():
                return

    def _draw_near(
        self,
        level: Level,
        ratio: NDArray[np.float32],
        start: NDArray[np.float32],
        along: NDArray[np.float64],
        out: NDArray[np.uint8],
    ) -> None:
        """Paint the nearest rows at half their size: their texture has no more detail to show."""
        rows, columns = out.shape[0], out.shape[1]
        half = (rows + 1) // 2
        at = (np.arange(half) + 0.5) * (rows / half) - 0.5
        low = np.minimum(at.astype(int), rows - 2)
        lines = np.stack([ratio, start, along])
        lines = lines[:, low] + (lines[:, low + 1] - lines[:, low]) * (at - low)
        mx, my, small = self._half_x[:half], self._half_y[:half], self._small[:half]
        narrow = lines[:2].astype(np.float32)
        _lay(mx, self._half_columns, narrow[0][:, None], narrow[1], level)
        my[:] = _rows(lines[2], level)
        _look_up(level, mx, my, self._half_wide[:half], small)
        cv2.resize(small, (columns, rows), out)

    def _bands(self, view: View, route: Route) -> list[tuple[int, int, RoadKind]]:
        """Split the ground's rows where the kind of road changes."""
        places = view.s + view.row_s
        spans: list[tuple[float, RoadKind]] = []
        s = float(places[-1]) - 0.01
        while s < places[0]:
            _, kind, start, end = route.section(s)
            spans.append((start, kind))
            for crossing in route.junctions(s):
                spans += [(crossing[0], _JUNCTION), (crossing[1], kind)]
            s = end + 0.01
        # A side road at a section's very start replaces its first stretch: sorting is stable.
        spans.sort(key=lambda span: span[0])
        # Rows run from far to near: the places fall as the row number rises.
        bands: list[tuple[int, int, RoadKind]] = []
        high = len(places)
        for i, (_, kind) in enumerate(spans):
            end = spans[i + 1][0] if i + 1 < len(spans) else float("inf")
            low = int(np.searchsorted(-places, -end))
            if low < high:
                bands.append((low, high, kind))
                high = low
        return bands


def _label(
    level: Level,
    ratio: NDArray[np.float32],
    start: NDArray[np.float32],
    mask: NDArray[np.uint8],
) -> None:
    """Write what each pixel of some rows of ground is: in every row, one run a strip."""
    rows, columns = mask.shape
    labels = level.labels[0]
    edges = np.flatnonzero(np.diff(labels)) + 1
    mask[:] = labels[0]
    if len(edges) == 0:
        return
    # A pixel sees the texture's nearest column, as `_lay` has it: where each strip's first is.
    step = ratio.astype(np.float64)[:, None] * level.across
    shift = (start.astype(np.float64)[:, None] + level.half) * level.across - 0.5
    first = np.ceil((edges - 0.5 - shift) / step - 0.5)
    bounds = np.full((rows, len(edges) + 1), columns)
    bounds[:, :-1] = np.clip(first, 0, columns)
    bounds += columns * np.arange(rows)[:, None]
    flat = mask.reshape(-1)
    low, high = bounds[:, :-1].ravel(), bounds[:, 1:].ravel()
    paint = np.tile(labels[edges], rows)
    some = np.flatnonzero((low < high) & (paint != labels[0]))
    for a, b, label in zip(
        low[some].tolist(), high[some].tolist(), paint[some].tolist(), strict=True
    ):
        flat[a:b] = label


def _rows(along: NDArray[np.float64], level: Level) -> NDArray[np.float32]:
    """Return which row of a texture each row of ground sees, as a column."""
    return (np.mod(along, PERIOD) * level.along).astype(np.float32)[:, None]


def _lay(
    target: NDArray[np.float32],
    columns: NDArray[np.float32],
    ratio: NDArray[np.float32],
    start: NDArray[np.float32],
    level: Level,
) -> None:
    """Write which column of a texture each pixel sees."""
    np.multiply(columns, ratio * np.float32(level.across), out=target)
    shift = (start + level.half) * np.float32(level.across) - np.float32(0.5)
    np.add(target, shift.astype(np.float32)[:, None], out=target)


def _look_up(
    level: Level,
    columns: NDArray[np.float32],
    rows: NDArray[np.float32],
    wide: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    """Look pixels up in a texture: in four channels, which OpenCV does twice as fast as three."""
    cv2.remap(level.texture, columns, rows, cv2.INTER_LINEAR, wide, cv2.BORDER_REPLICATE)
    cv2.cvtColor(wide, cv2.COLOR_BGRA2BGR, out)


def _light(light: Light, depths: NDArray[np.float64], rows: NDArray[np.uint8]) -> None:
    """Light rows of ground that lie at some depths in metres."""
    steps = light.ground_steps(depths)
    edges = (np.flatnonzero(np.diff(steps)) + 1).tolist()
    for low, high in zip([0, *edges], [*edges, len(steps)], strict=True):
        light.paint_ground(rows[low:high], int(steps[low]))
