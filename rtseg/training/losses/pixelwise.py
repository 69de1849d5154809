"""Losses that are means over pixels: cross-entropy, its hard pixels, focal loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtseg.data.labels import VOID
from rtseg.training.ranks import sum_over_ranks


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    """Divide two sums, over all ranks; 0, with gradients of 0, where there is no weight."""
    total, weight = sum_over_ranks(torch.stack([total, weight.to(total.dtype)])).unbind()
    return total / weight.where(weight > 0, 1)


class _Weighted(nn.Module):
    """Holds the classes' weights, which move with the module but are not saved with it."""

    weights: Tensor | None

    def __init__(self, weights: Sequence[float] | None) -> None:
        super().__init__()
        values = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("weights", values, persistent=False)

    def _of_pixels(self, target: Tensor, known: Tensor, dtype: torch.dtype) -> Tensor:
        """The weight of each pixel, (N, H, W): its class's, or 0 for VOID."""
        if self.weights is None:
            return known.to(dtype)
        return self.weights.to(dtype)[target.where(known, 0)] * known


class CrossEntropy(_Weighted):
    """Cross-entropy: the mean of −log p over known pixels, weighted by the pixels' classes.

    The mean is divided by the sum of the pixels' weights, and ``label_smoothing`` (0 to below 1)
    spreads that share of the truth evenly over all classes (Szegedy et al. 2016), both as
    ``torch.nn.functional.cross_entropy`` does. A class that the batch lacks adds no term.
    """

    def __init__(
        self, weights: Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(weights)
        self.label_smoothing = label_smoothing

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of (N, C, H, W) log-softmax and (N, H, W) int64 classes or VOID."""
        dtype, known = log_probabilities.dtype, target != VOID
        weights = None if self.weights is None else self.weights.to(dtype)
        total = F.nll_loss(log_probabilities, target, weights, ignore_index=VOID, reduction="sum")
        if self.label_smoothing:
            spread = -(log_probabilities * known.unsqueeze(1)).sum((0, 2, 3))
            spread = spread.mean() if weights is None else (spread * weights).mean()
            total = (1 - self.label_smoothing) * total + self.label_smoothing * spread
        return _mean(total, self._of_pixels(target, known, dtype).sum())


class OhemCrossEntropy(nn.Module):
    """Cross-entropy over hard pixels (Shrivastava et al. 2016), as BiSeNet does it (Yu et al. 2018).

    Hard are known pixels whose true class has a probability of ``threshold`` (above 0, to 1) or
    less. Where these are fewer than the share ``min_kept`` (0 to 1) of the known pixels, the
    ``min_kept`` with the greatest loss are taken. The mean is over the pixels taken.

    In a distributed training the mean is over all ranks' pixels, but each rank makes up its own
    share of ``min_kept``: only where no rank has to is the gradient exactly that of one process.
    """

    def __init__(self, threshold: float = 0.7, min_kept: float = 1 / 16) -> None:
        super().__init__()
        self.least = -math.log(threshold)
        self.min_kept = min_kept

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of (N, C, H, W) log-softmax and (N, H, W) int64 classes or VOID."""
        losses = F.nll_loss(log_probabilities, target, ignore_index=VOID, reduction="none")
        losses = losses[target != VOID]
        hard = losses[losses.detach() >= self.least]
        enough = math.ceil(self.min_kept * losses.numel())
        if hard.numel() < enough:
            hard = losses.topk(enough, sorted=False).values
        return _mean(hard.sum(), hard.new_tensor(hard.numel()))


class Focal(_Weighted):
    """Focal loss: the weighted mean of −(1 − p)^gamma log p over known pixels (Lin et al. 2017).

    ``gamma`` is 0 (cross-entropy) or more; ``weights`` are the paper's alpha, a class each. The
    paper divides by the number of objects; here, as there is an answer to every pixel, the mean is
    divided by the sum of the pixels' weights. A class that the batch lacks adds no term.
    """

    def __init__(self, gamma: float = 2.0, weights: Sequence[float] | None = None) -> None:
        super().__init__(weights)
        self.gamma = gamma

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of (N, C, H, W) log-softmax and (N, H, W) int64 classes or VOID."""
        known = target != VOID
        true = log_probabilities.gather(1, target.where(known, 0).unsqueeze(1)).squeeze(1)
        # A power below 1 has no slope at 0, where the pixel costs nothing anyway.
        doubt = (-true.expm1()).clamp(min=1e-7)
        weights = self._of_pixels(target, known, true.dtype)
        return _mean(-(doubt**self.gamma * true * weights).sum(), weights.sum())
