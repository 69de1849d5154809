"""``rtseg-train`` through its face: fit, resume after SIGKILL, score, predict, and bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")
yaml = pytest.importorskip("yaml", reason="needs the train extra")

from safetensors.torch import load_file  # noqa: E402

from rtseg.engine.export import load_checkpoint  # noqa: E402

pytestmark = pytest.mark.slow

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


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own: 16 pictures to train on, 4 to score on."""
    folder = tmp_path_factory.mktemp("roads")
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


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start ``rtseg-train`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rtseg.cli.train", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def train(command: str, recipe: Path, roads: Path, run: Path, *more: str) -> tuple[int, str, str]:
    return finish(
        start(
            command, "--config", recipe, "--data.root", roads, "--trainer.default_root_dir", run,
            *more,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(roads: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A finished run: its recipe, its folder, what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = write_recipe(folder / "tiny.yaml")
    status, out, err = train("fit", recipe, roads, folder / "run")
    assert status == 0, err
    return recipe, folder / "run", out


def same_weights(first: Path, second: Path) -> bool:
    a, b = load_file(str(first)), load_file(str(second))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_fit_learns_and_leaves_everything_that_is_promised(
    trained: tuple[Path, Path, str],
) -> None:
    _, run, out = trained
    for name in (
        "best.ckpt", "best.safetensors", "last.ckpt", "last.safetensors", "metrics.csv",
        "curves.png", "confusion.png", "learning.gif", "config.yaml", "pictures/epoch-0001.png",
    ):  # fmt: skip
        assert (run / name).stat().st_size > 0, name
    assert list(run.glob("events.out.tfevents*"))
    lines = (run / "metrics.csv").read_text().splitlines()
    assert len(lines) == 5
    header = lines[0].split(",")
    for name in ("epoch", "train_loss", "val_loss", "val_miou", "val_iou/road", "learning_rate"):
        assert name in header
    assert float(lines[-1].split(",")[header.index("val_miou")]) > 0.6
    assert "trained 4 epochs in" in out
    assert "waiting for data" in out
    model, spec = load_checkpoint(run / "best.safetensors")
    assert spec.classes == ("background", "road")
    assert (spec.width, spec.height) == (WIDTH, HEIGHT)
    assert not model.training


def test_checkpoints_load_without_unpickling_code(trained: tuple[Path, Path, str]) -> None:
    state = torch.load(trained[1] / "last.ckpt", weights_only=True)
    assert state["rtseg"]["architecture"] == "unet-mobilenetv2"
    assert len(state["callbacks"]["History"]["rows"]) == 4


def test_the_average_is_what_is_kept(trained: tuple[Path, Path, str]) -> None:
    run = trained[1]
    state = torch.load(run / "last.ckpt", weights_only=True)
    kept = load_file(str(run / "last.safetensors"))
    current = state["current_model_state"]
    assert all(torch.equal(kept[k], state["state_dict"][f"network.{k}"]) for k in kept)
    assert any(not torch.equal(kept[k], current[f"network.{k}"]) for k in kept)


@pytest.mark.parametrize("fraction", [0.35, 0.6, 0.85])
def test_a_killed_run_resumes_to_the_same_weights(
    fraction: float, trained: tuple[Path, Path, str], roads: Path, tmp_path: Path
) -> None:
    recipe, whole, _ = trained
    run = tmp_path / "run"
    arguments = (
        "fit", "--config", recipe, "--data.root", roads, "--trainer.default_root_dir", run,
    )  # fmt: skip
    process = start(*arguments)
    # Somewhere inside an epoch, which one depends on the fraction; wherever it is must not matter.
    epochs = RECIPE["trainer"]["max_epochs"] * fraction
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        table = run / "metrics.csv"
        if table.is_file() and len(table.read_text().splitlines()) - 1 >= int(epochs):
            break
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    time.sleep(0.3 * (epochs % 1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    status, _, err = finish(start(*arguments, "--ckpt_path", "last"))
    assert status == 0, err
    assert same_weights(run / "last.safetensors", whole / "last.safetensors")
    assert same_weights(run / "best.safetensors", whole / "best.safetensors")
    losses = [
        [line.split(",")[1] for line in (folder / "metrics.csv").read_text().splitlines()]
        for folder in (run, whole)
    ]
    assert losses[0] == losses[1]


def test_scores_and_masks(trained: tuple[Path, Path, str], roads: Path, tmp_path: Path) -> None:
    recipe, run, _ = trained
    status, out, err = train("test", recipe, roads, run, "--ckpt_path", "best")
    assert status == 0, err
    assert "test_miou" in out
    assert "test_boundary_f1" in out
    status, _, err = train(
        "predict", recipe, roads, run, "--data.predict", str(roads / "val" / "images")
    )
    assert status == 0, err
    mask = cv2.imread(str(run / "predictions" / "masks" / "100.png"), cv2.IMREAD_UNCHANGED)
    truth = cv2.imread(str(roads / "val" / "masks" / "100.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == truth.shape
    assert (mask == truth).mean() > 0.8


def test_a_second_training_does_not_overwrite_the_first(
    trained: tuple[Path, Path, str], roads: Path
) -> None:
    recipe, run, _ = trained
    before = (run / "last.ckpt").read_bytes()
    status, _, err = train("fit", recipe, roads, run)
    assert status == 2
    assert err.count("\n") == 1
    assert "--ckpt_path last" in err
    assert (run / "last.ckpt").read_bytes() == before


Change = Callable[[Path], dict[str, Any]]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"model__lerning_rate": 1}, 2, ("model.lerning_rate",)),
        ({"data__classses": "road"}, 2, ("data.classses",)),
        ({"model__learning_rate": "much"}, 2, ("model.learning_rate", "much")),
        ({"model__loss": [{"name": "dise"}]}, 2, ("model.loss[0].name", "dise")),
        ({"model__schedule": {"name": "poly", "pover": 1}}, 2, ("model.schedule.pover",)),
        ({"data__augmentation": [{"HorizontalFlp": {}}]}, 2, ("HorizontalFlp",)),
        ({"data__train": [{"kind": "folder", "foldr": "x"}]}, 2, ("data.train[0].foldr",)),
        ({"data__batch": 64}, 2, ("data.batch", "64", "16")),
        ({"model__architecture": "unet"}, 2, ("unet", "unet-mobilenetv2")),
        ({"model__encoder_weights": "/nowhere.safetensors"}, 1, ("/nowhere.safetensors",)),
        ({"data__classes": "camvid11"}, 2, ("data.train[0]",)),
        ({"best__monitor": "val_mioo"}, 1, ("val_mioo", "val_miou")),
    ],
)
def test_a_recipe_that_does_not_fit_is_told_in_one_line(
    changes: dict[str, Any], status: int, words: tuple[str, ...], roads: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from rtseg.cli.train import main

    recipe = write_recipe(tmp_path / "bad.yaml", trainer__max_epochs=1, **changes)
    given = ["fit", "--config", str(recipe), "--data.root", str(roads)]
    assert main([*given, "--trainer.default_root_dir", str(tmp_path / "run")]) == status
    err = capfd.readouterr().err
    assert err.startswith("rtseg-train: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_corrupt_picture_stops_the_run_or_is_skipped_and_counted(
    roads: Path, tmp_path: Path
) -> None:
    import shutil

    broken = tmp_path / "roads"
    shutil.copytree(roads, broken)
    victim = broken / "train" / "images" / "003.png"
    victim.write_bytes(victim.read_bytes()[:200])
    recipe = write_recipe(tmp_path / "stop.yaml", trainer__max_epochs=1)
    status, _, err = train("fit", recipe, broken, tmp_path / "stop")
    assert status == 1
    assert str(victim) in err
    assert err.count("\n") == 1
    recipe = write_recipe(tmp_path / "skip.yaml", trainer__max_epochs=1, data__on_corrupt="skip")
    status, out, err = train("fit", recipe, broken, tmp_path / "skip")
    assert status == 0, err
    assert str(victim) in out
    assert "1 unreadable samples skipped" in out


def test_a_checkpoint_of_another_network_is_refused(
    trained: tuple[Path, Path, str], roads: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(
        tmp_path / "other.yaml",
        model__architecture="fcn8s-mobilenetv2",
        model__options={"width": 0.25},
        trainer__max_epochs=5,
    )
    last = trained[1] / "last.ckpt"
    status, _, err = train("fit", recipe, roads, tmp_path / "run", "--ckpt_path", str(last))
    assert status == 1
    assert err.count("\n") == 1
    assert "unet-mobilenetv2" in err
    assert "fcn8s-mobilenetv2" in err
