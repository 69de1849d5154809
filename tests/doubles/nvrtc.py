# ruff: noqa: N802, N803 - the names are cuda-python's
"""What ``cuda.bindings.nvrtc`` does on a simulated GPU: its "cubin" is the source behind a mark."""

from __future__ import annotations

import ctypes
from typing import Any

from doubles.device import Gpu
from doubles.failures import CudaFailure
from doubles.kernels import IMAGE

COMPILATION, INVALID_PROGRAM = 6, 4


class NvrtcCalls:
    """The functions, as :class:`doubles.cuda_runtime.Calls`: a failure is raised."""

    def __init__(self, gpu: Gpu, module: Any) -> None:
        self._gpu, self._module = gpu, module
        self._sources: dict[int, bytes] = {}
        self._images: dict[int, bytes] = {}
        self._logs: dict[int, bytes] = {}

    def _check(self) -> None:
        if self._gpu.faults.no_nvrtc:
            raise RuntimeError('Failure finding "libnvrtc.so": No such file: libnvrtc.so')

    def nvrtcVersion(self) -> tuple[int, int]:
        self._check()
        return (13, 0)

    def nvrtcCreateProgram(self, src: bytes, name: bytes, numHeaders: int, headers: Any,
                           includeNames: Any) -> Any:  # fmt: skip
        self._check()
        if not isinstance(src, bytes) or not isinstance(name, bytes):
            raise TypeError("expected bytes, str found")
        program = self._module.nvrtcProgram(self._gpu.handle())
        self._sources[int(program)] = src
        return program

    def nvrtcCompileProgram(self, prog: Any, numOptions: int, options: Any) -> None:
        if numOptions != len(options) or not all(isinstance(o, bytes) for o in options):
            raise TypeError("options are bytes, as many as numOptions says")
        source = self._sources[int(prog)]
        if b"__global__" not in source or b"#error" in source:
            self._logs[int(prog)] = b"kernels.cu(1): error: no kernel in it\0"
            raise CudaFailure(COMPILATION)
        self._images[int(prog)] = IMAGE + source

    def nvrtcGetProgramLogSize(self, prog: Any) -> int:
        return len(self._logs.get(int(prog), b"\0"))

    def nvrtcGetProgramLog(self, prog: Any, log: bytes) -> None:
        write_into(log, self._logs.get(int(prog), b"\0"))

    def nvrtcGetCUBINSize(self, prog: Any) -> int:
        if int(prog) not in self._images:
            raise CudaFailure(INVALID_PROGRAM)
        return len(self._images[int(prog)])

    def nvrtcGetCUBIN(self, prog: Any, cubin: bytes) -> None:
        write_into(cubin, self._images[int(prog)])

    def nvrtcDestroyProgram(self, prog: Any) -> None:
        if self._sources.pop(int(prog), None) is None:
            raise CudaFailure(INVALID_PROGRAM)


def write_into(target: bytes, content: bytes) -> None:
    """Write into the caller's bytes, as the real binding does."""
    if len(target) < len(content):
        raise BufferError("the real one would write beyond the end")
    ctypes.memmove(target, content, len(content))
