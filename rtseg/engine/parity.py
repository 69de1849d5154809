"""Does an engine paint what the network says? Its masks against a reference engine's, in FP32."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.drive import Drive
from rtseg.engine.base import Engine
from rtseg.engine.cache import EngineCache
from rtseg.engine.cache_entry import LEAST, refusal
from rtseg.engine.siblings import same_network, sibling
from rtseg.errors import BackendError
from rtseg.spec import NetworkFile, read_network

LEAST_INT8 = 0.95
"""The share for an INT8 engine, which rounds on purpose: its accuracy is to be measured on labels."""

FRAMES = 20
"""How many frames a build is checked on."""

__all__ = [
    "FRAMES",
    "LEAST",
    "LEAST_INT8",
    "Parity",
    "agreement",
    "can_check",
    "check",
    "reference_engine",
    "rendered_frames",
]

_SMALLEST = 64  # side of a drive's frame

_MOMENTS = 97  # frames between two looks at a drive: far enough apart to differ


@dataclass(frozen=True)
class Parity:
    """What a check found.

    ``share`` (0 to 1) of the pixels of ``frames`` frames agree with ``reference`` (such as
    ``onnxruntime fp32``), ``least`` are needed. ``not_finite`` counts the logits that are NaN or
    infinite in half precision; None where that was not checked, and ``unchecked`` says why.
    """

    share: float
    least: float
    frames: int
    reference: str
    not_finite: int | None = None
    unchecked: str = ""

    def facts(self) -> dict[str, str | float]:
        """What goes into the engine's sidecar."""
        facts: dict[str, str | float] = {
            "parity": self.share,
            "parity_least": self.least,
            "parity_frames": self.frames,
            "parity_reference": self.reference,
        }
        if self.not_finite is not None:
            facts["logits_not_finite"] = self.not_finite
        return facts

    def require(self, name: str) -> None:
        """``BackendError`` with the figure, and the way out, if the engine is not to be trusted."""
        if reason := refusal(self.facts()):
            raise BackendError(f"{name}: {reason}: use --precision fp32")


def rendered_frames(width: int, height: int, count: int) -> Iterator[NDArray[np.uint8]]:
    """Yield ``count`` frames (height, width, 3) uint8 BGR of several rendered drives."""
    for i in range(count):
        if i % 4 == 0:
            drive = Drive(max(width, _SMALLEST), max(height, _SMALLEST), seed=i)
        frame = cv2.resize(drive.frame(i * _MOMENTS)[0], (width, height))
        yield frame.astype(np.uint8, copy=False)


def agreement(engine: Engine, reference: Engine, frames: Iterable[NDArray[np.uint8]]) -> float:
    """Return the share of pixels, 0 to 1, on which two engines give the same class.

    ``frames`` (H, W, 3) uint8 BGR of any size are resized to the engines' own; NaN without frames.
    ``ValueError`` if the engines' sizes differ.
    """
    spec, other = engine.spec, reference.spec
    if (spec.width, spec.height, spec.mask_stride) != (
        other.width,
        other.height,
        other.mask_stride,
    ):
        raise ValueError("the engines are compiled for different sizes")
    same = total = 0
    for frame in frames:
        small = cv2.resize(frame, (spec.width, spec.height)).astype(np.uint8, copy=False)[None]
        equal = engine.infer(small) == reference.infer(small)
        same += int(np.count_nonzero(equal))
        total += equal.size
    return same / total if total else float("nan")


def check(
    engine: Engine,
    network: NetworkFile,
    cache: EngineCache | None = None,
    *,
    frames: int = FRAMES,
) -> Parity:
    """Compare an engine with its network in FP32, on rendered frames.

    ``network`` is the file the engine was asked of: an FP32 one, or one with an FP32 file of the same
    network beside it. The reference is ONNX Runtime, or OpenVINO where that is missing or the engine
    is ONNX Runtime's own. Of an engine that runs FP16 the logits are checked too
    (:func:`rtseg.engine.logits.count_not_finite`). With ``cache``, the result goes into the sidecar of
    the entry that ``cache`` read or wrote last: the engine's. Nothing is refused here:
    :meth:`Parity.require` does.
    """
    spec = engine.spec
    not_finite: int | None = None
    unchecked = ""
    half = _half_file(network) if engine.precision == "fp16" else None
    if half is not None:
        from rtseg.engine.logits import count_not_finite, hindrance

        unchecked = hindrance()
        if not unchecked:
            # At the file's own size: what a convolution gives does not depend on it, the time does.
            own = read_network(half.path).spec
            shown = rendered_frames(own.width, own.height, min(frames, 4))
            not_finite = count_not_finite(half.path, shown, (own.width, own.height))
    with reference_engine(engine, network) as reference:
        shown = rendered_frames(spec.width, spec.height, frames)
        share = agreement(engine, reference, shown)
        name = f"{reference.backend} {reference.precision}"
    least = LEAST_INT8 if engine.precision == "int8" else LEAST
    parity = Parity(share, least, frames, name, not_finite, unchecked)
    if cache is not None:
        cache.note(parity.facts())
    return parity


def can_check() -> bool:
    """Whether there is anything to compare an engine with: ONNX Runtime or OpenVINO."""
    return any(importlib.util.find_spec(name) for name in ("onnxruntime", "openvino"))


def reference_engine(engine: Engine, network: NetworkFile) -> Engine:
    """Make the engine to compare with: the same network and size, in FP32, by another program.

    ONNX Runtime runs a file at the file's own precision; OpenVINO can run any in FP32.
    """
    plain = sibling(network.path, "fp32")
    found = network
    if plain != network.path and plain.exists():
        found = same_network(network, plain) or network
    size = engine.spec.width, engine.spec.height
    found = NetworkFile(found.path, found.spec.resized(*size), found.sha256)
    if (
        found.spec.precision == "fp32"
        and engine.backend != "onnxruntime"
        and importlib.util.find_spec("onnxruntime") is not None
    ):
        from rtseg.engine.onnxruntime import ONNXRuntimeEngine

        return ONNXRuntimeEngine(found, "fp32", "throughput")
    from rtseg.engine.openvino import OpenVINOEngine

    return OpenVINOEngine(found, "fp32", "throughput", EngineCache())


def _half_file(network: NetworkFile) -> NetworkFile | None:
    """The FP16 file of a network: itself, or the one beside it; None if there is none."""
    if network.spec.precision == "fp16":
        return network
    path = sibling(network.path, "fp16")
    return same_network(network, path) if path.exists() else None
