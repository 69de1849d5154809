"""The modules ``pycuda``, ``pycuda.driver`` and ``pycuda.compiler`` of a simulated GPU."""

from __future__ import annotations

import importlib.machinery
import types
from types import SimpleNamespace
from typing import Any

from doubles import pycuda_errors as errors
from doubles.device import Gpu
from doubles.kernels import IMAGE, make_kernels
from doubles.pycuda_contexts import make_contexts
from doubles.pycuda_errors import call
from doubles.pycuda_memory import make_memory

VERSION = (2026, 1)


def new_module(name: str, package: bool = False) -> types.ModuleType:
    """Return an empty module that ``importlib.util.find_spec`` knows."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=package)
    if package:
        module.__path__ = []
    return module


def flags(**members: int) -> Any:
    """Return a group of flags, as Boost.Python's enumerations are: ints by name."""
    return SimpleNamespace(**members)


def pycuda_modules(gpu: Gpu) -> dict[str, types.ModuleType]:
    """Return the modules by name; without a driver, the package and its compiler alone."""
    package = new_module("pycuda", package=True)
    vars(package).update(VERSION=VERSION, VERSION_STATUS="", VERSION_TEXT="2026.1")
    driver = new_module("pycuda.driver")
    contexts = make_contexts(gpu)
    memory = make_memory(gpu, contexts)
    kernels = make_kernels(gpu, contexts, memory)
    contents = {**vars(contexts), **vars(memory), **vars(kernels)}
    vars(driver).update({name: value for name, value in contents.items() if name[0] != "_"})
    del driver.Dependent
    for name in ("Error", "MemoryError", "LogicError", "LaunchError", "RuntimeError",
                 "CompileError"):  # fmt: skip
        setattr(driver, name, getattr(errors, name))

    def init(flags: int = 0) -> None:
        with call("cuInit"):
            gpu.init()

    def get_driver_version() -> int:
        return gpu.driver or 0

    driver.init = init
    driver.get_version = lambda: (gpu.required_driver // 1000, 0, 0)
    driver.get_driver_version = get_driver_version
    driver.event_flags = flags(DEFAULT=0, BLOCKING_SYNC=1, DISABLE_TIMING=2, INTERPROCESS=4)
    driver.ctx_flags = flags(SCHED_AUTO=0, SCHED_SPIN=1, SCHED_YIELD=2, BLOCKING_SYNC=4,
                             SCHED_BLOCKING_SYNC=4, MAP_HOST=8)  # fmt: skip
    driver.host_alloc_flags = flags(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4)
    driver.mem_host_register_flags = flags(PORTABLE=1, DEVICEMAP=2)
    compiler = compiler_module(gpu, driver)
    package.compiler = compiler
    if gpu.driver is None:
        return {"pycuda": package, "pycuda.compiler": compiler}
    package.driver = driver
    return {"pycuda": package, "pycuda.driver": driver, "pycuda.compiler": compiler}


def compiler_module(gpu: Gpu, driver: Any) -> types.ModuleType:
    """Return ``pycuda.compiler``: its "cubin" is the source behind a mark."""
    module = new_module("pycuda.compiler")
    module.DEFAULT_NVCC_FLAGS = []

    def compile(source: str, nvcc: str = "nvcc", options: Any = None, keep: bool = False,
                no_extern_c: bool = False, arch: Any = None, code: Any = None,
                cache_dir: Any = None, include_dirs: Any = (), target: str = "cubin") -> bytes:  # fmt: skip
        if gpu.faults.no_nvcc:
            raise OSError(f"{nvcc} was not found (is it on the PATH?) [{nvcc}]")
        if "__global__" not in source:
            raise errors.CompileError("nvcc compilation of kernel.cu failed", [nvcc], "",
                                      "no kernel in it")  # fmt: skip
        return IMAGE + source.encode()

    class SourceModule:
        def __init__(self, source: str, nvcc: str = "nvcc", options: Any = None,
                     keep: bool = False, no_extern_c: bool = False, arch: Any = None, code: Any = None,
                     cache_dir: Any = None, include_dirs: Any = None) -> None:  # fmt: skip
            self.module = driver.module_from_buffer(compile(source, nvcc, options))
            self.get_function = self.module.get_function
            self.get_global = self.module.get_global

    module.compile = compile
    module.SourceModule = SourceModule
    return module
