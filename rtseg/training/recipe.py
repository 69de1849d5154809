"""A recipe: everything that decides what a training gives, read from YAML."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rtseg.errors import UsageError


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_factor(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_colour(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(v) is int and 0 <= v <= 255 for v in value)
    )


_FACTOR = ("a number from 0 up", _is_factor)
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "architecture": ("a name", lambda v: isinstance(v, str)),
    "classes": (
        "a list of two or more distinct names",
        lambda v: (
            isinstance(v, list)
            and all(isinstance(n, str) and n for n in v)
            and len(set(v)) == len(v) >= 2
        ),
    ),
    "palette": ("a list of RGB colours", lambda v: isinstance(v, list) and all(map(_is_colour, v))),
    "size": (
        "a width and a height",
        lambda v: isinstance(v, list) and len(v) == 2 and all(map(_is_count, v)),
    ),
    "epochs": ("a whole number from 1 up", _is_count),
    "options": ("a mapping", lambda v: isinstance(v, dict)),
    "data": ("a mapping", lambda v: isinstance(v, dict)),
    "seed": ("a whole number", lambda v: type(v) is int),
    "batch": ("a whole number from 1 up", _is_count),
    "learning_rate": _FACTOR,
    "encoder_factor": _FACTOR,
    "weight_decay": _FACTOR,
    "dice_weight": _FACTOR,
    "ema": ("from 0 to 1", lambda v: _is_factor(v) and v <= 1),
}


@dataclass
class Recipe:
    """The keys of a recipe file; ``train/road-unet.yaml`` explains each."""

    architecture: str
    classes: list[str]
    palette: list[list[int]]
    size: list[int]
    epochs: int
    options: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch: int = 8
    learning_rate: float = 0.002
    encoder_factor: float = 1.0
    weight_decay: float = 0.01
    dice_weight: float = 0.0
    ema: float = 0.0

    @classmethod
    def load(cls, name: str) -> Recipe:
        """Read a YAML file, or a recipe that is installed with rtseg, by its name.

        ``UsageError`` names the file and the key that is unknown, missing or of the wrong kind.
        """
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            path = Path(str(resources.files("rtseg.recipes") / f"{name}.yaml"))
        if not path.is_file():
            raise UsageError(
                f"{name}: no such recipe: give a YAML file or an installed recipe's name"
            )
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise UsageError(f"{path}: a recipe is a mapping of keys to values")
        known = {f.name for f in fields(cls)}
        for key in values:
            if key not in known:
                raise UsageError(f"{path}: unknown key {key!r}: one of {', '.join(sorted(known))}")
        for key in ("architecture", "classes", "palette", "size", "epochs"):
            if key not in values:
                raise UsageError(f"{path}: the key {key!r} is missing")
        recipe = cls(**values)
        for key, (kind, fits) in _KINDS.items():
            if not fits(getattr(recipe, key)):
                raise UsageError(f"{path}: the key {key!r} is not {kind}")
        if len(recipe.palette) != len(recipe.classes):
            raise UsageError(f"{path}: the key 'palette' has not one colour a class")
        return recipe
