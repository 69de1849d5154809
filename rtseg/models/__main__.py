"""``python -m rtseg.models``: parameters and FLOPs of every architecture."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from rtseg.errors import UsageError, require_extra


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    """Print a table; returns the exit status."""
    parser = _Parser(prog="python -m rtseg.models", description=__doc__)
    parser.add_argument("architecture", nargs="*", help="names (default: all of rtseg's own)")
    parser.add_argument("--size", default="512x256", metavar="WxH", help="default: 512x256")
    parser.add_argument("--classes", type=int, default=2, help="number of classes (default: 2)")
    options = parser.parse_args(arguments)
    try:
        require_extra("counting parameters and FLOPs", "train", "torch")
    except UsageError as error:
        parser.error(str(error))
    import torch

    from rtseg.models.registry import ARCHITECTURES, WITH_EXTRAS, build, flops, parameters

    try:
        width, height = (int(side) for side in options.size.split("x"))
    except ValueError:
        parser.error(f"--size {options.size}: give width x height, such as 512x256")
    if width <= 0 or height <= 0 or width % 32 or height % 32:
        parser.error(f"--size {options.size}: width and height are multiples of 32")
    if options.classes < 1:
        parser.error(f"--classes {options.classes}: at least 1")
    for name in options.architecture:
        if name not in WITH_EXTRAS:
            parser.error(f"unknown architecture {name!r}: one of {', '.join(WITH_EXTRAS)}")
    table = Table(title=f"{width}×{height}, {options.classes} classes, one image")
    table.add_column("architecture")
    for column in ("parameters, M", "GFLOP", "logits' stride"):
        table.add_column(column, justify="right")
    for name in options.architecture or ARCHITECTURES:
        try:
            with torch.device("meta"):  # shapes only: VGG-16's 134 M weights are never made
                model: Any = build(name, options.classes)
                operations = flops(model, width, height)
        except UsageError as error:  # of an extra that is not installed
            parser.error(str(error))
        table.add_row(
            name,
            f"{parameters(model) / 1e6:.2f}",
            f"{operations / 1e9:.2f}",
            str(model.logits_stride),
        )
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
