"""OpenVINO, imported without its telemetry.

Importing OpenVINO starts a process that reports the import to Google Analytics. A dash-cam has no
business with that, and it takes start-up time and can hang the exit. Where the telemetry package
cannot be imported OpenVINO takes a stub of its own: so for the length of the import it cannot be.
"""

from __future__ import annotations

import sys

_TELEMETRY = "openvino_telemetry"

_before = sys.modules.get(_TELEMETRY)
sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
try:
    import openvino as ov
finally:
    if _before is None:
        del sys.modules[_TELEMETRY]
    else:
        sys.modules[_TELEMETRY] = _before

__all__ = ["ov"]
