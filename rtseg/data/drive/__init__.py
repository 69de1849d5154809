"""The rendered drive: a seeded, endless road video with the exact mask of every frame."""

from rtseg.data.drive.classes import CLASS_NAMES, DriveClass
from rtseg.data.drive.scene import Drive

__all__ = ["CLASS_NAMES", "Drive", "DriveClass"]
