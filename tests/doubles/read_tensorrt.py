"""Print the surface of an importable TensorRT bindings package as JSON: names, no behaviour.

Run by :mod:`doubles.surface` in a process of its own, because the bindings are a C++ extension
that must find its libraries before Python starts: ``python read_tensorrt.py tensorrt_bindings``.
Nothing of this package is imported here.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from typing import Any

OPERATORS = ("__lt__", "__and__", "__or__", "__invert__", "__index__", "__int__")
PROTOCOL = ("__getitem__", "__len__", "__del__", "__enter__", "__exit__", "__iter__", "__str__")
SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)(\(.*\))(?: -> (.*))?$")


def without_package(text: str) -> str:
    """Return a signature without the extension's name before its own types."""
    return re.sub(r"\btensorrt_bindings(\.tensorrt)?\.", "", text)


def signatures(name: str, doc: str | None) -> list[str]:
    """Return the pybind11 signatures in a docstring, one for each overload."""
    found = []
    for line in (doc or "").splitlines():
        match = SIGNATURE.match(line.strip())
        if match and match[1] == name and match[2] != "(*args, **kwargs)":
            found.append(without_package(match[2] + (f" -> {match[3]}" if match[3] else "")))
    return found


def returned(doc: str | None) -> str:
    """Return the type that a property's getter says it gives, or ``""``."""
    match = re.search(r"\) -> (.*)", doc or "")
    return without_package(match[1].strip()) if match else ""


def is_enum(kind: type) -> bool:
    """Whether a class is a pybind11 enumeration."""
    return isinstance(getattr(kind, "__members__", None), dict)


def read_enum(kind: Any) -> dict[str, Any]:
    """Return an enumeration's members with their values, and the operators it knows."""
    return {
        "members": {name: int(member) for name, member in kind.__members__.items()},
        "operators": [name for name in OPERATORS if name in vars(kind)],
        "properties": sorted(
            name
            for name, value in vars(kind).items()
            if isinstance(value, property) and name[0] != "_" and name not in ("name", "value")
        ),
    }


def read_class(kind: type) -> dict[str, Any]:
    """Return a class's constructors, methods, properties (type, settable) and plain values."""
    methods: dict[str, list[str]] = {}
    properties: dict[str, list[Any]] = {}
    values: dict[str, str] = {}
    for name, value in vars(kind).items():
        if name == "__init__" or (name.startswith("_") and name not in PROTOCOL):
            continue
        if isinstance(value, property):
            doc = value.fget.__doc__ if value.fget else None
            properties[name] = [returned(doc), value.fset is not None]
        elif callable(value) and not isinstance(value, type):
            doc = signatures(name, value.__doc__)
            if not doc and inspect.isfunction(value):
                doc = [str(inspect.signature(value))]
            methods[name] = doc
        elif not isinstance(value, type):
            values[name] = str(value)
    init = vars(kind).get("__init__")
    return {
        "bases": [base.__name__ for base in kind.__bases__ if base.__module__ == kind.__module__],
        "init": signatures("__init__", init.__doc__) if init is not None else None,
        "methods": methods,
        "properties": properties,
        "values": values,
    }


def read(module: Any) -> dict[str, Any]:
    """Return the surface of the bindings: enumerations, classes, functions, values."""
    surface: dict[str, Any] = {"enums": {}, "classes": {}, "functions": {}, "values": {}}
    kinds = [(name, value) for name, value in vars(module).items() if isinstance(value, type)]
    while kinds:
        name, kind = kinds.pop()
        if kind.__module__.split(".")[0] != module.__name__:
            continue
        if kind.__name__ != name.split(".")[-1]:
            surface["values"][name] = kind.__name__  # an alias
            continue
        if is_enum(kind):
            surface["enums"][name] = read_enum(kind)
            continue
        surface["classes"][name] = read_class(kind)
        kinds += [
            (f"{name}.{inner}", value)
            for inner, value in vars(kind).items()
            if isinstance(value, type) and not inner.startswith("_")
        ]
    enums = {
        f"{name}.{member}" for name, enum in surface["enums"].items() for member in enum["members"]
    }
    for name, value in vars(module).items():
        if name.startswith("_") or isinstance(value, type):
            continue
        if inspect.isfunction(value):
            surface["functions"][name] = [str(inspect.signature(value))]
        elif callable(value):
            surface["functions"][name] = signatures(name, value.__doc__)
        elif str(value) in enums:
            surface["values"][name] = str(value)
    surface["version"] = module.__version__
    return surface


if __name__ == "__main__":
    json.dump(read(importlib.import_module(sys.argv[1])), sys.stdout, sort_keys=True)
