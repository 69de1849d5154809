"""From a dataset's own classes to those of a training, by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import CAMVID32_TO_11, VOID, ClassTable, Legend
from rtseg.errors import UsageError


def merge_legend(
    legend: Legend, target: ClassTable, own: Mapping[str, str] | None = None, *, where: str
) -> NDArray[np.uint8]:
    """Return a (256,) uint8 table from ``legend``'s indices to ``target``'s.

    In this order, names being compared without regard to case: what ``own`` says of a name (a class
    of ``target`` or ``void``); the legend's own void; the class of ``target`` of the same name;
    ``target``'s ``background``; :data:`~rtseg.data.labels.VOID`, as for undefined indices.

    ``UsageError`` names the key ``where`` when ``own`` has a name that one of the two lacks.
    """
    wanted = {name.lower(): i for i, name in enumerate(target.names)}
    rest = wanted.get("background", VOID)
    table = np.full(256, VOID, np.uint8)
    for i, name in enumerate(legend.names):
        table[i] = VOID if i in legend.void else wanted.get(name.lower(), rest)
    places = {name.lower(): i for i, name in enumerate(legend.names)}
    for source, to in (own or {}).items():
        if source.lower() not in places:
            raise UsageError(f"{where}.{source}: no such class in the masks: {_list(legend.names)}")
        if to.lower() not in wanted and to.lower() != "void":
            raise UsageError(f"{where}.{source}: {to!r} is neither void nor {_list(target.names)}")
        table[places[source.lower()]] = wanted.get(to.lower(), VOID)
    return table


def camvid_merge(legend: Legend, target: ClassTable) -> dict[str, str]:
    """Return the merges that CamVid's 32 labels need for ``target``, by name.

    A label that ``target`` lacks goes the way of the usual 11 classes if ``target`` has that one:
    so LaneMkgsDriv is road in ``road`` and in ``camvid11``, and itself in ``camvid32``.
    """
    names = {name.lower() for name in target.names}
    known = {name.lower(): to for name, to in CAMVID32_TO_11.items()}
    return {
        name: known[name.lower()]
        for name in legend.names
        if name.lower() not in names and known.get(name.lower(), "").lower() in names
    }


def missing_classes(table: NDArray[np.uint8], count: int, target: ClassTable) -> list[str]:
    """Return the classes of ``target``, but for its background, that no index below count gives."""
    reached = set(table[:count].tolist())
    return [
        name
        for i, name in enumerate(target.names)
        if i not in reached and name.lower() != "background"
    ]


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names)
