"""Running ``rtseg-train`` on pictures rendered on the spot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

WIDTH, HEIGHT = 96, 64


def scene(seed: int) -> tuple[Any, Any]:
    """A picture whose lower part is a blue road under a grey sky, of random height and noise."""
    chance = np.random.default_rng(seed)
    horizon = int(chance.integers(16, 48))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[horizon:] = 1
    frame = np.where(mask[..., None] == 1, (200, 60, 40), (90, 110, 120)).astype(np.int16)
    frame += chance.integers(-30, 30, frame.shape)
    return frame.clip(0, 255).astype(np.uint8), mask


def write_roads(folder: Path) -> Path:
    """A folder of one's own: 16 pictures to train on, 4 to score on."""
    for part, seeds in (("train", range(16)), ("val", range(100, 104))):
        (folder / part / "images").mkdir(parents=True)
        (folder / part / "masks").mkdir()
        for seed in seeds:
            frame, mask = scene(seed)
            cv2.imwrite(str(folder / part / "images" / f"{seed:03}.png"), frame)
            cv2.imwrite(str(folder / part / "masks" / f"{seed:03}.png"), mask)
    (folder / "classes.txt").write_text("0 0 0 background\n0 200 90 road\n")
    return folder


RECIPE: dict[str, Any] = {
    "seed_everything": 7,
    "trainer": {"max_epochs": 4, "accelerator": "cpu"},
    "model": {
        "architecture": "unet-mobilenetv2",
        "options": {"width": 0.25, "widths": [8, 8, 8, 8], "dropout": 0.2},
        "loss": [{"name": "cross-entropy"}, {"name": "dice", "factor": 0.5}],
        "learning_rate": 0.01,
        "schedule": {"name": "one-cycle"},
    },
    "data": {
        "classes": "road",
        "size": [WIDTH, HEIGHT],
        "train": [{"kind": "folder", "folder": ".", "split": "train"}],
        "val": [{"kind": "folder", "folder": ".", "split": "val"}],
        "test": [{"kind": "folder", "folder": ".", "split": "val"}],
        "batch": 4,
        "workers": 1,
        "augmentation": [
            {"RandomResizedCrop": {"size": [HEIGHT, WIDTH], "scale": [0.5, 1.0]}},
            {"HorizontalFlip": {"p": 0.5}},
            {"RandomBrightnessContrast": {"p": 0.5}},
        ],
    },
    "average": {"decay": 0.9},
    "pictures": {"every": 2, "count": 2},
}


def write_recipe(path: Path, **changes: Any) -> Path:
    """Write the recipe with some of its keys changed: ``model__learning_rate=0.1``."""
    recipe = yaml.safe_load(yaml.safe_dump(RECIPE))
    for name, value in changes.items():
        *outer, last = name.split("__")
        inner = recipe
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = value
    path.write_text(yaml.safe_dump(recipe))
    return path


def start(
    *arguments: str | Path, launcher: tuple[str, ...] = (), start_new_session: bool = False
) -> subprocess.Popen[str]:
    """Start ``rtseg-train`` as a process of its own, or under a launcher such as torchrun."""
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "rtseg.cli.train", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=start_new_session,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process; returns its status and what it wrote."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def train(command: str, recipe: Path, roads: Path, run: Path, *more: str) -> int:
    """Run a sub-command in this process; returns its status."""
    from rtseg.cli.train import main

    return main(
        [
            command, "--config", str(recipe), "--data.root", str(roads),
            "--trainer.default_root_dir", str(run), *more,
        ]
    )  # fmt: skip
