"""Measurements as JSON: plain values, no NaN, no private paths."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def rounded(value: Any, digits: int = 5) -> Any:
    """Round every float in plain JSON values to significant digits; NaN and infinity become None."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(inner, digits) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner, digits) for inner in value]
    return value


def shown(argument: str) -> str:
    """An argument as a result shows it: where this machine keeps its files is nobody's business."""
    path = Path(argument)
    return path.name if path.is_absolute() or ".." in path.parts else argument


def encode(values: Mapping[str, Any]) -> bytes:
    """Return values as the bytes of a JSON file; ``ValueError`` where a NaN is left in them."""
    text = json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode()
