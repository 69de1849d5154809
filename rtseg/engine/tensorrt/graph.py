"""CUDA graphs by cuda-python, where it is installed: many launches recorded once, replayed as one.

pycuda cannot capture a stream, so that ``cuda.bindings.runtime`` does it, on pycuda's own stream.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

from rtseg.errors import BackendError, one_line

log = logging.getLogger("rtseg")


def load_runtime() -> Any | None:
    """Import ``cuda.bindings.runtime``; None, with a line at debug, where that cannot be done."""
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except Exception as error:  # it also raises RuntimeError where the driver is of another age
        log.debug("no CUDA graphs: cuda-python cannot be imported: %s", one_line(error))
        return None


class Graph:
    """What ``work`` puts on a stream, captured, to be put there again by :meth:`launch`.

    ``work`` must have run once before, outside of a capture, and the addresses it uses must stay.
    Nothing of it runs during the capture. The context must be current for every method.
    ``BackendError`` where CUDA refuses, or whatever ``work`` raises; then nothing is left behind.
    """

    def __init__(self, runtime: Any, stream: int, work: Callable[[], object]) -> None:
        self._runtime = runtime
        self._stream = stream
        # Only this thread's calls belong to the capture: another library may allocate meanwhile.
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            # The stream takes nothing else until its capture has ended.
            status, graph = runtime.cudaStreamEndCapture(stream)
            if status == runtime.cudaError_t.cudaSuccess:
                runtime.cudaGraphDestroy(graph)
            raise
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            self._instance = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self) -> None:
        """Put the work on the stream, after what is there."""
        self._call("cudaGraphLaunch", self._instance, self._stream)

    def destroy(self) -> None:
        """Give it back; it must not be running. Safe to call twice."""
        instance, self._instance = self._instance, None
        if instance is not None:
            self._call("cudaGraphExecDestroy", instance)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self._runtime, name)(*arguments)
        if status != self._runtime.cudaError_t.cudaSuccess:
            raise BackendError(f"{name} failed: {getattr(status, 'name', status)}")
        return values[0] if values else None
