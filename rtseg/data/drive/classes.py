"""The classes of a drive's mask: CamVid's eleven, and void."""

from enum import IntEnum

__all__ = ["CLASS_NAMES", "DriveClass"]


class DriveClass(IntEnum):
    """Class indices in a drive's mask: the order of CamVid's eleven classes, then void.

    Grass, hedges and distant hills are TREE, as CamVid's VegetationMisc is; lane marks are ROAD;
    kerb stones are PAVEMENT; the camera car's own bonnet is VOID.
    """

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    PAVEMENT = 4
    TREE = 5
    SIGN = 6
    FENCE = 7
    CAR = 8
    PEDESTRIAN = 9
    BICYCLIST = 10
    VOID = 11


CLASS_NAMES: tuple[str, ...] = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
    "void",
)
"""The names of the classes, by index."""
