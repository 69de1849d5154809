"""Classes that are several things: one logit of several channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Parts = Sequence[Sequence[int]]
"""For each class the channels that belong to it, such as ``[[0, 1, 2], [3]]``."""


def channels_of(classes: int, parts: Parts | None) -> int:
    """Return how many channels a last layer has; without ``parts`` one a class.

    ``ValueError`` unless each class has some of the channels 0, 1, 2, ... and each is in one class.
    """
    if parts is None:
        return classes
    count = sum(map(len, parts))
    each = sorted(channel for part in parts for channel in part)
    if len(parts) != classes or not all(parts) or each != list(range(count)):
        raise ValueError(
            f"parts is {[list(part) for part in parts]}: a list of channels for each of the {classes}"
            " classes, each of the channels 0, 1, 2, ... in one of them"
        )
    return count


def largest(logits: Tensor, parts: Parts | None) -> Tensor:
    """Map (N, channels, H, W) to (N, classes, H, W): the largest of each class's channels.

    So a pixel gets the class that its largest channel belongs to, as if the masks of all channels
    were merged.
    """
    if parts is None:
        return logits
    chosen = (torch.tensor(part, device=logits.device) for part in parts)
    return torch.cat([logits.index_select(1, c).amax(1, keepdim=True) for c in chosen], 1)
