"""Losses of overlap: Dice, Tversky, focal Tversky; each counts softly over the whole batch.

A class of which the batch (of all ranks) has no pixel is left out of the mean: it has no overlap to
gain, and its term would be a constant near 1. The papers have one foreground class and do not say.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rtseg.data.labels import VOID
from rtseg.training.ranks import sum_over_ranks


class _SoftCounts(torch.autograd.Function):
    """Pixels predicted of each class, those of them that are right, and true ones: (3, C) sums.

    As plain operations these would write six tensors of the logits' size; so it is two.
    """

    @staticmethod
    def forward(ctx: Any, log_probabilities: Tensor, target: Tensor) -> Tensor:
        known = target != VOID
        probabilities = log_probabilities.exp().mul_(known.unsqueeze(1))
        classes = target.where(known, 0)
        ctx.save_for_backward(probabilities, classes.unsqueeze(1))
        right = probabilities.gather(1, classes.unsqueeze(1)).squeeze(1)
        # Row by row: added to one float32 of a million, each pixel's share would be rounded.
        shape = (*target.shape[:2], probabilities.shape[1])
        rows = [
            probabilities.new_zeros(shape).scatter_add_(2, classes, values.to(right.dtype))
            for values in (right, known)
        ]
        return torch.stack([probabilities.sum((0, 2, 3)), *(r.sum((0, 1)) for r in rows)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        probabilities, classes = ctx.saved_tensors
        slope = probabilities * gradient[0].view(1, -1, 1, 1)
        slope.scatter_add_(1, classes, probabilities.gather(1, classes) * gradient[1][classes])
        return slope, None


class Tversky(nn.Module):
    """One minus the Tversky index TP / (TP + alpha FP + beta FN), a mean over classes.

    Salehi et al. 2017, whose ``alpha`` weighs false positives and ``beta`` false negatives. Counts
    are sums of probabilities over the known pixels of the batch. ``smooth`` (pixels, above 0) is
    added to both sides of the fraction.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.beta, self.smooth = alpha, beta, smooth

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of (N, C, H, W) log-softmax and (N, H, W) int64 classes or VOID."""
        counts: Tensor = _SoftCounts.apply(log_probabilities, target)  # type: ignore[no-untyped-call]
        predicted, overlap, truth = sum_over_ranks(counts).unbind()
        wrong = self.alpha * (predicted - overlap) + self.beta * (truth - overlap)
        # One minus the index, without the difference: that would lose the digits near 0.
        loss = self.of_class(wrong / (overlap + wrong + self.smooth))
        present = truth > 0
        return (loss * present).sum() / present.sum().clamp(min=1)

    def of_class(self, complement: Tensor) -> Tensor:
        """Return a class's loss, (C,), from one minus its Tversky index, (C,)."""
        return complement


class Dice(Tversky):
    """One minus the soft Dice coefficient 2 TP / (2 TP + FP + FN), a mean over classes.

    Milletari et al. 2016, but with plain sums in the denominator where theirs are of squares, so
    that this is Tversky with alpha = beta = ½. ``smooth`` (pixels, above 0) is added to both sides
    of the fraction as it is written here.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__(0.5, 0.5, smooth / 2)


class FocalTversky(Tversky):
    """(1 − Tversky index)^(1 / gamma), a mean over classes (Abraham & Khan 2019).

    ``gamma`` is 1 (Tversky) to 3; above 1 it makes much of classes with little left to gain.
    ``alpha`` weighs false positives as in :class:`Tversky`: in this paper the two are swapped.
    """

    def __init__(
        self, alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3, smooth: float = 1.0
    ) -> None:
        super().__init__(alpha, beta, smooth)
        self.gamma = gamma

    def of_class(self, complement: Tensor) -> Tensor:
        """Return a class's loss, (C,), from one minus its Tversky index, (C,)."""
        # At 0 the slope of this power is infinite.
        return complement.clamp(min=1e-6) ** (1 / self.gamma)
