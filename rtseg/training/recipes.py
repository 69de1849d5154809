"""Recipes by name: the YAML files that are installed with rtseg, or one's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from rtseg.errors import UsageError


def published() -> list[str]:
    """Return the names of the installed recipes; those in a folder have its name in front."""
    folder = Path(str(resources.files("rtseg.recipes")))
    found = (path.relative_to(folder) for path in folder.rglob("*.yaml"))
    return sorted(path.with_suffix("").as_posix() for path in found)


def find_recipe(name: str) -> Path:
    """Return the file of a recipe by its name or path; ``UsageError`` lists the names there are."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = Path(str(resources.files("rtseg.recipes") / f"{name}.yaml"))
    if not path.is_file():
        raise UsageError(
            f"{name}: no such recipe: give a YAML file or one of {', '.join(published())}"
        )
    return path
