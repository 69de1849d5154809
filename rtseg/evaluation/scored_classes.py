"""Which classes are scored where a network and a dataset know different ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import CAMVID11_VOID, VOID, ClassTable, Legend, merge_table
from rtseg.data.merging import camvid_merge, merge_legend, missing_classes
from rtseg.errors import UsageError

_REST = "other classes"
_BACKGROUND = "background"


@dataclass(frozen=True)
class ScoredClasses:
    """The classes that are scored, and how both sides lead to them.

    ``truth`` and ``mask`` are (256,) uint8: from the dataset's indices and from the network's.
    ``note`` says in a line what is merged, where the network's own classes cannot all be scored.
    """

    classes: ClassTable
    truth: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    note: str = ""


def scored_classes(network: ClassTable, legend: Legend, kind: str) -> ScoredClasses:
    """Choose the classes for masks of ``legend``, in a dataset of ``kind``.

    1. The network's own, where the masks have them all but for ``background``: road-unet on CamVid.
       CamVid's 32 labels go their usual way to 11.
    2. Else those that both have, and ``background`` if either has it: street-unet on KITTI road is
       scored on road and background.

    What else the masks hold is ``background``, or void where there is none: a network is not scored
    on what it was never told of. What else the network sees is ``background``, or ``other classes``,
    which is in no truth, so that it is never right.

    ``UsageError`` where they have no class in common.
    """
    own = camvid_merge(legend, network) if kind == "camvid32" else {}
    table = merge_legend(legend, network, own, where="classes")
    if not missing_classes(table, len(legend.names), network):
        target, mask = network, identity(network.names)
    else:
        target = _common(network, legend.classes)
        table = merge_legend(legend, target, where="classes")
        mask = merge_table(network, target, None)
        ours = mask[: len(network.names)]
        if (ours == VOID).any():
            target = ClassTable((*target.names, _REST), (*target.colours, (0, 0, 0)))
            ours[ours == VOID] = len(target.names) - 1
    if kind == "drive":
        _bonnet(table, target)
    return ScoredClasses(target, table, mask, _note(network, legend, target, table, mask))


def _common(network: ClassTable, masks: ClassTable) -> ClassTable:
    """The masks' classes that the network has, and a background before them if either has one."""
    theirs = dict(zip(masks.names, masks.colours, strict=True))
    ours = dict(zip(network.names, network.colours, strict=True))
    rest = [item for item in (*theirs.items(), *ours.items()) if item[0].lower() == _BACKGROUND]
    known = {name.lower() for name in ours} - {_BACKGROUND}
    common = [item for item in theirs.items() if item[0].lower() in known]
    if not common:
        raise UsageError(
            f"the masks hold {', '.join(theirs)}, the network sees {', '.join(ours)}: no class in "
            "common"
        )
    names, colours = zip(*rest[:1], *common, strict=True)
    return ClassTable(names, colours)


def _note(
    network: ClassTable,
    legend: Legend,
    target: ClassTable,
    truth: NDArray[np.uint8],
    mask: NDArray[np.uint8],
) -> str:
    """Say what is merged or left out, unless all that is left out is what the masks call void."""
    names = [name.lower() for name in target.names]
    rest = [name for name in network.names if name.lower() not in names]
    unseen = [
        name for i, name in enumerate(legend.names) if truth[i] == VOID and i not in legend.void
    ]
    told = []
    if rest:
        other = target.names[mask[network.names.index(rest[0])]]
        told.append(f"the network's {', '.join(rest)} count as {other}")
    if unseen:
        told.append(f"pixels of {', '.join(unseen)} are not: the network has no such class")
    return f"scored on {', '.join(target.names)}: {'; '.join(told)}" if told else ""


def identity(classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return the (256,) uint8 table that leaves the indices of ``classes`` as they are."""
    table = np.full(256, VOID, np.uint8)
    table[: len(classes)] = np.arange(len(classes))
    return table


def _bonnet(table: NDArray[np.uint8], target: ClassTable) -> None:
    """The rendered drive's void is the car's own bonnet, which is background where there is one."""
    names = [name.lower() for name in target.names]
    if _BACKGROUND in names:
        table[CAMVID11_VOID] = names.index(_BACKGROUND)
