"""From mask files to class indices: index masks, paletted ones and coloured ones."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.kitti_road import decode_truth
from rtseg.data.labels import VOID, Legend
from rtseg.data.pictures import MaskFile, read_mask_file
from rtseg.errors import InputError

Form = Literal["auto", "indices", "colours"]

_SHOWN = 4  # colours or indices that a message names


class UnknownLabelError(InputError):
    """A mask holds a colour or an index that its class table lacks."""


class MaskDecoder(Protocol):
    """Reads a mask file as indices of its dataset's ``legend``."""

    legend: Legend

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Return (H, W) uint8 of legend indices or VOID; ``InputError`` names the file."""


class LegendMasks:
    """Masks of a :class:`~rtseg.data.labels.Legend`'s indices or colours, 255 being void too.

    Args:
        legend: What the masks hold.
        form: What decides between indices and colours; ``auto`` takes three channels as colours
            and one channel, with or without a palette, as indices.
        unknown: What to do about a colour or index that the legend lacks: ``error`` raises
            :class:`UnknownLabelError`, ``void`` makes it void.
    """

    def __init__(
        self, legend: Legend, form: Form = "auto", unknown: Literal["error", "void"] = "error"
    ) -> None:
        self.legend = legend
        self._form = form
        self._unknown = unknown
        packed = np.array([(r << 16) | (g << 8) | b for r, g, b in legend.colours], np.uint32)
        order = np.argsort(packed)
        self._packed = packed[order]
        self._index = order.astype(np.uint8)
        self._is_known = np.zeros(256, np.uint8)
        self._is_known[[*range(len(legend.names)), VOID]] = 1

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Return (H, W) uint8 of legend indices or VOID; ``InputError`` names the file."""
        file = read_mask_file(path)
        if file.indices is None:
            assert file.colours is not None
            if self._form != "indices":
                return self._of_colours(path, file.colours)
            one = file.colours[..., 0]
            if (file.colours != one[..., None]).any():
                raise InputError(f"{path}: a coloured mask, where masks: indices is said")
            return self._of_indices(path, np.ascontiguousarray(one))
        if self._form == "colours":
            grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
            palette = grey if file.palette is None else file.palette
            padded = np.zeros((256, 3), np.uint8)
            padded[: len(palette)] = palette
            return self._of_colours(path, np.ascontiguousarray(padded[:, ::-1])[file.indices])
        if self._form == "auto" and file.palette is not None:
            self._require_order(path, file)
        return self._of_indices(path, file.indices)

    def _require_order(self, path: Path, file: MaskFile) -> None:
        """Refuse a palette with the legend's colours in another order: it says two things."""
        assert file.palette is not None
        assert file.indices is not None
        used = set(np.unique(file.indices).tolist()) - {VOID}
        theirs = {i: tuple(file.palette[i].tolist()) for i in used if i < len(file.palette)}
        ours = dict(enumerate(self.legend.colours))
        if set(theirs.values()) <= set(ours.values()) and not theirs.items() <= ours.items():
            raise InputError(
                f"{path}: its palette has the class table's colours in another order: say "
                "masks: colours if the colours are right, masks: indices if the indices are"
            )

    def _of_indices(self, path: Path, indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if cv2.LUT(indices, self._is_known).all():
            return indices
        counts = np.bincount(indices.ravel(), minlength=256)
        counts[self._is_known > 0] = 0
        if self._unknown == "error":
            found = {f"index {i}": int(counts[i]) for i in np.flatnonzero(counts)}
            count = len(self.legend.names)
            raise _unknown(path, found, f"outside of the class table's 0 to {count - 1}")
        return np.where(counts[indices] > 0, np.uint8(VOID), indices)

    def _of_colours(self, path: Path, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
        # Masks are mostly runs of one colour: look up each run, not each pixel.
        packed = cv2.cvtColor(colours, cv2.COLOR_BGR2BGRA).view(np.uint32).ravel() & 0xFFFFFF
        starts = np.flatnonzero(np.concatenate(([True], packed[1:] != packed[:-1])))
        lengths = np.diff(starts, append=len(packed))
        runs = packed[starts]
        place = np.minimum(np.searchsorted(self._packed, runs), len(self._packed) - 1)
        unknown = self._packed[place] != runs
        indices = self._index[place]
        if unknown.any():
            if self._unknown == "error":
                values, which = np.unique(runs[unknown], return_inverse=True)
                counts = np.bincount(which, weights=lengths[unknown])
                found = {
                    f"colour {v >> 16} {v >> 8 & 255} {v & 255}": int(n)
                    for v, n in zip(values.tolist(), counts.tolist(), strict=True)
                }
                raise _unknown(path, found, "not in the class table")
            indices[unknown] = VOID
        return np.repeat(indices, lengths).reshape(colours.shape[:2])


def _unknown(path: Path, found: dict[str, int], why: str) -> UnknownLabelError:
    most = sorted(found.items(), key=lambda item: -item[1])
    named = ", ".join(f"{what} ({n} pixels)" for what, n in most[:_SHOWN])
    more = f" and {len(most) - _SHOWN} more" if len(most) > _SHOWN else ""
    return UnknownLabelError(f"{path}: {named}{more}: {why}")


class KittiRoadMasks:
    """KITTI road's truth as masks: background, road, and VOID where it is invalid."""

    legend = Legend(("background", "road"), ((255, 0, 0), (255, 0, 255)))

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Return (H, W) uint8: 0 background, 1 road, VOID; ``InputError`` names the file."""
        file = read_mask_file(path)
        if file.colours is None:
            raise InputError(f"{path}: not a truth of KITTI road: it has no colours")
        return decode_truth(file.colours)
