"""Annotations for the tests of rtseg-data convert, and the command."""

import json

import cv2
import numpy as np
import pytest

from rtseg.cli.data import main

W, H = 40, 30
SQUARE = [[10, 5], [20, 5], [20, 8], [10, 8]]
ROAD = [[0, 15], [40, 15], [40, 30], [0, 30]]


def centres(height=H, width=W):
    """x and y of the pixels' centres."""
    return np.arange(width)[None] + 0.5, np.arange(height)[:, None] + 0.5


def compress(counts):
    """COCO's compression by its description, to decode again."""
    text = ""
    for i, count in enumerate(counts):
        value = count - (counts[i - 2] if i > 2 else 0)
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


def picture(path=None, width=W, height=H, suffix=".png"):
    """A picture of noise; written to ``path``, else its content."""
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    content = cv2.imencode(suffix if path is None else path.suffix, noise)[1].tobytes()
    if path is None:
        return content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def shape(label, pairs, kind="polygon", **others):
    return {"label": label, "points": pairs, "shape_type": kind, **others}


def labelme(path, shapes, image="a.png", **others):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "version": "5.5.0",
        "imagePath": image,
        "imageData": None,
        "imageWidth": W,
        "imageHeight": H,
        "shapes": shapes,
        **others,
    }
    path.write_text(json.dumps(content))
    return path


def command(*arguments):
    """Run ``rtseg-data convert``; returns its exit status."""
    return main(["convert", *map(str, arguments)])


@pytest.fixture
def fails(tmp_path, capfd):
    """Run the command, which has to fail with one line and leave nothing; gives the line."""

    def call(*arguments, status=1):
        out = tmp_path / "out"
        assert command(*arguments, "--out", out) == status
        error = capfd.readouterr().err.splitlines()
        assert len(error) == 1, error
        assert error[0].startswith("rtseg-data: error: ")
        assert not out.exists()
        assert not list(tmp_path.glob("*.partial"))
        return error[0]

    return call


def mask_of(out, stem="a"):
    mask = cv2.imread(str(out / "masks" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
    assert mask.dtype == np.uint8
    assert mask.ndim == 2
    return mask
