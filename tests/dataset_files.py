"""Datasets rendered on the spot, and PNG files that OpenCV cannot write."""

import struct
import zlib

import cv2
import numpy as np

OWN_CLASSES = "# my classes\n0 0 0 Void\n\n10 20 30\tthe road\n0,200,0 grass\n0 0 255 sky\n"
"""A class file: void is 0, then the road 1, grass 2, sky 3."""
OWN_COLOURS = np.array([(0, 0, 0), (10, 20, 30), (0, 200, 0), (0, 0, 255)], np.uint8)  # RGB


def noise(seed, height=40, width=60):
    """A picture unlike any other."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def stripes(count, height=40, width=60):
    """A mask (H, W) of upright stripes of the indices below ``count``."""
    return np.broadcast_to(np.arange(width) * count // width, (height, width)).astype(np.uint8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_colours(path, indices, colours):
    """Write a mask in colours (RGB by index)."""
    return write(path, np.ascontiguousarray(np.asarray(colours, np.uint8)[indices][..., ::-1]))


def write_png(path, indices, *, kind, bits, palette=()):
    """Write indices (H, W) as a PNG file of colour type 0 (grey) or 3 (palette), 1 to 8 bits."""
    height, width = indices.shape
    rows = []
    for row in indices:
        places = np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()
        rows.append(b"\0" + np.packbits(places).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    if kind == 3:
        chunks.append((b"PLTE", np.asarray(palette, np.uint8).tobytes()))
        chunks.append((b"tRNS", b"\0"))  # the first colour is transparent
    chunks += [(b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        content += struct.pack(">I", len(data)) + name + data
        content += struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)
    return path


def own_folder(root, stems=("a", "b", "c", "d"), *, parts=("",)):
    """A folder of one's own with coloured masks; ``parts`` may be ``("train", "val")``."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text(OWN_CLASSES)
    for p, part in enumerate(parts):
        for s, stem in enumerate(stems):
            write(root / part / "images" / f"{stem}.png", noise(100 * p + s))
            write_colours(root / part / "masks" / f"{stem}.png", stripes(4), OWN_COLOURS)
    return root
