"""Losses for segmentation; every one leaves VOID pixels out."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from rtseg.data.labels import VOID


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice coefficient, averaged over classes (Milletari et al. 2016).

    ``logits`` (N, C, H, W) float, ``target`` (N, H, W) int64 of class indices or VOID.
    """
    known = target != VOID
    probability = logits.softmax(1) * known.unsqueeze(1)
    truth = F.one_hot(target.where(known, 0), logits.shape[1]).permute(0, 3, 1, 2)
    truth = truth.to(logits.dtype) * known.unsqueeze(1)
    overlap = (probability * truth).sum((0, 2, 3))
    total = probability.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return 1 - ((2 * overlap + smooth) / (total + smooth)).mean()


def segmentation_loss(logits: Tensor, target: Tensor, dice_weight: float) -> Tensor:
    """Cross-entropy plus ``dice_weight`` × Dice, at the target's size.

    Logits of a smaller size are upsampled bilinearly first, as the deployed graph does it.
    """
    if logits.shape[-2:] != target.shape[-2:]:
        logits = F.interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=False)
    logits = logits.float()
    loss = F.cross_entropy(logits, target, ignore_index=VOID)
    return loss + dice_weight * dice_loss(logits, target) if dice_weight else loss
