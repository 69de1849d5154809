# ruff: noqa: N802, N803, N815 - the names are cuda-python's
"""The modules ``cuda.bindings.runtime``, ``.driver`` and ``.nvrtc`` of a simulated GPU.

Every function of the real modules is there with its real parameters; those that are not played
raise NotImplementedError. A call returns a tuple whose first element is the error.
"""

from __future__ import annotations

import enum
import inspect
import types
from typing import Any

from doubles import surface as surfaces
from doubles.cuda_modules import new_module
from doubles.device import Gpu
from doubles.failures import INVALID_VALUE, OLD_DRIVER, TEXTS, CudaFailure
from doubles.nvrtc import NvrtcCalls
from doubles.surface_cuda import BINDINGS


class Handle:
    """An opaque CUDA object: ``int()`` and ``getPtr()`` give its value, 0 is none."""

    def __init__(self, init_value: Any = 0, **more: Any) -> None:
        self._value = int(init_value)

    def __int__(self) -> int:
        return self._value

    __index__ = __int__

    def getPtr(self) -> int:
        """Return the address of the handle itself."""
        return id(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value:#x}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (int, Handle)) and int(other) == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Numbers(enum.IntEnum):
    """An enumeration of cuda-python: a number that prints with its name."""

    __str__ = enum.Enum.__repr__


class Calls:
    """What the functions do. ``int`` arguments and handles serve alike; a failure is raised."""

    def __init__(self, gpu: Gpu, module: Any) -> None:
        self._gpu, self._module = gpu, module

    def _handle(self, kind: str, value: int) -> Any:
        return getattr(self._module, kind)(value)

    def cudaGetDeviceCount(self) -> int:
        self._gpu.runtime_current()
        return 1

    def cudaGetDevice(self) -> int:
        return 0

    def cudaSetDevice(self, device: Any) -> None:
        if int(device) != 0:
            raise CudaFailure(101)
        self._gpu.runtime_current()

    def cudaDriverGetVersion(self) -> int:
        return self._gpu.driver or 0

    def cudaRuntimeGetVersion(self) -> int:
        return 13000

    def cudaMemGetInfo(self) -> tuple[int, int]:
        memory = self._gpu.memory
        return memory.limit - memory.used, memory.total

    def cudaDeviceSynchronize(self) -> None:
        self._gpu.synchronise_all()

    def cudaMalloc(self, size: int) -> int:
        context = self._gpu.current()
        self._gpu.refuse_in_capture()
        return self._gpu.memory.allocate(int(size), context).address

    def cudaFree(self, devPtr: Any) -> None:
        self._gpu.refuse_in_capture()
        if int(devPtr):
            self._gpu.synchronise_all()
            self._gpu.memory.free(int(devPtr))

    def cudaStreamCreate(self) -> Any:
        return self._handle("cudaStream_t", self._gpu.new_stream().handle)

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        return self._handle("cudaStream_t", self._gpu.new_stream(int(flags)).handle)

    def cudaStreamDestroy(self, stream: Any) -> None:
        self._gpu.end_stream(self._stream(stream))

    def cudaStreamSynchronize(self, stream: Any) -> None:
        self._gpu.synchronise(self._stream(stream))

    def cudaStreamQuery(self, stream: Any) -> None:
        if not self._gpu.is_done(self._stream(stream)):
            raise CudaFailure(600)

    def _stream(self, stream: Any) -> Any:
        return self._gpu.stream(0 if stream is None else int(stream))

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> None:
        if not isinstance(mode, self._module.cudaStreamCaptureMode):
            raise TypeError(f"Argument 'mode' has incorrect type: {type(mode).__name__}")
        self._gpu.begin_capture(self._stream(stream), int(mode))

    def cudaStreamEndCapture(self, stream: Any) -> Any:
        return self._handle("cudaGraph_t", self._gpu.end_capture(self._stream(stream)).handle)

    def cudaStreamIsCapturing(self, stream: Any) -> Any:
        capture = self._stream(stream).capture
        status = 0 if capture is None else 2 if capture.invalid else 1
        return self._module.cudaStreamCaptureStatus(status)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        made = self._gpu.instantiate(self._gpu.graph(int(graph), executable=False))
        return self._handle("cudaGraphExec_t", made.handle)

    cudaGraphInstantiateWithFlags = cudaGraphInstantiate

    def cudaGraphUpload(self, graphExec: Any, stream: Any) -> None:
        self._gpu.graph(int(graphExec), executable=True)
        self._stream(stream)

    def cudaGraphLaunch(self, graphExec: Any, stream: Any) -> None:
        graph = self._gpu.graph(int(graphExec), executable=True)
        self._gpu.put(self._stream(stream), graph.launch())

    def cudaGraphDestroy(self, graph: Any) -> None:
        self._gpu.graph(int(graph), executable=False).destroy()

    def cudaGraphExecDestroy(self, graphExec: Any) -> None:
        self._gpu.graph(int(graphExec), executable=True).destroy()

    def cudaGetLastError(self) -> None:
        return None

    cudaPeekAtLastError = cudaGetLastError

    def cudaGetErrorString(self, error: Any) -> bytes:
        return TEXTS.get(int(error), "no error").encode()

    def cudaGetErrorName(self, error: Any) -> bytes:
        return str(error.name).encode()

    def cudaThreadExchangeStreamCaptureMode(self, mode: Any) -> Any:
        return mode

    def cuInit(self, Flags: int) -> None:
        self._gpu.init()

    def cuDriverGetVersion(self) -> int:
        return self._gpu.driver or 0

    def cuDeviceGetCount(self) -> int:
        self._gpu.require_init()
        return 1

    def cuDeviceGet(self, ordinal: int) -> Any:
        self._gpu.require_init()
        if int(ordinal) != 0:
            raise CudaFailure(101)
        return self._handle("CUdevice", 0)

    def cuDeviceGetName(self, length: int, dev: Any) -> bytes:
        return self._gpu.name.encode().ljust(length, b"\0")[:length]

    def cuDeviceTotalMem(self, dev: Any) -> int:
        return self._gpu.memory.total


WITHOUT_DEVICE = ("cudaGetErrorString", "cudaGetErrorName", "cudaDriverGetVersion",
                  "cudaRuntimeGetVersion", "cudaGetLastError", "cudaPeekAtLastError")  # fmt: skip


def bindings_modules(gpu: Gpu) -> dict[str, types.ModuleType]:
    """Return ``cuda``, ``cuda.bindings`` and its three modules, by name."""
    package, inner = new_module("cuda", True), new_module("cuda.bindings", True)
    surface = surfaces.load(BINDINGS)
    inner.__dict__["__version__"] = surface["version"]
    package.bindings = inner
    modules = {"cuda": package, "cuda.bindings": inner}
    for short in ("runtime", "driver", "nvrtc"):
        module = new_module(f"cuda.bindings.{short}")
        fill(module, surface[short], gpu)
        modules[module.__name__] = module
        setattr(inner, short, module)
    return modules


def fill(module: Any, names: dict[str, Any], gpu: Gpu) -> None:
    """Give a module its names; each is made when it is asked for, as there are thousands."""
    kind = NvrtcCalls if module.__name__.endswith("nvrtc") else Calls
    calls = kind(gpu, module)

    def make(name: str) -> Any:
        if name in names["functions"]:
            return make_function(name, names["functions"][name], calls, module)
        if name in names["enums"]:
            return Numbers(name, names["enums"][name])
        if name in names["handles"]:
            return type(name, (Handle,), {"__module__": module.__name__})
        if name in names["values"]:
            return names["values"][name]
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    def get(name: str) -> Any:
        made = make(name)
        setattr(module, name, made)
        return made

    module.__getattr__ = get
    module.__dir__ = lambda: sorted(name for group in names.values() for name in group)


def make_function(name: str, parameters: list[str], calls: Any, module: Any) -> Any:
    """Return one function: its real parameters, its result as a tuple behind the error."""
    kinds = inspect.Parameter
    signature = inspect.Signature([kinds(p, kinds.POSITIONAL_OR_KEYWORD) for p in parameters])
    short = module.__name__.rpartition(".")[2]
    errors = {"runtime": "cudaError_t", "driver": "CUresult", "nvrtc": "nvrtcResult"}[short]

    def result_of(code: int) -> Any:
        kind = getattr(module, errors)
        return kind(code if code in kind._value2member_map_ else INVALID_VALUE)

    def function(*args: Any, **given: Any) -> Any:
        bound = signature.bind(*args, **given)
        play = getattr(calls, name, None)
        if play is None:
            raise NotImplementedError(f"the double does not play cuda.bindings.{short}.{name}()")
        gpu = calls._gpu
        gpu.calls[name] += 1
        try:
            if short == "runtime" and name not in WITHOUT_DEVICE:
                if gpu.driver is None:
                    raise CudaFailure(OLD_DRIVER)
                gpu.runtime_current()
            result = play(**bound.arguments)
        except CudaFailure as failure:
            error = result_of(failure.code)
            return (error, None) if returns_value(play) else (error,)
        if isinstance(result, tuple):
            return (result_of(0), *result)
        return (result_of(0), result) if returns_value(play) else (result_of(0),)

    function.__name__ = name
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def returns_value(play: Any) -> bool:
    """Whether a function's tuple has a second element."""
    return inspect.signature(play).return_annotation not in (None, "None")
