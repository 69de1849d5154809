"""What can be made to go wrong on the simulated GPU."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ParserFault:
    """An error that the ONNX parser reports, at a node of the network by its index."""

    node: int
    description: str
    code: str = "UNSUPPORTED_NODE"


@dataclass(frozen=True)
class Faults:
    """Faults of the machine, the build and the run; all are off unless set.

    ``no_driver``: libcuda.so.1 is absent. ``old_driver``: CUDA 11.4's, too old for TensorRT here.
    ``no_device``: a driver without a GPU. ``no_nvcc``: pycuda finds no compiler; ``no_nvrtc``:
    cuda-python finds none.
    ``out_of_memory_after``: bytes of device memory that can be had.
    ``parser``: errors of the ONNX parser. ``build_fails``: the build gives None, with this text in
    the log. ``build_seconds``: how long a build takes at least. ``on_build_step``: called with each
    step's number, in the building thread, before the monitor hears of it.
    ``enqueue_fails_at``: which calls of ``execute_async_v3`` (from 1) give False: a number or a
    container of them (``range(3, 10**9)``: all from the third on).
    ``nan_logits``: real outputs are NaN, and masks what an argmax over NaN gives: all zeros.
    ``flipped``: share of an integer output's elements that come out wrong (0 to 1).
    """

    no_driver: bool = False
    old_driver: bool = False
    no_device: bool = False
    no_nvcc: bool = False
    no_nvrtc: bool = False
    out_of_memory_after: int | None = None
    parser: tuple[ParserFault, ...] = field(default=())
    build_fails: str | None = None
    build_seconds: float = 0.0
    on_build_step: Callable[[int], None] | None = None
    enqueue_fails_at: int | Container[int] | None = None
    nan_logits: bool = False
    flipped: float = 0.0

    def enqueue_fails(self, number: int) -> bool:
        """Whether the ``number``-th enqueue (from 1) fails."""
        at = self.enqueue_fails_at
        if at is None:
            return False
        return number == at if isinstance(at, int) else number in at
