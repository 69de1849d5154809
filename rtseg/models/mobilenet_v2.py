"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) with torchvision's key names and widths."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

# (expansion t, channels c, repeats n, stride s): table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# The last block of each stride, 2 to 32: the block whose output is a skip connection.
_TAPS = (1, 3, 6, 13, 17)
# The block after it, whose expansion is still at that stride and six times as wide.
_EXPANDED_TAPS = (2, 4, 7, 14)


def _divisible(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of ``divisor``, never more than 10 % down (as in the TensorFlow original)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _conv_bn_relu6(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand 1×1, filter depthwise 3×3, project 1×1; a residual where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_conv_bn_relu6(inputs, hidden, 1, 1, 1))
        layers += [
            _conv_bn_relu6(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.residual else y

    def with_expansion(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expansion (N, inputs × t, H, W) beside what :meth:`forward` returns."""
        y = expansion = self.conv[0](x)
        for layer in list(self.conv)[1:]:
            y = layer(y)
        return expansion, x + y if self.residual else y


def _features(width: float) -> list[nn.Module]:
    channels = _divisible(32 * width)
    layers: list[nn.Module] = [_conv_bn_relu6(3, channels, 3, 2, 1)]
    for expansion, base, repeats, first_stride in _STAGES:
        outputs = _divisible(base * width)
        for i in range(repeats):
            stride = first_stride if i == 0 else 1
            layers.append(InvertedResidual(channels, outputs, stride, expansion))
            channels = outputs
    return layers


def _initialise(module: nn.Module) -> None:
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out")
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)


class MobileNetV2(nn.Module):
    """The ImageNet classifier; its state dict is torchvision's ``mobilenet_v2``, key for key."""

    def __init__(self, classes: int = 1000, width: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        layers = _features(width)
        last = _divisible(1280 * max(1.0, width))
        layers.append(_conv_bn_relu6(_divisible(320 * width), last, 1, 1, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, classes))
        _initialise(self.features)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB (N, 3, H, W) to class scores (N, classes)."""
        pooled: Tensor = self.features(x).mean((2, 3))
        scores: Tensor = self.classifier(pooled)
        return scores


class MobileNetV2Encoder(nn.Module):
    """The trunk of MobileNetV2 as an encoder: one feature map for each stride from 2 to 32.

    ``channels`` and ``strides`` describe the maps that :meth:`forward` returns. With ``head`` the
    classifier's last 1×1 convolution (to 1280 channels, ``features.18``) is kept on the deepest map.
    With ``expanded`` the maps of strides 2 to 16 are taken inside the next block, after its expansion,
    as SSDLite takes them (section 6.2 of the paper): six times the channels, computed anyway.
    """

    strides = (2, 4, 8, 16, 32)

    def __init__(self, width: float = 1.0, head: bool = False, expanded: bool = False) -> None:
        super().__init__()
        layers = _features(width)
        self.channels = tuple(_divisible(c * width) for c in (16, 24, 32, 96, 320))
        if expanded:
            self.channels = (*(6 * c for c in self.channels[:-1]), self.channels[-1])
        if head:
            last = _divisible(1280 * max(1.0, width))
            layers.append(_conv_bn_relu6(self.channels[-1], last, 1, 1, 1))
            self.channels = (*self.channels[:-1], last)
        self.features = nn.Sequential(*layers)
        self._expanded_taps = _EXPANDED_TAPS if expanded else ()
        self._taps = (len(layers) - 1,) if expanded else (*_TAPS[:-1], len(layers) - 1)
        _initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to maps of strides 2, 4, 8, 16 and 32, odd sizes rounded up."""
        maps = []
        for i, layer in enumerate(self.features):
            if i in self._expanded_taps:
                assert isinstance(layer, InvertedResidual)
                expansion, x = layer.with_expansion(x)
                maps.append(expansion)
            else:
                x = layer(x)
            if i in self._taps:
                maps.append(x)
        return maps

    def load_classifier(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a torchvision ``mobilenet_v2`` state dict, strictly.

        Every key of the encoder must be there with its shape, and nothing may be left over but the
        classifier's own layers; ``RuntimeError`` names what does not fit.
        """
        own = self.state_dict().keys()
        dropped = [k for k in state if k.startswith("classifier.")]
        dropped += [k for k in state if k.startswith("features.18.") and k not in own]
        self.load_state_dict({k: v for k, v in state.items() if k not in dropped}, strict=True)


def load_safetensors(path: str) -> dict[str, Tensor]:
    """Read a safetensors file: nothing is unpickled."""
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors
