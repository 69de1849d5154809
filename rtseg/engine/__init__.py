"""Engines: what a backend makes of a network file on this machine.

The runtime here imports NumPy and one backend. ``rtseg.engine.export``, which makes network files,
is the only module that imports torch, and nothing imports it but the commands that export.
"""

from rtseg.engine.base import Engine, Frame, Mask, Mode
from rtseg.engine.choose import BACKENDS, PRECISIONS, find_network, load, zoo

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Engine",
    "Frame",
    "Mask",
    "Mode",
    "find_network",
    "load",
    "zoo",
]
