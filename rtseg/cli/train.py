"""``rtseg-train``: train, score and apply networks by recipes."""

from __future__ import annotations

import sys

from rtseg.cli.arguments import run
from rtseg.errors import require_extra

_MODULES = (
    "torch", "lightning", "jsonargparse", "albumentations", "matplotlib", "safetensors", "yaml",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments

    def command() -> int:
        require_extra("rtseg-train", "train", *_MODULES)
        from rtseg.cli.train_command import train

        return train(given)

    return run("rtseg-train", command)


if __name__ == "__main__":
    sys.exit(main())
