"""Where painted frames go: H.264 recordings and folders of masks."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.atomic import beside, require_writable, write_atomically
from rtseg.errors import OutputError, UsageError
from rtseg.video.container import drop_half_fragment
from rtseg.video.frame import LiveFrame

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_CLOCK = 90_000  # ticks a second: the time base of recordings


class Sink(ABC):
    """Takes finished frames, in order, on one thread."""

    @abstractmethod
    def write(self, frame: LiveFrame) -> None:
        """Take one frame; it may be used again when this returns. ``OutputError`` on failure."""

    def take_notes(self) -> list[str]:
        """What there is to say that is no failure, a line each, once."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Finish the output; ``OutputError`` on failure. Safe to call twice."""


class Recording(Sink):
    """An H.264 video (MP4, MOV or Matroska) of the painted pictures.

    ``fps`` is the rate of sources that have every frame; with None, frames are shown at the times
    they were captured at. Until it is closed the file lies beside its place as ``.NAME.part``, in
    fragments that play up to the last second whatever happens; closing turns it into a plain MP4.
    A recording that ends early, on a full disk say, is kept up to there; ``failed`` tells it.
    """

    def __init__(self, path: Path, fps: float | None) -> None:
        if path.suffix.lower() not in _FORMATS:
            raise UsageError(f"{path}: a recording is a file that ends in {', '.join(_FORMATS)}")
        require_writable(path)
        self.path = path
        self.frames = 0
        self.failed = False
        self._notes: list[str] = []
        self._fps = fps
        self._part = beside(path)
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._size = (0, 0)
        self._yuv: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        self._scaled: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        self._start = 0
        self._last = -1

    def _open(self, width: int, height: int) -> None:
        import av  # here, since it takes 0.1 s and only recordings need it

        av.logging.set_level(None)
        # 4:2:0 colour wants even sides: an odd picture loses its last row or column.
        self._size = (max(2, width // 2 * 2), max(2, height // 2 * 2))
        self._yuv = np.empty((self._size[1] * 3 // 2, self._size[0]), np.uint8)
        kind = _FORMATS[self.path.suffix.lower()]
        # Nothing stays in a buffer: what is written survives if the program is killed.
        options = {"flush_packets": "1"}
        if kind != "matroska":
            options["movflags"] = "hybrid_fragmented+frag_keyframe"
        container = av.open(str(self._part), "w", format=kind, options=options)
        stream = container.add_stream(
            "libx264", rate=Fraction(self._fps or 30).limit_denominator(1001)
        )
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "22"}
        context = stream.codec_context
        context.time_base = Fraction(1, _CLOCK)
        context.gop_size = max(1, round(self._fps or 30))
        # What cv2.cvtColor gives: BT.601, limited range.
        context.colorspace, context.color_range = 6, 1
        context.color_primaries, context.color_trc = 6, 6
        self._container, self._stream = container, stream

    def _fit(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        width, height = self._size
        if 0 <= picture.shape[0] - height <= 1 and 0 <= picture.shape[1] - width <= 1:
            return picture[:height, :width]
        if not self._scaled.size:
            self._scaled = np.empty((height, width, 3), np.uint8)
            self._notes.append(
                f"{self.path}: pictures of other sizes are scaled to the first one's, "
                f"{width}x{height}"
            )
        cv2.resize(picture, self._size, dst=self._scaled)
        return self._scaled

    def write(self, frame: LiveFrame) -> None:
        """Encode ``frame.picture``; pictures of another size than the first are scaled to it."""
        import av

        try:
            if self._container is None:
                self._open(frame.picture.shape[1], frame.picture.shape[0])
                self._start = frame.captured
            assert self._container is not None
            assert self._stream is not None
            cv2.cvtColor(self._fit(frame.picture), cv2.COLOR_BGR2YUV_I420, dst=self._yuv)
            picture = av.VideoFrame.from_ndarray(self._yuv, format="yuv420p")
            if self._fps is not None:
                ticks = round(self.frames * _CLOCK / self._fps)
            else:
                ticks = round((frame.captured - self._start) * _CLOCK / 1e9)
            self._last = max(ticks, self._last + 1)
            picture.pts = self._last
            picture.time_base = Fraction(1, _CLOCK)
            self._container.mux(self._stream.encode(picture))
        except (OSError, av.error.FFmpegError) as error:
            self._give_up(error)
        self.frames += 1

    def take_notes(self) -> list[str]:
        """Say that pictures are scaled, if they are."""
        notes, self._notes = self._notes, []
        return notes

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        with contextlib.suppress(Exception):
            self._release()
        kept = "nothing of it could be kept"
        with contextlib.suppress(OSError):
            if _FORMATS[self.path.suffix.lower()] != "matroska":
                drop_half_fragment(self._part)
            if _plays(self._part):
                os.replace(self._part, self.path)
                kept = "what was written before plays"
            else:
                self._part.unlink()
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if isinstance(number, int) and number > 0 else str(error)
        raise OutputError(f"{self.path}: cannot go on recording: {reason}; {kept}") from error

    def _release(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def close(self) -> None:
        """Write what the encoder holds back and put the file in its place."""
        if self._container is None:
            return
        import av

        try:
            assert self._stream is not None
            self._container.mux(self._stream.encode(None))
            self._release()
            os.replace(self._part, self.path)
        except (OSError, av.error.FFmpegError) as error:
            self._give_up(error)


def _plays(path: Path) -> bool:
    import av

    try:
        with av.open(str(path)) as container:
            return next(container.decode(video=0), None) is not None
    except (OSError, IndexError, av.error.FFmpegError):
        return False


class MaskFolder(Sink):
    """A PNG of class indices for every frame, at the picture's size.

    Files are named after the source's own (``000012.png`` from ``000012.jpg``), or by the frame's
    number in six digits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames = 0
        self._names: set[str] = set()
        self._mask: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot make this folder: {error.strerror}") from error
        require_writable(folder / "000000.png")

    def write(self, frame: LiveFrame) -> None:
        """Write the frame's mask."""
        name = frame.name or f"{frame.index:06d}"
        if frame.name:
            while name in self._names:  # the same name in two folders of a glob
                name = f"{name}-{frame.index:06d}"
            self._names.add(name)
        height, width = frame.picture.shape[:2]
        if self._mask.shape != (height, width):
            self._mask = np.empty((height, width), np.uint8)
        cv2.resize(
            frame.mask, (width, height), dst=self._mask, interpolation=cv2.INTER_NEAREST_EXACT
        )
        done, png = cv2.imencode(".png", self._mask, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not done:
            raise OutputError(f"{self.folder / name}.png: this mask cannot be encoded")
        write_atomically(self.folder / f"{name}.png", png.tobytes())
        self.frames += 1

    def close(self) -> None:
        """Nothing is held back."""
