"""The U-Net of segmentation_models.pytorch on MobileNetV2, rebuilt, as the peer to compare with.

The library needs torchvision, which has no wheel for a CPU-only torch 2.13, so that it cannot be a
plain dependency of a benchmark. This is the same topology in code of our own: its default decoder
(256, 128, 64, 32, 16 channels; nearest ×2 upsampling, then the skip connection, then twice
convolution 3×3, batch norm, ReLU; no skip connection at full size), and a 3×3 convolution to the
classes at full size. The encoder is :class:`rtseg.models.MobileNetV2Encoder` with the classifier's
last convolution, 1280 channels deep, as the library has it.

Compared with the library itself once (segmentation_models.pytorch 0.6.0, torchvision 0.28.0, torch
2.13.0): the same 6,629,090 parameters in tensors of the same shapes in the same order, the same
13.42 GFLOP at 512×256 by torch's FlopCounterMode, and, given the same weights, bit for bit the same
logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtseg.models import MobileNetV2Encoder

VERIFIED = (
    "segmentation_models.pytorch's U-Net on mobilenet_v2, rebuilt in benchmarks/smp_unet.py because "
    "torchvision has no CPU wheel here; compared once with version 0.6.0: equal parameters "
    "(6,629,090), tensor shapes, FLOPs (13.42 GFLOP at 512x256) and, with equal weights, logits"
)
"""What a result that names this peer says of it."""

_WIDTHS = (256, 128, 64, 32, 16)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class SMPUNet(nn.Module):
    """MobileNetV2 U-Net as segmentation_models.pytorch builds it; logits at full size."""

    size_divisor = 32
    logits_stride = 1

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.classes = classes
        self.encoder = MobileNetV2Encoder(head=True)
        inputs = self.encoder.channels[-1]
        skips = (*self.encoder.channels[-2::-1], 0)
        blocks = []
        for skip, width in zip(skips, _WIDTHS, strict=True):
            blocks.append(
                nn.Sequential(_convolution(inputs + skip, width), _convolution(width, width))
            )
            inputs = width
        self.decoder = nn.ModuleList(blocks)
        # Not named ``classifier``: the export folds that layer where it is 1×1, and this is 3×3.
        self.head = nn.Conv2d(inputs, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB (N, 3, H, W) to logits (N, classes, H, W); H, W multiples of 32."""
        maps = self.encoder(x)
        x = maps.pop()
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat((x, maps.pop()), 1) if maps else x)
        logits: Tensor = self.head(x)
        return logits
