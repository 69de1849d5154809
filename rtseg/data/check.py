"""What is wrong with a dataset, before a training finds it out; and what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.dataset import require_same_size
from rtseg.data.duplicates import Duplicates
from rtseg.data.labels import Legend
from rtseg.data.layouts import Files, Pair, Parts
from rtseg.data.masks import MaskDecoder, UnknownLabelError
from rtseg.data.pictures import read_picture
from rtseg.errors import InputError


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: a word for it, the file, and a line that names both.

    ``what`` is one of ``no-mask``, ``no-picture``, ``namesake``, ``unreadable``, ``size``,
    ``unknown-label``, ``empty``, ``duplicate`` and ``near-duplicate``.
    """

    what: str
    file: Path
    message: str


@dataclass
class Report:
    """What :func:`check` found.

    ``pictures`` counts the pictures with masks of each part, ``sizes`` the pictures of each width
    and height; ``pixels`` and ``seen_in`` hold, for each entry of ``legend``, its pixels and in how
    many masks it is. Void pixels, 255 among them, are in ``void``.
    """

    legend: Legend
    findings: list[Finding] = field(default_factory=list)
    pictures: dict[str, int] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    seen_in: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    void: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        labelled = max(int(self.pixels.sum()), 1)
        return {
            "pictures": self.pictures,
            "sizes": {f"{w}x{h}": count for (w, h), count in self.sizes.most_common()},
            "classes": [
                {
                    "name": name,
                    "pixels": int(self.pixels[i]),
                    "share": round(int(self.pixels[i]) / labelled, 6),
                    "pictures": int(self.seen_in[i]),
                }
                for i, name in enumerate(self.legend.names)
                if i not in self.legend.void
            ],
            "void_pixels": self.void,
            "findings": [
                {"what": f.what, "file": str(f.file), "message": f.message} for f in self.findings
            ],
        }


def check(
    parts: Parts, decoder: MaskDecoder, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Read every picture and mask of a dataset and report what is wrong.

    Args:
        parts: The files of each part (:func:`rtseg.data.layouts.find_files`).
        decoder: Reads the masks.
        progress: Called with how many pictures are done, and how many there are.

    Found are pictures and masks that lack each other, files that cannot be read, masks of another
    size than their picture, labels outside of the class table, masks with nothing but void or
    background in them, and pictures that are in two parts, as the same pixels or nearly. Where the
    dataset has no parts of its own, all pictures are compared: any two may come to lie in different
    parts of a random split.
    """
    legend = decoder.legend
    report = Report(legend)
    report.pixels = np.zeros(len(legend.names), np.int64)
    report.seen_in = np.zeros(len(legend.names), np.int64)
    duplicates = Duplicates(within="all" in parts)
    total = sum(len(files.pairs) for files in parts.values())
    done = 0
    for part, files in parts.items():
        report.pictures[part] = len(files.pairs)
        report.findings += _pairing(files)
        for pair in files.pairs:
            frame = _frame(pair, report)
            if frame is not None:
                duplicates.add(pair.picture, part, frame)
            _mask(pair, frame, decoder, report)
            done += 1
            if progress is not None:
                progress(done, total)
    for picture, other in duplicates.exact():
        message = f"{picture}: the same pixels as {other}"
        report.findings.append(Finding("duplicate", picture, message))
    for picture, other, difference in duplicates.near():
        message = f"{picture}: nearly the same as {other}: {difference:.1f} grey levels apart"
        report.findings.append(Finding("near-duplicate", picture, message))
    return report


def _pairing(files: Files) -> list[Finding]:
    return [
        Finding(what, file, f"{file}: {message}")
        for what, message, found in (
            ("no-mask", "this picture has no mask", files.without_mask),
            ("no-picture", "this mask has no picture", files.without_picture),
            ("namesake", "another picture has this name with another ending", files.twice),
        )
        for file in found
    ]


def _frame(pair: Pair, report: Report) -> NDArray[np.uint8] | None:
    try:
        frame = read_picture(pair.picture)
    except InputError as error:
        report.findings.append(Finding("unreadable", pair.picture, str(error)))
        return None
    report.sizes[frame.shape[1], frame.shape[0]] += 1
    return frame


def _mask(
    pair: Pair, frame: NDArray[np.uint8] | None, decoder: MaskDecoder, report: Report
) -> None:
    try:
        mask = decoder.read(pair.mask)
    except UnknownLabelError as error:
        report.findings.append(Finding("unknown-label", pair.mask, str(error)))
        return
    except InputError as error:
        report.findings.append(Finding("unreadable", pair.mask, str(error)))
        return
    if frame is not None:
        try:
            require_same_size(pair, frame, mask)
        except InputError as error:
            report.findings.append(Finding("size", pair.mask, str(error)))
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    classes = counts[: len(report.legend.names)].copy()
    classes[list(report.legend.void)] = 0
    report.void += int(counts.sum() - classes.sum())
    report.pixels += classes
    report.seen_in += classes > 0
    names = [name.lower() for name in report.legend.names]
    told = {names[i] for i in np.flatnonzero(classes)}
    if not told - {"background"}:
        nothing = "background" if told else "void"
        message = f"{pair.mask}: nothing but {nothing} in this mask"
        report.findings.append(Finding("empty", pair.mask, message))


def summary(values: Mapping[str, Any]) -> list[str]:
    """Return the lines that sum a report up (:meth:`Report.as_dict`)."""
    pictures = values["pictures"]
    counted = ", ".join(f"{n} {part}" for part, n in pictures.items() if part != "all")
    sizes = [f"{size} ({n})" for size, n in list(values["sizes"].items())[:4]]
    more = len(values["sizes"]) - len(sizes)
    lines = [
        f"{sum(pictures.values())} pictures with masks{f' ({counted})' if counted else ''}",
        f"sizes: {', '.join(sizes) or 'none'}{f', and {more} more' if more > 0 else ''}",
    ]
    width = max(len(row["name"]) for row in values["classes"])
    lines += [
        f"  {row['name']:<{width}}  {row['share']:8.3%} of the labelled pixels, "
        f"in {row['pictures']} masks"
        for row in values["classes"]
    ]
    labelled = sum(row["pixels"] for row in values["classes"])
    share = values["void_pixels"] / max(values["void_pixels"] + labelled, 1)
    lines.append(f"void: {share:.3%} of all pixels")
    kinds = Counter(finding["what"] for finding in values["findings"])
    told = ", ".join(f"{n} {what}" for what, n in kinds.most_common())
    count = f"{len(values['findings'])} finding{'' if len(values['findings']) == 1 else 's'}"
    lines.append(f"{count}: {told}" if told else "nothing wrong found")
    return lines
