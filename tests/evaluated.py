"""Datasets for ``rtseg-eval`` and the command itself, its errors and warnings by line."""

import json

import cv2
import numpy as np
from dataset_files import write

from rtseg.cli.eval import main

ROAD_CLASSES = "0 0 0 background\n0 200 90 road\n10 10 10 Void\n"

WIDTH, HEIGHT = 96, 64
"""The size of the tests' network: of such a picture it sees every pixel."""


def noisy(seed, width=WIDTH, height=HEIGHT):
    """A picture in blots, whose road is where its blue is above 127."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def mask_of(picture):
    """What the tests' network says of a picture, at the picture's size."""
    small = (
        cv2.resize(picture, (WIDTH, HEIGHT)) if picture.shape[:2] != (HEIGHT, WIDTH) else picture
    )
    mask = (small[..., 0] > 127).astype(np.uint8)
    size = picture.shape[1::-1]
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)


def truth_of(picture, seed, void=True):
    """A truth that the network meets in part: its own mask with noise, and some void (2)."""
    random = np.random.default_rng(1000 + seed)
    truth = mask_of(picture) ^ (random.random(picture.shape[:2]) < 0.2).astype(np.uint8)
    if void:
        truth[random.random(truth.shape) < 0.1] = 2
    return truth


def road_folder(root, count=6, width=WIDTH, height=HEIGHT):
    """A folder of one's own; returns its frames' true and predicted masks, void being 255."""
    pairs = []
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text(ROAD_CLASSES)
    for i in range(count):
        picture = noisy(i, width, height)
        truth = truth_of(picture, i)
        write(root / "images" / f"f{i:02d}.png", picture)
        write(root / "masks" / f"f{i:02d}.png", truth)
        pairs.append((np.where(truth == 2, 255, truth), mask_of(picture)))
    return pairs


def run_eval(capfd, *arguments):
    """Run ``rtseg-eval`` without its report; gives status and error lines."""
    try:
        status = main([*map(str, arguments), "--no-report", "--quiet"])
    except SystemExit as end:
        status = end.code
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("rtseg-eval: ") for line in lines), lines
    return status, lines


def result_of(out):
    """What ``result.json`` holds."""
    return json.loads((out / "result.json").read_text())


def lasting(out):
    """A result without what differs from run to run: when, where, how fast, and by what command."""
    values = result_of(out)
    for key in ("date", "speed", "command", "machine"):
        del values[key]
    for key in ("devices", "frames_in_flight"):
        del values["engine"][key]
    return values
