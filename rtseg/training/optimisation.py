"""Optimizer and learning-rate schedule, as a recipe names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from rtseg.errors import UsageError

_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"betas": [0.9, 0.999]},
    "sgd": {"momentum": 0.9, "nesterov": True},
}
_SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "one-cycle": {"warm_up": 0.15, "start": 0.04, "end": 4e-6},
    "poly": {"power": 0.9, "warm_up": 0.0},
    "plateau": {"monitor": "val_miou", "mode": "max", "factor": 0.5, "patience": 5},
}


def _options(
    declared: Mapping[str, Any], table: dict[str, dict[str, Any]], where: str
) -> tuple[str, dict[str, Any]]:
    name = declared.get("name")
    if name not in table:
        raise UsageError(f"{where}.name is {name!r}: one of {', '.join(table)}")
    defaults = table[name]
    for key, value in declared.items():
        if key == "name":
            continue
        if key not in defaults:
            keys = ", ".join(("name", *defaults))
            raise UsageError(f"{where}.{key}: unknown key for {name}: one of {keys}")
        expected = defaults[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(expected, float | int) and not isinstance(expected, bool):
            if not number or value < 0:
                raise UsageError(f"{where}.{key} is {value!r}: a number from 0 up")
        elif type(value) is not type(expected):
            raise UsageError(f"{where}.{key} is {value!r}: must be like {expected!r}")
    return str(name), {**defaults, **{k: v for k, v in declared.items() if k != "name"}}


def build_optimizer(
    model: nn.Module,
    declared: Mapping[str, Any],
    learning_rate: float,
    encoder_factor: float,
    weight_decay: float,
    *,
    where: str = "model.optimizer",
) -> torch.optim.Optimizer:
    """Return the optimizer, the encoder's parameters in a group with its own learning rate.

    The encoder learns at ``encoder_factor`` × ``learning_rate``; frozen parameters are left out.
    Biases and normalisation layers are not decayed. ``UsageError`` names a key that does not fit.
    """
    name, options = _options(declared, _OPTIMIZERS, where)
    encoder = getattr(model, "encoder", None)
    in_encoder = {id(p) for p in encoder.parameters()} if encoder is not None else set()
    groups: list[dict[str, Any]] = []
    for of_encoder in (True, False):
        own = [
            p for p in model.parameters() if p.requires_grad and (id(p) in in_encoder) is of_encoder
        ]
        rate = learning_rate * (encoder_factor if of_encoder else 1)
        for params, decay in (
            ([p for p in own if p.ndim > 1], weight_decay),
            ([p for p in own if p.ndim <= 1], 0.0),
        ):
            if params:
                groups.append({"params": params, "lr": rate, "weight_decay": decay})
    if not groups:
        raise UsageError("model.freeze leaves nothing to train")
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=tuple(options["betas"]))
    return torch.optim.SGD(
        groups, lr=learning_rate, momentum=options["momentum"], nesterov=options["nesterov"]
    )


def _poly(steps: int, warm: int, power: float, step: int) -> float:
    if step < warm:
        return (step + 1) / warm
    return float((1 - (step - warm) / max(1, steps - warm)) ** power) if step < steps else 0.0


class Poly(lr_scheduler.LambdaLR):
    """Fall from the peak to zero as (1 − step / steps)^power (Chen et al. 2017, DeepLab).

    The first ``warm_up`` share of the steps rises linearly to the peak.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, steps: int, power: float, warm_up: float
    ) -> None:
        warm = round(steps * warm_up)
        super().__init__(optimizer, lambda step: _poly(steps, warm, power, step))


def build_schedule(
    optimizer: torch.optim.Optimizer,
    declared: Mapping[str, Any],
    steps: int,
    *,
    every: int = 1,
    where: str = "model.schedule",
) -> dict[str, Any] | None:
    """Return Lightning's description of the schedule over ``steps`` optimizer steps, or None.

    One cycle is Smith & Topin's (2018); ``start`` and ``end`` are shares of the peak. A plateau is
    judged each time that its measure is there, every ``every`` epochs.
    """
    name, options = _options(declared, _SCHEDULES, where)
    if name == "constant":
        return None
    if name == "plateau":
        plateau = lr_scheduler.ReduceLROnPlateau(
            optimizer, options["mode"], options["factor"], int(options["patience"])
        )
        return {
            "scheduler": plateau,
            "monitor": options["monitor"],
            "interval": "epoch",
            "frequency": every,
        }
    schedule: lr_scheduler.LRScheduler
    if name == "one-cycle":
        peaks: Iterable[float] = [group["lr"] for group in optimizer.param_groups]
        schedule = lr_scheduler.OneCycleLR(
            optimizer,
            list(peaks),
            steps,
            pct_start=options["warm_up"],
            div_factor=1 / options["start"],
            final_div_factor=options["start"] / options["end"],
        )
    else:
        schedule = Poly(optimizer, steps, options["power"], options["warm_up"])
    return {"scheduler": schedule, "interval": "step"}
