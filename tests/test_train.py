"""``rtseg-train`` through its face: fit, resume after SIGKILL, score, predict, and bad input."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")
pytest.importorskip("yaml", reason="needs the train extra")

from safetensors.torch import load_file  # noqa: E402
from train_command import (  # noqa: E402
    HEIGHT,
    RECIPE,
    WIDTH,
    finish,
    start,
    train,
    write_recipe,
    write_roads,
)  # fmt: skip

from rtseg.engine.export import load_checkpoint  # noqa: E402
from rtseg.training.recipes import published  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of rendered pictures."""
    return write_roads(tmp_path_factory.mktemp("roads"))


@pytest.fixture(scope="module")
def trained(roads: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A finished run: its recipe, its folder, what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = write_recipe(folder / "tiny.yaml")
    run = folder / "run"
    status, out, err = finish(
        start("fit", "--config", recipe, "--data.root", roads, "--trainer.default_root_dir", run)
    )
    assert status == 0, err
    return recipe, run, out


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


@pytest.mark.parametrize("fraction", [0.3, 0.7])
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


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
@pytest.mark.parametrize("whom", ["the group", "a worker"])
def test_a_signal_to_the_workers_too_makes_no_traceback(
    whom: str, roads: Path, tmp_path: Path
) -> None:
    """``timeout`` and Slurm signal all processes of a run; a machine out of memory kills one."""
    run = tmp_path / "run"
    recipe = write_recipe(tmp_path / "recipe.yaml", trainer__max_epochs=500)
    process = start(
        "fit", "--config", recipe, "--data.root", roads, "--trainer.default_root_dir", run,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (run / "metrics.csv").is_file():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    if whom == "the group":
        os.killpg(process.pid, signal.SIGTERM)
        status, _, err = finish(process)
        assert (status, err) == (143, "")
    else:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        status, _, err = finish(process)
        (line,) = err.splitlines()
        assert status == 1
        assert "a process that reads the data was killed" in line


def test_scores_and_masks(
    trained: tuple[Path, Path, str], roads: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, run, _ = trained
    assert train("test", recipe, roads, run, "--ckpt_path", "best") == 0
    out = capfd.readouterr().out
    assert "test_miou" in out
    assert "test_boundary_f1" in out
    pictures = str(roads / "val" / "images")
    assert train("predict", recipe, roads, run, "--data.predict", pictures) == 0
    mask = cv2.imread(str(run / "predictions" / "masks" / "100.png"), cv2.IMREAD_UNCHANGED)
    truth = cv2.imread(str(roads / "val" / "masks" / "100.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == truth.shape
    assert (mask == truth).mean() > 0.8


def test_a_second_training_does_not_overwrite_the_first(
    trained: tuple[Path, Path, str], roads: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, run, _ = trained
    before = (run / "last.ckpt").read_bytes()
    assert train("fit", recipe, roads, run) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "--ckpt_path last" in err
    assert (run / "last.ckpt").read_bytes() == before


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
    recipe = write_recipe(tmp_path / "bad.yaml", trainer__max_epochs=1, **changes)
    assert train("fit", recipe, roads, tmp_path / "run") == status
    err = capfd.readouterr().err
    assert err.startswith("rtseg-train: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_corrupt_picture_stops_the_run_or_is_skipped_and_counted(
    roads: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "roads"
    shutil.copytree(roads, broken)
    victim = broken / "train" / "images" / "003.png"
    victim.write_bytes(victim.read_bytes()[:200])
    recipe = write_recipe(tmp_path / "stop.yaml", trainer__max_epochs=1)
    assert train("fit", recipe, broken, tmp_path / "stop") == 1
    err = capfd.readouterr().err
    assert str(victim) in err
    assert err.count("\n") == 1
    recipe = write_recipe(tmp_path / "skip.yaml", trainer__max_epochs=1, data__on_corrupt="skip")
    assert train("fit", recipe, broken, tmp_path / "skip") == 0
    out = capfd.readouterr().out
    assert str(victim) in out
    assert "1 unreadable samples skipped" in out


def test_a_checkpoint_of_another_network_is_refused(
    trained: tuple[Path, Path, str],
    roads: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    recipe = write_recipe(
        tmp_path / "other.yaml",
        model__architecture="fcn8s-mobilenetv2",
        model__options={"width": 0.25},
        trainer__max_epochs=5,
    )
    last = trained[1] / "last.ckpt"
    assert train("fit", recipe, roads, tmp_path / "run", "--ckpt_path", str(last)) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "unet-mobilenetv2" in err
    assert "fcn8s-mobilenetv2" in err


@pytest.mark.parametrize("recipe", [name for name in published() if "/" not in name])
def test_every_published_recipe_is_valid(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rtseg.cli.train import main

    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", recipe, "--print_config"])
    assert stopped.value.code == 0
    assert "architecture:" in capsys.readouterr().out
