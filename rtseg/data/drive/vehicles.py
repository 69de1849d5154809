"""Cars, vans and lorries: solids of a few faces each, projected like everything else."""

import math

import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive.camera import Place
from rtseg.data.drive.canvas import Canvas
from rtseg.data.drive.chance import chance
from rtseg.data.drive.classes import DriveClass

__all__ = ["Vehicle"]

_PAINTS = (
    (42, 42, 44),
    (196, 198, 198),
    (222, 222, 220),
    (120, 122, 124),
    (56, 44, 132),
    (132, 72, 32),
    (30, 34, 160),
    (70, 60, 52),
    (150, 152, 150),
    (48, 78, 60),
    (86, 140, 168),
    (160, 110, 60),
)
_NEAR = 0.35
_GLASS = (62.0, 56.0, 50.0)

# length, half width, waist, roof height, and where the cabin's foot and roof begin and end
_FORMS = (
    (4.1, 0.87, 0.92, 1.46, 0.12, 3.05, 0.55, 2.25),
    (4.6, 0.90, 0.90, 1.42, 0.75, 3.45, 1.35, 2.65),
    (4.5, 0.94, 1.02, 1.70, 0.06, 3.35, 0.35, 2.60),
    (5.2, 0.98, 1.20, 2.15, 0.02, 4.55, 0.06, 3.75),
    (8.6, 1.22, 1.25, 3.30, 0.00, 8.45, 0.00, 8.30),
)


