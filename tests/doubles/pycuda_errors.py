"""pycuda's exceptions, and the way from CUDA's codes to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from doubles.failures import (
    LAUNCH_FAILED,
    NO_DEVICE,
    NOT_READY,
    OUT_OF_MEMORY,
    CudaFailure,
)


class Error(Exception):
    """Base of pycuda's own."""


class MemoryError(Error):
    """Out of device or page-locked memory."""


class LogicError(Error):
    """A wrong call."""


class LaunchError(Error):
    """A kernel failed."""


class RuntimeError(Error):
    """The machine, not the program."""


class CompileError(Error):
    """nvcc refused a source."""

    def __init__(self, msg: str, command_line: list[str], stdout: str | None = None,
                 stderr: str | None = None) -> None:  # fmt: skip
        self.msg, self.command_line, self.stdout, self.stderr = msg, command_line, stdout, stderr

    def __str__(self) -> str:
        return f"{self.msg}\n[command: {' '.join(self.command_line)}]\n[stderr:\n{self.stderr}]"


for _kind in (Error, MemoryError, LogicError, LaunchError, RuntimeError):
    _kind.__module__ = "pycuda._driver"
CompileError.__module__ = "pycuda.driver"


def kind_of(code: int) -> type[Error]:
    """Return pycuda's exception for a code of the driver."""
    if code == OUT_OF_MEMORY:
        return MemoryError
    if code in (LAUNCH_FAILED, 701, 702):
        return LaunchError
    if code in (NO_DEVICE, 209, 301, NOT_READY, 214):
        return RuntimeError
    return LogicError


@contextlib.contextmanager
def call(routine: str) -> Iterator[None]:
    """Turn a failure into pycuda's exception: ``cuMemAlloc failed: out of memory``."""
    try:
        yield
    except CudaFailure as failure:
        raise kind_of(failure.code)(f"{routine} failed: {failure}") from None
