"""``python -m rtseg.cli.soup``: the weighted mean of several trainings of one network."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from rtseg.cli.arguments import Parser, run
from rtseg.errors import UsageError, require_extra

PROG = "python -m rtseg.cli.soup"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    p = Parser(PROG, "Write the weighted mean of several trainings of one network.")
    p.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    p.add_argument(
        "part", nargs="+", metavar="FILE=SHARE", help="a safetensors file or zoo network, 0 to 1"
    )
    options = p.parse_args(arguments)

    def mix() -> int:
        wanted, shares = [], []
        for part in options.part:
            name, _, share = part.rpartition("=")
            try:
                shares.append(float(share))
            except ValueError:
                raise UsageError(f"{part}: give FILE=SHARE, such as best.safetensors=0.5") from None
            wanted.append(name)
        if not math.isclose(sum(shares), 1, abs_tol=1e-6) or min(shares) < 0:
            raise UsageError(f"the shares are {shares}: numbers from 0 up whose sum is 1")
        require_extra("mixing networks", "train", "torch", "safetensors")
        from safetensors import safe_open

        from rtseg.training.soup import mean
        from rtseg.training.weights import find_weights, save_weights

        files = [find_weights(name) for name in wanted]
        with safe_open(str(files[0]), framework="pt") as file:
            metadata = file.metadata() or {}
        save_weights(mean(files, shares), options.out, metadata)
        print(f"{options.out}: the mean of {len(files)} networks")
        return 0

    return run(PROG, mix)


if __name__ == "__main__":
    sys.exit(main())