class Vehicle:
    """A vehicle of one form and colour. Its own axes: x right, y up, z ahead of its tail."""

    def __init__(self, key: int, *, lorries: bool = False) -> None:
        pick = chance(key, 1)
        form = 0 if pick < 0.4 else 1 if pick < 0.66 else 2 if pick < 0.86 else 3
        if lorries and chance(key, 3) < 0.22:
            form = 4
        self.length, self.half, waist, roof, f0, f1, r0, r1 = _FORMS[form]
        self.roof = roof
        paint = np.array(_PAINTS[int(chance(key, 2) * len(_PAINTS))], np.float64)
        if form >= 3 and chance(key, 4) < 0.6:
            paint = np.array([214.0, 216.0, 216.0])
        w, n = self.half, self.length
        low = 0.22 if form < 4 else 0.5
        inset = 0.2 if form < 3 else 0.06
        mid = 0.55
        nose = waist - 0.2 if form < 3 else waist
        faces: list[tuple[list[tuple[float, float, float]], NDArray[np.float64]]] = []
        decals: set[int] = set()  # faces that lie on another one, whose label will do

        def quad(
            a: tuple[float, float, float],
            b: tuple[float, float, float],
            c: tuple[float, float, float],
            d: tuple[float, float, float],
            colour: NDArray[np.float64],
        ) -> None:
            faces.append(([a, b, c, d], colour))

        dark = np.array([34.0, 34.0, 36.0])
        glass = np.array(_GLASS)

        def across(
            y0: float, z0: float, y1: float, z1: float, w0: float, w1: float, c: NDArray[np.float64]
        ) -> None:
            # A band over the car's width, seen from outside: wound the same way as all others.
            quad((-w0, y0, z0), (-w1, y1, z1), (w1, y1, z1), (w0, y0, z0), c)

        across(low, 0.06, mid, 0.0, w * 0.96, w, paint * 0.62)
        across(mid, 0.0, waist, 0.05, w, w * 0.96, paint * 0.86)
        across(waist, 0.05, waist + 0.02, f0 + 0.01, w * 0.96, w * 0.92, paint * 1.08)
        across(waist, f1, nose, n - 0.12, w * 0.93, w * 0.9, paint * 1.1)
        across(nose, n - 0.12, mid, n, w * 0.9, w * 0.97, paint * 0.88)
        across(mid, n, low, n - 0.06, w * 0.97, w * 0.94, paint * 0.6)
        for side in (-1.0, 1.0):
            outline = [
                (side * w, low, 0.08),
                (side * w, mid, 0.0),
                (side * w * 0.96, waist, 0.05),
                (side * w * 0.93, waist, f1),
                (side * w * 0.92, nose, n - 0.12),
                (side * w, mid, n),
                (side * w, low, n - 0.08),
            ]
            decals.add(len(faces) + 1)
            lower = [outline[0], outline[1], outline[5], outline[6]]
            faces.append((outline if side > 0 else outline[::-1], paint * 0.78))
            faces.append((lower if side > 0 else lower[::-1], paint * 0.6))
        # The cabin: glass all round, then roof and pillars over it.
        wr = w - inset
        across(waist, f0, roof, r0, w * 0.92, wr, paint * 0.84 if form >= 3 else glass)
        across(roof, r1, waist, f1, wr, w * 0.92, glass)
        across(roof, r0, roof + 0.02, (r0 + r1) / 2, wr, wr, paint * 1.12)
        across(roof + 0.02, (r0 + r1) / 2, roof, r1, wr, wr, paint * 1.12)
        for side in (-1.0, 1.0):
            base, top = side * w * 0.93, side * wr

            def along(
                z0: float,
                z1: float,
                z2: float,
                z3: float,
                c: NDArray[np.float64],
                base: float = base,
                top: float = top,
                side: float = side,
            ) -> None:
                four = [(base, waist, z0), (top, roof, z1), (top, roof, z2), (base, waist, z3)]
                faces.append((four if side > 0 else four[::-1], c))

            along(f0, r0, r1, f1, paint * 0.8)
            if form < 3:
                y0, y1 = 0.06, 0.9
                m = (f0 + f1) / 2
                for a, b in ((f0 + 0.25, m - 0.05), (m + 0.05, f1 - 0.3)):
                    pts = []
                    for z, y in ((a, y0), (a, y1), (b, y1), (b, y0)):
                        # Between the cabin's foot and its roof, as far along as at the waist.
                        share = (z - f0) / (f1 - f0)
                        zz = z + (r0 + share * (r1 - r0) - z) * y
                        pts.append((base + (top - base) * y, waist + (roof - waist) * y, zz))
                    decals.add(len(faces))
                    faces.append((pts if side > 0 else pts[::-1], glass * 0.95))
            elif form == 3:
                along(3.0, 3.1, r1 - 0.05, f1 - 0.15, glass)
        self._wheels = len(faces)
        radius = 0.32 if form < 4 else 0.48
        for side in (-1.0, 1.0):
            for z in (0.19 * n, 0.8 * n):
                for size, colour in ((radius, dark), (radius * 0.62, dark * 3.4)):
                    ring = [
                        (side * (w + 0.01), radius + size * math.sin(a), z + size * math.cos(a))
                        for a in np.linspace(0, math.tau, 10, endpoint=False)
                    ]
                    faces.append((ring[::-1] if side > 0 else ring, colour))
                decals.add(len(faces) - 1)
        # Lights, number plates and bumpers; their colours are set when they are drawn.
        self._trim = len(faces)
        for side in (-1.0, 1.0):
            a, b = side * w * 0.94, side * w * 0.66
            x0, x1 = min(a, b), max(a, b)
            up = 0.72 if form < 3 else 0.8
            quad(
                (x0, up - 0.02, -0.01),
                (x0, up + 0.15, 0.0),
                (x1, up + 0.15, 0.0),
                (x1, up - 0.02, -0.01),
                np.array([30.0, 24.0, 168.0]),
            )
            quad(
                (x1, 0.58, n + 0.01),
                (x1, 0.72, n - 0.05),
                (x0, 0.72, n - 0.05),
                (x0, 0.58, n + 0.01),
                np.array([205.0, 210.0, 212.0]),
            )
        quad(
            (-0.26, 0.5, -0.02),
            (-0.26, 0.61, -0.02),
            (0.26, 0.61, -0.02),
            (0.26, 0.5, -0.02),
            np.array([70.0, 190.0, 205.0]),
        )
        quad(
            (0.26, 0.4, n + 0.02),
            (0.26, 0.5, n + 0.02),
            (-0.26, 0.5, n + 0.02),
            (-0.26, 0.4, n + 0.02),
            np.array([225.0, 228.0, 228.0]),
        )
        quad(
            (0.45, 0.52, n + 0.01), (0.45, 0.64, n), (-0.45, 0.64, n), (-0.45, 0.52, n + 0.01), dark
        )
        decals.update(range(self._trim, len(faces)))
        self._labels = [-1 if i in decals else int(DriveClass.CAR) for i in range(len(faces))]
        self._sizes = [len(points) for points, _ in faces]
        # Ten corners a face, the last one repeated where it has fewer, then its first again.
        size = 10
        self._points = np.array(
            [points + [points[-1]] * (size - len(points)) + [points[0]] for points, _ in faces]
        )
        self._colours = np.array([np.minimum(colour, 250.0) for _, colour in faces])

    def draw(
        self, canvas: Canvas, place: Place, u: float, away: float, *, flip: bool, brake: bool
    ) -> None:
        """Paint the vehicle with its tail at a place, `u` metres beside the road's centre.

        `flip` turns it to face the camera (its nose is then at the place); `away` is the
        distance for the haze.
        """
        view, light = canvas.view, canvas.light
        cos, sin = math.cos(place.turn), math.sin(place.turn)
        side = u - view.offset
        # From the vehicle's axes to the camera's: turned by the road's heading, perhaps about.
        about, ahead = (-1.0, self.length) if flip else (1.0, 0.0)
        turn = about * np.array([[cos, 0.0, -sin], [0.0, about, 0.0], [sin, 0.0, cos]])
        tail = place.x + side * cos, place.y, place.z - side * sin
        corner = tail[0] + ahead * sin, tail[1], tail[2] + ahead * cos
        points = self._points @ turn + corner
        depths = points[..., 2]
        nearest = float(depths.min())
        if float(depths.max()) < _NEAR:
            return
        flat = points[..., :2] * (view.focal / np.maximum(depths, _NEAR))[..., None]
        flat *= [1.0, -1.0]
        flat += [view.centre, view.middle]
        columns = flat[..., 0]
        if columns.max() < 0 or columns.min() > view.width:
            return
        self._shade(canvas, tail, cos, sin)
        if nearest < _NEAR:
            self._draw_cut(canvas, points[:, :10], away)
            return
        # Faces turned away wind the other way round on the picture.
        rows = flat[..., 1]
        area = (rows[:, :-1] * columns[:, 1:] - columns[:, :-1] * rows[:, 1:]).sum(axis=1)
        colours = light.colours(self._colours, away)
        if light.lamps > 0.3 or brake:
            red, white = light.colour((40.0, 40.0, 235.0), away), (235.0, 250.0, 252.0)
            for i in (self._trim, self._trim + 2):
                colours[i] = np.maximum(colours[i], (60.0, 60.0, 250.0) if brake else red)
                if light.lamps > 0.3:
                    colours[i + 1] = white
        far = view.focal / nearest * self.roof < 15.0
        fixed = (flat * 16.0).astype(np.int32)
        tones = colours.tolist()
        for i in np.flatnonzero(area < 0).tolist():
            if far and i >= self._wheels and i not in (self._trim, self._trim + 2):
                continue
            canvas.convex_fixed(fixed[i, : self._sizes[i]], tones[i], self._labels[i])

    def _shade(
        self, canvas: Canvas, tail: tuple[float, float, float], cos: float, sin: float
    ) -> None:
        """Paint the blot of shadow under the vehicle; what it lies on stays road in the mask."""
        view = canvas.view
        x, y, z = tail
        spots = []
        for part, along in ((-1.0, -0.1), (1.0, -0.1), (1.0, 1.02), (-1.0, 1.02)):
            gx, gz = part * (self.half + 0.08), along * self.length
            scale = view.focal / max(z + gz * cos - gx * sin, _NEAR)
            spots.append((view.centre + (x + gx * cos + gz * sin) * scale, view.middle - y * scale))
        canvas.shade(spots, 0.6)

    def _draw_cut(self, canvas: Canvas, faces: NDArray[np.float64], away: float) -> None:
        """Paint the faces (F, 10, 3) of a vehicle that reaches past the camera."""
        view = canvas.view
        for points, tone in zip(faces, canvas.light.colours(self._colours, away), strict=True):
            kept = _before_camera(points.tolist())
            if len(kept) < 3:
                continue
            flat = [
                (view.centre + x * view.focal / z, view.middle - y * view.focal / z)
                for x, y, z in kept
            ]
            area = sum(
                a[1] * b[0] - a[0] * b[1] for a, b in zip(flat, flat[1:] + flat[:1], strict=True)
            )
            if area < 0:
                colour = (float(tone[0]), float(tone[1]), float(tone[2]))
                canvas.convex(flat, colour, int(DriveClass.CAR))


def _before_camera(points: list[list[float]]) -> list[list[float]]:
    """Cut a polygon off where it comes nearer to the camera than it can be projected."""
    kept = []
    for a, b in zip(points, points[1:] + points[:1], strict=True):
        if a[2] >= _NEAR:
            kept.append(a)
        if (a[2] >= _NEAR) != (b[2] >= _NEAR):
            part = (_NEAR - a[2]) / (b[2] - a[2])
            kept.append([p + (q - p) * part for p, q in zip(a, b, strict=True)])
    return kept
