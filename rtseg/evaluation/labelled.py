"""Labelled datasets as samples to evaluate: every picture of a split, those without a mask too."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rtseg.data.camvid import CAMVID11_LEGEND
from rtseg.data.drive import HELD_OUT_FRAMES
from rtseg.data.labels import ClassTable, Legend
from rtseg.data.layouts import FILE_KINDS, Files, Parts, detect_kind, find_files
from rtseg.data.masks import MaskDecoder
from rtseg.data.source import decoder_of, legend_of
from rtseg.data.splits import Split
from rtseg.errors import InputError, UsageError
from rtseg.evaluation.birds_eye import calibration_of
from rtseg.evaluation.kitti_road import category_of
from rtseg.evaluation.samples import DriveSample, FileSample, Sample, Truths, output_names
from rtseg.evaluation.scored_classes import ScoredClasses, scored_classes

KINDS = (*FILE_KINDS, "drive")
"""The kinds of labelled dataset."""


@dataclass(frozen=True)
class Dataset:
    """Samples and how they are scored; ``scored`` and ``truths`` are None where nothing is."""

    kind: str
    folder: str
    split: str | None
    samples: Sequence[Sample]
    scored: ScoredClasses | None = None
    truths: Truths | None = None


def open_labelled(
    folder: str | Path,
    network: ClassTable,
    *,
    kind: str | None = None,
    split: str | None = None,
    classes_file: str | Path | None = None,
    truths: str = "auto",
) -> Dataset:
    """Open a labelled dataset for a network of the given classes.

    Args:
        folder: Where it lies, or ``drive`` for the rendered drive's held-out frames.
        network: What the network's masks hold.
        kind: One of :data:`KINDS`; by default what the folder is laid out as.
        split: ``train``, ``val``, ``test`` or ``all``. Where the dataset has folders for them the
            default is ``val``; where it has none it is ``all``, and ``val`` is the tenth that a
            training leaves out by default (:class:`rtseg.data.splits.Split`).
        classes_file: As in :func:`rtseg.data.source.legend_of`.
        truths: What a folder's masks hold: ``indices``, ``colours``, or ``auto`` by their channels.

    Raises:
        UsageError: no such kind or split, or masks that have no class of the network's.
        InputError: the folder is missing or not laid out as its kind is.
    """
    if kind == "drive" or (kind is None and str(folder) == "drive"):
        return _drive(network, split)
    folder = Path(folder)
    kind = kind or detect_kind(folder)
    parts = find_files(kind, folder)
    if kind in ("camvid", "kitti-road") and classes_file is not None:
        raise UsageError(f"--classes-file: {kind} has its own: leave it out")
    legend = legend_of(kind, folder, classes_file)
    decoder = decoder_of(kind, legend, {"masks": truths})
    scored = scored_classes(network, legend, kind)
    split, files = _chosen(parts, split, folder)
    samples = _samples(files, folder, kind)
    if not samples:
        raise InputError(f"{folder}: no pictures in its split {split}")
    return _dataset(kind, str(folder), split, samples, scored, decoder)


def _dataset(
    kind: str,
    folder: str,
    split: str,
    samples: Sequence[Sample],
    scored: ScoredClasses,
    decoder: MaskDecoder | None,
) -> Dataset:
    return Dataset(kind, folder, split, samples, scored, Truths(scored.truth, decoder))


def _drive(network: ClassTable, split: str | None) -> Dataset:
    if split not in (None, "val"):
        raise UsageError(
            f"--split {split}: of the rendered drive there are the held-out frames: val"
        )
    samples = [
        DriveSample(i, f"drive {seed}/{frame}", f"drive-{seed:02d}-{frame:06d}", seed, frame)
        for i, (seed, frame) in enumerate(HELD_OUT_FRAMES)
    ]
    legend: Legend = CAMVID11_LEGEND
    return _dataset(
        "drive", "drive", "val", samples, scored_classes(network, legend, "drive"), None
    )


def _chosen(parts: Parts, split: str | None, folder: Path) -> tuple[str, Files]:
    """The files of a split, and its name."""
    own = "all" not in parts
    if split is None:
        split = "all" if not own else "val" if "val" in parts else next(iter(parts))
    if own:
        if split not in (*parts, "all"):
            raise UsageError(f"--split {split}: {folder} has {', '.join(parts)}, and all")
        return split, _together([parts[split]] if split != "all" else parts.values())
    files = parts["all"]
    if split == "all":
        return split, files
    if split not in ("train", "val"):
        raise UsageError(
            f"--split {split}: {folder} has no folders for its parts: val, train or all"
        )
    by_name = {pair.picture.stem: pair for pair in files.pairs}
    try:
        names = Split(cast(Any, split)).of(by_name)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    # A picture without a mask was drawn for no part: whoever evaluates one is to hear of it.
    return split, Files(
        tuple(by_name[name] for name in names),
        files.without_mask,
        files.without_picture,
        files.twice,
    )


def _together(parts: Iterable[Files]) -> Files:
    chosen = list(parts)
    return Files(
        tuple(pair for files in chosen for pair in files.pairs),
        tuple(path for files in chosen for path in files.without_mask),
        tuple(path for files in chosen for path in files.without_picture),
        tuple(path for files in chosen for path in files.twice),
    )


def _samples(files: Files, folder: Path, kind: str) -> list[Sample]:
    """The pictures of a split as samples, by name, with those that will be skipped."""
    masks: dict[Path, Path | None] = {pair.picture: pair.mask for pair in files.pairs}
    faults: dict[Path, tuple[str, str]] = {}
    for reason, says, pictures in (
        ("no mask", "this picture has no mask", files.without_mask),
        ("namesake", "another picture before it has the same mask", files.twice),
    ):
        for picture in pictures:
            masks[picture] = None
            faults[picture] = (reason, f"{picture}: {says}")
    for mask in files.without_picture:
        masks[mask] = None
        faults[mask] = ("no picture", f"{mask}: this mask has no picture")
    paths = sorted(masks, key=lambda path: path.relative_to(folder).as_posix())
    names = [path.name for path in paths]
    if len(set(names)) < len(names):  # in several parts
        names = [path.relative_to(folder).as_posix() for path in paths]
    outputs = output_names(names)
    road = kind == "kitti-road"
    return [
        FileSample(
            i,
            name,
            output,
            path,
            masks[path],
            faults.get(path),
            category=category_of(name) if road else None,
            calibration=calibration_of(path) if road else None,
        )
        for i, (path, name, output) in enumerate(zip(paths, names, outputs, strict=True))
    ]


def open_pictures(pictures: Sequence[Path], source: str) -> Dataset:
    """Take picture files, in this order, as samples that have no truth."""
    names = [path.name for path in pictures]
    if len(set(names)) < len(names):  # in several folders of a glob
        common = os.path.commonpath(pictures)
        names = [path.relative_to(common).as_posix() for path in pictures]
    samples = [
        FileSample(i, name, output, path)
        for i, (path, name, output) in enumerate(
            zip(pictures, names, output_names(names), strict=True)
        )
    ]
    return Dataset("pictures", source, None, samples)
