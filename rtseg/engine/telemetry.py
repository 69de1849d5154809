"""Imports without openvino_telemetry, which starts a process that reports them to Google Analytics.

A dash-cam has no business with that, and it takes start-up time and can hang the exit. Where the
telemetry package cannot be imported its users take stubs of their own: so it cannot be for a while.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TELEMETRY = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Keep openvino_telemetry from being imported within the block."""
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = before
