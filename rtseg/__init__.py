"""rtseg: real-time road-video segmentation.

``rtseg.load(name)`` gives an engine, ``rtseg.Camera(0)`` its frames, ``rtseg.overlay(frame, mask)``
the painted picture. Importing rtseg imports nothing heavy: each name loads when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rtseg.engine import Engine, load
    from rtseg.video import Camera, overlay

__all__ = ["Camera", "Engine", "__version__", "load", "overlay"]

_HOMES = {
    "Engine": "rtseg.engine",
    "load": "rtseg.engine",
    "Camera": "rtseg.video",
    "overlay": "rtseg.video",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rtseg' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
