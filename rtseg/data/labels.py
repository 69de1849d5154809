"""Class tables: the names, colours and merges of the labels that rtseg knows.

Colours are RGB, as the datasets' own tables give them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import InputError, UsageError

VOID = 255
"""The index of pixels without a class in rtseg's own masks: never trained on, never scored."""

VOID_NAMES = frozenset(("void", "unlabelled", "unlabeled"))
"""What class files call pixels without a class, in lower case."""

_MOST = 254  # 255 is VOID


@dataclass(frozen=True)
class ClassTable:
    """Class names in the order of their indices, and a colour (RGB, 0–255) for each."""

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colours) or len(set(self.names)) != len(self.names):
            raise ValueError("a class table takes one colour and one distinct name a class")


@dataclass(frozen=True)
class Legend(ClassTable):
    """What the masks of a dataset hold: a :class:`ClassTable` some of whose entries are void.

    The index of an entry is its place, void ones counted: so the files of a dataset count them.
    """

    @cached_property
    def void(self) -> tuple[int, ...]:
        """Indices of the entries whose name is one of :data:`VOID_NAMES`."""
        return tuple(i for i, name in enumerate(self.names) if name.lower() in VOID_NAMES)

    @cached_property
    def classes(self) -> ClassTable:
        """The entries that are classes, numbered anew without the void ones."""
        kept = [i for i in range(len(self.names)) if i not in self.void]
        return ClassTable(tuple(self.names[i] for i in kept), tuple(self.colours[i] for i in kept))


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

CAMVID32_LEGEND = Legend(
    (
        "Animal", "Archway", "Bicyclist", "Bridge", "Building", "Car", "CartLuggagePram", "Child",
        "Column_Pole", "Fence", "LaneMkgsDriv", "LaneMkgsNonDriv", "Misc_Text",
        "MotorcycleScooter", "OtherMoving", "ParkingBlock", "Pedestrian", "Road", "RoadShoulder",
        "Sidewalk", "SignSymbol", "Sky", "SUVPickupTruck", "TrafficCone", "TrafficLight", "Train",
        "Tree", "Truck_Bus", "Tunnel", "VegetationMisc", "Void", "Wall",
    ),
    (
        (64, 128, 64), (192, 0, 128), (0, 128, 192), (0, 128, 64), (128, 0, 0), (64, 0, 128),
        (64, 0, 192), (192, 128, 64), (192, 192, 128), (64, 64, 128), (128, 0, 192), (192, 0, 64),
        (128, 128, 64), (192, 0, 192), (128, 64, 64), (64, 192, 128), (64, 64, 0), (128, 64, 128),
        (128, 128, 192), (0, 0, 192), (192, 128, 128), (128, 128, 128), (64, 128, 192), (0, 0, 64),
        (0, 64, 64), (192, 64, 128), (128, 128, 0), (192, 128, 192), (64, 0, 64), (192, 192, 0),
        (0, 0, 0), (64, 192, 0),
    ),
)  # fmt: skip
"""The 32 labels of CamVid's own ``label_colors.txt`` (Brostow et al. 2009), Void among them."""

CAMVID32 = CAMVID32_LEGEND.classes
"""The 31 of CamVid's 32 labels that are classes: all but Void."""

CAMVID32_TO_11: Mapping[str, str] = MappingProxyType(
    {
        source: target
        for target, sources in {
            "Sky": "Sky",
            "Building": "Building Archway Bridge Tunnel Wall",
            "Pole": "Column_Pole TrafficCone",
            "Road": "Road LaneMkgsDriv LaneMkgsNonDriv",
            "Pavement": "Sidewalk ParkingBlock RoadShoulder",
            "Tree": "Tree VegetationMisc",
            "SignSymbol": "SignSymbol Misc_Text TrafficLight",
            "Fence": "Fence",
            "Car": "Car SUVPickupTruck Truck_Bus Train OtherMoving",
            "Pedestrian": "Pedestrian Child CartLuggagePram Animal",
            "Bicyclist": "Bicyclist MotorcycleScooter",
        }.items()
        for source in sources.split()
    }
)
"""The usual grouping of CamVid's labels to the 11 classes of Sturgess et al. 2009.

It gives every label a class; the SegNet split's own masks may leave rare ones void.
"""

ROAD = ClassTable(("background", "road"), ((0, 0, 0), (0, 200, 90)))
"""Two classes; the road is painted green."""

CAMVID11_VOID = 11
"""The index that the SegNet split, and the rendered drive, give to pixels without a class."""

_KNOWN = {"camvid11": CAMVID11, "camvid32": CAMVID32, "road": ROAD}


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


def read_legend(path: str | Path) -> Legend:
    """Read a class file in the form of CamVid's ``label_colors.txt``: ``R G B Name`` a line.

    Blank lines and lines that begin with ``#`` are passed over; a name may hold spaces, and one of
    :data:`VOID_NAMES` is void. ``InputError`` names the file, the line and what is wrong with it.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot read this class file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a class file: not UTF-8 text") from error
    by_name: dict[str, tuple[int, int, int]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\S.*?)\s*", line)
        if match is None:
            raise InputError(f"{path}, line {number}: {line.strip()[:60]!r}: give R G B Name")
        r, g, b = (int(part) for part in match.groups()[:3])
        name = match[4]
        if max(r, g, b) > 255:
            raise InputError(f"{path}, line {number}: {r} {g} {b}: a colour has values up to 255")
        if name.lower() in (known.lower() for known in by_name):
            raise InputError(f"{path}, line {number}: a second class named {name}")
        if (r, g, b) in by_name.values():
            raise InputError(f"{path}, line {number}: a second class of the colour {r} {g} {b}")
        by_name[name] = (r, g, b)
    legend = Legend(tuple(by_name), tuple(by_name.values()))
    if not legend.classes.names:
        raise InputError(f"{path}: no class in it: give a line R G B Name for each")
    if len(by_name) > _MOST:
        raise InputError(f"{path}: {len(by_name)} classes: masks of 8 bits take up to {_MOST}")
    return legend


def read_class_table(path: str | Path) -> ClassTable:
    """Read the classes of a class file, without its void; for form and errors see `read_legend`."""
    return read_legend(path).classes


def class_table(name_or_path: str | Path) -> ClassTable:
    """Return ``camvid11``, ``camvid32`` (31 classes: all but Void), ``road``, or a file's classes.

    ``UsageError`` where it is neither a known name nor a file; ``InputError`` for a bad file.
    """
    known = _KNOWN.get(str(name_or_path).lower())
    if known is not None:
        return known
    if not Path(name_or_path).is_file():
        raise UsageError(
            f"{name_or_path}: no such class table: one of {', '.join(_KNOWN)}, or a file with "
            "a line R G B Name for each class"
        )
    return read_class_table(name_or_path)
