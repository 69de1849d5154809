"""Is a video file whole? What its container says of its own length, without decoding."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BOXES = frozenset(
    (b"ftyp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"styp", b"sidx")
)
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def is_cut_short(path: Path) -> bool:
    """Whether the file ends before its container does: MP4, MOV, Matroska, WebM and AVI.

    False for a container that does not tell, or that nobody knows; ``OSError`` if it is gone.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[4:8] in _BOXES:
            return _boxes_overrun(file, size)
        if head[:4] == _EBML:
            return _segment_overruns(file, size)
        if head[:4] == b"RIFF":
            return 8 + int.from_bytes(head[4:8], "little") > size
    return False


def drop_half_fragment(path: Path) -> None:
    """Cut off the last fragment of an MP4 that is still being written, if it is not whole."""
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        whole = 0
        for kind, end in _boxes(file, size):
            if end > size:
                break
            if kind != b"moof":  # which is nothing without its mdat
                whole = end
        file.truncate(whole)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Give each box's type and end. ISO/IEC 14496-12, 4.2: length, 4 bytes, type, content."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind not in _BOXES:
            return  # what some recorders append is no box
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: to the end of the file
            length = size - at
        yield kind, at + length
        at += length


def _boxes_overrun(file: BinaryIO, size: int) -> bool:
    return any(end > size for _, end in _boxes(file, size))


def _segment_overruns(file: BinaryIO, size: int) -> bool:
    """RFC 8794: an element is its ID, its length and its content; all of a video is one segment."""
    at = 4
    for element in (_EBML, _SEGMENT):
        file.seek(at - 4)
        if file.read(4) != element:
            return False
        first = file.read(1)
        if not first or not first[0]:
            return False
        more = 8 - first[0].bit_length()
        rest = file.read(more)
        length = (first[0] & ((1 << (7 - more)) - 1)) << (8 * more) | int.from_bytes(rest, "big")
        if length == (1 << (7 * (more + 1))) - 1:  # unknown: written live
            return False
        at = file.tell() + length + (4 if element == _EBML else 0)
    return at > size


def shown_frames(path: Path) -> int | None:
    """How many frames of a video file are there to be shown; None if it cannot be told.

    A clip that was cut out of another without encoding it anew holds more: the frames between the
    key frame and the cut, which its edit list hides.
    """
    import av  # here, since it takes 0.1 s and only damaged files and such clips need it

    av.logging.set_level(None)
    try:
        with av.open(str(path)) as container:
            packets = container.demux(video=0)
            return sum(1 for packet in packets if packet.size and not packet.is_discard)
    except (OSError, ValueError, IndexError, av.error.FFmpegError):
        return None
