"""The EXIF orientation of pictures: masks lie on the picture as it is read, which is turned by it.

OpenCV, and so rtseg, turns a picture as its EXIF orientation says. Some annotation tools do, others
draw on the pixels as they are stored; the size that the annotation gives tells which, where the turn
swaps width and height. Where it does not (half turns, mirrors, square pictures), the annotation is
taken as drawn on the picture as it is shown, as LabelMe and CVAT do.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_TAG = 0x0112


def exif_orientation(content: bytes) -> int:
    """Return the orientation, 1 to 8, in a JPEG, PNG or WebP file; 1 where there is none.

    See the EXIF standard (CIPA DC-008), section 4.6.4, and TIFF 6.0 for the directory.
    """
    for marker, length in ((b"Exif\0\0", 6), (b"eXIf", 4), (b"EXIF", 8)):
        at = content.find(marker)
        if at >= 0:
            return _of_tiff(content[at + length : at + length + (1 << 16)])
    return 1


def _of_tiff(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # cut short
        pass
    return 1


def turn(mask: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn (H, W) stored pixels as one of the orientations 5 to 8 says; returns (W, H)."""
    transposed = mask.T
    turned = {
        5: transposed,
        6: transposed[:, ::-1],
        7: transposed[::-1, ::-1],
        8: transposed[::-1],
    }[orientation]
    return np.ascontiguousarray(turned)
