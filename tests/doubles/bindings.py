"""The module ``tensorrt`` of one generation: shells from its surface, plays behind them."""

from __future__ import annotations

import importlib.machinery
import sys
import time
import types
import weakref
from typing import Any

from doubles import surface as surfaces
from doubles.building import Builder
from doubles.configuration import Config, Profile, TimingCache
from doubles.device import Gpu
from doubles.execution import ExecutionContext
from doubles.failures import OUT_OF_MEMORY, CudaFailure
from doubles.network import Network, OnnxParser, ParserError, Tensor
from doubles.running import Engine, Inspector, Runtime
from doubles.strict import choose, make_class, make_enum, unplayed
from doubles.strict_natives import Dims, IHostMemory

LETTERS = {"INTERNAL_ERROR": "F", "ERROR": "E", "WARNING": "W", "INFO": "I", "VERBOSE": "V"}


class Callee:
    """Play of the classes that the caller derives from: ``ILogger``, ``IProgressMonitor`` ..."""

    def __init__(self, world: Any) -> None:
        self._world = world


class Logger:
    """Play of ``Logger``: prints on stderr from ``min_severity`` on."""

    def __init__(self, world: Any, min_severity: Any = None) -> None:
        self._world = world
        self.min_severity = min_severity or world.enum("ILogger.Severity", "WARNING")

    def log(self, severity: Any, msg: str) -> None:
        if int(severity) <= int(self.min_severity):
            at = time.strftime("%m/%d/%Y-%H:%M:%S")
            print(f"[{at}] [TRT] [{LETTERS[severity.name]}] {msg}", file=sys.stderr)


CALLEES = ("ILogger", "IProgressMonitor", "IProfiler", "IErrorRecorder")
PLAYS = {
    "Builder": Builder,
    "EngineInspector": Inspector,
    "IBuilderConfig": Config,
    "ICudaEngine": Engine,
    "IExecutionContext": ExecutionContext,
    "INetworkDefinition": Network,
    "IOptimizationProfile": Profile,
    "ITensor": Tensor,
    "ITimingCache": TimingCache,
    "Logger": Logger,
    "OnnxParser": OnnxParser,
    "ParserError": ParserError,
    "Runtime": Runtime,
    **dict.fromkeys(CALLEES, Callee),
}
"""What plays each class of TensorRT."""


