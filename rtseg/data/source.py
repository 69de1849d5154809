"""Datasets as a recipe declares them: ``{kind: camvid, folder: CamVid, split: train}``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rtseg.data.camvid import CAMVID11_LEGEND, CamVid
from rtseg.data.dataset import LabelledImages, PairedImages
from rtseg.data.declared import RANDOM, require_keys
from rtseg.data.labels import CAMVID32_LEGEND, ROAD, ClassTable, Legend, read_legend
from rtseg.data.layouts import GIVEN_PARTS, Pair, Parts, find_files
from rtseg.data.masks import KittiRoadMasks, LegendMasks, MaskDecoder
from rtseg.data.merging import camvid_merge, merge_legend, missing_classes
from rtseg.data.rendered import DriveFrames, HeldOutFrames
from rtseg.data.splits import Split
from rtseg.errors import InputError, UsageError

_LEGENDS = {
    "camvid11": CAMVID11_LEGEND,
    "camvid32": CAMVID32_LEGEND,
    "road": Legend(ROAD.names, ROAD.colours),
}


def open_source(
    declared: Mapping[str, Any], classes: ClassTable, *, where: str = "data.train[0]"
) -> LabelledImages:
    """Open a dataset as a recipe declares it, with masks of ``classes``.

    Keys (:data:`rtseg.data.declared.KEYS` lists those of each kind):
        kind: ``camvid`` (the SegNet split), ``camvid32`` (CamVid's own 32 labels), ``kitti-road``,
            ``folder`` (one's own) or ``drive`` (rendered).
        folder: Where it lies.
        split: ``train``, ``val`` or ``all``; ``test`` where the dataset has folders for it.
        val_fraction, seed: The share for validation (default 0.1) where the dataset has no folders
            for it, and which pictures these are (default 0). See :class:`rtseg.data.splits.Split`.
        folds, fold: Instead of ``val_fraction``: fold number ``fold``, from 0, is for validation.
        classes_file: Class table of a ``folder``, in it or anywhere, or ``camvid11``, ``camvid32``
            or ``road``; by default its ``classes.txt`` or ``label_colors.txt``.
        masks: What the masks hold: ``indices``, ``colours``, or ``auto`` by their channels.
        unknown: ``error`` (default) refuses colours and indices that the table lacks, ``void``
            passes over their pixels.
        merge: The dataset's names to the training's names, or to ``void``; by default the same name,
            else ``background``, else void, and for ``camvid32`` its usual 11 classes.
        partial: Let the dataset lack classes of the training, other than ``background``.
        frames, seeds, sizes, drives: see :class:`rtseg.data.rendered.DriveFrames`; ``split: val``
            gives held-out frames, see :class:`rtseg.data.rendered.HeldOutFrames`.

    Raises:
        UsageError: what is declared does not fit; the message names ``where`` and the key.
        InputError: the dataset is missing or not laid out as its kind is.
    """
    kind = require_keys(declared, where)
    if kind == "drive":
        return _open_drive(declared, classes, where)
    folder = Path(declared["folder"]).expanduser()
    try:
        return _open_files(kind, folder, declared, classes, where)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def legend_of(kind: str, folder: Path, classes_file: str | Path | None = None) -> Legend:
    """Return what the masks of a dataset of ``kind`` (one of ``layouts.FILE_KINDS``) hold.

    ``UsageError`` where a folder of one's own has no class file; ``InputError`` for a bad one.
    """
    fixed = {"camvid": CAMVID11_LEGEND, "kitti-road": KittiRoadMasks.legend}
    if kind in fixed:
        return fixed[kind]
    if classes_file is not None:
        if str(classes_file) in _LEGENDS:
            return _LEGENDS[str(classes_file)]
        inside = folder / classes_file
        return read_legend(inside if inside.is_file() else Path(classes_file).expanduser())
    for name in ("classes.txt", "label_colors.txt"):
        if (folder / name).is_file():
            return read_legend(folder / name)
    if kind == "camvid32":
        return CAMVID32_LEGEND
    raise UsageError(
        f"{folder}: no classes.txt in it: write one with a line R G B Name for each class, in the "
        "order of their indices, or name another class file"
    )


def decoder_of(kind: str, legend: Legend, declared: Mapping[str, Any] | None = None) -> MaskDecoder:
    """Return what reads the masks of a dataset of ``kind``; ``declared`` may say how."""
    if kind == "kitti-road":
        return KittiRoadMasks()
    declared = declared or {}
    return LegendMasks(legend, declared.get("masks", "auto"), declared.get("unknown", "error"))


def _require_covered(
    table: NDArray[np.uint8],
    legend: Legend,
    declared: Mapping[str, Any],
    classes: ClassTable,
    where: str,
) -> None:
    """Check that every class has one of the masks' own, unless ``partial`` says that it need not."""
    missing = missing_classes(table, len(legend.names), classes)
    if missing and not declared.get("partial", False):
        raise UsageError(
            f"{where}: its masks have no {', '.join(missing)}, only {', '.join(legend.classes.names)}:"
            " merge a class to each, or say partial: true"
        )


def _open_files(
    kind: str, folder: Path, declared: Mapping[str, Any], classes: ClassTable, where: str
) -> LabelledImages:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    legend = legend_of(kind, folder, declared.get("classes_file"))
    own = camvid_merge(legend, classes) if kind == "camvid32" else {}
    own.update(declared.get("merge", {}))
    table = merge_legend(legend, classes, own, where=f"{where}.merge")
    _require_covered(table, legend, declared, classes, where)
    if kind == "camvid":
        if declared["split"] not in GIVEN_PARTS:
            raise UsageError(f"{where}.split: {declared['split']!r}: one of train, val, test")
        return CamVid(folder, declared["split"], classes, table=table)
    pairs = _chosen(find_files(kind, folder), declared, folder, where)
    return PairedImages(pairs, decoder_of(kind, legend, declared), classes, table)


def _chosen(
    parts: Parts, declared: Mapping[str, Any], folder: Path, where: str
) -> tuple[Pair, ...]:
    """The pairs of the declared split."""
    part = declared["split"]
    given = [key for key in RANDOM if key in declared]
    own = "all" not in parts  # it has folders for its parts
    choices = (*parts, "all") if own else ("train", "val", "all")
    if part not in choices:
        raise UsageError(f"{where}.split: {part!r}: one of {', '.join(choices)}")
    if own and given:
        raise UsageError(f"{where}.{given[0]}: {folder} has folders for {', '.join(parts)} itself")
    if "fold" in declared and "folds" not in declared:
        raise UsageError(f"{where}.fold: folds is missing: how many there are")
    if "folds" in declared and "val_fraction" in declared:
        raise UsageError(f"{where}.val_fraction: folds is given too: give one of the two")
    if declared.get("fold", 0) >= declared.get("folds", 1):
        raise UsageError(f"{where}.fold: {declared['fold']}: below folds, {declared['folds']}")
    taken = [parts[part]] if own and part != "all" else list(parts.values())
    for files in taken:
        for trouble, pictures in (("no mask", files.without_mask), ("a namesake", files.twice)):
            if pictures:
                count = f" (one of {len(pictures)})" if len(pictures) > 1 else ""
                raise InputError(
                    f"{pictures[0]}: this picture has {trouble}{count}: see rtseg-data check {folder}"
                )
    pairs = tuple(pair for files in taken for pair in files.pairs)
    if not pairs:
        raise InputError(f"{folder}: no pictures with masks in it")
    if own:
        return pairs
    by_name = {pair.picture.stem: pair for pair in pairs}
    options = {key: declared[key] for key in given}
    try:
        names = Split(cast(Any, part), **options).of(by_name)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    return tuple(by_name[name] for name in names)


def _open_drive(declared: Mapping[str, Any], classes: ClassTable, where: str) -> LabelledImages:
    split = declared.get("split", "train")
    if split not in ("train", "val"):
        raise UsageError(f"{where}.split: {split!r}: train, or val for the held-out frames")
    training = where.startswith("data.train")
    table = DriveFrames.table(classes, declared.get("merge", {}), where=f"{where}.merge")
    _require_covered(table, CAMVID11_LEGEND, declared, classes, where)
    if split == "val":
        if training:
            raise UsageError(f"{where}.split: val: the held-out frames are not for training")
        for key in ("seeds", "drives"):
            if key in declared:
                raise UsageError(f"{where}.{key}: the held-out frames have fixed seeds")
        frames = declared.get("frames", HeldOutFrames.MOST)
        if frames > HeldOutFrames.MOST:
            raise UsageError(f"{where}.frames: {frames}: up to {HeldOutFrames.MOST} are held out")
        size = declared.get("sizes", [HeldOutFrames.SIZE])[0]
        return HeldOutFrames(classes, table, frames, (size[0], size[1]))
    if "frames" not in declared:
        raise UsageError(f"{where}.frames: missing: how many frames an epoch has")
    low, high = declared.get("seeds", DriveFrames.SEEDS)
    if low < DriveFrames.SEEDS[0]:
        raise UsageError(f"{where}.seeds: from {low}: those below 100 are held out for scoring")
    sizes = tuple((w, h) for w, h in declared.get("sizes", DriveFrames.SIZES))
    return DriveFrames(
        classes,
        table,
        declared["frames"],
        seeds=(low, high),
        sizes=sizes,
        drives=declared.get("drives", DriveFrames.DRIVES),
    )
