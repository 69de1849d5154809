"""A recipe: everything that decides what a training gives, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rtseg.errors import UsageError


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

        ``UsageError`` names the file and the key that is unknown or missing.
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
        return cls(**values)
