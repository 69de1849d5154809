"""PyTorch networks that give logits: MobileNetV2 U-Net and FCN-8s/16s/32s.

This room needs the ``train`` extra. A network here is an ``nn.Module`` that takes normalised RGB
images (N, 3, H, W) float and returns logits (N, classes, H / s, W / s), where ``s`` is its
``logits_stride``; H and W are multiples of its ``size_divisor``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtseg.models.fcn import FCN
    from rtseg.models.mobilenet_v2 import MobileNetV2, MobileNetV2Encoder
    from rtseg.models.registry import ARCHITECTURES, SegmentationModel, build
    from rtseg.models.unet import UNet
    from rtseg.models.vgg16 import VGG16Encoder

__all__ = [
    "ARCHITECTURES",
    "FCN",
    "MobileNetV2",
    "MobileNetV2Encoder",
    "SegmentationModel",
    "UNet",
    "VGG16Encoder",
    "build",
]

_HOMES = {
    "ARCHITECTURES": "registry",
    "FCN": "fcn",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV2Encoder": "mobilenet_v2",
    "SegmentationModel": "registry",
    "UNet": "unet",
    "VGG16Encoder": "vgg16",
    "build": "registry",
}


def __getattr__(name: str) -> Any:
    # Each name loads when it is used, so that a missing PyTorch can be said in one line.
    if name not in _HOMES:
        raise AttributeError(f"module 'rtseg.models' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"rtseg.models.{_HOMES[name]}"), name)
