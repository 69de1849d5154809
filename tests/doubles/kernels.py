"""``pycuda``'s modules and functions: kernels that are recorded, and played by Python functions."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from doubles.device import Gpu
from doubles.failures import INVALID_IMAGE, INVALID_VALUE, NOT_FOUND, CudaFailure
from doubles.pycuda_errors import call

IMAGE = b"double-cubin\n"
C_TYPES = {
    "char": "b", "signed char": "b", "unsigned char": "B", "uint8_t": "B", "int8_t": "b",
    "bool": "?", "short": "h", "unsigned short": "H", "int16_t": "h", "uint16_t": "H",
    "int": "i", "int32_t": "i", "unsigned": "I", "unsigned int": "I", "uint32_t": "I",
    "long long": "q", "int64_t": "q", "long": "q", "unsigned long long": "Q", "uint64_t": "Q",
    "unsigned long": "Q", "size_t": "Q", "float": "f", "double": "d",
}  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel: what the test sees, and what a Python kernel is given first."""

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    stream: int
    arguments: tuple[Any, ...]
    gpu: Gpu

    def memory(self, address: int, dtype: Any, *shape: int) -> Any:
        """Return device (or page-locked) memory at an address, as the kernel sees it."""
        kind = np.dtype(dtype)
        count = int(np.prod(shape))
        view = self.gpu.memory.kernel_view(int(address), count * kind.itemsize)
        return view.view(kind).reshape(shape)


def layout(source: str, name: str) -> str | None:
    """Return the struct format of a kernel's parameters in CUDA C; None where it is not found."""
    plain = re.sub(r"//[^\n]*|/\*.*?\*/", " ", source, flags=re.DOTALL)
    found = re.search(rf"__global__[^;{{]*?\b{name}\s*\(([^)]*)\)", plain)
    if found is None:
        return None
    form = ""
    for parameter in filter(None, (part.strip() for part in found[1].split(","))):
        if "*" in parameter:
            form += "P"
            continue
        words = [w for w in parameter.split() if w not in ("const", "__restrict__")]
        kind = C_TYPES.get(" ".join(words[:-1]))
        if kind is None:
            return None
        form += kind
    return form


def make_kernels(gpu: Gpu, contexts: SimpleNamespace, memory: SimpleNamespace) -> SimpleNamespace:
    """Return ``Module``, ``Function``, ``module_from_buffer`` ..., bound to a GPU."""

    class Function:
        def __init__(self, module: Module, name: str) -> None:
            self._module, self._name = module, name
            self._form: str | None = None

        def __call__(self, *args: Any, block: Any = None, grid: Any = (1, 1), stream: Any = None,
                     shared: int = 0, texrefs: Any = (), time_kernel: bool = False) -> None:  # fmt: skip
            if block is None:
                raise ValueError("must specify block size")
            form, values = "", []
            for index, arg in enumerate(args):
                if isinstance(arg, np.number):
                    form, value = form + arg.dtype.char, arg
                elif isinstance(arg, memory.DeviceAllocation):
                    form, value = form + "P", memory._pointer(arg, "launch")
                elif hasattr(arg, "gpudata"):
                    form, value = form + "P", int(arg.gpudata)
                else:
                    raise TypeError(f"invalid type on parameter #{index} (0-based)")
                values.append(value)
            self._launch(grid, block, form, values, shared, stream)

        def prepare(self, arg_types: Any, texrefs: Any = None) -> Function:
            self._form = ""
            for kind in arg_types:
                if isinstance(kind, type) and issubclass(kind, np.number):
                    self._form += np.dtype(kind).char
                elif isinstance(kind, np.dtype):
                    self._form += kind.char
                else:
                    self._form += kind if isinstance(kind, str) else np.dtype(np.uintp).char
            return self

        def prepared_call(self, grid: Any, block: Any, *args: Any, shared_size: int = 0) -> None:
            self._prepared(grid, block, None, args, shared_size)

        def prepared_async_call(self, grid: Any, block: Any, stream: Any, *args: Any,
                                shared_size: int = 0) -> None:  # fmt: skip
            self._prepared(grid, block, stream, args, shared_size)

        def _prepared(self, grid: Any, block: Any, stream: Any, args: Any, shared: int) -> None:
            if self._form is None:
                raise AttributeError("'Function' object has no attribute 'arg_format'")
            values = [int(v) if isinstance(v, memory.DeviceAllocation) else v for v in args]
            self._launch(grid, block, self._form, values, shared, stream)

        def _launch(self, grid: Any, block: Any, form: str, values: list[Any], shared: int,
                    stream: Any) -> None:  # fmt: skip
            # The packing refuses what fits no C type, and a wrong number of arguments.
            packed = struct.pack(form, *(v.item() if hasattr(v, "item") else v for v in values))
            with call("cuLaunchKernel"):
                gpu.current()
                if gpu.current() is not self._module._context:
                    raise CudaFailure(400)
                sides = tuple(int(s) for s in (*grid, 1, 1)[:3])
                threads = tuple(int(s) for s in (*block, 1, 1)[:3])
                if min(sides) < 1 or min(threads) < 1 or int(np.prod(threads)) > 1024:
                    raise CudaFailure(INVALID_VALUE)
                wanted = layout(self._module._source, self._name)
                if wanted is not None and not same_layout(wanted, form, len(packed)):
                    raise CudaFailure(
                        INVALID_VALUE,
                        f"{self._name} takes {wanted!r} and was given {form!r} (as struct does)",
                    )
                queue = memory._queue(stream)
                launch = Launch(self._name, sides, threads, shared, queue.handle,  # type: ignore[arg-type]
                                tuple(values), gpu)  # fmt: skip
                play = gpu.kernels.get(self._name)

                def work() -> None:
                    gpu.launches.append(launch)
                    if play is not None:
                        play(launch, *launch.arguments)

                gpu.put(queue, work)

        def get_attribute(self, attr: Any) -> int:
            return 0

        def set_cache_config(self, config: Any) -> None:
            pass

    class Module:
        def __init__(self, image: bytes) -> None:
            self._image = image
            self._context = gpu.current()
            known = image.startswith(IMAGE)
            self._source = image[len(IMAGE) :].decode() if known else ""

        def get_function(self, name: str) -> Function:
            with call("cuModuleGetFunction"):
                if name.encode() not in self._image:
                    raise CudaFailure(NOT_FOUND)
            return Function(self, name)

        def get_global(self, name: str) -> Any:
            raise NotImplementedError("the double of pycuda does not play Module.get_global()")

    def module_from_buffer(buffer: Any, options: Any = (), message_handler: Any = None) -> Module:
        with call("cuModuleLoadDataEx"):
            gpu.current()
            image = bytes(buffer)
            if not image:
                raise CudaFailure(INVALID_IMAGE)
            return Module(image)

    def module_from_file(filename: str) -> Module:
        with call("cuModuleLoad"):
            gpu.current()
            return Module(Path(filename).read_bytes())

    return SimpleNamespace(
        Module=Module, Function=Function, module_from_buffer=module_from_buffer,
        module_from_file=module_from_file,
    )  # fmt: skip


def same_layout(wanted: str, given: str, size: int) -> bool:
    """Whether arguments lie in memory as a kernel reads them: the same kinds, one by one."""
    widths = [struct.calcsize(kind) for kind in wanted]
    real = [kind in "fd" for kind in wanted]
    return (
        len(wanted) == len(given)
        and widths == [struct.calcsize(kind) for kind in given]
        and real == [kind in "fd" for kind in given]
        and struct.calcsize(wanted) == size
    )
