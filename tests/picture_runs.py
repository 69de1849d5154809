"""Live runs with and without a picture path, to compare, and a path that the host plays."""

from collections import deque

import cv2
import numpy as np
from footage import write_folder, write_video
from test_window import PlayedWindow

from rtseg.engine.pictures import PicturePath
from rtseg.video.controls import Controls
from rtseg.video.overlay import Painter
from rtseg.video.pipeline import LiveLoop
from rtseg.video.sinks import Sink
from rtseg.video.sources import open_source


class HostPictures(PicturePath):
    """A device's path, played by the host: OpenCV and the engine that it stands in for.

    It works when it is asked to collect, as late as a device may, and spoils what it may not use.
    """

    def __init__(self, engine, width, height):
        self.engine, self.shape, self.depth = engine, (height, width, 3), engine.depth
        self.flying = deque()
        self.given, self.submitted, self.copied, self.closed = [], 0, 0, False

    @property
    def pending(self):
        return len(self.flying)

    def picture(self):
        self.given.append(np.zeros(self.shape, np.uint8))
        return self.given[-1]

    def _mine(self, array):
        return any(array is given for given in self.given)

    def submit(self, picture, paint, into=None):
        assert not self.closed
        assert picture.shape == self.shape
        assert self.pending < self.depth
        into = picture if into is None else into
        self.copied += not (self._mine(picture) and self._mine(into))
        if into is not picture:
            into[:] = 77
        self.submitted += 1
        self.flying.append((picture, picture.copy(), paint, into))

    def collect(self, picture, mask):
        source, before, paint, into = self.flying.popleft()
        np.testing.assert_array_equal(source, before, "a picture was changed while in flight")
        spec = self.engine.spec
        mask[:] = self.engine.infer(cv2.resize(before, (spec.width, spec.height))[None])[0]
        painted = before if paint is None else self.painted(before, mask, paint)
        np.copyto(into, painted)
        assert picture is into, "a copy that the loop could have spared"

    def painted(self, before, mask, paint):
        size = (self.shape[1], self.shape[0])
        wide = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
        layer = np.ascontiguousarray(paint.colours[wide])
        mixed = cv2.addWeighted(before, 1 - paint.opacity, layer, paint.opacity, 0)
        return np.where(paint.painted[wide][..., None] > 0, mixed, before)

    def drain(self):
        self.flying.clear()

    def close(self):
        assert not self.flying
        self.closed = True


class Kept(Sink):
    """Keeps a copy of every frame."""

    def __init__(self):
        super().__init__()
        self.pictures, self.masks, self.names = [], [], []

    def write(self, frame):
        self.pictures.append(frame.picture.copy())
        self.masks.append(frame.mask.copy())
        self.names.append((frame.index, frame.name))

    def close(self):
        pass


def run(engine, text, *, opacity=0.45, contours=False, paint=None, **options):
    """Run a source through the live loop; returns what came out, and the report."""
    spec = engine.spec
    painter = Painter(spec.classes, spec.palette, opacity=opacity, contours=contours, paint=paint)
    source = open_source(str(text), classes=spec.classes, size=(200, 130), fps=30)
    kept = Kept()
    loop = LiveLoop(engine, source, painter, sinks=[kept], hud=False, **options)
    return kept, loop.run()


def same(one, other):
    assert one.names == other.names
    for kind in ("pictures", "masks"):
        pairs = zip(getattr(one, kind), getattr(other, kind), strict=True)
        for index, (first, second) in enumerate(pairs):
            np.testing.assert_array_equal(first, second, f"{kind} {index}")


SCRIPTS = [
    [],
    [None, "overlay", None, None, "overlay"],
    ["pause", "overlay", "overlay", "more", "more", "less", "pause", None, "less"],
    ["more"] * 8 + ["less"] * 5,
    [None, "contours", None, "more", "contours", "pause", "contours", "step", "step", "pause"],
    [None, None, "more", "quit"],
    ["pause", "hud", "overlay", "hud", "pause", "overlay"],
]


def play(engine, folder, script, out):
    window = PlayedWindow(script)
    controls = Controls(window, folder=out, fps=10, hud=False)
    painter = Painter(engine.spec.classes, engine.spec.palette, opacity=0.5)
    kept = Kept()
    LiveLoop(engine, open_source(str(folder)), painter, sinks=[kept], controls=controls).run()
    return window.shown, kept


def write_source(kind, folder):
    """Write a source of 30 pictures, 192x128: a folder of them, a video, or the rendered drive."""
    if kind == "folder":
        return write_folder(folder / "pictures", 30)
    return write_video(folder / "clip.mp4", 30) if kind == "video" else "demo"
