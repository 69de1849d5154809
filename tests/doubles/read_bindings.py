"""Print the surface of ``cuda.bindings.runtime``, ``.driver`` and ``.nvrtc`` as JSON: names, no behaviour.

Run by :mod:`doubles.surface_cuda` in a process of its own, with the wheels on ``PYTHONPATH``.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from typing import Any


def read(module: Any, prefixes: tuple[str, ...]) -> dict[str, Any]:
    """Return enumerations, handle classes, plain numbers and functions with their parameters."""
    surface: dict[str, Any] = {"enums": {}, "handles": [], "values": {}, "functions": {}}
    for name, value in sorted(vars(module).items()):
        if not name.startswith(prefixes):
            continue
        if isinstance(getattr(value, "__members__", None), dict):
            surface["enums"][name] = {key: int(member) for key, member in value.__members__.items()}
        elif isinstance(value, type):
            public = [attribute for attribute in dir(value) if attribute[0] != "_"]
            if public == ["getPtr"]:
                surface["handles"].append(name)
        elif isinstance(value, int):
            surface["values"][name] = value
        elif callable(value):
            surface["functions"][name] = list(inspect.signature(value).parameters)
    return surface


if __name__ == "__main__":
    runtime = importlib.import_module("cuda.bindings.runtime")
    driver = importlib.import_module("cuda.bindings.driver")
    nvrtc = importlib.import_module("cuda.bindings.nvrtc")
    surfaces = {
        "runtime": read(runtime, ("cuda",)),
        "driver": read(driver, ("cu", "CU")),
        "nvrtc": read(nvrtc, ("nvrtc",)),
        "version": importlib.import_module("cuda.bindings").__version__,
    }
    json.dump(surfaces, sys.stdout)
