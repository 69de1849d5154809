"""The live path: sources, the loop, painting, windows and files. NumPy, OpenCV and PyAV only."""

from rtseg.video.camera import Camera
from rtseg.video.overlay import Painter, overlay
from rtseg.video.sources import Source, open_source

__all__ = ["Camera", "Painter", "Source", "open_source", "overlay"]