class World:
    """One generation of TensorRT on one GPU: its classes, its registered logger."""

    def __init__(self, generation: int, gpu: Gpu, strict_casts: bool) -> None:
        self.surface = surfaces.load(surfaces.path_of(generation))
        self.generation = generation
        self.gpu = gpu
        self.strict_casts = strict_casts
        numbers = [int(part) for part in self.surface["version"].split(".")[:3]]
        self.version = (numbers[0], numbers[1], numbers[2])
        self.enums: dict[str, Any] = {
            name: make_enum(name, enum) for name, enum in self.surface["enums"].items()
        }
        self.plays: dict[str, Any] = dict(PLAYS)
        self.shells: dict[str, Any] = dict(self.enums)
        self.shells |= {"Dims": Dims, "IHostMemory": IHostMemory}
        left = {n: c for n, c in self.surface["classes"].items() if n not in self.shells}
        while left:
            ready = [name for name, shell in left.items() if not set(shell["bases"]) & set(left)]
            for name in ready:
                self.shells[name] = make_class(name, left.pop(name), self)
        for name in ("ILogger", "Logger"):
            self.shells[name].Severity = self.enums["ILogger.Severity"]
        self.plays["Dims"] = Dims
        self._registered: list[weakref.ref[Any]] = []
        self._logger: Any = None

    def played_classes(self) -> dict[str, type]:
        """Return the class of plays behind each shell that has one here, by the shell's name."""
        return {name: play for name, play in PLAYS.items() if name in self.surface["classes"]}

    def count(self, name: str) -> None:
        """Count a use of the API."""
        self.gpu.calls[name] += 1

    def enum(self, name: str, member: str) -> Any:
        """Return a member of an enumeration."""
        return self.enums[name].__members__[member]

    def wrap(self, name: str, play: Any) -> Any:
        """Return the shell of a play."""
        shell = object.__new__(self.shells[name])
        shell._play = play
        return shell

    def dims(self, shape: Any) -> Dims:
        """Return a shape as TensorRT gives it."""
        return Dims(shape)

    def host_memory(self, content: bytes) -> IHostMemory:
        """Return bytes as TensorRT gives them."""
        return IHostMemory(content, self.enum("DataType", "INT8"))

    def log(self, severity: str, text: str) -> None:
        """Send a message to the registered logger; what that raises is printed and lost."""
        if self._logger is None:
            return
        try:
            self._logger.log(self.enum("ILogger.Severity", severity), text)
        except BaseException as error:
            print(f"[ERROR] Exception caught in log(): {error!r}", file=sys.stderr)

    def cuda_error(self, where: str, failure: CudaFailure) -> None:
        """Log a failed call of CUDA as TensorRT does."""
        if failure.code == OUT_OF_MEMORY:
            self.log("ERROR", f"{where}: Error Code 2: OutOfMemory (Requested size was too large)")
        self.log("ERROR", f"{where}: Error Code 1: Cuda Runtime ({failure})")

    def register(self, play: Any, logger: Any, function: str) -> None:
        """Take a builder's or runtime's logger, and refuse where there is no usable driver.

        TensorRT keeps the first logger for as long as anything made with it lives, and ignores
        the others, with a warning.
        """
        self._registered = [ref for ref in self._registered if ref() is not None]
        if not self._registered:
            self._logger = logger
        elif logger is not self._logger:
            self.log(
                "WARNING",
                f"The logger passed into {function} differs from one already registered for an "
                "existing builder, runtime, or refitter. So the current new logger is ignored in "
                "favor of the existing one.",
            )
        try:
            self.gpu.runtime_current()
        except CudaFailure as failure:
            self.log(
                "ERROR",
                f"{function}: Error Code 6: API Usage Error (CUDA initialization failure with "
                f"error: {failure.code}. Please check your CUDA installation)",
            )
            raise TypeError("pybind11::init(): factory function returned nullptr") from None
        self._registered.append(weakref.ref(play))

    def give_back(self, block: Any, what: str) -> None:
        """Free the device memory of an engine or execution context."""
        if self.gpu.memory.blocks.get(block.address) is block:
            self.gpu.memory.free(block.address)
        elif not block.owner.alive and not self.gpu.closed:
            self.gpu.remarks.append(
                f"{what} was destroyed after its CUDA context: it crashes there"
            )

    def module(self) -> types.ModuleType:
        """Return the module ``tensorrt``."""
        module = types.ModuleType("tensorrt", "A double of NVIDIA's TensorRT bindings.")
        module.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None, is_package=True)
        module.__path__ = []
        module.__dict__["__version__"] = self.surface["version"]
        for name, shell in self.shells.items():
            if "." not in name:
                setattr(module, name, shell)
        for name, target in self.surface["values"].items():
            kind, _, member = target.partition(".")
            found = self.shells[kind]
            setattr(module, name, found.__members__[member] if member else found)
        for name, signatures in self.surface["functions"].items():
            setattr(module, name, self._function(name, signatures))
        return module

    def _function(self, name: str, signatures: list[str]) -> Any:
        plays = {
            "volume": volume,
            "nptype": nptype,
            "init_libnvinfer_plugins": lambda **given: True,
            "get_nv_onnx_parser_version": lambda: self.version[0] * 10000,
        }

        def function(*args: Any, **given: Any) -> Any:
            bound = choose(name, signatures, args, given, self.shells, method=False)
            self.count(name)
            if name not in plays:
                raise unplayed(f"{name}()")
            return plays[name](**bound)

        function.__name__ = name
        return function


def volume(iterable: Any) -> int:
    """Return the product of a shape's sides."""
    result = 1
    for side in iterable:
        result *= side
    return result


def nptype(trt_type: Any) -> Any:
    """Return numpy's type of a TensorRT data type; TypeError where it has none."""
    import numpy as np

    kinds = {
        "FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32,
        "INT64": np.int64, "BOOL": np.bool_, "UINT8": np.uint8,
    }  # fmt: skip
    if trt_type.name not in kinds:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return kinds[trt_type.name]
