"""Where frames come from: one face for cameras, files, streams, folders and the rendered drive."""

from __future__ import annotations

import glob
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rtseg.errors import InputError, UsageError
from rtseg.video.frame import LiveFrame

Kind = Literal["camera", "stream", "file", "images", "demo"]

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2")
)


class Source(ABC):
    """A stream of frames, read by one thread.

    ``name`` is what the user called it; ``live`` sources do not wait for a slow reader. ``fps`` and
    ``count`` are None where the source does not know them; ``truth`` says that frames come with
    their true masks; ``paths`` are the files that are read.
    """

    name: str
    kind: Kind
    live: bool = False
    fps: float | None = None
    count: int | None = None
    truth: bool = False
    paths: Sequence[Path] = ()

    def __init__(self) -> None:
        self.notes: list[str] = []
        """What went wrong without ending the run, a line each; drained by the pipeline."""
        self.failures = 0
        """Frames that could not be read, and early ends: with any, the run has failed (status 1)."""
        self.reconnects = 0
        self._complaints: set[str] = set()

    @abstractmethod
    def read(self, frame: LiveFrame) -> bool:
        """Fill ``frame`` with the next picture (and truth); False at the end.

        Sets ``picture``, ``name``, ``captured``, ``decode`` and ``has_truth``; ``InputError`` when
        the source fails for good.
        """

    @abstractmethod
    def skip(self, count: int) -> None:
        """Pass over the first ``count`` frames; ``InputError`` when there are not as many."""

    def rewind(self) -> bool:
        """Start again from the first frame; False where that is impossible."""
        return False

    def stop(self) -> None:
        """Make a read that waits, now or later, come back soon; from any thread."""

    def close(self) -> None:
        """Give back the device or file; by the thread that reads. Safe to call twice."""

    def complain(self, line: str) -> None:
        """Note a failure that does not end the run; once, however often a loop comes by it."""
        if line not in self._complaints:
            self._complaints.add(line)
            self.notes.append(line)
            self.failures += 1


def without_password(text: str) -> str:
    """Hide the password of a URL, for names that are shown and stored."""
    return re.sub(r"(?<=://)([^/@:\s]*):[^/\s]*@", r"\1:***@", text)


def open_source(
    text: str,
    *,
    classes: Sequence[str] = ("background", "road"),
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    seed: int = 0,
    realtime: bool = False,
) -> Source:
    """Open what the user named.

    ``text`` is a camera's number, a URL, a GStreamer string (with ``!``), a file, a folder, a glob,
    a KITTI folder, or ``demo``. ``size`` and ``fps`` are what is asked of a camera, or rendered by
    the demo with ``seed``; ``realtime`` makes a file run at its own pace, as a camera would.
    ``classes`` are the network's, for sources that know the truth.

    ``InputError`` or ``UsageError`` with one line that names the source.
    """
    # Each kind imports what it needs and no more: this is on the way to the first frame.
    if text == "demo":
        from rtseg.video.demo import DemoSource

        return DemoSource(size or (1280, 720), fps or 30.0, seed, classes, realtime=realtime)
    if text.isdecimal():
        from rtseg.video.streams import CameraSource

        return CameraSource(int(text), size, fps)
    if " ! " in text:
        from rtseg.video.streams import StreamSource

        return StreamSource(text, gstreamer=True)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text):
        if text.startswith("file://"):
            from urllib.request import url2pathname

            text = url2pathname(text.removeprefix("file://").removeprefix("localhost"))
        else:
            from rtseg.video.streams import StreamSource

            return StreamSource(text)
    path = Path(text).expanduser()
    if not path.exists() and glob.has_magic(text):
        from rtseg.video.images import ImageSource

        found = glob.glob(str(path), recursive=True)  # noqa: PTH207  an absolute pattern too
        files = [f for f in map(Path, found) if f.is_file()]
        if not files:
            raise InputError(f"{text}: no file matches this pattern")
        return ImageSource(text, files, classes, fps=fps, realtime=realtime)
    if not path.exists():
        raise InputError(f"{text}: no such file or folder")
    if path.is_dir():
        from rtseg.video.images import ImageSource, pictures_of

        return ImageSource(text, pictures_of(path), classes, fps=fps, realtime=realtime)
    if str(path).startswith("/dev/video"):
        from rtseg.video.streams import CameraSource

        return CameraSource(str(path), size, fps)
    if not path.is_file():
        raise UsageError(f"{text}: neither a file nor a folder")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        from rtseg.video.images import ImageSource

        return ImageSource(text, [path], classes, fps=fps, realtime=realtime)
    from rtseg.video.capture import FileSource

    return FileSource(path, realtime=realtime)
