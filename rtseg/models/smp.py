"""Networks of segmentation_models.pytorch on its MobileNetV2, as rtseg's models (extra ``smp``).

The library (https://github.com/qubvel-org/segmentation_models.pytorch) is imported when one is
built. Its weights are never downloaded: networks start at random, and ``encoder.load_classifier``
takes the same ImageNet weights as rtseg's own encoder.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtseg.errors import UsageError

# The library's class, and the stride of its logits before its last, bilinear upsampling.
_NETWORKS = {
    "smp-unet": ("Unet", 1),
    "smp-unetplusplus": ("UnetPlusPlus", 1),
    "smp-linknet": ("Linknet", 1),
    "smp-pspnet": ("PSPNet", 8),
    "smp-deeplabv3plus": ("DeepLabV3Plus", 4),
}
# What rtseg decides itself: the interface of the network hangs on it.
_DECIDED = frozenset(
    (
        "self", "encoder_name", "encoder_depth", "encoder_weights", "in_channels", "classes",
        "activation", "upsampling", "aux_params", "kwargs",
    )
)  # fmt: skip
# In torchvision's numbering of ``features``, the last layer at stride 2, 4, 8, 16 and 32.
_LAST = (1, 3, 6, 13, 18)


class SMPEncoder(nn.Module):
    """The library's MobileNetV2, without the layers after the deepest map that the decoder takes."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        depth = len(trunk.out_channels) - 1
        del trunk.features[_LAST[depth - 1] + 1 :]
        self.trunk: nn.Module = trunk

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to itself and its maps of strides 2, 4, … as deep as the decoder asks."""
        maps: list[Tensor] = self.trunk(x)
        return maps

    def load_classifier(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a torchvision ``mobilenet_v2`` state dict, strictly.

        Every key of the encoder must be there with its shape, and nothing may be left over but
        layers that come after the encoder's last; ``RuntimeError`` names what does not fit.
        """
        features: Any = self.trunk.features
        later = tuple(f"features.{i}." for i in range(len(features), _LAST[-1] + 1))
        kept = {k: v for k, v in state.items() if not k.startswith(("classifier.", *later))}
        self.trunk.load_state_dict(kept, strict=True)


class SMPNetwork(nn.Module):
    """Encoder, decoder and head of one of the library's networks; logits at ``logits_stride``.

    The library's last step, where it is a plain bilinear upsampling, is left to the contract, which
    does it for every network alike. Sizes are multiples of 32, also where the encoder stops before.
    """

    size_divisor = 32

    def __init__(self, network: Any, classes: int, logits_stride: int) -> None:
        super().__init__()
        self.classes = classes
        self.logits_stride = logits_stride
        self.encoder = SMPEncoder(network.encoder)
        self.decoder = _made_exportable(network.decoder)
        self.head: nn.Module = network.segmentation_head

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB (N, 3, H, W) to logits (N, classes, H / stride, W / stride)."""
        logits: Tensor = self.head(self.decoder(self.encoder(x)))
        return logits


def _averages(length: int, count: int) -> list[list[float]]:
    """The (count, length) matrix that averages ``length`` places to ``count``, as adaptive pooling."""
    rows = []
    for i in range(count):
        first, end = i * length // count, -(-(i + 1) * length // count)
        rows.append([1 / (end - first) if first <= k < end else 0.0 for k in range(length)])
    return rows


class AveragePool(nn.Module):
    """Adaptive average pooling to a grid, in an exported graph two products with constant matrices.

    The exporter has no better for it: where the grid does not divide the map it writes hundreds of
    operators, and for one mean of all an operator that opset 17 does not have.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, grid, grid)."""
        if not torch.onnx.is_in_onnx_export():
            return F.adaptive_avg_pool2d(x, self.grid)
        rows, columns = (
            torch.tensor(_averages(int(side), self.grid), dtype=x.dtype, device=x.device)
            for side in x.shape[-2:]
        )
        return rows @ x @ columns.T


class PyramidBlock(nn.Module):
    """One level of PSPNet's pyramid, as the library's: pool, 1×1 convolution, stretch.

    The library's own does not use its pooling layer when it is exported.
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C / levels, H, W)."""
        small = self.pool(x)
        return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=True)


def _made_exportable(decoder: Any) -> nn.Module:
    """Put :class:`AveragePool` in the place of adaptive pooling; the weights keep their names."""
    for module in list(decoder.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size: Any = child.output_size
                setattr(
                    module, name, AveragePool(int(size[0] if isinstance(size, tuple) else size))
                )
    if hasattr(decoder, "psp"):
        blocks = decoder.psp.blocks
        decoder.psp.blocks = nn.ModuleList(PyramidBlock(block.pool) for block in blocks)
    made: nn.Module = decoder
    return made


def _library(name: str) -> Any:
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise UsageError(f"{name} needs segmentation_models.pytorch: pip install 'rtseg[smp]'")
    try:
        return importlib.import_module("segmentation_models_pytorch")
    except (ImportError, RuntimeError) as error:  # a torchvision that was built for another torch
        what = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{name} needs segmentation_models.pytorch, which is there but does not import ({what}):"
            " install a torchvision that fits this torch"
        ) from error


def build_smp(name: str, classes: int, **options: Any) -> SMPNetwork:
    """Build the network ``name`` with random weights.

    ``options`` are the library's own, such as ``decoder_channels``. ``UsageError`` where the library
    is not installed, ``ValueError`` for an option that it does not have or that rtseg decides.
    """
    title, logits_stride = _NETWORKS[name]
    make = getattr(_library(name), title)
    known = set(inspect.signature(make.__init__).parameters) - _DECIDED
    for key in options:
        if key not in known:  # the library itself would pass over it
            raise ValueError(f"{name} has no option {key!r}: one of {', '.join(sorted(known))}")
    if "upsampling" in inspect.signature(make.__init__).parameters:
        options["upsampling"] = 1
    network = make(encoder_name="mobilenet_v2", encoder_weights=None, classes=classes, **options)
    return SMPNetwork(network, classes, logits_stride)


def _architecture(name: str) -> Callable[..., nn.Module]:
    def network(classes: int, **options: Any) -> nn.Module:
        return build_smp(name, classes, **options)

    return network


SMP_ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    name: _architecture(name) for name in _NETWORKS
}
"""Names as recipes say them; building one needs the extra."""
