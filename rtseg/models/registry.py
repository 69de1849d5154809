"""Architectures by name, and what one costs: parameters and floating-point operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from rtseg.models.fcn import FCN
from rtseg.models.mobilenet_v2 import MobileNetV2Encoder
from rtseg.models.smp import SMP_ARCHITECTURES
from rtseg.models.unet import UNet
from rtseg.models.vgg16 import VGG16Encoder


@runtime_checkable
class SegmentationModel(Protocol):
    """What the rest of rtseg asks of a model beside being an ``nn.Module``."""

    classes: int
    logits_stride: int
    size_divisor: int


def _unet_mobilenetv2(classes: int, width: float = 1.0, **options: Any) -> nn.Module:
    return UNet(classes, MobileNetV2Encoder(width), **options)


def _fcn_mobilenetv2(stride: int) -> Callable[..., nn.Module]:
    def fcn(classes: int, width: float = 1.0, expanded: bool = False, **options: Any) -> nn.Module:
        encoder = MobileNetV2Encoder(width, head=True, expanded=expanded)
        return FCN(classes, encoder, stride, **options)

    return fcn


def _fcn_vgg16(stride: int) -> Callable[..., nn.Module]:
    def fcn(classes: int, hidden: int = 4096, **options: Any) -> nn.Module:
        return FCN(classes, VGG16Encoder(hidden), stride, **options)

    return fcn


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "unet-mobilenetv2": _unet_mobilenetv2,
    "fcn8s-mobilenetv2": _fcn_mobilenetv2(8),
    "fcn16s-mobilenetv2": _fcn_mobilenetv2(16),
    "fcn32s-mobilenetv2": _fcn_mobilenetv2(32),
    "fcn8s-vgg16": _fcn_vgg16(8),
    "fcn16s-vgg16": _fcn_vgg16(16),
    "fcn32s-vgg16": _fcn_vgg16(32),
}
"""What rtseg builds by itself."""

WITH_EXTRAS: dict[str, Callable[..., nn.Module]] = {**ARCHITECTURES, **SMP_ARCHITECTURES}
"""The same and what it builds where an extra is installed."""


def build(name: str, classes: int, **options: Any) -> nn.Module:
    """Build the architecture ``name`` with random weights.

    ``ValueError`` for an unknown name, ``UsageError`` where the architecture's extra is missing.
    """
    if name not in WITH_EXTRAS:
        raise ValueError(f"unknown architecture {name!r}: one of {', '.join(WITH_EXTRAS)}")
    return WITH_EXTRAS[name](classes, **options)


def parameters(model: nn.Module) -> int:
    """Count the model's parameters, fixed ones included, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def flops(model: nn.Module, width: int, height: int) -> int:
    """Count the operations of convolutions and linear layers for one image of width × height.

    A multiply-add is two operations, as in ``torch.utils.flop_counter``; normalisation, activation
    and interpolation are left out there and here.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.ConvTranspose2d):  # every input pixel is spread over a kernel
            total += 2 * inputs[0][0, 0].numel() * module.weight.numel()
        elif isinstance(module, nn.Conv2d):  # every output pixel is gathered from a kernel
            total += 2 * output[0, 0].numel() * module.weight.numel()
        elif isinstance(module, nn.Linear):
            total += 2 * module.weight.numel()

    hooks = [m.register_forward_hook(cast(Any, count)) for m in model.modules()]
    training = model.training
    try:
        reference = next(model.parameters())
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, height, width).to(reference))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return total
