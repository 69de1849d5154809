"""OpenVINO, imported without its telemetry."""

from __future__ import annotations

from rtseg.engine.telemetry import without_telemetry

with without_telemetry():
    import openvino as ov

__all__ = ["ov"]
