"""What a recipe can ask of a training: frozen layers, a start, a teacher, early stopping, and more."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")
pytest.importorskip("yaml", reason="needs the train extra")

from safetensors.torch import load_file  # noqa: E402
from train_command import finish, start, train, write_recipe, write_roads  # noqa: E402

pytestmark = pytest.mark.slow

PLAIN: dict[str, Any] = {
    "pictures__every": 0,
    "history__curves": False,
    "average__decay": 0.0,
    "trainer__max_epochs": 1,
}


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of rendered pictures."""
    return write_roads(tmp_path_factory.mktemp("roads"))


@pytest.fixture(scope="module")
def teacher(roads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a trained network."""
    run = tmp_path_factory.mktemp("teacher")
    recipe = write_recipe(run / "teacher.yaml", **{**PLAIN, "trainer__max_epochs": 2})
    assert train("fit", recipe, roads, run / "run") == 0
    return run / "run" / "last.safetensors"


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_training_begins_from_given_weights_and_leaves_what_is_frozen(
    roads: Path, teacher: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(
        tmp_path / "r.yaml", **PLAIN,
        model__start=str(teacher), model__freeze=["encoder", "batch-norm"],
    )  # fmt: skip
    assert train("fit", recipe, roads, tmp_path / "run") == 0
    before, after = load_file(str(teacher)), load_file(str(tmp_path / "run/last.safetensors"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    for name in changed:
        assert not name.startswith("encoder."), name
        assert "running" not in name
        assert "num_batches" not in name


def test_an_encoder_that_is_frozen_at_first_learns_later(
    roads: Path, teacher: Path, tmp_path: Path
) -> None:
    for epochs, moves in ((1, False), (2, True)):
        recipe = write_recipe(
            tmp_path / "r.yaml",
            **{**PLAIN, "trainer__max_epochs": epochs},
            model__start=str(teacher), model__freeze_epochs=1,
        )  # fmt: skip
        run = tmp_path / f"run{epochs}"
        assert train("fit", recipe, roads, run) == 0
        before, after = load_file(str(teacher)), load_file(str(run / "last.safetensors"))
        encoder = [name for name in before if name.startswith("encoder.")]
        assert any(not torch.equal(before[n], after[n]) for n in encoder) is moves
        assert any(not torch.equal(before[n], after[n]) for n in before if n not in encoder)


def test_a_network_with_another_decoder_begins_with_the_encoder(
    roads: Path, teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fcn = {"model__architecture": "fcn8s-mobilenetv2", "model__freeze": ["encoder", "batch-norm"]}
    recipe = write_recipe(
        tmp_path / "fcn.yaml",
        **PLAIN,
        **fcn,
        model__start=str(teacher),
        model__options={"width": 0.25},
    )
    assert train("fit", recipe, roads, tmp_path / "run") == 0
    before, after = load_file(str(teacher)), load_file(str(tmp_path / "run/last.safetensors"))
    encoder = [name for name in before if name.startswith("encoder.")]
    assert encoder
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    # An encoder of another width is another encoder.
    recipe = write_recipe(
        tmp_path / "wide.yaml", **PLAIN, **fcn, model__start=str(teacher), model__options={}
    )
    assert train("fit", recipe, roads, tmp_path / "wide") == 1
    assert "another architecture" in capfd.readouterr().err


def test_a_teacher_is_listened_to(
    roads: Path, teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from_teacher = {"checkpoint": str(teacher), "factor": 5.0, "temperature": 2.0}
    recipe = write_recipe(
        tmp_path / "r.yaml", **{**PLAIN, "trainer__max_epochs": 3}, model__teacher=from_teacher
    )
    assert train("fit", recipe, roads, tmp_path / "run") == 0
    divergence = [float(row["train_loss/distillation"]) for row in rows(tmp_path / "run")]
    assert divergence[-1] < 0.7 * divergence[0]
    # Its own pupil, with nothing to learn, differs from it by nothing.
    recipe = write_recipe(
        tmp_path / "same.yaml", **PLAIN, model__teacher=from_teacher, model__start=str(teacher),
        model__learning_rate=0.0, model__freeze=["encoder", "batch-norm"], model__options={
            "width": 0.25, "widths": [8, 8, 8, 8],
        },
    )  # fmt: skip
    assert train("fit", recipe, roads, tmp_path / "same") == 0
    assert float(rows(tmp_path / "same")[0]["train_loss/distillation"]) < 1e-6
    capfd.readouterr()
    recipe = write_recipe(
        tmp_path / "other.yaml", **PLAIN, model__teacher={"checkpoint": "nowhere.safetensors"}
    )
    assert train("fit", recipe, roads, tmp_path / "other") == 1
    assert "nowhere.safetensors" in capfd.readouterr().err


def test_a_training_that_gets_no_better_stops_early(roads: Path, tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path / "r.yaml",
        **{**PLAIN, "trainer__max_epochs": 9},
        model__learning_rate=0.0,
        model__freeze=["batch-norm"],
        early_stopping__patience=2,
    )
    assert train("fit", recipe, roads, tmp_path / "run") == 0
    assert len(rows(tmp_path / "run")) == 3


def test_accumulated_gradients_are_those_of_the_larger_batch(roads: Path, tmp_path: Path) -> None:
    weights = []
    for batch, steps in ((4, 1), (2, 2)):
        recipe = write_recipe(
            tmp_path / "r.yaml",
            **PLAIN,
            data__batch=batch,
            trainer__accumulate_grad_batches=steps,
            model__optimizer={"name": "sgd"},
            model__loss=[{"name": "cross-entropy"}],  # Dice is of a whole batch
            model__freeze=["batch-norm"],
            model__options={"width": 0.25, "widths": [8, 8, 8, 8]},
        )
        run = tmp_path / f"run{batch}"
        assert train("fit", recipe, roads, run) == 0
        weights.append(load_file(str(run / "last.safetensors")))
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-5, rtol=1e-4), name


def test_a_schedule_that_was_laid_out_for_fewer_epochs_is_not_stretched(
    roads: Path, teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", **{**PLAIN, "trainer__max_epochs": 5})
    last = str(teacher.with_suffix(".ckpt"))
    assert train("fit", recipe, roads, tmp_path / "run", "--ckpt_path", last) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "planned for 8 steps, now 20" in err
    assert "model.start" in err


def test_a_full_disk_is_told_in_one_line_and_leaves_the_last_checkpoint(
    roads: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", **PLAIN, model__schedule={"name": "constant"})
    run = tmp_path / "run"
    given = ("--data.root", roads, "--trainer.default_root_dir", run)
    assert train("fit", recipe, roads, run) == 0
    before = (run / "last.ckpt").read_bytes()
    # No file may grow over half of what a checkpoint needs: as a disk that fills up under it.
    limit = (
        "import resource, signal, sys, runpy;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2},) * 2);"
        "sys.argv = sys.argv[0:1] + sys.argv[sys.argv.index('fit'):];"
        "runpy.run_module('rtseg.cli.train', run_name='__main__', alter_sys=True)"
    )
    process = start(
        "fit", "--config", recipe, *given, "--ckpt_path", "last", "--trainer.max_epochs", "2",
        launcher=("-c", limit),
    )  # fmt: skip
    status, _, err = finish(process)
    assert status == 1
    assert err.count("\n") == 1
    assert "last.ckpt" in err or "best.ckpt" in err
    assert "File too large" in err
    assert (run / "last.ckpt").read_bytes() == before
    assert not list(run.glob(".*.part"))
