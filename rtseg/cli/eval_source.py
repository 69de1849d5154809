"""What ``rtseg-eval`` is pointed at: a labelled dataset, a folder of pictures, or a video."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from rtseg.cli.eval_options import SPACES
from rtseg.data.labels import ClassTable
from rtseg.errors import InputError, UsageError
from rtseg.evaluation.labelled import KINDS, Dataset, open_labelled, open_pictures
from rtseg.evaluation.records import Record
from rtseg.evaluation.samples import PixelSample, Sample
from rtseg.spec import Spec
from rtseg.video.capture import FileSource
from rtseg.video.frame import LiveFrame
from rtseg.video.images import pictures_of
from rtseg.video.sources import open_source


class Frames:
    """The samples of a run: those of a dataset, or the frames of a video, which are read in order.

    ``total`` is how many there are, None where a video does not tell.
    """

    def __init__(self, dataset: Dataset, limit: int | None, video: Path | None = None) -> None:
        self.dataset = dataset
        self.video = video
        self._limit = limit
        self._samples = dataset.samples[:limit]
        self.total: int | None = len(self._samples)
        if video is not None:
            source = FileSource(video)
            source.close()
            known = [n for n in (source.count, limit) if n is not None]
            self.total = min(known) if known else None
        self.faults: list[Record] = []
        """Of a video: what could not be decoded, told once all frames have been read."""

    def require_same(self, found: dict[int, Record]) -> None:
        """Check that records are of these samples; ``UsageError`` where the dataset has changed."""
        for sample in self._samples:
            record = found.get(sample.index)
            if record is not None and record.name != sample.name:
                raise UsageError(
                    f"{self.dataset.folder}: its frame {sample.index} is {sample.name}, and was "
                    f"{record.name} before: --again starts anew"
                )

    def samples(self, done: set[int]) -> Iterator[Sample]:
        """Yield the samples whose index is not in ``done``, in order."""
        if self.video is None:
            yield from (sample for sample in self._samples if sample.index not in done)
            return
        yield from self._video(self.video, done)

    def first(self, count: int) -> list[Sample]:
        """Return some samples to measure with."""
        return list(islice(self.samples(set()), count))

    def records(self, found: dict[int, Record]) -> list[Record]:
        """Return the records of the whole in order: of what a smaller --limit leaves none."""
        if self.video is None:
            return [found[sample.index] for sample in self._samples]
        return [found[index] for index in sorted(found) if index < (self.total or 0)] + self.faults

    def _video(self, path: Path, done: set[int]) -> Iterator[Sample]:
        """Decode all frames from the first on: seeking is not exact in every container."""
        source = FileSource(path)
        index = 0
        try:
            while index != self._limit:
                # A fresh one each, since frames are kept while they are in flight.
                frame = LiveFrame(np.empty((0, 0, 3), np.uint8), np.empty((0, 0), np.uint8))
                if not source.read(frame):
                    break
                if index not in done:
                    name = f"{index:06d}"
                    yield PixelSample(index, name, name, frame.picture)
                index += 1
        finally:
            source.close()
        self.total = index
        self.faults = [
            Record(index + i, path.name, "skipped", "unreadable", line)
            for i, line in enumerate(source.notes)
        ]


def open_frames(options: argparse.Namespace, spec: Spec) -> Frames:
    """Open the source of the command line for a network; errors have one line that names it."""
    text: str = options.source
    path = Path(text).expanduser()
    if options.kind is not None and options.kind not in KINDS:
        raise UsageError(f"--kind {options.kind}: one of {', '.join(KINDS)}")
    table = ClassTable(spec.classes, spec.palette)
    if text != "drive" and not path.exists() and not glob.has_magic(text):
        raise InputError(f"{text}: no such file or folder")
    if path.is_dir() or text == "drive" or options.kind is not None:
        dataset = _labelled(options, path, table)
        if dataset is not None:
            return Frames(dataset, options.limit)
    _require_unlabelled(options, text)
    source = open_source(text, classes=spec.classes)
    source.close()
    if source.kind == "images":
        return Frames(open_pictures(source.paths, text), options.limit)
    if source.kind != "file":
        raise UsageError(f"{text}: neither a dataset, pictures nor a video file")
    return Frames(Dataset("video", text, None, ()), options.limit, path)


def _labelled(options: argparse.Namespace, path: Path, table: ClassTable) -> Dataset | None:
    """The labelled dataset that a folder is, or None where it is just pictures."""
    try:
        return open_labelled(
            path,
            table,
            kind=options.kind,
            split=options.split,
            classes_file=options.classes_file,
            truths=options.truths,
        )
    except UsageError as error:
        if options.kind is not None or "no known kind" not in str(error):
            raise
        try:
            pictures_of(path)
        except InputError:
            raise error from None
    return None


def _require_unlabelled(options: argparse.Namespace, text: str) -> None:
    for option, given in (
        ("--split", options.split),
        ("--classes-file", options.classes_file),
        ("--space", options.space),
        ("--boundary", options.boundary),
    ):
        if given:
            raise UsageError(f"{option}: {text} has no labels to score with")
    if not options.masks and not options.painted:
        raise UsageError(f"{text}: no labels to score with: give --masks, --painted or both")


def spaces_of(options: argparse.Namespace, frames: Frames) -> tuple[str, ...]:
    """The spaces of KITTI's measures that can be had; ``UsageError`` for other datasets."""
    if frames.dataset.kind != "kitti-road":
        if options.space:
            raise UsageError("--space: KITTI road's measures are for its own frames")
        return ()
    if options.space is not None:
        wanted: tuple[str, ...] = options.space
        return wanted
    known = any(sample.calibration is not None for sample in frames.dataset.samples)
    return SPACES if known else SPACES[:1]
