"""PyTorch networks that give logits: MobileNetV2 U-Net and FCN-8s/16s/32s.

This room needs the ``train`` extra. A network here is an ``nn.Module`` that takes normalised RGB
images (N, 3, H, W) float and returns logits (N, classes, H / s, W / s), where ``s`` is its
``logits_stride``; H and W are multiples of its ``size_divisor``.
"""

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
