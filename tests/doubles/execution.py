"""The double of TensorRT's execution context: addresses, shapes, and the enqueue."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from doubles.building import session_of
from doubles.failures import CudaFailure
from doubles.network import NUMPY

sessions = lru_cache(maxsize=16)(session_of)


class ExecutionContext:
    """Play of ``IExecutionContext``: addresses, shapes, and the enqueue."""

    def __init__(self, world: Any, engine: Any, scratch: Any) -> None:
        self._world, self._engine, self._scratch = world, engine, scratch
        self._addresses: dict[str, int] = {}
        self._shapes = {name: list(shape) for name, shape in engine.plan.inputs.items()}
        self._warm = False
        self._last: Any = None
        self.name = ""
        self.active_optimization_profile = 0
        self.nvtx_verbosity = engine.profiling_verbosity
        self.debug_sync = self.enqueue_emits_profile = False
        self.persistent_cache_limit = 0
        self.profiler = self.error_recorder = self.temporary_allocator = None

    def __del__(self) -> None:
        if self._scratch is not None:
            self._world.give_back(self._scratch, "an execution context")

    @property
    def engine(self) -> Any:
        return self._world.wrap("ICudaEngine", self._engine)

    @property
    def all_binding_shapes_specified(self) -> bool:
        return not self.infer_shapes()

    all_shape_inputs_specified = True

    def infer_shapes(self) -> list[str]:
        return [name for name, shape in self._shapes.items() if -1 in shape]

    def set_input_shape(self, name: str, shape: Any) -> bool:
        asked, built = [int(side) for side in shape], self._engine.plan.inputs.get(name)
        low, _, high = self._engine.plan.profile.get(name, [built] * 3)
        fits = built is not None and len(asked) == len(built) and all(
            side == wanted if wanted != -1 else low[axis] <= side <= high[axis]
            for axis, (side, wanted) in enumerate(zip(asked, built, strict=True))
        )  # fmt: skip
        if not fits:
            self._world.log(
                "ERROR",
                "IExecutionContext::setInputShape: Error Code 3: API Usage Error (Parameter check "
                f"failed, condition: engineDims.d[i] == dims.d[i]. Static dimension mismatch while "
                f"setting input shape for {name}.)",
            )
            return False
        self._warm = self._warm and asked == self._shapes[name]
        self._shapes[name] = asked
        return True

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        return bool(profile_index == 0)

    def get_tensor_shape(self, name: str) -> Any:
        if name in self._shapes:
            return self._world.dims(self._shapes[name])
        shape = list(self._engine.shapes.get(name, [-1]))
        if -1 in shape and not self.infer_shapes():
            first = next(iter(self._shapes.values()))
            scale = self._engine.plan.inputs[next(iter(self._shapes))]
            opened = [side for side, built in zip(first, scale, strict=True) if built == -1]
            shape = [opened.pop(0) if side == -1 and opened else side for side in shape]
        return self._world.dims(shape)

    def get_tensor_strides(self, name: str) -> Any:
        shape = list(self.get_tensor_shape(name))
        return self._world.dims([math.prod(shape[axis + 1 :]) for axis in range(len(shape))])

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        address, why = int(memory), ""
        if name not in self._engine.shapes:
            why = f"given invalid tensor name: {name}"
        elif address % 256:
            why = f"the address {address:#x} of {name} is not aligned to 256 bytes"
        if why:
            self._world.log("ERROR", "IExecutionContext::setTensorAddress: Error Code 3: API Usage "
                            f"Error ({why})")  # fmt: skip
            return False
        self._warm = self._warm and self._addresses.get(name) == address
        self._addresses[name] = address
        return True

    def set_input_consumed_event(self, event: int) -> bool:
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        world, gpu, handle = self._world, self._world.gpu, int(stream_handle)
        gpu.enqueues += 1
        missing = [name for name in self._engine.tensors if not self._addresses.get(name)]
        where = "IExecutionContext::enqueueV3"
        if missing or self.infer_shapes():
            world.log("ERROR", f"{where}: Error Code 3: API Usage Error (Parameter check failed, "
                      f"condition: mContext.profileObliviousBindings.at(profileObliviousIndex) || "
                      f"getPtrOrNull(mOutputAllocators, profileObliviousIndex). Neither address or "
                      f"allocator is set for {missing or self.infer_shapes()})")  # fmt: skip
            return False
        if gpu.faults.enqueue_fails(gpu.enqueues):
            world.log("ERROR", f"{where}: Error Code 1: Cask (Cask convolution execution)")
            return False
        try:
            context = gpu.runtime_current()
            stream = gpu.stream(handle)
            if context is not self._engine._weights.owner:
                raise CudaFailure(400)
            if stream.legacy:
                world.log("WARNING", "Using default stream in enqueueV3() may lead to performance "
                          "issues due to additional calls to cudaStreamSynchronize() by TensorRT to"
                          " ensure correct synchronization. Please use non-default stream "
                          "instead.")  # fmt: skip
            if stream.capture is not None and not self._warm:
                # Kernels that were never launched are loaded now, which a capture does not allow.
                raise stream.capture.fail()
            self._overlap(stream)
            gpu.put(stream, self._work())
        except CudaFailure as failure:
            world.cuda_error(where, failure)
            return False
        self._warm = True
        self._last = None if stream.capture else (stream, stream.issued)
        return True

    def _overlap(self, stream: Any) -> None:
        if self._last is not None:
            before, serial = self._last
            if before is not stream and before.done < serial:
                self._world.gpu.remarks.append(
                    "one execution context was enqueued on two streams at once: its scratch memory "
                    "is shared"
                )

    def _work(self) -> Any:
        """Return what runs the network from the addresses and shapes that are set now.

        It holds neither the engine nor the context, as a captured graph holds neither: where their
        memory is gone when the work is done, it is an illegal access.
        """
        plan, gpu = self._engine.plan, self._world.gpu
        addresses, shapes = dict(self._addresses), {n: list(s) for n, s in self._shapes.items()}
        needed = [block.address for block in (self._engine._weights, self._scratch) if block]

        def work() -> None:
            for address in needed:
                gpu.memory.kernel_view(address, 1)
            feeds = {}
            for name, shape in shapes.items():
                dtype = np.dtype(NUMPY[plan.dtypes[name]])
                data = gpu.memory.kernel_view(addresses[name], math.prod(shape) * dtype.itemsize)
                feeds[name] = data.view(dtype).reshape(shape)
            results = sessions(plan.onnx).run(list(plan.outputs), feeds)
            for name, result in zip(plan.outputs, results, strict=True):
                wrong = spoil(result, gpu.faults)
                cast = wrong.astype(NUMPY[plan.dtypes[name]], copy=False)
                target = gpu.memory.kernel_view(addresses[name], cast.nbytes)
                np.copyto(target, np.ascontiguousarray(cast).reshape(-1).view(np.uint8))

        return work


def spoil(result: Any, faults: Any) -> Any:
    """Return an output as the faults leave it."""
    if faults.nan_logits:
        real = np.issubdtype(result.dtype, np.floating)
        return np.full_like(result, np.nan if real else 0)
    if faults.flipped and not np.issubdtype(result.dtype, np.floating):
        wrong = result.copy().reshape(-1)
        count = math.ceil(faults.flipped * wrong.size)
        wrong[:count] = np.where(wrong[:count] == 0, 1, 0)
        return wrong.reshape(result.shape)
    return result
