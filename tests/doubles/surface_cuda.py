"""The surfaces of pycuda (read off its sources) and of cuda-python (imported without a GPU).

pycuda is published as source only and wants CUDA's headers to be built, so the names are read from
the text: ``wrap_cudadrv.cpp`` says what the compiled part exposes, ``driver.py`` what Python adds.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from doubles.surface import HERE, SURFACES, CannotReadError, call, fetch

PYCUDA = SURFACES / "pycuda-2026.1.json"
BINDINGS = SURFACES / "cuda-bindings-13.5.0.json"
CLASS = re.compile(r"py::class_<.*?>\s*(?:wrp|cls)?\s*\(\s*\"(\w+)\"", re.DOTALL)
METHOD = re.compile(
    r"\.def\(\"(\w+)\"|\.DEF_SIMPLE_METHOD(?:_WITH_ARGS)?\((\w+)|\.staticmethod\(\"(\w+)\"\)"
    r"|\.(?:add_property|def_readwrite|def_readonly)\(\"(\w+)\""
)
ENUM = re.compile(r"py::enum_<\w+>\(\"(\w+)\"\)(.*?);", re.DOTALL)
FUNCTION = re.compile(
    r"(?<![.\w])(?:py::def\(\"(\w+)\"|DEF_SIMPLE_FUNCTION(?:_WITH_ARGS)?\((\w+))(.*?)\);", re.DOTALL
)
ARGUMENT = re.compile(r"py::arg\(\"(\w+)\"\)(=)?")


def named(rest: str) -> list[str] | None:
    """Return the parameters that a Boost.Python definition names, ``=`` behind the optional ones."""
    found = []
    for part in re.finditer(r"py::args\(([^)]*)\)|py::arg\(\"(\w+)\"\)(=?)", rest):
        if part[1] is not None:
            found += re.findall(r"\"(\w+)\"", part[1])
        else:
            found.append(part[2] + part[3])
    return [name for name in found if name != "self"] or None


def read_wrapper(source: str) -> dict[str, Any]:
    """Return what the compiled part of ``pycuda.driver`` exposes."""
    plain = re.sub(r"//[^\n]*|^#.*?$", "", source, flags=re.MULTILINE)
    surface: dict[str, Any] = {"classes": {}, "enums": {}, "functions": {}, "errors": []}
    starts = [*CLASS.finditer(plain)]
    for match in starts:
        end = plain.find(";", match.end())
        body = plain[match.end() : end]
        names = {next(filter(None, found.groups())) for found in METHOD.finditer(body)}
        known = surface["classes"].get(match[1], [])
        surface["classes"][match[1]] = sorted({*names, *known})
    for match in re.finditer(r"wrp\s*((?:\.DEF_SIMPLE_METHOD|\.def).*?);", plain, re.DOTALL):
        before = [start for start in starts if start.start() < match.start()][-1][1]
        names = {next(filter(None, found.groups())) for found in METHOD.finditer(match[1])}
        surface["classes"][before] = sorted({*names, *surface["classes"][before]})
    for match in ENUM.finditer(plain):
        surface["enums"][match[1]] = sorted(set(re.findall(r"\.value\(\"(\w+)\"", match[2])))
    for kind, names in re.findall(r"class_<(\w+_flags)>\s*cls\(\"\w+\".*?\);(.*?)\}", plain, re.S):
        surface["enums"][kind] = sorted(set(re.findall(r"attr\(\"(\w+)\"\)", names)))
    for match in FUNCTION.finditer(plain):
        surface["functions"][match[1] or match[2]] = named(match[3])
    surface["errors"] = re.findall(r"DECLARE_EXC\((\w+), ", plain)
    return surface


def read_python(source: str) -> dict[str, list[str]]:
    """Return the functions and classes of a Python module, with the parameters of functions."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_":
            found[node.name] = [parameter.arg for parameter in node.args.args]
        elif isinstance(node, ast.ClassDef):
            init = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            found[node.name] = [parameter.arg for parameter in init[0].args.args] if init else []
    return found


def added(source: str) -> dict[str, list[str]]:
    """Return what ``_add_functionality`` sets on the compiled classes: ``Function.prepare`` ..."""
    found: dict[str, list[str]] = {}
    for owner, name in re.findall(r"^\s+(Device|Function)\.(\w+) = ", source, re.MULTILINE):
        found.setdefault(owner, []).append(name)
    return {owner: sorted(set(names)) for owner, names in found.items()}


def read_pycuda(wheels: Path | None = None) -> dict[str, Any]:
    """Return the surface of pycuda's ``driver`` and ``compiler``; ``CannotReadError``."""
    name, version = PYCUDA.stem.split("-")
    with tempfile.TemporaryDirectory() as folder:
        path = fetch(
            name, version, Path(folder), wheels, "--no-binary", ":all:", "--no-build-isolation"
        )
        with tarfile.open(path) as archive:

            def text(inside: str) -> str:
                file = archive.extractfile(f"{name}-{version}/{inside}")
                if file is None:
                    raise CannotReadError(f"{path} holds no {inside}")
                return file.read().decode()

            wrapper = read_wrapper(text("src/wrapper/wrap_cudadrv.cpp"))
            driver, compiler = text("pycuda/driver.py"), text("pycuda/compiler.py")
    return {
        **wrapper,
        "python": read_python(driver),
        "added": added(driver),
        "compiler": read_python(compiler),
        "version": version,
    }


def read_bindings(wheels: Path | None = None) -> dict[str, Any]:
    """Return the surface of ``cuda.bindings.runtime`` and ``.driver``; ``CannotReadError``."""
    version = BINDINGS.stem.rsplit("-", 1)[1]
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "package")
        for distribution, wanted in (("cuda_bindings", version), ("cuda_pathfinder", "1.9.0")):
            with zipfile.ZipFile(fetch(distribution, wanted, Path(folder), wheels)) as archive:
                archive.extractall(package)
        environment = {**os.environ, "PYTHONPATH": str(package)}
        text = call(sys.executable, HERE / "read_bindings.py", env=environment)
    surface: dict[str, Any] = json.loads(text)
    return surface
