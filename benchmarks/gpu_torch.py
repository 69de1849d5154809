"""PyTorch as an engine under the contract: eager, channels-last, CUDA graph, torch.compile.

The same weights and the same graph as the network file is exported from; only PyTorch runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.engine import Engine, Frame, Mask
from rtseg.errors import BackendError
from rtseg.spec import Spec

VARIANTS = ("eager", "channels-last", "CUDA graph", "compile")
_IN_FLIGHT = 3


class _Slot:
    """Memory on both sides for one frame (or batch) in flight, its stream and its event."""

    def __init__(self, torch: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.frames, self.masks = (torch.empty(s, dtype=torch.uint8, device="cuda") for s in shapes)
        self.staging, self.down = (
            torch.empty(s, dtype=torch.uint8, pin_memory=True) for s in shapes
        )
        self.stream = torch.cuda.Stream()
        self.done = torch.cuda.Event()
        self.graph: Any = None


class TorchEngine(Engine):
    """A checkpoint run by PyTorch, on the GPU or the CPU, in one of :data:`VARIANTS`.

    ``eager`` has the images in PyTorch's default memory format, the others in channels-last. On the
    GPU three frames are in flight, each on its own stream, as in the TensorRT engine.
    ``BackendError`` where there is no checkpoint beside the network file.
    """

    backend = "torch"

    def __init__(
        self, network: Path, spec: Spec, variant: str, precision: str, batch: int, *, gpu: bool
    ) -> None:
        import torch

        from rtseg.engine.export import Contract, load_checkpoint

        checkpoint = network.with_suffix(".safetensors")
        if not checkpoint.exists():
            raise BackendError(f"no checkpoint {checkpoint.name} beside the network file")
        model, _ = load_checkpoint(checkpoint)
        contract: Any = Contract(model, full_size=spec.mask_stride == 1).eval()
        if precision == "fp16":
            contract = contract.half()
        if variant == "eager":
            contract.network = _contiguous(torch, contract.network)
        else:
            contract = contract.to(memory_format=torch.channels_last)
        if gpu:
            # The peers at their best: cuDNN looks for its fastest algorithm, in the warm-up.
            torch.backends.cudnn.benchmark = True
            contract = contract.cuda()
        for parameter in contract.parameters():
            parameter.requires_grad_(False)
        if variant == "compile":
            contract = torch.compile(contract, mode="reduce-overhead")
        self._torch, self._contract, self._gpu, self._variant = torch, contract, gpu, variant
        told = precision
        if gpu and precision == "fp32" and torch.backends.cudnn.allow_tf32:
            told = "tf32"  # PyTorch's default for convolutions
        # torch.compile replays its graph from one thread and one memory: one stream for all.
        depth = (1 if variant == "compile" else _IN_FLIGHT) if gpu else 1
        super().__init__(
            spec,
            precision=told,
            device=str(torch.cuda.get_device_name(0)) if gpu else "CPU",
            depth=depth,
            mode="throughput",
            built=True,
            versions={"torch": str(torch.__version__), "cuda": str(torch.version.cuda)},
            batch=batch,
        )
        shapes = (
            (batch, spec.height, spec.width, 3),
            (batch, spec.mask_height, spec.mask_width),
        )
        self._shapes = shapes
        self._pinned: dict[int, Any] = {}
        self._results: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * depth
        self._slots = [_Slot(torch, shapes) for _ in range(depth)] if gpu else []
        for slot in self._slots:
            self._make_ready(slot)

    def _make_ready(self, slot: _Slot) -> None:
        torch = self._torch
        slot.frames.random_(0, 256)
        torch.cuda.synchronize()
        with torch.inference_mode(), torch.cuda.stream(slot.stream):
            for _ in range(5):  # torch.compile compiles, warms up and records
                self._run(slot)
            slot.stream.synchronize()
            if self._variant == "CUDA graph":
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=slot.stream):
                    slot.masks.copy_(self._contract(slot.frames))
                slot.graph = graph

    def _run(self, slot: _Slot) -> None:
        """Put the network, and its mask on the way down, on the current stream."""
        if slot.graph is not None:
            slot.graph.replay()
        else:
            slot.masks.copy_(self._contract(slot.frames))
        slot.down.copy_(slot.masks, non_blocking=True)

    def frame(self) -> Frame:
        """Return a pinned array for frames, on the GPU; submitting it copies nothing on the host."""
        if not self._gpu:
            return super().frame()
        tensor = self._torch.empty(self._frame_shape, dtype=self._torch.uint8, pin_memory=True)
        array: Frame = tensor.numpy()
        self._pinned[array.ctypes.data] = tensor
        return array

    def _start(self, slot: int, frame: Frame) -> None:
        torch = self._torch
        with torch.inference_mode():
            if not self._gpu:
                whole = torch.from_numpy(frame.reshape(self._shapes[0]))
                self._results[slot] = self._contract(whole).numpy()
                return
            place = self._slots[slot]
            source = self._pinned.get(frame.ctypes.data)
            if source is None:
                source = place.staging
                np.copyto(source.numpy(), frame.reshape(self._shapes[0]))
            with torch.cuda.stream(place.stream):
                place.frames.copy_(source.view(self._shapes[0]), non_blocking=True)
                self._run(place)
                place.done.record(place.stream)

    def _finish(self, slot: int) -> Mask:
        if not self._gpu:
            return self._results[slot].reshape(self._mask_shape)
        place = self._slots[slot]
        place.done.synchronize()
        mask: Mask = place.down.numpy().reshape(self._mask_shape)
        return mask

    def device_times(self, count: int) -> tuple[list[float], float]:
        """Time ``count`` runs by events: each alone, and all back to back, ms a run."""
        torch, place = self._torch, self._slots[0]
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        alone = []
        with torch.inference_mode(), torch.cuda.stream(place.stream):
            for _ in range(count):
                start.record(place.stream)
                self._run(place)
                end.record(place.stream)
                end.synchronize()
                alone.append(float(start.elapsed_time(end)))
            start.record(place.stream)
            for _ in range(count):
                self._run(place)
            end.record(place.stream)
            end.synchronize()
        return alone, float(start.elapsed_time(end)) / count

    def close(self) -> None:
        """Wait for what is in flight and let go of the GPU's memory."""
        super().close()
        self._slots, self._contract, self._pinned = [], None, {}
        if self._gpu:
            self._torch.cuda.empty_cache()


def _contiguous(torch: Any, network: Any) -> Any:
    class Contiguous(torch.nn.Module):  # type: ignore[misc]
        """Takes the images in PyTorch's default memory format, where the contract's are NHWC."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Any) -> Any:
            return self.inner(x.contiguous())

    return Contiguous()
