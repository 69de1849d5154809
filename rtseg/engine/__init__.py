"""Engines: what a backend makes of a network file on this machine.

The runtime here imports NumPy and one backend. ``rtseg.engine.export``, which makes network files,
and ``rtseg.engine.torch_tensorrt`` are the only modules that import torch, the latter not before it
makes an engine. Nothing imports the former but the commands that export, and the latter's builds.
"""

from rtseg.engine.backends import BACKENDS, PRECISIONS
from rtseg.engine.base import Engine, Frame, Mask, Mode
from rtseg.engine.choose import find_network, load, zoo

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
