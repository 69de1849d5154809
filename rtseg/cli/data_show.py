"""``rtseg-data show``: samples of a dataset, its class frequencies, and what augmentation does."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtseg.cli.arguments import whole
from rtseg.cli.data_check import add_dataset, declared_of
from rtseg.errors import UsageError, require_extra

_EPILOG = """\
Writes into OUT: samples.png (pictures and their masks), frequencies.png (how much of the pixels and
of the pictures each class has) and, with a recipe, augmented.png (the same pictures as a training
sees them). A recipe also gives the classes that the masks are turned to. FOLDER may be the word
drive, for the rendered drive.

  rtseg-data show data/own --out look
  rtseg-data show data/CamVid --out look --recipe street-unet"""


def add(subparsers: Any) -> None:
    """Add the command to those of ``rtseg-data``; its ``run`` is :func:`run`."""
    about = "Look at a dataset: samples, class frequencies, augmentation."
    p = subparsers.add_parser("show", help=about, description=about, epilog=_EPILOG)
    add_dataset(p)
    p.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        help="default: all, of CamVid's SegNet split train",
    )
    p.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for the pictures")
    p.add_argument(
        "--count", type=whole(1), default=12, metavar="N", help="samples shown (default: 12)"
    )
    p.add_argument("--seed", type=whole(0), default=0, metavar="N", help="decides which")
    p.add_argument("--recipe", metavar="NAME", help="an installed recipe, or a YAML file")
    p.set_defaults(run=run)


def _recipe_data(name: str) -> Mapping[str, Any]:
    """Return the key ``data`` of a recipe; ``UsageError`` where it has none that fits."""
    import yaml

    from rtseg.training.recipes import find_recipe

    path = find_recipe(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    data = values.get("data") if isinstance(values, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("classes"), str):
        raise UsageError(f"{path}: its key data.classes is missing: a class table's name or file")
    return data


def _declared(options: argparse.Namespace) -> dict[str, Any]:
    if options.folder == Path("drive") and options.kind is None and not options.folder.is_dir():
        return {"kind": "drive", "frames": 1000}
    declared = declared_of(options)
    default = "train" if declared["kind"] == "camvid" else "all"
    return {**declared, "split": options.split or default}


def _merge(data: Mapping[str, Any], kind: str) -> Mapping[str, str] | None:
    """Return how the recipe merges the classes of the first source of this kind, if it does."""
    sources = [*(data.get("train") or []), *(data.get("val") or [])]
    same = (s for s in sources if isinstance(s, Mapping) and s.get("kind") == kind)
    return next((source["merge"] for source in same if "merge" in source), None)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    require_extra("rtseg-data show", "train", "matplotlib", "albumentations", "yaml")
    from rtseg.data.labels import CAMVID11, class_table
    from rtseg.data.source import legend_of, open_source
    from rtseg.training.preview import write_preview
    from rtseg.video.quiet import quiet_opencv

    quiet_opencv()
    declared = _declared(options)
    kind = declared["kind"]
    augmentation = None
    if options.recipe is not None:
        data = _recipe_data(options.recipe)
        classes = class_table(data["classes"])
        augmentation = data.get("augmentation")
        merge = _merge(data, kind)
        if merge is not None:
            declared["merge"] = merge
        declared["partial"] = True  # what is missing is shown, not refused
    elif kind == "drive":
        classes = CAMVID11
    else:
        classes = legend_of(kind, options.folder, declared.get("classes_file")).classes
    source = open_source(declared, classes, where=str(options.folder))
    found = write_preview(
        source, options.out, count=options.count, seed=options.seed, augmentation=augmentation
    )
    print(f"{options.folder}: {kind}, {found['pictures']} pictures, {len(classes.names)} classes")
    absent = [name for name, share in found["classes"].items() if not share["pictures"]]
    if absent:
        print(f"not in the {found['counted']} counted pictures: {', '.join(absent)}")
    for file in found["files"]:
        print(file)
    return 0
