"""A TensorRT plan made runnable: the engine checked against its network, and the slots it runs in."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.engine.tensorrt import bindings
from rtseg.engine.tensorrt.driver import Buffer, Device, Holding, OutOfMemoryError
from rtseg.engine.tensorrt.graph import Graph
from rtseg.engine.tensorrt.log import make_log
from rtseg.errors import BackendError
from rtseg.spec import Spec

log = logging.getLogger("rtseg")


class Program:
    """A plan made runnable: TensorRT's runtime and engine, checked against the network's spec.

    ``BackendError`` where TensorRT does not take the plan (another GPU, version, or a cut file), or
    where what it takes and gives is not what the spec says.
    """

    def __init__(self, trt: Any, plan: bytes, spec: Spec, batch: int, held: Holding) -> None:
        self._log = make_log(trt)
        self.runtime: Any = bindings.create(trt, trt.Runtime, self._log)
        held.on_close(self.release)
        self._log.take_errors()
        self.engine: Any = self.runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise self.failure("TensorRT does not take this engine")
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        inputs = [n for n in names if self.engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        outputs = [n for n in names if n not in inputs]
        if len(inputs) != 1 or len(outputs) != 1:
            raise BackendError(
                f"this engine has {len(inputs)} inputs and {len(outputs)} outputs, not one of each"
            )
        self.input, self.output = inputs[0], outputs[0]
        self.frames_shape = (batch, spec.height, spec.width, 3)
        self.masks_shape = (batch, spec.mask_height, spec.mask_width)
        for name, shape in ((self.input, self.frames_shape), (self.output, self.masks_shape)):
            dtype = self.engine.get_tensor_dtype(name)
            found = tuple(self.engine.get_tensor_shape(name))
            if dtype != trt.DataType.UINT8 or not _fits(found, shape):
                raise BackendError(
                    f"this engine's {name} is {dtype.name} {found}, not UINT8 {shape}"
                )

    def new_context(self) -> Any:
        """Make an execution context, with the input's shape set."""
        context = self.engine.create_execution_context()
        if context is None:
            raise self.failure("TensorRT gives no execution context", out_of_memory=True)
        if -1 in tuple(self.engine.get_tensor_shape(self.input)) and not context.set_input_shape(
            self.input, self.frames_shape
        ):
            raise self.failure(f"TensorRT refuses frames of {self.frames_shape}")
        return context

    def failure(self, what: str, *, out_of_memory: bool = False) -> BackendError:
        """Return the error for a call that TensorRT refused, with the reason that it logged."""
        reasons = self._log.take_errors()
        text = f"{what}: {reasons[0]}" if reasons else what
        # A context that cannot be made without a word, too: nothing else can be missing for it.
        short = any("memory" in r.lower() for r in reasons) or (out_of_memory and not reasons)
        text = " ".join(text.split())
        if short:
            return OutOfMemoryError(
                f"out of memory on the GPU: {text}: end what else runs on it, or take a smaller --size"
            )
        return BackendError(text)

    def release(self) -> None:
        """Let go of engine and runtime, in this order; no context may be left."""
        self.engine = None
        self.runtime = None


def _fits(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(found) == len(shape) and all(f in (-1, s) for f, s in zip(found, shape, strict=True))


class Slot:
    """The place of one frame (or batch) in flight: a stream, an execution context, and memory.

    ``stream`` is a ``pycuda.driver.Stream``; ``frames`` and ``masks`` are on the GPU, (batch, H, W,
    3) and (batch, h, w) uint8, C order; ``mask`` is the host's copy of the latter and ``staging`` a
    place for frames that come from ordinary memory, both pinned. The context must be current for
    every method.
    """

    def __init__(self, program: Program, gpu: Device, held: Holding) -> None:
        self._program = program
        self._cuda = gpu.cuda
        self._context: Any = None
        self.graph: Graph | None = None
        self.stream: Any = None
        self.done: Any = None
        try:
            self._fill(gpu, held)
        except BaseException:
            # A traceback that somebody keeps would keep the stream, and that in another thread.
            with gpu.current():
                self.release()
            raise

    def _fill(self, gpu: Device, held: Holding) -> None:
        program = self._program
        self.stream = held.stream()
        self.done = held.event()
        self.frames: Buffer = held.buffer(int(np.prod(program.frames_shape)))
        self.masks: Buffer = held.buffer(int(np.prod(program.masks_shape)))
        self.staging: NDArray[np.uint8] = held.pinned(program.frames_shape)
        self.mask: NDArray[np.uint8] = held.pinned(program.masks_shape)
        held.on_close(self.release)
        with gpu.current():
            self._context = program.new_context()
            for name, buffer in ((program.input, self.frames), (program.output, self.masks)):
                if not self._context.set_tensor_address(name, buffer.address):
                    raise program.failure(f"TensorRT refuses the address of {name}")

    def upload(self, frame: NDArray[np.uint8]) -> None:
        """Put the copy of ``frame``, pinned, to the GPU on the stream."""
        self._cuda.memcpy_htod_async(self.frames.address, frame, self.stream)

    def enqueue(self) -> None:
        """Put the network, and the copy of ``masks`` to ``mask``, on the stream.

        It reads what is in ``frames`` by then. ``BackendError`` when TensorRT or CUDA refuses.
        """
        if self.graph is not None:
            self.graph.launch()
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self.stream.handle):
            raise self._program.failure("TensorRT refused to run")
        self._cuda.memcpy_dtoh_async(self.mask, self.masks.address, self.stream)

    def warm_up(self, runtime: Any | None) -> None:
        """Run once, since TensorRT makes things ready in the first run; capture it if possible."""
        self.staging[:] = np.arange(self.staging.size, dtype=np.uint8).reshape(self.staging.shape)
        self.upload(self.staging)
        self._enqueue()
        self.stream.synchronize()
        if runtime is None:
            return
        expected = self.mask.copy()
        try:
            self.graph = Graph(runtime, self.stream.handle, self._enqueue)
            self.mask[:] = ~expected
            self.graph.launch()
            self.stream.synchronize()
            if not np.array_equal(self.mask, expected):
                raise BackendError("the graph gives another mask")
        except BackendError as error:
            self._drop_graph()
            log.debug("no CUDA graph, each frame is enqueued: %s", error)
            # Whatever is wrong with the graph, the plain way must still be right.
            self._enqueue()
            self.stream.synchronize()

    def _drop_graph(self) -> None:
        graph, self.graph = self.graph, None
        if graph is not None:
            graph.destroy()

    def release(self) -> None:
        """Wait for the stream, let go of graph and context, and forget what the holding gave."""
        try:
            if self.stream is not None:
                with contextlib.suppress(self._cuda.Error):
                    self.stream.synchronize()
            self._drop_graph()
        finally:
            self._context = self.stream = self.done = None
            self.staging = self.mask = np.empty(0, np.uint8)
