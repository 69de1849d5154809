"""ONNX Runtime on the CPU (the ``onnxruntime`` extra)."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import onnxruntime as ort

from rtseg.engine.base import Engine, Frame, Mask, Mode
from rtseg.engine.machine import usable_cores
from rtseg.engine.probability import OUTPUT, with_probability
from rtseg.errors import BackendError
from rtseg.spec import NetworkFile

PRECISIONS = ("fp16", "fp32", "int8")


class ONNXRuntimeEngine(Engine):
    """A network run by ONNX Runtime's CPU provider, at the precision of its network file.

    In ``throughput`` mode one single-threaded run a core, each on a worker thread; in ``latency``
    mode one run at a time over all cores. Its compilation takes a fraction of a second and cannot
    be stored whole, so nothing of it is cached.
    """

    backend = "onnxruntime"

    def __init__(
        self,
        network: NetworkFile,
        precision: str | None,
        mode: Mode,
        batch: int = 1,
        *,
        probability: bool = False,
    ) -> None:
        spec = network.spec
        if precision is not None and precision != spec.precision:
            raise BackendError(
                f"precision {precision}: {network.path} is a network file of {spec.precision}, and "
                f"ONNX Runtime runs it as it is: ask for --precision {spec.precision}"
            )
        cores = usable_cores()
        depth = cores if mode == "throughput" else 1
        options = ort.SessionOptions()
        options.intra_op_num_threads = cores if mode == "latency" else 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for dimension, value in (("batch", batch), ("height", spec.height), ("width", spec.width)):
            options.add_free_dimension_override_by_name(dimension, value)
        source = with_probability(network) if probability else str(network.path)
        try:
            self._session = ort.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base but Exception
            raise BackendError(
                f"{network.path}: ONNX Runtime cannot load this network: "
                f"{' '.join(str(error).split())}"
            ) from error
        super().__init__(
            spec,
            precision=spec.precision,
            device="CPU",
            depth=depth,
            mode=mode,
            built=True,
            versions={"onnxruntime": ort.__version__},
            batch=batch,
            probability=probability,
        )
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._input_shape = (batch, spec.height, spec.width, 3)
        shape = (batch, spec.mask_height, spec.mask_width)
        self._masks = [np.empty(shape, np.uint8) for _ in range(depth)]
        self._bindings = [self._session.io_binding() for _ in range(depth)]
        for binding, mask in zip(self._bindings, self._masks, strict=True):
            binding.bind_output(self._output, "cpu", 0, np.uint8, mask.shape, mask.ctypes.data)
        self._probabilities = [np.empty(shape, np.uint8) for _ in range(depth * probability)]
        for binding, array in zip(self._bindings, self._probabilities, strict=False):
            binding.bind_output(OUTPUT, "cpu", 0, np.uint8, array.shape, array.ctypes.data)
        self._workers = ThreadPoolExecutor(depth, "rtseg-onnxruntime")
        self._runs: list[Future[None] | None] = [None] * depth

    def _run(self, slot: int, frame: Frame) -> None:
        binding = self._bindings[slot]
        binding.bind_input(self._input, "cpu", 0, np.uint8, self._input_shape, frame.ctypes.data)
        self._session.run_with_iobinding(binding)

    def _start(self, slot: int, frame: Frame) -> None:
        self._runs[slot] = self._workers.submit(self._run, slot, frame)

    def _finish(self, slot: int) -> Mask:
        run = self._runs[slot]
        assert run is not None
        try:
            run.result()
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime failed on a frame: {' '.join(str(error).split())}"
            ) from error
        return self._masks[slot].reshape(self._mask_shape)

    def _probability(self, slot: int) -> Mask:
        return self._probabilities[slot].reshape(self._mask_shape)

    def close(self) -> None:
        """Wait for what is in flight and end the worker threads."""
        super().close()
        self._workers.shutdown()
