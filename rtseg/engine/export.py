"""From a PyTorch model to a network file: the contract's graph, its spec, one ONNX file.

The only module of this room that needs torch (the ``train`` extra).
"""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import io
import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from rtseg import spec as specification
from rtseg.atomic import require_writable, write_atomically
from rtseg.engine.cropping import CROP, crop_to_skips
from rtseg.errors import InputError, NetworkError
from rtseg.models import build
from rtseg.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from rtseg.spec import Spec

OPSET = 17
"""Loads everywhere from TensorRT 8.6 on."""

_ANY_SIZE = frozenset(
    (
        "Add", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv",
        "ConvTranspose", "Div", "Gather", "GlobalAveragePool", "Greater", "HardSigmoid", "HardSwish",
        "Identity", "MaxPool", "Mul", "ReduceMax", "ReduceMin", "Relu", "Sigmoid", "Sub", "Transpose",
    )
)  # fmt: skip
"""Operators that know no frame size, as the networks here use them."""


class Contract(nn.Module):
    """Frames (N, H, W, 3) uint8 BGR in, masks (N, h, w) uint8 of class indices out.

    The first convolution is turned from RGB to BGR once, here, so that no frame is turned at run
    time. The mask is made at the frame's size, or with ``full_size=False`` at the logits' stride.
    Two classes need no argmax, only the sign of their logits' difference, which is linear: it is
    taken before the upsampling, and where the last layer is a 1×1 convolution inside its weights.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, *, full_size: bool = True) -> None:
        super().__init__()
        network: Any = copy.deepcopy(model).eval()
        stride = int(network.logits_stride)
        self.upsampling = stride if full_size else 1
        self.mask_stride = 1 if full_size else stride
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
        with torch.no_grad():
            first.weight.copy_(first.weight.flip(1))
        self.two_classes = network.classes == 2
        last = getattr(network, "classifier", None)
        parts = getattr(network, "parts", None) or [[0], [1]]
        self.folded = (
            self.two_classes
            and isinstance(last, nn.Conv2d)
            and last.kernel_size == (1, 1)
            and len(parts[1]) == 1
        )
        if self.folded:
            network.classifier = _difference(network.classifier, list(parts[0]), parts[1][0])
            network.parts = None
        self.network = network
        std = torch.tensor(IMAGENET_STD[::-1])
        mean = torch.tensor(IMAGENET_MEAN[::-1])
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Map uint8 frames to uint8 masks."""
        # Cast first, permute after: TensorRT takes uint8 only into a cast.
        x = frames.to(self.scale.dtype).permute(0, 3, 1, 2) * self.scale + self.shift
        logits: Tensor = self.network(x)
        if self.folded and logits.shape[1] > 1:
            logits = logits.amin(1, keepdim=True)  # above zero where it is above all the rest
        elif self.two_classes and not self.folded:
            # No slices: in the graph only crops may be some.
            first, second = (logits.index_select(1, torch.tensor([i])) for i in (0, 1))
            logits = second - first
        if self.upsampling > 1:
            logits = F.interpolate(
                logits, scale_factor=float(self.upsampling), mode="bilinear", align_corners=False
            )
        index = logits[:, 0] > 0 if self.two_classes else logits.argmax(1)
        # By way of float, since TensorRT casts neither indices nor truth values to uint8.
        return index.to(self.scale.dtype).to(torch.uint8)


def _difference(classifier: nn.Conv2d, rest: list[int], one: int) -> nn.Conv2d:
    """The 1×1 convolution that gives channel ``one`` minus each of ``rest``."""
    differences = nn.Conv2d(classifier.in_channels, len(rest), 1)
    assert classifier.bias is not None
    assert differences.bias is not None
    with torch.no_grad():
        differences.weight.copy_(classifier.weight[one] - classifier.weight[rest])
        differences.bias.copy_(classifier.bias[one] - classifier.bias[rest])
    return differences


