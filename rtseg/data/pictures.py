"""Picture and mask files, read whole or named: what is damaged never passes for a picture."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.errors import InputError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

_PNG = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3  # PNG's colour types


@dataclass(frozen=True)
class MaskFile:
    """What a mask file holds: ``indices`` (H, W) uint8, or ``colours`` (H, W, 3) uint8 BGR.

    ``palette`` (N, 3) uint8 RGB is there with ``indices`` where the file has one.
    """

    indices: NDArray[np.uint8] | None
    colours: NDArray[np.uint8] | None
    palette: NDArray[np.uint8] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        pixels = self.colours if self.indices is None else self.indices
        assert pixels is not None
        return pixels.shape[0], pixels.shape[1]


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) uint8 BGR; ``InputError`` where the file is damaged or none.

    It is turned as its EXIF orientation says, as the live sources do.
    """
    content = _read(path)
    if content.startswith(_PNG):
        _png_chunks(path, content)
    if content.startswith(b"\xff\xd8") and not _jpeg_is_whole(content):
        raise InputError(f"{path}: not a readable picture: the file is cut short")
    picture = _decode(content, cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{path}: not a readable picture")
    return picture.astype(np.uint8, copy=False)


def read_mask_file(path: Path) -> MaskFile:
    """Return what the PNG file ``path`` holds; ``InputError`` where it is damaged or no mask.

    A file with a palette gives its indices, not its colours; grey of 1, 2 or 4 bits gives the values
    that are written in it. Transparency is passed over.
    """
    content = _read(path)
    if not content.startswith(_PNG):
        raise InputError(f"{path}: not a PNG file: masks are PNG, which keeps every value")
    chunks = _png_chunks(path, content)
    header = chunks[0][1]
    bits, kind = (header[8], header[9]) if len(header) == 13 else (0, 0)
    palette: NDArray[np.uint8] | None = None
    if kind == _PALETTE or (kind == _GREY and bits <= 8):
        entries = b"".join(data for name, data in chunks if name == b"PLTE")
        if kind == _PALETTE:
            palette = np.frombuffer(entries[: len(entries) // 3 * 3], np.uint8).reshape(-1, 3)
        # OpenCV would turn the indices into the palette's colours. In a file that is said to be grey
        # they are the grey values, and pixels are stored alike in both.
        grey = header[:9] + bytes([_GREY]) + header[10:]
        content = _png_of(grey, b"".join(data for name, data in chunks if name == b"IDAT"))
    pixels = _decode(content, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{path}: not a readable mask")
    if pixels.ndim == 3:
        if pixels.dtype != np.uint8 or pixels.shape[2] not in (3, 4):
            raise InputError(f"{path}: not a mask: give 8 bits a channel, one channel or three")
        return MaskFile(None, pixels[..., :3].astype(np.uint8, copy=False))
    if pixels.dtype == np.uint16:
        if pixels.max() > 255:
            raise InputError(f"{path}: not a mask: holds the index {pixels.max()}, up to 255 fit")
        return MaskFile(pixels.astype(np.uint8), None)
    if bits < 8:  # OpenCV spreads them over 0 to 255
        pixels = pixels // (255 // ((1 << bits) - 1))
    return MaskFile(pixels.astype(np.uint8, copy=False), None, palette)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read this file: {error.strerror}") from error


def _decode(content: bytes, flags: int) -> NDArray[np.generic] | None:
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # an empty file, or too large a picture
        return None


def _png_chunks(path: Path, content: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG file; ``InputError`` where it is cut short or its pixels are damaged."""
    chunks: list[tuple[bytes, bytes]] = []
    at = len(_PNG)
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(content):
            raise InputError(f"{path}: not a readable picture: the file is cut short")
        (length,) = struct.unpack_from(">I", content, at)
        name, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        check = content[at + 8 + length : at + 12 + length]
        if len(check) < 4:
            raise InputError(f"{path}: not a readable picture: the file is cut short")
        # A capital letter marks what a reader cannot do without.
        if name[:1].isupper() and struct.unpack(">I", check)[0] != zlib.crc32(
            data, zlib.crc32(name)
        ):
            raise InputError(f"{path}: not a readable picture: its pixels are damaged")
        chunks.append((name, data))
        at += 12 + length
    return chunks


def _png_of(header: bytes, pixels: bytes) -> bytes:
    """A PNG file of a header and compressed pixels."""
    parts = [_PNG]
    for name, data in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")):
        parts += [
            struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(name + data))
        ]  # fmt: skip
    return b"".join(parts)


def _jpeg_is_whole(content: bytes) -> bool:
    """Whether the end marker comes after the pixels: decoders paint grey what is missing."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        if content[at + 1] == 0xFF:  # padding
            at += 1
            continue
        if content[at + 1] == 0xDA:  # the pixels begin; among them no 0xFF is followed by 0xD9
            return content.find(b"\xff\xd9", at) >= 0
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return False
