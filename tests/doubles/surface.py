"""The surfaces of NVIDIA's own TensorRT bindings, read without a GPU and kept beside as JSON.

The bindings are fetched by pip and need only a handful of C entry points to be imported: a C file
of empty functions, compiled under the names of TensorRT's libraries, lets any machine with gcc
import them and list every class, method, signature and enumeration. From ``tests/``::

    python -m doubles.surface                     # read all anew, write surfaces/*.json
    python -m doubles.surface --check             # read all anew, compare, exit 1 when they differ
    python -m doubles.surface --wheels FOLDER     # take the wheels from a folder, fetch nothing

The environment variable ``RTSEG_TENSORRT_WHEELS`` names such a folder too. ``pycuda`` and
``cuda-bindings`` are read likewise by :mod:`doubles.surface_cuda`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SURFACES = HERE / "surfaces"
RELEASES = {
    8: ("tensorrt_bindings", "8.6.1"),
    10: ("tensorrt_cu13_bindings", "10.16.1.11"),
    11: ("tensorrt_cu13_bindings", "11.4.0.106"),
}
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
    # The parsers of UFF and Caffe files, which 8.6 still links (C++ names).
    "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")


class CannotReadError(Exception):
    """pip, gcc or the wheel itself stands in the way."""


def path_of(generation: int) -> Path:
    """Return the committed surface of a TensorRT generation (8, 10, 11)."""
    version = ".".join(RELEASES[generation][1].split(".")[:3])
    return SURFACES / f"tensorrt-{version}.json"


@lru_cache
def load(path: Path) -> dict[str, Any]:
    """Read a committed surface."""
    surface: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return surface


def save(path: Path, surface: dict[str, Any]) -> None:
    """Write a surface: one line for a class, enumeration or function, sorted."""
    groups = []
    for group, content in sorted(surface.items()):
        if isinstance(content, dict):
            lines = [f"{json.dumps(name)}: {dense(value)}" for name, value in content.items()]
            groups.append(f"{json.dumps(group)}: {{\n" + ",\n".join(sorted(lines)) + "\n}")
        else:
            groups.append(f"{json.dumps(group)}: {dense(content)}")
    path.write_text("{\n" + ",\n".join(groups) + "\n}\n", encoding="utf-8")
    load.cache_clear()


def dense(value: Any) -> str:
    """Return JSON without spaces, keys sorted."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def call(*command: str | Path, **options: Any) -> str:
    """Run a command and return its output; :class:`CannotReadError` with its last line."""
    try:
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=300, **options
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotReadError(f"{command[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise CannotReadError(f"{' '.join(map(str, command[:4]))}: {said}")
    return done.stdout


def wheels_folder() -> Path | None:
    """Return the folder of wheels that ``RTSEG_TENSORRT_WHEELS`` names, if any."""
    named = os.environ.get("RTSEG_TENSORRT_WHEELS")
    return Path(named) if named else None


def fetch(distribution: str, version: str, target: Path, wheels: Path | None, *more: str) -> Path:
    """Return the file of one release: from ``wheels`` if it lies there, else by pip."""
    for folder in (wheels or wheels_folder(), target):
        if folder is None:
            continue
        for stem in (distribution, distribution.replace("_", "-")):
            found = sorted(folder.glob(f"{stem}-{version}[-.]*[lz]"))  # .whl, .tar.gz
            if found:
                return found[0]
        if folder != target:
            raise CannotReadError(f"{folder} holds no {distribution} {version}")
        if not more or more[-1] != "fetched":
            call(
                *(
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--retries",
                    "1",
                ),
                *(*more, "--dest", target, f"{distribution}=={version}"),
            )
            return fetch(distribution, version, target, None, *more, "fetched")
    raise CannotReadError(f"pip gave no file of {distribution} {version}")


def compile_stubs(folder: Path, generation: int) -> None:
    """Write empty libraries with TensorRT's names, enough for the bindings to be imported."""
    source = folder / "stubs.c"
    source.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in FUNCTIONS))
    for library in LIBRARIES:
        file = folder / f"lib{library}.so.{generation}"
        call("gcc", "-shared", "-fPIC", "-o", file, source)


def read_tensorrt(generation: int, wheels: Path | None = None) -> dict[str, Any]:
    """Return the surface of one generation, from NVIDIA's bindings; ``CannotReadError``."""
    if not sys.platform.startswith("linux"):
        raise CannotReadError("the bindings are read on Linux only")
    distribution, version = RELEASES[generation]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = fetch(distribution, version, folder, wheels)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "package")
        compile_stubs(folder, generation)
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": name,
            "PYTHONPATH": str(folder / "package"),
        }
        reader = HERE / "read_tensorrt.py"
        text = call(sys.executable, reader, "tensorrt_bindings", env=environment)
    surface: dict[str, Any] = json.loads(text)
    return surface


def main() -> int:
    """Read every surface and write or compare it."""
    from doubles import surface_cuda

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wheels", type=Path, help="folder of wheels, instead of pip")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    wheels = options.wheels
    read = {path_of(generation): read_tensorrt(generation, wheels) for generation in RELEASES}
    read[surface_cuda.PYCUDA] = surface_cuda.read_pycuda(wheels)
    read[surface_cuda.BINDINGS] = surface_cuda.read_bindings(wheels)
    differ = 0
    for path, surface in read.items():
        same = path.exists() and load(path) == surface
        differ += not same
        print(f"{path.name}: {'as it was' if same else 'differs' if options.check else 'written'}")
        if not options.check:
            save(path, surface)
    return int(options.check and differ > 0)


if __name__ == "__main__":
    raise SystemExit(main())
