"""FCN-8s, 16s and 32s (Long, Shelhamer & Darrell 2015, arXiv:1411.4038)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtseg.models.mobilenet_v2 import MobileNetV2Encoder
from rtseg.models.parts import Parts, channels_of, largest
from rtseg.models.vgg16 import VGG16Encoder


def bilinear_kernel(factor: int) -> Tensor:
    """The (2 f, 2 f) kernel with which a transposed convolution of stride f interpolates bilinearly."""
    size = 2 * factor
    ramp = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
    return torch.outer(ramp, ramp)


def _upsample2(classes: int) -> nn.ConvTranspose2d:
    """A learned transposed convolution, ×2, that starts as bilinear upsampling, class by class."""
    layer = nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for c in range(classes):
            layer.weight[c, c] = bilinear_kernel(2)
    return layer


class FCN(nn.Module):
    """Score layers at strides 32, 16 and 8, joined from deep to shallow.

    ``stride`` is 32, 16 or 8 (FCN-32s, -16s, -8s); ``ValueError`` otherwise. As in the paper the
    score layers start at zero, and the ×2 upsamplings start bilinear and are learned. The paper's
    last upsampling, ×``stride``, stays bilinear: it is left to the loss and to the contract, as every
    network's here, and costs less there. Sizes are multiples of ``size_divisor``; where one is no
    multiple of 32 an upsampling makes a row or column too many, which is cropped, as in the paper.
    ``parts`` as in :class:`rtseg.models.unet.UNet`.
    """

    def __init__(
        self,
        classes: int,
        encoder: MobileNetV2Encoder | VGG16Encoder,
        stride: int = 8,
        dropout: float = 0.0,
        parts: Parts | None = None,
    ) -> None:
        super().__init__()
        scored = channels_of(classes, parts)
        if stride not in (8, 16, 32):
            raise ValueError(f"FCN's stride is {stride}: one of 8, 16, 32")
        self.classes = classes
        self.logits_stride = stride
        # VGG's pooling rounds down: what it leaves out no upsampling brings back.
        self.size_divisor = 32 if isinstance(encoder, VGG16Encoder) else stride
        self.parts = parts
        self.encoder = encoder
        self.dropout = nn.Dropout2d(dropout)
        depth = (32, 16, 8).index(stride) + 1
        self.scores = nn.ModuleList(
            nn.Conv2d(channels, scored, 1) for channels in encoder.channels[::-1][:depth]
        )
        for score in self.scores:
            assert isinstance(score, nn.Conv2d)
            assert score.bias is not None
            nn.init.zeros_(score.weight)
            nn.init.zeros_(score.bias)
        self.upsample2 = nn.ModuleList(_upsample2(scored) for _ in range(depth - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB (N, 3, H, W) to logits (N, classes, H / stride, W / stride)."""
        maps = self.encoder(x)
        scores: Tensor = self.scores[0](self.dropout(maps.pop()))
        for score, upsample2 in zip(list(self.scores)[1:], self.upsample2, strict=True):
            finer = score(maps.pop())
            scores = upsample2(scores)[..., : finer.shape[-2], : finer.shape[-1]] + finer
        return largest(scores, self.parts)
