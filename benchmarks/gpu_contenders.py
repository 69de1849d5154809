"""The contenders by name: each an engine under the contract, whoever runs it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_plan import Cell
from rtseg.engine import Engine, Frame, Mask, find_network, load
from rtseg.engine.cache import EngineCache
from rtseg.errors import BackendError, UsageError
from rtseg.spec import NetworkFile

Progress = Callable[[str, int, int], None]


@dataclass
class Contender:
    """One who takes part in a cell.

    ``one`` takes frames one at a time, ``many`` as many in flight as keep the machine busy: often the
    same engine.
    """

    name: str
    one: Engine
    many: Engine
    facts: dict[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        """Close the engines."""
        for engine in {id(e): e for e in (self.many, self.one)}.values():
            engine.close()


class OnnxRuntimeCuda(Engine):
    """A network file run by ONNX Runtime on the GPU; frames and masks in the host's memory.

    ``BackendError`` where this ONNX Runtime has no CUDA, or falls back to the CPU without a word.
    """

    backend = "onnxruntime"

    def __init__(self, network: NetworkFile, batch: int) -> None:
        import onnxruntime as ort

        provider = "CUDAExecutionProvider"
        if provider not in ort.get_available_providers():
            raise BackendError(
                f"this onnxruntime ({ort.__version__}) has no CUDA: onnxruntime-gpu has"
            )
        spec = network.spec
        options = ort.SessionOptions()
        options.log_severity_level = 3
        for dimension, value in (("batch", batch), ("height", spec.height), ("width", spec.width)):
            options.add_free_dimension_override_by_name(dimension, value)
        self._session = ort.InferenceSession(str(network.path), options, providers=[provider])
        if self._session.get_providers()[:1] != [provider]:
            raise BackendError(f"onnxruntime fell back to {self._session.get_providers()[0]}")
        super().__init__(
            spec,
            precision=spec.precision,
            device="GPU",
            depth=2,
            mode="throughput",
            built=True,
            versions={"onnxruntime": ort.__version__},
            batch=batch,
        )
        self._input = self._session.get_inputs()[0].name
        self._shape = (batch, spec.height, spec.width, 3)
        self._workers = ThreadPoolExecutor(2)
        self._runs: list[Future[NDArray[np.uint8]] | None] = [None, None]

    def _run(self, frame: Frame) -> NDArray[np.uint8]:
        masks: NDArray[np.uint8] = self._session.run(None, {self._input: frame})[0]
        return masks

    def _start(self, slot: int, frame: Frame) -> None:
        self._runs[slot] = self._workers.submit(self._run, frame.reshape(self._shape))

    def _finish(self, slot: int) -> Mask:
        run = self._runs[slot]
        assert run is not None
        return run.result().reshape(self._mask_shape)

    def close(self) -> None:
        """Wait for what is in flight and end the worker threads."""
        super().close()
        self._workers.shutdown()


def make(name: str, kind: str, cell: Cell, cache: EngineCache, on_progress: Progress) -> Contender:
    """Make a contender ready to run on a machine of this kind (``gpu`` or ``cpu``).

    Raises whatever its maker raises, which is the reason why it does not take part.
    """
    network = find_network(cell.network)
    spec = network.spec.resized(*cell.size)
    words = name.split()
    backend, precision = words[0], words[-1]
    if name.startswith("torch ") or backend == "torch.compile":
        gpu = kind == "gpu"
        if gpu:
            _require_cuda()
        variant = "compile" if backend == "torch.compile" else " ".join(words[1:-1])
        from benchmarks.gpu_torch import TorchEngine

        engine: Engine = TorchEngine(network.path, spec, variant, precision, cell.batch, gpu=gpu)
        return Contender(name, engine, engine)
    if name.startswith("onnxruntime CUDA"):
        engine = OnnxRuntimeCuda(NetworkFile(network.path, spec, network.sha256), cell.batch)
        return Contender(name, engine, engine)

    def ours(mode: Any) -> Engine:
        return load(
            cell.network,
            backend=backend,
            precision=None if precision == backend else precision,
            size=cell.size,
            mode=mode,
            batch=cell.batch,
            cache=cache,
            on_progress=on_progress,
            check=False,  # the cell compares masks by itself, and tells a bad engine's figure
        )

    many = ours("throughput")
    # On a GPU one frame in flight is as fast as it can be in either mode; on a CPU the mode says
    # how many cores work on a frame.
    one = many if backend.startswith(("tensorrt", "torch-tensorrt")) else ours("latency")
    facts: dict[str, Any] = {}
    if isinstance(sidecar := getattr(many, "sidecar", None), dict):
        facts["sidecar"] = dict(sidecar)
    if slots := getattr(many, "slots", None):
        facts["cuda_graph"] = slots[0].graph is not None
    return Contender(name, one, many, facts)


def _require_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise BackendError(f"torch {torch.__version__} sees no GPU")


def reference(cell: Cell, cache: EngineCache) -> tuple[str, Engine]:
    """Make the engine in FP32 that masks are compared with, on the CPU where there is one.

    ONNX Runtime, OpenVINO or PyTorch, whichever is there first; ``BackendError`` if none is.
    """
    reasons = []
    for backend in ("onnxruntime", "openvino"):
        try:
            engine = load(
                cell.network, backend=backend, precision="fp32", size=cell.size, cache=cache
            )
        except (UsageError, BackendError) as error:
            reasons.append(str(error))
            continue
        return f"{backend} fp32", engine
    try:
        from benchmarks.gpu_torch import TorchEngine

        network = find_network(cell.network)
        spec = network.spec.resized(*cell.size)
        return "torch fp32", TorchEngine(network.path, spec, "channels-last", "fp32", 1, gpu=False)
    except (ImportError, BackendError) as error:
        reasons.append(str(error))
    raise BackendError(f"no reference in FP32 here: {'; '.join(reasons)}")
