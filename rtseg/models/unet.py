"""A U-Net (Ronneberger et al. 2015, arXiv:1505.04597) whose decoder is light enough for real time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtseg.models.mobilenet_v2 import MobileNetV2Encoder
from rtseg.models.parts import Parts, channels_of, largest


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3×3 and pointwise 1×1, each with batch norm; ReLU6 at the end of each."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU6(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class DecoderBlock(nn.Module):
    """Narrow by 1×1, upsample ×2 (bilinear), join the skip connection, one separable convolution.

    Narrowing *before* the upsampling costs a quarter of narrowing after it, and a 1×1 convolution
    commutes with bilinear upsampling, so nothing is lost by the order.
    """

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.block = _separable(outputs + skip, outputs)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Map (N, inputs, H, W) and (N, skip, 2 H, 2 W) to (N, outputs, 2 H, 2 W)."""
        x = F.interpolate(self.narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        if skip is not None:
            # Where the skip's size is odd there is a row or column too many.
            x = torch.cat((x[..., : skip.shape[-2], : skip.shape[-1]], skip), 1)
        y: Tensor = self.block(x)
        return y


class UNet(nn.Module):
    """Encoder, light decoder, 1×1 classifier.

    ``widths`` are the decoder's channels from stride 16 downwards; ``logits_stride`` (16, 8, 4, 2 or
    1) says where the logits are made, and must have a width for every step down to it.

    A class may be several things that look different, as background is: ``parts`` lists the
    classifier's channels of each class, such as ``[[0, 1, 2], [3]]``, and the class's logit is the
    largest of them. So a network of two classes can begin as one that knows eleven, and keep what it
    knows. ``ValueError`` for what does not fit.
    """

    def __init__(
        self,
        classes: int,
        encoder: MobileNetV2Encoder,
        widths: Sequence[int] = (128, 64, 32, 16),
        logits_stride: int = 2,
        dropout: float = 0.0,
        parts: Parts | None = None,
    ) -> None:
        super().__init__()
        channels = channels_of(classes, parts)
        if logits_stride not in (1, 2, 4, 8, 16):
            raise ValueError(f"logits_stride is {logits_stride}: one of 1, 2, 4, 8, 16")
        steps = (32 // logits_stride).bit_length() - 1
        if len(widths) != steps:
            raise ValueError(
                f"logits_stride {logits_stride} takes {steps} decoder widths, not {len(widths)}"
            )
        self.classes = classes
        self.logits_stride = logits_stride
        self.size_divisor = max(2, logits_stride)
        self.encoder = encoder
        skips = (*encoder.channels[-2::-1], 0)
        inputs = encoder.channels[-1]
        blocks = []
        for skip, width in zip(skips, widths, strict=False):
            blocks.append(DecoderBlock(inputs, skip, width))
            inputs = width
        self.decoder = nn.ModuleList(blocks)
        self.dropout = nn.Dropout2d(dropout)
        self.parts = parts
        self.classifier = nn.Conv2d(inputs, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB (N, 3, H, W) to logits (N, classes, H / stride, W / stride)."""
        maps = self.encoder(x)
        x = maps.pop()
        for block in self.decoder:
            x = block(x, maps.pop() if maps else None)
        return largest(self.classifier(self.dropout(x)), self.parts)
