"""Where the pictures and masks of each kind of dataset lie, and which belongs to which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rtseg.data.kitti_road import truth_of
from rtseg.data.pictures import PICTURE_SUFFIXES
from rtseg.errors import InputError, UsageError

GIVEN_PARTS = ("train", "val", "test")


class Pair(NamedTuple):
    """A picture and its mask."""

    picture: Path
    mask: Path


@dataclass(frozen=True)
class Files:
    """The files of one part of a dataset; ``pairs`` are sorted by the pictures' names.

    ``twice`` are pictures whose stem another picture before them has.
    """

    pairs: tuple[Pair, ...]
    without_mask: tuple[Path, ...] = ()
    without_picture: tuple[Path, ...] = ()
    twice: tuple[Path, ...] = ()


Parts = Mapping[str, Files]
"""Files by part: ``train``, ``val``, ``test`` where the dataset says so itself, else only ``all``."""


@dataclass(frozen=True)
class _Layout:
    """What one kind of dataset looks like, in words and to be found; None is found elsewhere."""

    words: str
    find: Callable[[Path], dict[str, Files]]


def _names(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    try:
        found = [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()
        ]
    except OSError as error:
        raise InputError(f"{folder}: cannot read this folder: {error.strerror}") from error
    return sorted(found, key=lambda file: file.name)


def _paired(pictures: Path, masks: Path, endings: Sequence[str]) -> Files:
    """Pair pictures with masks of the same stem and one of ``endings``."""
    by_name = {file.name: file for file in _names(masks, (".png",))} if masks.is_dir() else {}
    pairs, without, twice = [], [], []
    used: set[str] = set()
    for picture in _names(pictures, PICTURE_SUFFIXES) if pictures.is_dir() else []:
        names = [f"{picture.stem}{ending}.png" for ending in endings]
        name = next((name for name in names if name in by_name), None)
        if name is None:
            without.append(picture)
        elif name in used:
            twice.append(picture)
        else:
            used.add(name)
            pairs.append(Pair(picture, by_name[name]))
    lonely = [by_name[name] for name in sorted(by_name.keys() - used)]
    return Files(tuple(pairs), tuple(without), tuple(lonely), tuple(twice))


def _camvid(folder: Path) -> dict[str, Files]:
    return {
        part: _paired(folder / part, folder / f"{part}annot", ("",))
        for part in GIVEN_PARTS
        if (folder / f"{part}annot").is_dir()
    }


def _unpacked(folder: Path) -> Path:
    """The folder, or the one of the same name in it that unpacking often leaves."""
    inner = folder / folder.name
    return inner if inner.is_dir() else folder


def _camvid32(folder: Path) -> dict[str, Files]:
    endings = ("_L", "_P", "")
    for pictures, masks in (("701_StillsRaw_full", "LabeledApproved_full"), ("images", "labels")):
        if (folder / pictures).is_dir() and (folder / masks).is_dir():
            places = _unpacked(folder / pictures), _unpacked(folder / masks)
            return {"all": _paired(*places, endings)}
    return {
        part: _paired(folder / part, folder / f"{part}_labels", endings)
        for part in GIVEN_PARTS
        if (folder / f"{part}_labels").is_dir()
    }


def _kitti_road(folder: Path) -> dict[str, Files]:
    root = folder / "training" if (folder / "training").is_dir() else folder
    if not ((root / "image_2").is_dir() and (root / "gt_image_2").is_dir()):
        return {}
    truths = {file for file in _names(root / "gt_image_2", (".png",)) if "_road_" in file.name}
    pairs, without = [], []
    for picture in _names(root / "image_2", PICTURE_SUFFIXES):
        truth = truth_of(picture)
        if truth in truths:
            pairs.append(Pair(picture, truth))
        else:
            without.append(picture)
    lonely = sorted(truths - {pair.mask for pair in pairs})
    return {"all": Files(tuple(pairs), tuple(without), tuple(lonely))}


def _folder(folder: Path) -> dict[str, Files]:
    endings = ("", "_L", "_mask")
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return {"all": _paired(folder / "images", folder / "masks", endings)}
    return {
        part: _paired(folder / part / "images", folder / part / "masks", endings)
        for part in GIVEN_PARTS
        if (folder / part / "images").is_dir() and (folder / part / "masks").is_dir()
    }


_LAYOUTS = {
    "camvid": _Layout("train/ beside trainannot/, val/ beside valannot/", _camvid),
    "camvid32": _Layout(
        "701_StillsRaw_full/ beside LabeledApproved_full/, images/ beside labels/, or train/ beside "
        "train_labels/",
        _camvid32,
    ),
    "kitti-road": _Layout("training/image_2/ beside training/gt_image_2/", _kitti_road),
    "folder": _Layout("images/ beside masks/, or both in train/ and in val/", _folder),
}

FILE_KINDS = tuple(_LAYOUTS)
"""The kinds of dataset that lie in a folder."""


def find_files(kind: str, folder: Path) -> Parts:
    """Return the files of a dataset of ``kind`` (one of :data:`FILE_KINDS`) by part.

    ``InputError`` where the folder does not exist or is not laid out like that.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    parts = _LAYOUTS[kind].find(folder)
    if not parts:
        raise InputError(f"{folder}: not laid out as {kind} is: {_LAYOUTS[kind].words}")
    return parts


def detect_kind(folder: Path) -> str:
    """Return the kind of dataset that ``folder`` is laid out as.

    ``InputError`` where there is no such folder, ``UsageError`` where no or more than one kind fits.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = [kind for kind, layout in _LAYOUTS.items() if layout.find(folder)]
    if len(found) == 1:
        return found[0]
    kinds = "; ".join(f"{kind} ({_LAYOUTS[kind].words})" for kind in found or _LAYOUTS)
    problem = "laid out as more than one kind is" if found else "laid out as no known kind is"
    raise UsageError(f"{folder}: {problem}: say which: --kind, one of {kinds}")
