"""Frames through the engine: shrunk and painted by the host, or whole by the engine's device."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine
from rtseg.engine.pictures import PicturePath
from rtseg.video.capturing import shrink
from rtseg.video.frame import EMPTY, LiveFrame
from rtseg.video.overlay import Painter


class Segmenting:
    """Takes live frames through ``engine`` and has them painted by ``painter``; used by one thread.

    The engine is asked for a :class:`PicturePath` for the first frame's size, and again when the
    size changes. Where it has one, pictures go that way, and frames get places for them in the
    path's memory; else the host does it: it is the reference, and every pixel is the same.

    ``repaints`` says that a painted frame may have to be painted anew (:meth:`paint_again`), so
    that its clean picture has to be kept.
    """

    def __init__(self, engine: Engine, painter: Painter, *, repaints: bool) -> None:
        self._engine = engine
        self._painter = painter
        self._repaints = repaints
        self._path: PicturePath | None = None
        self._size: tuple[int, ...] = ()
        self._clean: NDArray[np.uint8] = EMPTY

    @property
    def on_host(self) -> bool:
        """Whether the host shrinks and paints the frames of the size that came last."""
        return self._path is None

    @property
    def has_room(self) -> bool:
        """Whether another frame can be submitted."""
        carrier = self._path or self._engine
        return carrier.pending < min(carrier.depth, self._engine.depth)

    def takes(self, frame: LiveFrame) -> bool:
        """Whether this frame can be submitted now; False while frames of another size are in flight."""
        size = frame.picture.shape
        if size == self._size:
            return True
        if (self._path or self._engine).pending:
            return False
        self._close_path()
        self._size = size
        self._path = self._engine.pictures(size[1], size[0])
        return True

    def submit(self, frame: LiveFrame, *, overlay: bool) -> None:
        """Start on a frame that is taken (:meth:`takes`), and to be painted if ``overlay``."""
        frame.paint = self._painter.table() if overlay else None
        if self._path is None:
            frame.path = None
            if not frame.shrunk:
                shrink(frame)
            self._engine.submit(frame.small)
            return
        self._lodge(frame, self._path)
        if self._repaints:
            frame.clean = next(p for p in frame.places if p is not frame.picture)
        self._path.submit(frame.picture, frame.paint, frame.clean if self._repaints else None)

    def _lodge(self, frame: LiveFrame, path: PicturePath) -> None:
        """Put a frame's picture where the device reads it fastest, unless it was captured there."""
        if frame.path is not path:
            frame.path = path
            frame.places = tuple(path.picture() for _ in range(2 if self._repaints else 1))
        if not any(frame.picture is place for place in frame.places):
            np.copyto(frame.places[0], frame.picture)
            frame.picture = frame.places[0]

    def collect(self, frame: LiveFrame) -> None:
        """Wait for the oldest frame submitted, which is ``frame``, and fill in its mask."""
        if frame.path is None:
            self._engine.collect(frame.mask)
            return
        if self._repaints:  # the painted picture comes beside the clean one
            frame.picture, frame.clean = frame.clean, frame.picture
        frame.path.collect(frame.picture, frame.mask)

    def paint(self, frame: LiveFrame, *, overlay: bool) -> None:
        """Paint a frame that was collected, if ``overlay``: all of it, or what the device left."""
        if frame.path is None:
            if self._repaints:
                self._keep_clean(frame.picture)
            if overlay:
                self._painter.paint(frame.picture, frame.mask)
        elif self._repaints and frame.paint is not (self._painter.table() if overlay else None):
            # A key was pressed since the frame was submitted.
            self.paint_again(frame, overlay=overlay)
        elif overlay:
            self._painter.outline(frame.picture, frame.mask)

    def paint_again(self, frame: LiveFrame, *, overlay: bool) -> None:
        """Paint the frame that was painted last anew, as the painter is now."""
        np.copyto(frame.picture, self._clean if frame.path is None else frame.clean)
        if overlay:
            self._painter.paint(frame.picture, frame.mask)

    def _keep_clean(self, picture: NDArray[np.uint8]) -> None:
        if self._clean.shape != picture.shape:
            self._clean = np.empty_like(picture)
        np.copyto(self._clean, picture)

    def _close_path(self) -> None:
        path, self._path = self._path, None
        if path is not None:
            path.close()

    def drain(self) -> None:
        """Wait for what is in flight and forget it."""
        if self._path is not None:
            self._path.drain()
        self._engine.drain()

    def close(self, frames: Iterable[LiveFrame]) -> None:
        """Give back the device's path, and its memory that these frames have; the engine stays."""
        for frame in frames:
            if frame.places:
                frame.picture = frame.clean = EMPTY
                frame.places, frame.path = (), None
        self._close_path()
