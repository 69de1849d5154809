"""A GPU that is not there: doubles of ``tensorrt``, ``pycuda`` and ``cuda.bindings`` for tests.

    with fake_gpu(generation=10) as gpu:
        ...  # code under test imports tensorrt, pycuda.driver, cuda.bindings.runtime
    assert gpu.leaks == [] and gpu.remarks == []

The names and signatures are those of NVIDIA's own bindings (``surfaces/*.json``, see
:mod:`doubles.surface`): what the real ones lack raises AttributeError here too. Engines are executed
by ONNX Runtime on the CPU, so that whole paths give real masks. Streams do their work only when
somebody waits for it, so that a missing synchronisation shows as stale data.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

from doubles.cuda_modules import pycuda_modules
from doubles.device import Gpu
from doubles.faults import Faults, ParserFault
from doubles.kernels import Launch

__all__ = ["Faults", "Gpu", "Launch", "ParserFault", "fake_gpu"]

DRIVERS = {8: 12000, 10: 13000, 11: 13000}
"""The oldest driver of each generation's wheel, as ``cuDriverGetVersion`` counts."""


class Broken:
    """Finds a module whose import fails, with the words that the real one has for it."""

    def __init__(self, name: str, error: ImportError) -> None:
        self._name, self._error = name, error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find that module; leave the others to the next finder."""
        return ModuleSpec(name, self) if name == self._name else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Fail as the real one."""
        raise self._error


NO_DRIVER = "libcuda.so.1: cannot open shared object file: No such file or directory"


@contextlib.contextmanager
def fake_gpu(
    generation: Literal[8, 10, 11] = 10,
    gpu: str = "NVIDIA H200",
    compute_capability: tuple[int, int] = (9, 0),
    memory: int = 139 << 30,
    driver: int | None = 13000,
    faults: Faults = Faults(),  # noqa: B008 - it is frozen
    kernels: dict[str, Callable[..., None]] | None = None,
    *,
    cuda_python: bool = True,
    pycuda: bool = True,
    tensorrt: bool = True,
    alignment: int = 256,
    strict_casts: bool = True,
) -> Iterator[Gpu]:
    """Install the doubles in ``sys.modules`` for the block, and take them out again.

    ``memory`` in bytes; ``driver`` as CUDA counts (13000 is 13.0), None for none. ``kernels`` are
    Python functions for CUDA kernels by name, called with a :class:`Launch` and the arguments; a
    kernel without one is recorded and does nothing. ``cuda_python``, ``pycuda`` and ``tensorrt``
    say what is installed. ``alignment`` of device addresses: 256, or less to provoke a refusal.
    ``strict_casts``: the parser refuses casts to uint8 from other types than FLOAT and HALF, as
    TensorRT does; otherwise they are noted in ``remarks``.
    """
    # Here, so that the surfaces can be read where onnx and ONNX Runtime are not installed.
    from doubles.bindings import World
    from doubles.cuda_runtime import bindings_modules

    machine = Gpu(gpu, compute_capability, memory, driver, alignment, faults, kernels or {})
    machine.required_driver = DRIVERS[generation]
    roots = ("pycuda", "cuda", "tensorrt")
    before = {n: sys.modules.pop(n) for n in list(sys.modules) if n.split(".")[0] in roots}
    # None is how sys.modules says that a module is not installed, where it really is.
    modules: dict[str, ModuleType | None] = {n: None for n in roots if find_spec(n) is not None}
    if pycuda:
        modules.update(pycuda_modules(machine))
    if cuda_python:
        modules.update(bindings_modules(machine))
    if tensorrt:
        modules["tensorrt"] = World(generation, machine, strict_casts).module()
    finder = Broken("pycuda.driver" if pycuda else "", ImportError(NO_DRIVER))
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    sys.modules.update(modules)  # type: ignore[arg-type]
    try:
        yield machine
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in [n for n in sys.modules if n.split(".")[0] in roots]:
            del sys.modules[name]
        sys.modules.update(before)
        machine.end()
