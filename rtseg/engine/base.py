"""The engine protocol: uint8 BGR frames in, uint8 class masks out, several in flight, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from rtseg.engine.pictures import PicturePath
from rtseg.spec import Spec

Frame = NDArray[np.uint8]
"""(H, W, 3) uint8 BGR."""

Mask = NDArray[np.uint8]
"""(h, w) uint8 of class indices."""

Mode = Literal["throughput", "latency"]
"""``throughput``: one thread a frame, as many frames in flight as cores. ``latency``: one frame."""


class Engine(ABC):
    """What a backend made of a network file on this machine.

    The plain call is :meth:`infer`. To keep the machine busy with frames that arrive one by one,
    :meth:`submit` up to ``depth`` frames and :meth:`collect` their masks, oldest first. One thread
    uses an engine at a time. An engine of a ``batch`` above 1 takes that many frames at once,
    (batch, H, W, 3), and gives as many masks, (batch, h, w).

    ``spec`` describes the network at the size it is compiled for. ``precision`` is the arithmetic
    in force (``fp32``, ``bf16``, ``fp16``, ``int8``) as the backend reports it, ``device`` the
    device's own name, ``depth`` the number of frames in flight that keeps it busy, ``built`` says
    whether it was compiled now rather than read from the cache, and ``versions`` what runs it.

    Where ``probability`` is true the engine also gives the probability of the class road, 8 bits a
    pixel: :meth:`collect_probability` and :meth:`infer_probability`.
    """

    backend: str
    rest = ""
    """Of an INT8 engine: the arithmetic of what is not quantised, where the backend tells it."""

    def __init__(
        self,
        spec: Spec,
        *,
        precision: str,
        device: str,
        depth: int,
        mode: Mode,
        built: bool,
        versions: dict[str, str],
        batch: int = 1,
        probability: bool = False,
    ) -> None:
        self.spec = spec
        self.precision = precision
        self.device = device
        self.depth = depth
        self.mode = mode
        self.built = built
        self.versions = versions
        self.batch = batch
        self.probability = probability
        several = () if batch == 1 else (batch,)
        self._frame_shape: tuple[int, ...] = (*several, spec.height, spec.width, 3)
        self._mask_shape: tuple[int, ...] = (*several, spec.mask_height, spec.mask_width)
        self._free = deque(range(depth))
        self._flying: deque[int] = deque()
        # The backends read a frame where it lies, so it must not go before its mask is there.
        self._frames: list[Frame | None] = [None] * depth
        self._closed = False

    @property
    def pending(self) -> int:
        """How many frames are in flight: submitted and not yet collected."""
        return len(self._flying)

    def frame(self) -> Frame:
        """Return an array for frames, of :meth:`submit`'s shape, where the engine reads fastest.

        Filling it in place and submitting it saves a copy where the engine is on another device.
        It is the caller's, as long as the engine is open.
        """
        return np.empty(self._frame_shape, np.uint8)

    def submit(self, frame: Frame) -> None:
        """Start on one frame, (spec.height, spec.width, 3) uint8, and return at once.

        The frame is not copied if it is contiguous and writable: leave it alone until its mask is
        collected.
        ``ValueError`` for another shape or dtype, ``RuntimeError`` when ``depth`` are in flight or
        the engine is closed.
        """
        self._require_open()
        if frame.dtype != np.uint8 or frame.shape != self._frame_shape:
            raise ValueError(
                f"a frame is uint8 {self._frame_shape}, not {frame.dtype} {frame.shape}"
            )
        if not self._free:
            raise RuntimeError(f"{self.depth} frames are in flight: collect a mask first")
        slot = self._free.popleft()
        # OpenVINO takes no read-only memory, though it only reads.
        whole = np.require(frame, requirements=("C", "W"))
        try:
            self._start(slot, whole)
        except BaseException:
            self._free.appendleft(slot)
            raise
        self._frames[slot] = whole
        self._flying.append(slot)

    def collect(self, out: Mask | None = None) -> Mask:
        """Wait for the oldest frame in flight; return its mask (h, w) uint8, in ``out`` if given.

        ``RuntimeError`` when nothing is in flight; ``BackendError`` when the backend failed on it.
        """
        if not self._flying:
            raise RuntimeError("no frame is in flight: submit one first")
        if out is None:
            out = np.empty(self._mask_shape, np.uint8)
        slot = self._flying.popleft()
        try:
            np.copyto(out, self._finish(slot))
        finally:
            self._release(slot)
        return out

    def collect_probability(
        self, out: Mask | None = None, probability: Mask | None = None
    ) -> tuple[Mask, Mask]:
        """Like :meth:`collect`; returns the mask and the road's probability, (h, w) uint8 both.

        The probability is round(255 p), in the array of this name if it is given. Of a network of two
        classes it is at least 128 exactly where the mask is road. ``RuntimeError`` too for an engine
        without ``probability``.
        """
        self._require_probability()
        if not self._flying:
            raise RuntimeError("no frame is in flight: submit one first")
        if out is None:
            out = np.empty(self._mask_shape, np.uint8)
        if probability is None:
            probability = np.empty(self._mask_shape, np.uint8)
        slot = self._flying.popleft()
        try:
            np.copyto(out, self._finish(slot))
            np.copyto(probability, self._probability(slot))
        finally:
            self._release(slot)
        return out, probability

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map frames (N, H, W, 3) uint8 BGR to masks (N, h, w) uint8 of class indices.

        ``ValueError`` for another shape or dtype; ``RuntimeError`` while frames are in flight, or
        when the engine is closed.
        """
        batches = self._batches(frames)
        masks = np.empty((len(batches), *self._mask_shape), np.uint8)
        self._fly(batches, lambda done: self.collect(masks[done]))
        return self._unbatched(masks, len(frames))

    def infer_probability(
        self, frames: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Like :meth:`infer`; returns the road's probabilities (N, h, w), 0 to 255, beside the masks.

        ``RuntimeError`` too for an engine without ``probability``.
        """
        self._require_probability()
        batches = self._batches(frames)
        masks = np.empty((len(batches), *self._mask_shape), np.uint8)
        probabilities = np.empty_like(masks)
        self._fly(batches, lambda i: self.collect_probability(masks[i], probabilities[i]))
        return self._unbatched(masks, len(frames)), self._unbatched(probabilities, len(frames))

    def _batches(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Check frames and part them into what :meth:`submit` takes."""
        self._require_open()
        height, width = self._frame_shape[-3:-1]
        if frames.ndim != 4 or frames.shape[1:] != (height, width, 3) or frames.dtype != np.uint8:
            raise ValueError(
                f"frames are uint8 (N, {height}, {width}, 3), not {frames.dtype} {frames.shape}"
            )
        if self._flying:
            raise RuntimeError("frames are in flight: collect their masks first")
        missing = -len(frames) % self.batch
        if missing:  # the last batch is filled up with black
            frames = np.concatenate((frames, np.zeros((missing, height, width, 3), np.uint8)))
        return frames.reshape(-1, *self._frame_shape)

    def _unbatched(self, masks: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
        return masks.reshape(-1, *self._mask_shape[-2:])[:count]

    def _fly(self, batches: NDArray[np.uint8], collect: Callable[[int], object]) -> None:
        """Keep the engine busy with ``batches``; ``collect`` is called for each, by its number."""
        done = 0
        try:
            for batch in batches:
                if not self._free:
                    collect(done)
                    done += 1
                self.submit(batch)
            while self._flying:
                collect(done)
                done += 1
        except BaseException:
            self.drain()
            raise

    def pictures(self, width: int, height: int) -> PicturePath | None:
        """Return a way for whole pictures of ``width`` × ``height``, where the device has one.

        None where the host shrinks and paints as well as the engine's device would.
        """
        return None

    def drain(self) -> None:
        """Wait for every frame in flight and forget its mask."""
        while self._flying:
            slot = self._flying.popleft()
            try:
                self._finish(slot)
            except Exception:
                pass
            finally:
                self._release(slot)

    def close(self) -> None:
        """Give back what the engine holds; it cannot be used afterwards. Safe to call twice."""
        self.drain()
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("this engine is closed")

    def _require_probability(self) -> None:
        if not self.probability:
            raise RuntimeError("this engine gives no probability: load it with probability=True")

    def _release(self, slot: int) -> None:
        self._frames[slot] = None
        self._free.append(slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _start(self, slot: int, frame: Frame) -> None:
        """Begin on ``frame`` in ``slot`` (0 to depth - 1) without waiting."""

    @abstractmethod
    def _finish(self, slot: int) -> Mask:
        """Wait for ``slot`` and return its mask, valid until the slot is started again."""

    def _probability(self, slot: int) -> Mask:
        """Return the probability of ``slot``, after :meth:`_finish`, valid as long as its mask."""
        raise NotImplementedError
