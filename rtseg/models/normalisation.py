"""The one normalisation of pictures: training applies it, export bakes it into the graph."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB / 255: what ImageNet's encoders were trained with."""


def normalise(pictures: Tensor) -> Tensor:
    """Map (N, 3, H, W) uint8 RGB to the float that networks take."""
    mean = torch.tensor(IMAGENET_MEAN, device=pictures.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=pictures.device).view(1, 3, 1, 1)
    return (pictures.float() / 255 - mean) / std
