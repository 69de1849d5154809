"""Lovász-softmax: the extension of the Jaccard loss to probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtseg.data.labels import VOID


def _jaccard_steps(truth: Tensor) -> Tensor:
    """Return how much the Jaccard loss grows with each pixel that is got wrong, (P,) float32.

    ``truth`` (P,) bool, not all false: whether a pixel is of the class, in the order in which they
    are got wrong. A pixel of the class leaves the intersection; another one joins the union.
    """
    hits = truth.cumsum(0, dtype=torch.int32)
    others = torch.arange(1, len(truth) + 1, device=truth.device, dtype=torch.int32) - hits
    intersection, union = (hits[-1] - hits).float(), (hits[-1] + others).float()
    return torch.where(truth, 1, intersection / (union - 1)) / union


class LovaszSoftmax(nn.Module):
    """Lovász-softmax over the whole batch, the mean of the classes present (Berman et al. 2018).

    At probabilities of 0 and 1 it is one minus the IoU, the mean over the classes in the truth. It
    sorts all pixels once for every class: ``stride`` takes every stride-th row and column of the
    batch only, and is that much squared faster. A class that is not in the (strided) truth is left
    out, as in the paper.

    In a distributed training each rank sorts its own pixels: gradients are those of the mean of the
    ranks' losses, not those of one process with all pixels.
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of (N, C, H, W) log-softmax and (N, H, W) int64 classes or VOID."""
        if self.stride > 1:
            # From the middle of the first cell, so that a small picture keeps a pixel.
            height, width = target.shape[-2:]
            rows = slice(min(self.stride // 2, height - 1), None, self.stride)
            columns = slice(min(self.stride // 2, width - 1), None, self.stride)
            target = target[:, rows, columns]
            log_probabilities = log_probabilities[:, :, rows, columns]
        present = [c for c in torch.unique(target).tolist() if c != VOID]
        if not present:
            return log_probabilities[:0].sum()  # 0, with gradients of 0
        # unbind's backward pass writes one gradient for all classes; indexing writes one for each.
        planes = log_probabilities.unbind(1)
        terms = [self._of_class(planes[c].exp(), target == c, target == VOID) for c in present]
        return torch.stack(terms).mean()

    @staticmethod
    def _of_class(probability: Tensor, truth: Tensor, void: Tensor) -> Tensor:
        """Return one class's loss, a scalar; all arguments are (N, H, W).

        For a given order of the errors it is linear in them, so that only the sorting needs them
        and the backward pass is one product.
        """
        with torch.no_grad():
            errors = torch.where(truth, 1 - probability, probability)
            # Void comes last, behind errors of 0, where no intersection is left: its steps are 0.
            order = errors.masked_fill_(void, -1).flatten().argsort(descending=True)
            steps = _jaccard_steps(truth.flatten()[order]).to(probability.dtype)
            slope = torch.empty_like(steps).scatter_(0, order, steps).view_as(errors)
            constant = (slope * truth).sum()
            slope = torch.where(truth, -slope, slope)
        return (probability * slope).sum() + constant
