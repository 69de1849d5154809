"""What the tables of results share: reading a result, and naming where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rtseg.errors import InputError


def read(folder: Path, name: str) -> dict[str, Any]:
    """Read the result ``NAME.json``; ``InputError`` where it cannot be."""
    path = folder / f"{name}.json"
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read this result: {error}") from error
    return values


def source(result: dict[str, Any]) -> str:
    """Name the command, the day, the machine and the versions of a result."""
    machine, versions = result["machine"], result["versions"]
    told = ", ".join(
        f"{package} {versions[package]}"
        for package in ("openvino", "onnxruntime", "torch", "opencv-python")
        if package in versions
    )
    return (
        f"`{result['command']}`, {result['date'][:10]}, {machine['usable_cores']} cores of "
        f"{machine['processor']}, Python {versions['python']}, {told}."
    )


def sized(size: list[int]) -> str:
    """A size in words."""
    return f"{size[0]}×{size[1]}"
