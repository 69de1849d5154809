"""FCN-8s, 16s and 32s (Long, Shelhamer & Darrell 2015, arXiv:1411.4038)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtseg.models.mobilenet_v2 import MobileNetV2Encoder
from rtseg.models.vgg16 import VGG16Encoder


def bilinear_kernel(factor: int) -> Tensor:
    """The (2 f, 2 f) kernel with which a transposed convolution of stride f interpolates bilinearly."""
    size = 2 * factor
    ramp = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
    return torch.outer(ramp, ramp)


def _upsample(classes: int, factor: int, learned: bool) -> nn.ConvTranspose2d:
    """A transposed convolution that starts as bilinear upsampling; fixed ones work class by class."""
    layer = nn.ConvTranspose2d(
        classes, classes, 2 * factor, factor, factor // 2,
        bias=False, groups=1 if learned else classes,
    )  # fmt: skip
    with torch.no_grad():
        layer.weight.zero_()
        for c in range(classes):
            layer.weight[c, c if learned else 0] = bilinear_kernel(factor)
    layer.weight.requires_grad_(learned)
    return layer


class FCN(nn.Module):
    """Score layers at strides 32, 16 and 8, joined from deep to shallow; logits at full size.

    ``stride`` is 32, 16 or 8 (FCN-32s, -16s, -8s); ``ValueError`` otherwise. As in the paper the
    score layers start at zero, the ×2 upsamplings start bilinear and are learned, and the last
    upsampling, ×``stride``, stays bilinear. Sizes are multiples of ``stride``; where one is no multiple
    of 32 an upsampling makes a row or column too many, which is cropped, as in the paper.
    """

    size_divisor = 32
    logits_stride = 1

    def __init__(
        self,
        classes: int,
        encoder: MobileNetV2Encoder | VGG16Encoder,
        stride: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if stride not in (8, 16, 32):
            raise ValueError(f"FCN's stride is {stride}: one of 8, 16, 32")
        self.classes = classes
        self.encoder = encoder
        self.dropout = nn.Dropout2d(dropout)
        depth = (32, 16, 8).index(stride) + 1
        self.scores = nn.ModuleList(
            nn.Conv2d(channels, classes, 1) for channels in encoder.channels[::-1][:depth]
        )
        for score in self.scores:
            assert isinstance(score, nn.Conv2d)
            assert score.bias is not None
            nn.init.zeros_(score.weight)
            nn.init.zeros_(score.bias)
        self.upsample2 = nn.ModuleList(_upsample(classes, 2, True) for _ in range(depth - 1))
        self.upsample = _upsample(classes, stride, False)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB (N, 3, H, W) to logits (N, classes, H, W)."""
        maps = self.encoder(x)
        scores: Tensor = self.scores[0](self.dropout(maps.pop()))
        for score, upsample2 in zip(list(self.scores)[1:], self.upsample2, strict=True):
            finer = score(maps.pop())
            scores = upsample2(scores)
            if scores.shape[-2:] != finer.shape[-2:]:
                scores = scores[..., : finer.shape[-2], : finer.shape[-1]]
            scores = scores + finer
        logits: Tensor = self.upsample(scores)
        return logits
