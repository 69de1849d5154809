"""Optimizers and schedules against their published formulas."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import nn  # noqa: E402

from rtseg.errors import UsageError  # noqa: E402
from rtseg.models import build  # noqa: E402
from rtseg.training.optimisation import build_optimizer, build_schedule  # noqa: E402


def network() -> nn.Module:
    return build("unet-mobilenetv2", 2, width=0.25, widths=[8, 8, 8, 8])


def rates(schedule: dict, steps: int) -> list[list[float]]:
    """The learning rate of each group at each step."""
    lists = []
    for _ in range(steps):
        optimizer = schedule["scheduler"].optimizer
        lists.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule["scheduler"].step()
    return lists


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_encoder_has_its_own_rate_and_biases_and_norms_are_not_decayed(name):
    model = network()
    optimizer = build_optimizer(model, {"name": name}, 0.1, 0.25, 0.02)
    of_encoder = {id(p) for p in model.encoder.parameters()}
    seen = set()
    for group in optimizer.param_groups:
        for p in group["params"]:
            seen.add(id(p))
            assert group["lr"] == pytest.approx(0.025 if id(p) in of_encoder else 0.1)
            assert group["weight_decay"] == (0.02 if p.ndim > 1 else 0.0)
    assert seen == {id(p) for p in model.parameters()}


def test_frozen_parameters_are_left_out():
    model = network()
    model.encoder.requires_grad_(False)
    optimizer = build_optimizer(model, {"name": "adamw"}, 0.1, 1.0, 0.0)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    model.requires_grad_(False)
    with pytest.raises(UsageError, match="nothing to train"):
        build_optimizer(model, {"name": "adamw"}, 0.1, 1.0, 0.0)


def test_poly_is_the_papers_formula_after_a_linear_rise():
    optimizer = build_optimizer(network(), {"name": "sgd"}, 0.1, 0.5, 0.0)
    schedule = build_schedule(optimizer, {"name": "poly", "power": 0.9, "warm_up": 0.1}, 100)
    found = rates(schedule, 100)
    for step, groups in enumerate(found):
        share = (step + 1) / 10 if step < 10 else (1 - (step - 10) / 90) ** 0.9
        assert groups[-1] == pytest.approx(0.1 * share)
        assert groups[0] == pytest.approx(0.05 * share)


def test_one_cycle_rises_to_each_groups_peak_and_falls_to_almost_nothing():
    optimizer = build_optimizer(network(), {"name": "adamw"}, 0.1, 0.5, 0.0)
    declared = {"name": "one-cycle", "warm_up": 0.2, "start": 0.04, "end": 4e-6}
    found = rates(build_schedule(optimizer, declared, 50), 49)
    assert found[0][-1] == pytest.approx(0.004)
    assert max(groups[-1] for groups in found) == pytest.approx(0.1)
    assert max(groups[0] for groups in found) == pytest.approx(0.05)
    assert [groups[-1] for groups in found].index(max(g[-1] for g in found)) == 9
    optimizer.step()
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(4e-7, rel=1e-3)


def test_a_plateau_is_judged_by_its_measure():
    optimizer = build_optimizer(network(), {"name": "sgd"}, 0.1, 1.0, 0.0)
    declared = {"name": "plateau", "monitor": "val_loss", "mode": "min", "patience": 1}
    schedule = build_schedule(optimizer, declared, 100, every=3)
    assert (schedule["monitor"], schedule["interval"], schedule["frequency"]) == (
        "val_loss", "epoch", 3,
    )  # fmt: skip
    for loss in (1.0, 1.0, 1.0):
        schedule["scheduler"].step(loss)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_constant_has_no_schedule():
    optimizer = build_optimizer(network(), {"name": "adamw"}, 0.1, 1.0, 0.0)
    assert build_schedule(optimizer, {"name": "constant"}, 10) is None


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"name": "cosine"}, r"model\.schedule\.name is 'cosine': one of constant"),
        ({}, r"model\.schedule\.name is None"),
        (
            {"name": "poly", "warmup": 1},
            r"model\.schedule\.warmup: unknown key for poly: one of name",
        ),
        ({"name": "poly", "power": "high"}, r"model\.schedule\.power is 'high': a number"),
        ({"name": "poly", "power": -1}, r"model\.schedule\.power is -1: a number"),
        ({"name": "plateau", "monitor": 3}, r"model\.schedule\.monitor is 3"),
    ],
)
def test_a_schedule_that_does_not_fit_is_named(declared, says):
    optimizer = build_optimizer(network(), {"name": "adamw"}, 0.1, 1.0, 0.0)
    with pytest.raises(UsageError, match=says):
        build_schedule(optimizer, declared, 10)