def load_checkpoint(path: str | Path) -> tuple[nn.Module, Spec]:
    """Build the model that a training saved; returns it in evaluation mode, with its spec's start.

    The file is safetensors with its architecture, classes, palette and size in the metadata.
    ``InputError`` where it is not.
    """
    path = Path(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors checkpoint: {error}") from error
    try:
        classes = json.loads(metadata["classes"])
        width, height = json.loads(metadata["size"])
        model = build(metadata["architecture"], len(classes), **json.loads(metadata["options"]))
        model.load_state_dict(state, strict=True)
        spec = Spec(
            name=path.stem,
            width=width,
            height=height,
            classes=tuple(classes),
            palette=tuple((r, g, b) for r, g, b in json.loads(metadata["palette"])),
            size_divisor=int(getattr(model, "size_divisor", 1)),
        )
        spec.check()
    except KeyError as error:
        raise InputError(f"{path}: its metadata lacks {error}: not saved by rtseg") from error
    except (ValueError, TypeError, RuntimeError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{path}: this checkpoint does not fit: {what[:300]}") from error
    return model.eval(), spec


def export(
    model: nn.Module, spec: Spec, path: str | Path, *, half: bool = False, full_size: bool = True
) -> Spec:
    """Write ``model`` as a network file at ``path``; returns the spec that is in it.

    Where no node of the graph knows the frame's size, the file is good for any: batch, height and
    width are symbolic (``batch``, ``height``, ``width``) for every backend to fix. Otherwise the spec
    says ``fixed_size``. The only shapes in the graph are those of skip connections to which an
    upsampled map is cropped (:func:`rtseg.engine.cropping.crop_to_skips`); backends fold them away.

    With ``half`` the weights and the arithmetic are FP16. The file appears whole or not at all.
    ``NetworkError`` if the exported graph needs more than one file or another opset, or breaks the
    contract, or cannot take the sizes that the spec promises; ``OutputError`` if the file cannot be
    written.
    """
    path = Path(path)
    contract = Contract(model, full_size=full_size).eval()
    if half:
        contract = contract.half()
    spec = replace(
        spec,
        mask_stride=contract.mask_stride,
        precision="fp16" if half else "fp32",
        versions={
            "rtseg": importlib.metadata.version("rtseg"),
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "opset": str(OPSET),
        },
    )
    try:
        spec.check()
    except ValueError as error:
        raise NetworkError(f"{path}: cannot be made with this spec: {error}") from error
    require_writable(path)  # before the long work
    height, width = spec.height, spec.width
    crops = spec.size_divisor < 32
    if crops:
        height, width = 32 + spec.size_divisor, 64 + spec.size_divisor  # every skip's size is odd
    example = torch.zeros((1, height, width, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            program = torch.onnx.export(
                contract,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["frames"],
                output_names=["masks"],
                verbose=False,
            )
        finally:
            logging.disable(level)
    assert program is not None
    proto = program.model_proto
    opset = next(o.version for o in proto.opset_import if o.domain == "")
    if opset != OPSET:
        raise NetworkError(f"{path}: the exporter made opset {opset}, not {OPSET}")
    if crops:
        crop_to_skips(proto.graph)
    if all(map(_any_size, proto.graph.node)):
        _name_dimensions(proto, spec)
    elif crops:
        raise NetworkError(f"{path}: the graph knows its size, but the model's divisor is below 32")
    else:
        spec = replace(spec, fixed_size=True)
    _strip(proto)
    proto.producer_name = "rtseg"
    for entry in list(proto.metadata_props):
        proto.metadata_props.remove(entry)
    proto.metadata_props.add(key=specification.KEY, value=spec.to_json())
    onnx.checker.check_model(proto, full_check=True)
    content = proto.SerializeToString()
    specification.check_network(path, content)
    write_atomically(path, content)
    return spec


def _any_size(node: onnx.NodeProto) -> bool:
    """Whether a node does the same for frames of any size: nothing in it is a shape."""
    if node.op_type == "Resize":
        return len(node.input) < 4 or not node.input[3]  # by scales, not to sizes
    if node.op_type in ("Shape", "Slice"):
        return node.name.startswith(CROP)
    return node.op_type in _ANY_SIZE


def _name_dimensions(proto: onnx.ModelProto, spec: Spec) -> None:
    """Make the outer dimensions symbolic, with names that a person and a runtime can use.

    Tracing with symbolic shapes gives the like of it, in five times the time.
    """
    names = {"frames": ["batch", "height", "width"], "masks": ["batch", "height", "width"]}
    if spec.mask_stride > 1:
        names["masks"] = ["batch", "mask_height", "mask_width"]
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, name in zip(
            value.type.tensor_type.shape.dim, names[value.name], strict=False
        ):
            dimension.dim_param = name


def _strip(proto: onnx.ModelProto) -> None:
    """Take out what is of no use elsewhere: inner shapes, and the source lines of this machine."""
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
