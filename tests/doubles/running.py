"""The double of TensorRT's runtime: a plan becomes an engine that ONNX Runtime executes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from doubles.execution import ExecutionContext
from doubles.failures import CudaFailure
from doubles.network import NUMPY
from doubles.plans import Plan, Unreadable, read


class Runtime:
    """Play of ``Runtime``."""

    def __init__(self, world: Any, logger: Any) -> None:
        world.register(self, logger, "createInferRuntime")
        self._world = world
        self.logger = logger
        self.engine_host_code_allowed = False
        self.max_threads, self.DLA_core, self.num_DLA_cores = 1, -1, 0
        self.error_recorder = self.gpu_allocator = None
        self.temporary_directory, self.tempfile_control_flags = "/tmp", 3

    def deserialize_cuda_engine(self, serialized_engine: Any = None, **other: Any) -> Any:
        world = self._world
        content = bytes(serialized_engine)
        try:
            plan = read(content, world.version, world.gpu.compute_capability,
                        self.engine_host_code_allowed)  # fmt: skip
        except Unreadable as error:
            world.log("ERROR", str(error))
            return None
        if plan.gpu != world.gpu.name:
            world.log(
                "WARNING",
                "Using an engine plan file across different models of devices is not recommended "
                "and is likely to affect performance or even cause errors.",
            )
        try:
            context = world.gpu.runtime_current()
            weights = world.gpu.memory.allocate(len(content), context, "engine")
        except CudaFailure as failure:
            world.cuda_error("IRuntime::deserializeCudaEngine", failure)
            return None
        return world.wrap("ICudaEngine", Engine(world, plan, content, weights, self))


class Engine:
    """Play of ``ICudaEngine``."""

    def __init__(self, world: Any, plan: Plan, content: bytes, weights: Any, owner: Any) -> None:
        self._world, self._weights, self._owner = world, weights, owner
        self.plan = plan
        self._content = content
        self.tensors = [*plan.inputs, *plan.outputs]
        self.shapes = {**plan.inputs, **plan.outputs}
        self.name = "Unnamed Network 0"
        self.num_io_tensors = len(self.tensors)
        self.num_layers = len(plan.layers)
        self.num_optimization_profiles = 1
        self.refittable = False
        self.num_aux_streams = 0
        self.error_recorder = None
        verbosity = "DETAILED" if plan.detailed else "LAYER_NAMES_ONLY"
        self.profiling_verbosity = world.enum("ProfilingVerbosity", verbosity)
        self.hardware_compatibility_level = world.enum("HardwareCompatibilityLevel", plan.hardware)
        self.engine_capability = world.enum("EngineCapability", "STANDARD")
        self.has_implicit_batch_dimension, self.max_batch_size = False, 1
        self.device_memory_size = self.device_memory_size_v2 = 4 * sum(
            self.bytes_of(name, shape) for name, shape in self.largest().items()
        )

    def __del__(self) -> None:
        self._world.give_back(self._weights, "an engine")

    def largest(self) -> dict[str, list[int]]:
        """Return the shapes of the inputs and outputs, at the profile's maximum where open."""
        return {
            name: self.plan.profile[name][2] if name in self.plan.profile else
            [abs(side) for side in shape]
            for name, shape in self.shapes.items()
        }  # fmt: skip

    def bytes_of(self, name: str, shape: list[int]) -> int:
        """Return the size of a tensor of this shape."""
        return math.prod(shape) * np.dtype(NUMPY[self.plan.dtypes[name]]).itemsize

    def get_tensor_name(self, index: int) -> str:
        if not 0 <= index < len(self.tensors):
            self._world.log("ERROR", "ICudaEngine::getIOTensorName: Error Code 3: API Usage Error "
                            f"(index {index})")  # fmt: skip
            return ""
        return self.tensors[index]

    def get_tensor_mode(self, name: str) -> Any:
        mode = ("INPUT" if name in self.plan.inputs else
                "OUTPUT" if name in self.plan.outputs else "NONE")  # fmt: skip
        return self._world.enum("TensorIOMode", mode)

    def get_tensor_shape(self, name: str) -> Any:
        return self._world.dims(self.shapes.get(name, [-1]))

    def get_tensor_dtype(self, name: str) -> Any:
        return self._world.enum("DataType", self.plan.dtypes[name])

    def get_tensor_location(self, name: str) -> Any:
        return self._world.enum("TensorLocation", "DEVICE")

    def get_tensor_format(self, name: str, profile_index: int = 0) -> Any:
        return self._world.enum("TensorFormat", "LINEAR")

    def get_tensor_format_desc(self, name: str, profile_index: int = 0) -> str:
        return f"Row-major linear {self.plan.dtypes[name]} format (kLINEAR)"

    def get_tensor_bytes_per_component(self, name: str, profile_index: int = 0) -> int:
        return -1

    def get_tensor_vectorized_dim(self, name: str, profile_index: int = 0) -> int:
        return -1

    def is_shape_inference_io(self, name: str) -> bool:
        return False

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        found = self.plan.profile.get(name, [self.shapes[name]] * 3)
        return [self._world.dims(shape) for shape in found]

    def get_device_memory_size_for_profile(self, profile_index: int) -> int:
        return int(self.device_memory_size)

    get_device_memory_size_for_profile_v2 = get_device_memory_size_for_profile

    def serialize(self) -> Any:
        return self._world.host_memory(self._content)

    def create_engine_inspector(self) -> Any:
        return self._world.wrap("EngineInspector", Inspector(self.plan))

    def create_execution_context(self, **strategy: Any) -> Any:
        world = self._world
        try:
            context = world.gpu.runtime_current()
            world.gpu.refuse_in_capture()
            if context is not self._weights.owner:
                raise CudaFailure(400)
            scratch = world.gpu.memory.allocate(self.device_memory_size, context, "context")
        except CudaFailure as failure:
            world.cuda_error("ICudaEngine::createExecutionContext", failure)
            return None
        return world.wrap("IExecutionContext", ExecutionContext(world, self, scratch))

    def create_execution_context_without_device_memory(self) -> Any:
        return self._world.wrap("IExecutionContext", ExecutionContext(self._world, self, None))


class Inspector:
    """Play of ``EngineInspector``: layers by name, or whole where the build was DETAILED."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.execution_context = self.error_recorder = None

    def _layer(self, index: int) -> Any:
        name, operator, dtype = self._plan.layers[index]
        if not self._plan.detailed:
            return name
        words = {"HALF": "Half", "FLOAT": "Float", "INT8": "Int8"}
        output = {"Name": name, "Format/Datatype": f"Row major linear {words.get(dtype, dtype)}"}
        return {"Name": name, "LayerType": operator, "Inputs": [], "Outputs": [output]}

    def get_layer_information(self, layer_index: int, format: Any) -> str:
        layer = self._layer(layer_index)
        return json.dumps(layer) if format.name == "JSON" else str(layer)

    def get_engine_information(self, format: Any) -> str:
        layers = [self._layer(index) for index in range(len(self._plan.layers))]
        if format.name == "JSON":
            return json.dumps({"Layers": layers, "Bindings": [*self._plan.inputs]})
        return "\n".join(map(str, layers))
