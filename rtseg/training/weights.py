"""Weights on disk: safetensors, with what is needed to build their network beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rtseg.atomic import write_atomically
from rtseg.errors import InputError, UsageError, one_line
from rtseg.models.mobilenet_v2 import load_safetensors


def read_encoder(path: str) -> dict[str, Tensor]:
    """Read a classifier's state dict: safetensors, or a ``.pth`` of tensors alone.

    Nothing is unpickled but tensors and plain containers. ``InputError`` where that is not so.
    """
    if not Path(path).is_file():
        raise InputError(
            f"{path}: no such file: model.encoder_weights takes the encoder's ImageNet weights"
            " (torchvision's names), or null for a random start"
        )
    try:
        if path.endswith(".safetensors"):
            return load_safetensors(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not readable weights: {one_line(error)}") from error
    except Exception as error:  # pickle.UnpicklingError, and whatever broken bytes cause
        raise InputError(f"{path}: not a file of tensors alone: {one_line(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: not a state dict of tensors")
    return state


def load_encoder(model: nn.Module, path: str) -> None:
    """Give ``model.encoder`` the weights of an ImageNet classifier; ``InputError`` if they differ."""
    encoder: Any = getattr(model, "encoder", None)
    state = read_encoder(path)
    try:
        encoder.load_classifier(state)
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"{path}: not this encoder's weights: {one_line(error)}") from error


def find_weights(name: str) -> Path:
    """Return the path of a published network's weights by its name, or of a file."""
    if Path(name).suffix != ".safetensors":
        packed = Path(str(resources.files("rtseg.zoo") / f"{name}.safetensors"))
        if packed.is_file():
            return packed
    if Path(name).is_file():
        return Path(name)
    raise InputError(f"{name}: no such weights: give a safetensors file or a zoo network's name")


def load_start(model: nn.Module, name: str) -> list[str]:
    """Start ``model`` from a trained network's weights; returns the names that did not fit.

    Every tensor of the same name and shape is taken, so that a network with other classes begins
    with everything but its last layer, and one with another decoder with the encoder. ``InputError``
    if the encoder does not fit where both have it, since then it is another architecture.
    """
    path = find_weights(name)
    try:
        state = load_safetensors(str(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not readable safetensors: {one_line(error)}") from error
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    missing = [name for name in own if name not in fitting]
    encoder = [name for name in own if name.startswith("encoder.")]
    clashing = [name for name in encoder if name in state and name not in fitting]
    if clashing or not any(name in fitting for name in encoder):
        with safe_open(str(path), framework="pt") as file:
            architecture = (file.metadata() or {}).get("architecture", "unknown")
        which = (clashing or encoder)[0]
        what = "has another shape there" if clashing else "is not in it"
        raise InputError(
            f"{path}: holds weights of another architecture ({architecture}): {which} {what}"
        )
    model.load_state_dict(fitting, strict=False)
    return missing


def save_weights(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, Any]) -> None:
    """Write safetensors whose metadata builds the network; whole or not at all.

    ``metadata`` has ``architecture``, ``options``, ``classes``, ``palette`` and ``size``
    (:func:`rtseg.engine.export.load_checkpoint` reads them).
    """
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    write_atomically(path, save(tensors, texts))


def require_free(folder: Path) -> None:
    """Refuse a folder that already holds a training: ``UsageError`` says how to go on with it."""
    if os.path.lexists(folder / "last.ckpt"):
        raise UsageError(
            f"{folder} already holds a training: resume it with --ckpt_path last, or choose another"
            " folder with --trainer.default_root_dir"
        )


def require_same_network(saved: object, own: Mapping[str, Any]) -> None:
    """Check that a checkpoint's description is of this network; ``InputError`` says what differs."""
    if not isinstance(saved, dict):
        raise InputError("the checkpoint was not written by rtseg-train")
    for key in ("architecture", "options", "classes"):
        if saved.get(key) != own[key]:
            raise InputError(
                f"the checkpoint is of another network: its {key} is {saved.get(key)},"
                f" the recipe's is {own[key]}"
            )
