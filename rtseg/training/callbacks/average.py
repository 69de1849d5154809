"""An exponential moving average of the weights: what is scored, kept and published."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from rtseg.errors import UsageError


class AverageWeights(WeightAveraging):
    """Average weights and batch-norm statistics with ``decay`` a step (Polyak & Juditsky 1992).

    A young average forgets faster, as min(decay, (1 + n) / (10 + n)) after n steps, so that it does
    not remember the random start. Checkpoints hold the average as their weights, and the current
    weights beside it for resuming. ``decay`` 0 switches the averaging off.
    """

    def __init__(self, decay: float = 0.0) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"average.decay is {decay}: from 0 (off) to below 1")
        self.decay = decay

        def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
            steps = int(count)
            keep = min(decay, (1 + steps) / (10 + steps))
            if averaged[0].is_floating_point():  # the lists are of one type
                torch._foreach_lerp_(averaged, current, 1 - keep)
            else:  # how many batches a batch norm has seen
                torch._foreach_copy_(averaged, current)

        super().__init__(multi_avg_fn=average)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Make the average's copy of the weights, where there is one."""
        if self.decay:
            super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every optimizer step."""
        return bool(self.decay) and step_idx is not None

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the average in the network."""
        if self.decay:
            super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Put the average in the place of the weights, and these beside it."""
        if self._average_model is not None:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Take both back when a training is resumed; scoring needs the average alone."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
