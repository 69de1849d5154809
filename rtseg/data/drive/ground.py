"""The ground: textures fixed to the world, laid out under the camera row by row."""

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.camera import View
from rtseg.data.drive.classes import DriveClass
from rtseg.data.drive.light import Light
from rtseg.data.drive.paving import PERIOD, Level, Paving
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
        self._pavings: dict[str, Paving] = {}

    def _paving(self, kind: RoadKind, side: int) -> Paving:
        # A drive has at most a handful of kinds, so this stays small.
        if kind.name not in self._pavings:
            self._pavings[kind.name] = Paving(kind, side, self._seed)
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
        half_angle = view.width / 2 / view.focal
        for low, high, kind in self._bands(view, route):
            paving = self._paving(kind, route.side)
            for first, last, level in paving.levels(z[low:high], half_angle):
                part = slice(low + first, low + last)
                mx, my = map_x[part], map_y[part]
                along = np.mod(view.s + view.row_s[part], PERIOD) * level.along
                # Two pixels of the picture for each of the texture's, at its far end at least.
                near = view.focal / float(z[part.start]) > 1.6 * level.across
                _lay(mx, self._columns, ratio[part], start[part], level)
                my[:] = 0.0
                cv2.remap(
                    level.labels, mx, my, cv2.INTER_NEAREST, mask[top:][part], cv2.BORDER_REPLICATE
                )
                out = frame[top:][part]
                if near and last - first > 16:
                    self._draw_near(view, light, level, part, ratio, start, out)
                    continue
                my[:] = along.astype(np.float32)[:, None]
                cv2.remap(level.texture, mx, my, cv2.INTER_LINEAR, out, cv2.BORDER_REPLICATE)
                _light(light, z[part], out)

    def _draw_near(
        self,
        view: View,
        light: Light,
        level: Level,
        part: slice,
        ratio: NDArray[np.float32],
        start: NDArray[np.float32],
        out: NDArray[np.uint8],
    ) -> None:
        """Paint the nearest rows at half their size: their texture has no more detail to show."""
        rows, columns = out.shape[0], out.shape[1]
        half = (rows + 1) // 2
        at = (np.arange(half) + 0.5) * rows / half - 0.5

        def pick(values: NDArray[np.floating]) -> NDArray[np.float64]:
            picked: NDArray[np.float64] = np.interp(at, np.arange(rows), values)
            return picked

        mx, my = self._half_x[:half], self._half_y[:half]
        ratios = pick(ratio[part, 0]).astype(np.float32)[:, None]
        _lay(mx, self._half_columns, ratios, pick(start[part]).astype(np.float32), level)
        along = np.mod(view.s + pick(view.row_s[part]), PERIOD) * level.along
        my[:] = along.astype(np.float32)[:, None]
        small = cv2.remap(level.texture, mx, my, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
        lit = np.asarray(small, np.uint8)
        _light(light, pick(view.row_z[part]), lit)
        cv2.resize(lit, (columns, rows), out)

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


def _light(light: Light, depths: NDArray[np.float64], rows: NDArray[np.uint8]) -> None:
    """Light rows of ground that lie at some depths in metres."""
    steps = light.ground_steps(depths)
    edges = (np.flatnonzero(np.diff(steps)) + 1).tolist()
    for low, high in zip([0, *edges], [*edges, len(steps)], strict=True):
        part = rows[low:high]
        cv2.LUT(part, light.ground_table(int(steps[low])), part)
