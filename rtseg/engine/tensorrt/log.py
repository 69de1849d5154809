"""TensorRT's own messages: its errors kept, the rest in the log at debug."""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from typing import Any

log = logging.getLogger("rtseg")

_KEPT = 20


@functools.cache
def make_log(trt: Any) -> Any:
    """Return the ``ILogger`` of this process for the module ``trt``; the same one each time.

    TensorRT keeps the first logger that it is given for everything after it, so there is one, and
    it never goes. ``take_errors()`` returns the errors since it was asked last, oldest first.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        """Called from any of TensorRT's threads; an exception must not get out of ``log``."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=_KEPT)
            self._lock = threading.Lock()

        def log(self, severity: Any, msg: str) -> None:
            text = " ".join(str(msg).split())
            level = int(severity)  # 0 internal error, 1 error, 2 warning, 3 info, 4 verbose
            if level <= 1:
                with self._lock:
                    self._errors.append(text)
            if level <= 3:
                log.debug("TensorRT: %s", text)

        def take_errors(self) -> list[str]:
            with self._lock:
                errors = list(self._errors)
                self._errors.clear()
            return errors

    return Log()
