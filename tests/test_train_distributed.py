"""``rtseg-train`` on two processes: the same gradients as one with the doubled batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")
pytest.importorskip("yaml", reason="needs the train extra")

from safetensors.torch import load_file  # noqa: E402
from train_command import finish, start, write_recipe, write_roads  # noqa: E402

pytestmark = pytest.mark.slow


def row(run: Path) -> dict[str, float]:
    names, values = (run / "metrics.csv").read_text().splitlines()[:2]
    return {n: float(v) for n, v in zip(names.split(","), values.split(","), strict=True) if v}


def test_two_processes_train_as_one_with_the_doubled_batch(tmp_path: Path) -> None:
    roads = write_roads(tmp_path / "roads")
    changes: dict[str, Any] = {
        "trainer__max_epochs": 1,
        "model__options": {"width": 0.25, "widths": [8, 8, 8, 8]},  # no dropout: ranks draw apart
        "model__optimizer": {"name": "sgd"},
        "model__freeze": ["batch-norm"],  # its statistics are those of a rank, on the CPU
        "average__decay": 0.0,
        "pictures__every": 0,
    }
    # Three of the four validation pictures, so that the ranks score unequally many.
    (roads / "val" / "images" / "103.png").unlink()
    (roads / "val" / "masks" / "103.png").unlink()
    runs = {}
    for name, batch, launcher in (
        ("one", 4, ()),
        ("two", 2, ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")),
    ):
        recipe = write_recipe(tmp_path / f"{name}.yaml", **changes, data__batch=batch)
        runs[name] = tmp_path / name
        status, _, err = finish(
            start(
                "fit", "--config", recipe, "--data.root", roads, "--trainer.default_root_dir",
                runs[name], launcher=launcher,
            )
        )  # fmt: skip
        assert status == 0, err
    one, two = (load_file(str(run / "last.safetensors")) for run in runs.values())
    start_of = max(float(t.abs().max()) for t in one.values())
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-5 * start_of, rtol=1e-4), name
    scores = [row(run) for run in runs.values()]
    for name in ("train_loss", "val_loss", "val_miou", "val_pixel_accuracy", "val_iou/road"):
        assert scores[0][name] == pytest.approx(scores[1][name], rel=1e-3), name
