"""``python -m rtseg.training RECIPE``: train a network by its recipe, on the CPU or a GPU."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rtseg.errors import RtsegError, require_extra


def main(arguments: list[str] | None = None) -> int:
    """Train, writing ``log.jsonl``, ``last.safetensors`` and ``best.safetensors`` to ``--out``."""
    parser = argparse.ArgumentParser(prog="python -m rtseg.training", description=__doc__)
    parser.add_argument("recipe", help="a recipe's name (road-unet) or a YAML file")
    parser.add_argument("--camvid", required=True, type=Path, help="CamVid, SegNet split")
    parser.add_argument("--encoder", required=True, type=Path, help="ImageNet weights, safetensors")
    parser.add_argument("--out", required=True, type=Path, help="folder for what is written")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    options = parser.parse_args(arguments)

    try:
        require_extra("training", "train", "torch", "albumentations", "safetensors", "yaml")
        from rtseg.training.fit import fit
        from rtseg.training.recipe import Recipe

        recipe = Recipe.load(options.recipe)
        if options.epochs is not None:
            recipe.epochs = options.epochs
        options.out.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with (options.out / "log.jsonl").open("w", buffering=1) as log:
            for row in fit(recipe, options.camvid, options.encoder, options.out):
                print(json.dumps(row), flush=True)
                log.write(json.dumps(row) + "\n")
        print(f"trained in {(time.perf_counter() - start) / 60:.1f} minutes")
    except RtsegError as error:
        print(f"rtseg.training: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        print(f"rtseg.training: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
