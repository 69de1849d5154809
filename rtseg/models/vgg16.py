"""VGG-16 (Simonyan & Zisserman 2015, arXiv:1409.1556) as FCN's encoder, torchvision's key names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16Encoder(nn.Module):
    """VGG-16's convolutions and, as convolutions, its two hidden fully connected layers.

    The fully connected layers become fc6, ``head.0`` (7×7, here padded by 3 so that the size is
    kept, where Long et al. padded the image by 100), and fc7, ``head.3`` (1×1), 4096 wide, each
    with dropout.
    """

    strides = (2, 4, 8, 16, 32)

    def __init__(self, hidden: int = 4096, dropout: float = 0.5) -> None:
        super().__init__()
        self.channels = (*(stage[-1] for stage in _STAGES[:-1]), hidden)
        layers: list[nn.Module] = []
        channels = 3
        for stage in _STAGES:
            for outputs in stage:
                layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                channels = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Conv2d(512, hidden, 7, padding=3), nn.ReLU(inplace=True), nn.Dropout2d(dropout),
            nn.Conv2d(hidden, hidden, 1), nn.ReLU(inplace=True), nn.Dropout2d(dropout),
        )  # fmt: skip
        for m in self.modules():
            if isinstance(m, nn.Conv2d) and m.bias is not None:
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to pool1 … pool4 and fc7 (strides 2 … 32); H, W multiples of 32."""
        maps = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
        maps[-1] = self.head(x)
        return maps

    def load_classifier(self, state: Mapping[str, Tensor]) -> None:
        """Take a torchvision ``vgg16`` state dict, strictly, reshaping its fully connected layers.

        ``classifier.0`` (4096×25088) becomes fc6 and ``classifier.3`` fc7; ``classifier.6``, the
        1000 ImageNet classes, is dropped. ``RuntimeError`` names what does not fit.
        """
        renamed = {"classifier.0.": "head.0.", "classifier.3.": "head.3."}
        shapes = {k: v.shape for k, v in self.state_dict().items()}
        own = {}
        for key, value in state.items():
            if key.startswith("classifier.6."):
                continue
            for old, new in renamed.items():
                key = key.replace(old, new)
            fits = key in shapes and value.numel() == shapes[key].numel()
            own[key] = value.reshape(shapes[key]) if fits else value
        self.load_state_dict(own, strict=True)
