"""The kinds of road that a drive goes along: what lies where across them, in metres."""

from dataclasses import dataclass, field

from rtseg.data.drive.classes import DriveClass

__all__ = ["KINDS", "LineMark", "RoadKind", "Strip"]


@dataclass(frozen=True)
class Strip:
    """A strip of ground from one lateral position to another, in metres from the road's centre."""

    left: float
    right: float
    material: str
    label: DriveClass


@dataclass(frozen=True)
class LineMark:
    """A painted line: where, how wide, and its dashes (a period of 0 is a solid line)."""

    centre: float
    width: float = 0.12
    period: float = 0.0
    dash: float = 0.0
    colour: tuple[int, int, int] = (205, 212, 214)


@dataclass(frozen=True)
class RoadKind:
    """A cross-section. Positive lateral positions are the side that the camera drives on."""

    name: str
    half: float
    ego: float
    oncoming: tuple[float, ...]
    strips: tuple[Strip, ...]
    lines: tuple[LineMark, ...]
    overtaken: tuple[float, ...] = ()
    speed: float = 1.0
    parking: float = 0.0
    frontage: float = 0.0
    town: bool = False
    motorway: bool = field(default=False)


def _kerbed(half: float, width: float, grass: float = 0.0) -> tuple[Strip, ...]:
    outer = half + 0.16 + grass + width
    strips = [Strip(-outer, outer, "pavement", DriveClass.PAVEMENT)]
    if grass:
        strips.append(Strip(-half - 0.16 - grass, half + 0.16 + grass, "grass", DriveClass.TREE))
    strips.append(Strip(-half - 0.16, half + 0.16, "kerb", DriveClass.PAVEMENT))
    strips.append(Strip(-half, half, "asphalt", DriveClass.ROAD))
    return tuple(strips)


_YELLOW = (62, 178, 208)

KINDS: tuple[RoadKind, ...] = (
    RoadKind(
        "rural",
        half=3.35,
        ego=1.62,
        oncoming=(-1.62,),
        strips=(
            Strip(-4.2, 4.2, "gravel", DriveClass.TREE),
            Strip(-3.35, 3.35, "asphalt", DriveClass.ROAD),
        ),
        lines=(
            LineMark(0.0, 0.12, 8.0, 3.0),
            LineMark(-3.08, 0.12),
            LineMark(3.08, 0.12),
        ),
    ),
    RoadKind(
        "lane",
        half=2.75,
        ego=1.3,
        oncoming=(-1.35,),
        strips=(
            Strip(-3.1, 3.1, "gravel", DriveClass.TREE),
            Strip(-2.75, 2.75, "asphalt", DriveClass.ROAD),
        ),
        lines=(LineMark(0.0, 0.1, 8.0, 4.0),),
        speed=0.85,
    ),
    RoadKind(
        "street",
        half=3.7,
        ego=1.8,
        oncoming=(-1.8,),
        strips=_kerbed(3.7, 2.5),
        lines=(
            LineMark(0.0, 0.11, 6.0, 4.0),
            LineMark(-3.42, 0.07, colour=_YELLOW),
            LineMark(-3.24, 0.07, colour=_YELLOW),
            LineMark(3.42, 0.07, colour=_YELLOW),
            LineMark(3.24, 0.07, colour=_YELLOW),
        ),
        speed=0.7,
        frontage=6.5,
        town=True,
    ),
    RoadKind(
        "avenue",
        half=5.6,
        ego=1.75,
        oncoming=(-1.75,),
        strips=_kerbed(5.6, 3.0),
        lines=(
            LineMark(0.0, 0.11, 6.0, 2.0),
            LineMark(3.45, 0.08, 3.0, 1.0),
            LineMark(-3.45, 0.08, 3.0, 1.0),
        ),
        speed=0.7,
        parking=4.55,
        frontage=9.4,
        town=True,
    ),
    RoadKind(
        "suburb",
        half=3.5,
        ego=1.7,
        oncoming=(-1.7,),
        strips=_kerbed(3.5, 1.8, 1.5),
        lines=(LineMark(0.0, 0.1, 6.0, 2.0),),
        speed=0.75,
        frontage=13.0,
        town=True,
    ),
    RoadKind(
        "motorway",
        half=5.8,
        ego=0.0,
        oncoming=(-13.2, -16.9),
        strips=(
            Strip(-21.5, -10.0, "asphalt", DriveClass.ROAD),
            Strip(-7.2, 9.0, "asphalt", DriveClass.ROAD),
        ),
        lines=(
            LineMark(-5.5, 0.16),
            LineMark(5.5, 0.18),
            LineMark(-1.82, 0.14, 9.0, 3.0),
            LineMark(1.82, 0.14, 9.0, 3.0),
            LineMark(-10.8, 0.16),
            LineMark(-18.6, 0.16),
            LineMark(-14.9, 0.14, 9.0, 3.0),
        ),
        overtaken=(-3.6, 3.65),
        speed=1.45,
        motorway=True,
    ),
)
"""Every kind of road, by index."""
