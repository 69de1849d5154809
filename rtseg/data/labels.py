"""Class tables: the names, colours and merges of the labels that rtseg knows.

Colours are RGB, as the datasets' own tables give them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VOID = 255
"""The index of pixels without a class in rtseg's own masks: never trained on, never scored."""


@dataclass(frozen=True)
class ClassTable:
    """Class names in the order of their indices, and a colour (RGB, 0–255) for each."""

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colours) or len(set(self.names)) != len(self.names):
            raise ValueError("a class table takes one colour and one distinct name a class")


CAMVID11 = ClassTable(
    (
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree",
        "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ),
    (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip
"""CamVid's 11 classes in the order and colours of the SegNet split (Badrinarayanan et al. 2017)."""

ROAD = ClassTable(("background", "road"), ((0, 0, 0), (0, 200, 90)))
"""Two classes; the road is painted green."""

CAMVID11_VOID = 11
"""The index that the SegNet split, and the rendered drive, give to pixels without a class."""


def merge_table(source: ClassTable, target: ClassTable, void: int | None) -> NDArray[np.uint8]:
    """Return a (256,) uint8 table from ``source`` indices to ``target`` ones, by class name.

    Names are compared without regard to case. A source class that the target lacks becomes its
    ``background`` if it has one, else :data:`VOID`; ``void`` and undefined indices become VOID.
    """
    wanted = {name.lower(): i for i, name in enumerate(target.names)}
    table = np.full(256, VOID, np.uint8)
    for i, name in enumerate(source.names):
        table[i] = wanted.get(name.lower(), wanted.get("background", VOID))
    if void is not None:
        table[void] = VOID
    return table


def drive_table(target: ClassTable) -> NDArray[np.uint8]:
    """Return the (256,) uint8 table from the rendered drive's indices to ``target`` ones.

    The drive's only void is the car's own bonnet. Where ``target`` has a ``background`` the bonnet
    belongs to it: it is not road, and a network is to know that.
    """
    table = merge_table(CAMVID11, target, CAMVID11_VOID)
    names = [name.lower() for name in target.names]
    if "background" in names:
        table[CAMVID11_VOID] = names.index("background")
    return table


def covers(source: ClassTable, target: ClassTable) -> bool:
    """Whether masks of ``source`` can be the truth for ``target``.

    They can if they know every class of ``target`` but its ``background``.
    """
    known = {name.lower() for name in source.names}
    return all(name.lower() in known for name in target.names if name.lower() != "background")
