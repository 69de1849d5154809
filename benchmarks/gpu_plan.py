"""What ``benchmarks.gpu`` measures, in the order of importance: cells, and contenders in each.

A cell is a network at one size and batch; in it all contenders take turns.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rtseg.engine import find_network
from rtseg.spec import Spec

ROOT = Path(__file__).resolve().parent.parent

SIZES = ((512, 256), (1024, 512), (1920, 1080))
BATCHES = (1, 8)

OURS = "tensorrt fp16"
EAGER = "torch eager fp32"

CONTENDERS = {
    "gpu": (
        OURS,
        EAGER,
        "torch CUDA graph fp16",
        "torch channels-last fp16",
        "onnxruntime CUDA fp32",
        "tensorrt int8",
    ),
    "cpu": ("openvino", "onnxruntime fp32", EAGER, "torch channels-last fp32", "openvino fp32"),
}
"""Those that run in every cell, by the kind of the machine, the most important first."""

ONCE = {
    "gpu": ("torch-tensorrt fp16", "tensorrt fp32", "torch.compile fp16"),
    "cpu": (),
}
"""Those that take a minute to be built: only in the first cell."""


@dataclass(frozen=True)
class Cell:
    """A network (as it was asked for, and its name) at one size and batch.

    ``size`` (width, height) is the nearest to ``asked`` that the network takes. ``level`` says how
    important the cell is, 0 the most; ``leads`` is the first of all. ``sha256`` is the network file's.
    """

    network: str
    name: str
    sha256: str
    size: tuple[int, int]
    asked: tuple[int, int]
    batch: int
    level: int
    leads: bool

    @property
    def key(self) -> str:
        """What tells this cell from the others."""
        return f"{self.name} {self.size[0]}x{self.size[1]} batch {self.batch}"

    def values(self) -> dict[str, Any]:
        """The cell as plain JSON values."""
        return {"key": self.key, **asdict(self)}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Cell:
        """Make the cell again that :meth:`values` told of."""
        known = {field.name: values[field.name] for field in fields(cls)}
        known |= {"size": tuple(known["size"]), "asked": tuple(known["asked"])}
        return cls(**known)


def map_checkout() -> None:
    """Make ``rtseg.zoo`` importable from a checkout: an installation maps it to ``engines/``."""
    if importlib.util.find_spec("rtseg.zoo") is not None:
        return
    folder = ROOT / "engines"
    spec = importlib.util.spec_from_file_location(
        "rtseg.zoo", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["rtseg.zoo"] = module
        spec.loader.exec_module(module)


def nearest(spec: Spec, size: tuple[int, int]) -> tuple[int, int]:
    """Return the (width, height) nearest to ``size`` that a network takes."""
    if spec.fixed_size:
        return spec.width, spec.height
    d = spec.size_divisor
    width, height = (max(d, round(side / d) * d) for side in size)
    return width, height


def cells(
    networks: Sequence[str], sizes: Sequence[tuple[int, int]], batches: Sequence[int]
) -> list[Cell]:
    """List all cells, the most important first; errors as in :func:`rtseg.engine.find_network`.

    First every network at the first size and batch, then the first size's other batches, then the
    other sizes' first batch, then the rest. Two sizes that a network takes as one are one cell.
    """
    found = {network: find_network(network) for network in networks}
    made: dict[str, Cell] = {}
    for i, asked in enumerate(sizes):
        for j, batch in enumerate(batches):
            level = (3 if j else 2) if i else (1 if j else 0)
            for network, file in found.items():
                size = nearest(file.spec, asked)
                cell = Cell(
                    network, file.spec.name, file.sha256, size, asked, batch, level, not made
                )
                made.setdefault(cell.key, cell)
    return sorted(made.values(), key=lambda cell: cell.level)


def contenders(kind: str, cell: Cell) -> tuple[str, ...]:
    """Who takes part in a cell on a machine of this kind (``gpu`` or ``cpu``)."""
    return (*CONTENDERS[kind], *(ONCE[kind] if cell.leads else ()))
