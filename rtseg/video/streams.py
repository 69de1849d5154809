"""Cameras and network streams: sources that do not wait, and may fall silent."""

from __future__ import annotations

import math

import cv2

from rtseg.errors import InputError
from rtseg.video.capture import CaptureSource
from rtseg.video.frame import LiveFrame, now
from rtseg.video.sources import without_password

_TIMEOUT_MS = 10_000
_PATIENCE_S = 30.0
_ATTEMPTS = 10
_AT_ONCE_NS = 500_000_000
_FIRST_PAUSE_S = 0.25
_LAST_PAUSE_S = 4.0


class _LiveSource(CaptureSource):
    """A source that may fall silent: it is opened again with growing pauses, for half a minute."""

    live = True

    def read(self, frame: LiveFrame) -> bool:
        since, pause = now(), _FIRST_PAUSE_S
        # A packet that cannot be decoded fails at once, and the next may be whole.
        for _ in range(_ATTEMPTS):
            if self._grab(frame):
                return True
            if self._stopped.is_set() or now() - since > _AT_ONCE_NS:
                break
        while now() - since < _PATIENCE_S * 1e9:
            if self._stopped.wait(pause):
                return False
            pause = min(2 * pause, _LAST_PAUSE_S)
            if self._capture is not None:
                self._capture.release()
                self._capture = None
            try:
                self._capture = self._open()
            except InputError:
                continue
            if self._grab(frame):
                self.reconnects += 1
                silent = (now() - since) / 1e9
                self.notes.append(f"{self.name}: fell silent; connected again after {silent:.1f} s")
                return True
        if self._stopped.is_set():
            return False
        raise InputError(
            f"{self.name}: fell silent and did not come back within {_PATIENCE_S:.0f} s"
        )


class CameraSource(_LiveSource):
    """A camera by its number or device file; the newest frame is what is read."""

    kind = "camera"

    def __init__(self, device: int | str, size: tuple[int, int] | None, fps: float | None) -> None:
        self._device = device
        self._asked = (size, fps)
        super().__init__(f"camera {device}")

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self._device)
        if not capture.isOpened():
            raise InputError(
                f"{self.name}: no such camera, or another program or a missing permission holds it: "
                "see /dev/video*, or try another number"
            )
        size, fps = self._asked
        if size is not None:
            # Most USB cameras give large pictures at full rate only as MJPG.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture


class StreamSource(_LiveSource):
    """An RTSP or HTTP stream, or a GStreamer string.

    A URL whose container tells its number of frames is a file on a server: it ends, and every
    frame is read.
    """

    kind = "stream"

    def __init__(self, url: str, *, gstreamer: bool = False) -> None:
        self._url = url
        self._gstreamer = gstreamer
        super().__init__(without_password(url))
        assert self._capture is not None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if not gstreamer and math.isfinite(count) and 0 < count < 1e9:
            self.count = int(count)
            self.live = self._waits = False
        self._read = 0

    def _open(self) -> cv2.VideoCapture:
        if self._gstreamer:
            if "GStreamer:                   YES" not in cv2.getBuildInformation():
                raise InputError(
                    f"{self.name}: this OpenCV is built without GStreamer (PyPI's wheels are): "
                    "give a camera, file or URL, or install an OpenCV with GStreamer"
                )
            capture = cv2.VideoCapture(self._url, cv2.CAP_GSTREAMER)
        else:
            capture = cv2.VideoCapture(
                self._url,
                cv2.CAP_FFMPEG,
                # One decoding thread: several hold back as many frames, which is delay.
                [
                    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS,
                    cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS,
                    cv2.CAP_PROP_N_THREADS, 1,
                ],
            )  # fmt: skip
        if not capture.isOpened():
            raise InputError(f"{self.name}: cannot open this stream: is the address right and up?")
        return capture

    def read(self, frame: LiveFrame) -> bool:
        """See :meth:`Source.read`."""
        if self.count is None:
            return super().read(frame)
        if self._grab(frame):
            self._read += 1
            return True
        if self._stopped.is_set():
            return False
        if not self._read:
            raise InputError(f"{self.name}: no more frames of this video can be had")
        if self._read < self.count - max(3, self.count // 50):
            self.complain(f"{self.name}: ended after {self._read} of {self.count} frames")
        return False

    def skip(self, count: int) -> None:
        """Pass over the first frames."""
        super().skip(count)
        self._read = count

    def rewind(self) -> bool:
        """Ask the server for a file from its beginning; no stream has one."""
        if self.count is None or self._capture is None:
            return False
        self._capture.release()
        self._capture = self._open()
        self._read = 0
        return True
