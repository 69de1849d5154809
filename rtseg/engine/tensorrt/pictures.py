"""Whole pictures over the GPU: up once, shrunk, seen, painted, down once."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtseg.engine.pictures import Paint, Picture, PicturePath
from rtseg.engine.tensorrt.driver import Buffer, Holding, OutOfMemoryError
from rtseg.engine.tensorrt.kernels import Kernels, Tables, blending
from rtseg.errors import BackendError, one_line

if TYPE_CHECKING:
    from rtseg.engine.tensorrt.engine import TensorRTEngine
    from rtseg.engine.tensorrt.execution import Slot

log = logging.getLogger("rtseg")


class _Place:
    """One picture in flight: an engine's slot, and the memory that the picture needs beside it."""

    def __init__(self, slot: Slot, held: Holding, shape: tuple[int, ...]) -> None:
        self.slot = slot
        # The painting takes whole groups of 4 pixels.
        self.picture: Buffer = held.buffer(-(-int(np.prod(shape)) // 12) * 12)
        self.blending: Buffer = held.buffer(256 * 16)
        self.blending_source: NDArray[np.float32] = held.pinned((256, 4), np.float32)
        self.paint: Paint | None = None  # what is in the two
        self.staging: Picture | None = None
        self.down: Picture | None = None  # where the painted picture comes
        self.failure: Exception | None = None


class GpuPictures(PicturePath):
    """The picture path of a :class:`TensorRTEngine`, for pictures of ``width`` × ``height`` pixels.

    The engine's slots carry the pictures, each on its own stream: copies of one overlap with the
    computing of another. ``depth`` is the engine's, or less where the GPU has no more memory.
    ``BackendError`` where the kernels cannot be compiled, ``OutOfMemoryError`` where there is no
    room for one picture; the engine is as good as before.
    """

    def __init__(self, engine: TensorRTEngine, width: int, height: int) -> None:
        if engine.batch != 1:
            raise ValueError(
                f"pictures go one by one, and this engine takes {engine.batch} at once"
            )
        self._engine = engine
        self._gpu = engine.gpu
        self._cuda = engine.gpu.cuda
        self._size = (width, height)
        self._shape = (height, width, 3)
        self._held = self._gpu.hold()
        self._pinned: set[int] = set()  # addresses of picture()'s arrays, which the holding keeps
        self._closed = False
        self._places: list[_Place] = []
        self._flying: deque[_Place] = deque()
        try:
            with self._gpu.current():
                self._kernels = Kernels(self._gpu)
                self._tables = self._bring_tables()
                self._make_places()
        except self._cuda.Error as error:
            self._held.close()
            raise BackendError(f"{self._gpu.name}: {one_line(error)}") from error
        except BaseException:
            self._held.close()
            raise
        self.depth = len(self._places)
        self._free = deque(self._places)
        self._held.on_close(self._wait)

    def _bring_tables(self) -> Tables:
        """Put what the kernels read of the sizes on the GPU, once and for all."""
        spec = self._engine.spec
        tables = Tables(self._size, (spec.width, spec.height), (spec.mask_width, spec.mask_height))
        content = tables.content()
        pinned = self._held.pinned(content.shape, np.int32)
        np.copyto(pinned, content)
        buffer = self._held.buffer(pinned.nbytes)
        stream = self._engine.slots[0].stream
        self._cuda.memcpy_htod_async(buffer.address, pinned, stream)
        stream.synchronize()
        return tables.at(buffer.address)

    def _make_places(self) -> None:
        for slot in self._engine.slots:
            try:
                self._places.append(_Place(slot, self._held, self._shape))
            except OutOfMemoryError as error:
                if not self._places:
                    raise
                log.warning("%s: pictures in flight: %d", error, len(self._places))
                return

    @property
    def pending(self) -> int:
        """How many pictures are in flight."""
        return len(self._flying)

    def picture(self) -> Picture:
        """Return a pinned array for pictures; in ordinary memory where no more can be pinned."""
        self._require_open()
        try:
            array: Picture = self._held.pinned(self._shape)
        except BackendError as error:  # there is a limit to what may be locked
            log.debug("pictures are in ordinary memory: %s", error)
            return np.empty(self._shape, np.uint8)
        self._pinned.add(_address(array))
        return array

    def submit(self, picture: Picture, paint: Paint | None, into: Picture | None = None) -> None:
        """See :meth:`PicturePath.submit`. A picture in ordinary memory is copied first."""
        self._require_open()
        for array in (picture,) if into is None else (picture, into):
            if array.dtype != np.uint8 or array.shape != self._shape:
                raise ValueError(
                    f"a picture is uint8 {self._shape}, not {array.dtype} {array.shape}"
                )
        if self._engine.pending:
            raise RuntimeError("the engine itself has frames in flight: collect their masks first")
        if not self._free:
            raise RuntimeError(f"{self.depth} pictures are in flight: collect one first")
        place = self._free.popleft()
        place.failure = None
        try:
            with self._gpu.current():
                try:
                    self._start(place, picture, paint, picture if into is None else into)
                except (BackendError, self._cuda.Error) as error:
                    place.failure = error  # collect raises it
                    # Nothing says how far the tables came.
                    place.paint = None
                except BaseException:  # Ctrl-C: nothing may run on a place that counts as free
                    place.slot.stream.synchronize()
                    raise
        except BaseException:
            self._free.appendleft(place)
            raise
        self._flying.append(place)

    def _start(self, place: _Place, picture: Picture, paint: Paint | None, into: Picture) -> None:
        slot, stream, whole = place.slot, place.slot.stream, place.picture.address
        up = picture
        if not self._is_pinned(picture):
            up = self._staging(place)
            np.copyto(up, picture)
        place.down = into if self._is_pinned(into) else self._staging(place)
        self._cuda.memcpy_htod_async(whole, up, stream)
        self._kernels.shrink(stream, whole, slot.frames.address, self._tables)
        slot.enqueue()
        if paint is not None and paint.opacity > 0:
            self._bring(paint, place)
            self._kernels.paint(
                stream, whole, slot.masks.address, place.blending.address, self._tables
            )
        self._cuda.memcpy_dtoh_async(place.down, whole, stream)
        slot.done.record(stream)

    def _bring(self, paint: Paint, place: _Place) -> None:
        """Put the colours on the GPU, if they are not there: each place has its own table."""
        if place.paint is not paint:
            place.blending_source[:] = blending(paint)
            self._cuda.memcpy_htod_async(
                place.blending.address, place.blending_source, place.slot.stream
            )
            place.paint = paint

    def collect(self, picture: Picture, mask: NDArray[np.uint8]) -> None:
        """See :meth:`PicturePath.collect`."""
        if not self._flying:
            raise RuntimeError("no picture is in flight: submit one first")
        place = self._flying.popleft()
        down = place.down
        try:
            self._finish(place)
            np.copyto(mask, place.slot.mask.reshape(mask.shape))
            if down is not None and _address(picture) != _address(down):
                np.copyto(picture, down)
        finally:
            place.down = None
            self._free.append(place)

    def _finish(self, place: _Place) -> None:
        failure, place.failure = place.failure, None
        try:
            with self._gpu.current():
                if failure is None:
                    place.slot.done.synchronize()
                else:
                    place.slot.stream.synchronize()
        except self._cuda.Error as error:
            failure = failure or error
        if failure is not None:
            raise BackendError(f"the GPU failed on a picture: {one_line(failure)}") from failure

    def drain(self) -> None:
        """Wait for every picture in flight and forget it."""
        while self._flying:
            place = self._flying.popleft()
            with contextlib.suppress(BackendError):
                self._finish(place)
            place.down = None
            self._free.append(place)

    def close(self) -> None:
        """Give back the GPU's memory; the engine stays. Safe to call twice."""
        if not self._closed:
            self._held.close()
        self._closed = True

    def _wait(self) -> None:
        """Wait, and let go, before anything is given back by this or by the engine's own close."""
        self.drain()
        self._closed = True
        self._free.clear()
        # pycuda frees with the last reference, and now the context is current.
        del self._places, self._kernels

    def _staging(self, place: _Place) -> Picture:
        if place.staging is None:  # not before it is needed: pictures are large
            place.staging = self._held.pinned(self._shape)
        return place.staging

    def _is_pinned(self, picture: Picture) -> bool:
        return _address(picture) in self._pinned and picture.flags.c_contiguous

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("this path is closed")


def _address(array: Picture) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
