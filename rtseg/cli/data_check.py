"""``rtseg-data check``: what is wrong with a dataset, and what is in it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rtseg.cli.interrupts import Interrupts
from rtseg.errors import UsageError

_EPILOG = """\
Every picture and mask is read. Found are pictures and masks that lack each other, files that cannot
be read, masks of another size than their picture, colours and indices that the class table lacks,
masks with nothing in them, and pictures that are for training and for validation both. The exit
status is 0 where nothing is wrong, 1 with findings, a line each.

Kinds of dataset:
  camvid      CamVid's SegNet split: train/ and trainannot/, val/ and valannot/ ...
  camvid32    CamVid's own: 701_StillsRaw_full/ and LabeledApproved_full/, images/ and labels/, or
              train/ and train_labels/
  kitti-road  training/image_2/ and training/gt_image_2/
  folder      one's own: images/ and masks/, or train/images/, train/masks/, val/images/ ...; with
              a classes.txt: R G B Name a line, in the order of the masks' indices

  rtseg-data check data/own
  rtseg-data check data/CamVid --split val --json camvid.json"""


def add_dataset(p: argparse.ArgumentParser) -> None:
    """Add the arguments that name a dataset, for :func:`declared_of`."""
    from rtseg.data.layouts import FILE_KINDS

    p.add_argument("folder", type=Path, metavar="FOLDER", help="the dataset")
    p.add_argument("--kind", choices=FILE_KINDS, help="default: what it is laid out as")
    p.add_argument(
        "--classes",
        metavar="TABLE",
        help="what the masks hold: a class file, camvid11, camvid32 or road (default: classes.txt "
        "or label_colors.txt in the folder)",
    )
    p.add_argument(
        "--masks",
        choices=("auto", "indices", "colours"),
        default="auto",
        help="what a folder's masks hold (default: by their channels)",
    )


def add(subparsers: Any) -> None:
    """Add the command to those of ``rtseg-data``; its ``run`` is :func:`run`."""
    about = "Find what is wrong with a dataset, and count its classes."
    p = subparsers.add_parser("check", help=about, description=about, epilog=_EPILOG)
    add_dataset(p)
    p.add_argument("--split", choices=("train", "val", "test", "all"), default="all")
    p.add_argument("--json", type=Path, metavar="FILE", help="all that was found, as JSON")
    p.set_defaults(run=run)


def declared_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the dataset of the command line as a recipe would declare it, without its split."""
    from rtseg.data.declared import KEYS
    from rtseg.data.layouts import detect_kind

    kind = options.kind or detect_kind(options.folder)
    declared = {"kind": kind, "folder": str(options.folder)}
    for option, key, value in (
        ("--classes", "classes_file", options.classes),
        ("--masks", "masks", None if options.masks == "auto" else options.masks),
    ):
        if value is not None:
            if key not in KEYS[kind]:
                raise UsageError(f"{option}: {kind} has its own: leave it out")
            declared[key] = value
    return declared


class _Bar:
    """The progress bar, where somebody looks."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None and sys.stderr is not None and sys.stderr.isatty():
            from rtseg.cli.progress import Progress

            self._bar = Progress(total)
        if self._bar is not None:
            self._bar.update(done)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def run(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    if options.json is not None:
        from rtseg.atomic import require_writable

        require_writable(options.json)
    from rtseg.data.check import check, summary
    from rtseg.data.layouts import find_files
    from rtseg.data.source import decoder_of, legend_of
    from rtseg.video.quiet import quiet_opencv

    declared = declared_of(options)
    kind = declared["kind"]
    legend = legend_of(kind, options.folder, declared.get("classes_file"))
    parts = find_files(kind, options.folder)
    if options.split != "all":
        if options.split not in parts:
            has = f"only {', '.join(parts)}" if "all" not in parts else "no folders for its splits"
            raise UsageError(f"--split {options.split}: {options.folder} has {has}")
        parts = {options.split: parts[options.split]}
    quiet_opencv()
    bar = _Bar()
    with Interrupts(own_process=False) as interrupts:
        try:
            report = check(parts, decoder_of(kind, legend, declared), bar)
        except KeyboardInterrupt:
            return interrupts.status
        finally:
            bar.close()
    values = {"folder": str(options.folder), "kind": kind, **report.as_dict()}
    if options.json is not None:
        from rtseg.atomic import write_atomically

        text = json.dumps(values, indent=1, ensure_ascii=False)
        write_atomically(options.json, text.encode("utf-8", "surrogateescape"))
    for finding in report.findings:
        print(finding.message)
    print(f"{options.folder}: {kind}")
    for line in summary(values):
        print(line)
    return 1 if report.findings else 0
