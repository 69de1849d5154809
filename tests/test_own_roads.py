"""From polygons drawn by hand to an engine, by the commands that the README shows."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")

import rtseg
from rtseg.cli import compile as compile_command
from rtseg.cli import data as data_command
from rtseg.cli import train as train_command

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 320, 160


def draw(folder: Path, count: int) -> None:
    """Pictures of a road on a meadow, and the polygons that LabelMe would save beside them."""
    folder.mkdir()
    for seed in range(count):
        chance = np.random.default_rng(seed)
        horizon, left, right = chance.integers((50, 0, 240), (90, 80, 320)).tolist()
        road = np.array([[left, HEIGHT], [150, horizon], [170, horizon], [right, HEIGHT]])
        meadow, sky = chance.integers((30, 100, 50), (90, 180, 120)), chance.integers(150, 255, 3)
        picture = np.full((HEIGHT, WIDTH, 3), meadow, np.uint8)
        picture[:horizon] = sky
        cv2.fillPoly(picture, [road], (110, 110, 110))
        noise = chance.normal(0, 8, picture.shape)
        name = f"{seed:03}.png"
        cv2.imwrite(str(folder / name), (picture + noise).clip(0, 255).astype(np.uint8))
        shape = {"label": "road", "points": road.tolist(), "shape_type": "polygon"}
        drawn = {
            "imagePath": name, "imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None,
            "shapes": [shape],
        }  # fmt: skip
        (folder / f"{seed:03}.json").write_text(json.dumps(drawn))


def test_polygons_become_a_network_that_paints_the_road(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "drawn", 24)
    monkeypatch.chdir(tmp_path)
    assert data_command.main(["convert", "labelme", "drawn", "--out", "roads"]) == 0
    assert data_command.main(["check", "roads"]) == 0
    assert data_command.main(["show", "roads", "--out", "looks", "--recipe", "own"]) == 0
    assert {path.name for path in Path("looks").iterdir()} == {
        "samples.png", "frequencies.png", "augmented.png",
    }  # fmt: skip
    given = ["--config", "own", "--data.root", "roads"]
    assert train_command.main(["fit", *given, "--trainer.max_epochs", "12"]) == 0
    weights = "runs/own/best.safetensors"
    assert compile_command.main([weights, "--name", "my-road", "--out", "my-road.onnx"]) == 0
    with rtseg.load("my-road.onnx") as engine:
        assert engine.spec.classes == ("background", "road")
        for name in ("000", "011"):
            frame = cv2.imread(f"roads/images/{name}.png")
            truth = cv2.imread(f"roads/masks/{name}.png", cv2.IMREAD_UNCHANGED)
            small = cv2.resize(frame, (engine.spec.width, engine.spec.height))
            mask = engine.infer(small[None])[0]
            mask = cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST_EXACT)
            both, either = (mask & truth).sum(), (mask | truth).sum()
            assert both / either > 0.8
