"""The rendered drive as a dataset: what chance decides, and what is held out."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg.data.drive import HELD_OUT_FRAMES, Drive
from rtseg.data.labels import (
    CAMVID11,
    CAMVID11_VOID,
    ROAD,
    VOID,
    ClassTable,
    drive_table,
)
from rtseg.data.rendered import DriveFrames
from rtseg.data.source import open_source
from rtseg.errors import UsageError


def says(*parts):
    return re.compile(".*".join(re.escape(str(part)) for part in parts))


def opened(classes, **declared):
    return open_source(declared, classes, where="data.val[3]")


def names(source):
    return [source.name(i) for i in range(len(source))]


SIZES = [[64, 64], [96, 64]]


def test_a_drives_frame_follows_from_its_chance_alone():
    def open_drive():
        return opened(CAMVID11, kind="drive", frames=5, sizes=SIZES, drives=2)

    source = open_drive()
    assert len(source) == 5
    assert source.endless
    chances = [(3 << 20) | sample for sample in (0, 2, 900_000)]  # of the same drive
    first = [source.read(0, c) for c in chances]
    other = open_drive()
    again = [other.read(i, c) for i, c in reversed(list(enumerate(chances)))][::-1]
    for (frame, mask), (their_frame, their_mask) in zip(first, again, strict=True):
        np.testing.assert_array_equal(frame, their_frame)
        np.testing.assert_array_equal(mask, their_mask)
    assert len({mask.tobytes() for _, mask in first}) == 3
    seed, number, size = source.place(chances[0])
    np.testing.assert_array_equal(first[0][0], Drive(*size, seed=seed).frame(number)[0])


def test_every_process_draws_the_same_frame():
    script = (
        "from rtseg.data.labels import ROAD\n"
        "from rtseg.data.source import open_source\n"
        "s = open_source({'kind': 'drive', 'frames': 1}, ROAD)\n"
        "print([s.place((e << 20) | i) for e in range(3) for i in range(9)])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    source = opened(ROAD, kind="drive", frames=1)
    ours = [source.place((e << 20) | i) for e in range(3) for i in range(9)]
    assert run.stdout.strip() == str(ours)


@given(chance=st.integers(0, (1 << 63) - 1))
def test_a_drives_seeds_are_those_that_are_given(chance):
    source = opened(ROAD, kind="drive", frames=1, seeds=[200, 203], sizes=SIZES)
    seed, frame, size = source.place(chance)
    assert 200 <= seed < 203
    assert 0 <= frame < 6000
    assert list(size) in SIZES


def test_an_epoch_draws_from_few_drives_and_the_next_from_others():
    source = opened(ROAD, kind="drive", frames=1, drives=4)
    epochs = [{source.place((e << 20) | s)[::2] for s in range(500)} for e in range(20)]
    assert {len(epoch) for epoch in epochs} == {4}
    assert len(set.union(*epochs)) > 75
    assert {size for epoch in epochs for _, size in epoch} == set(DriveFrames.SIZES)


def test_a_drive_is_not_set_up_twice_in_an_epoch(monkeypatch):
    made = []

    class Counted:
        def __init__(self, width, height, *, seed):
            made.append(seed)
            self.shape = height, width

        def frame(self, number):
            return np.zeros((*self.shape, 3), np.uint8), np.zeros(self.shape, np.uint8)

    monkeypatch.setattr("rtseg.data.rendered.Drive", Counted)
    source = opened(ROAD, kind="drive", frames=1, sizes=[[64, 64]], drives=3)
    for epoch in (5, 6):
        for sample in range(12):
            source.read(0, (epoch << 20) | sample)
    assert len(made) == len(set(made)) == 6


def test_the_drives_masks_are_merged_as_elsewhere():
    chance = (1 << 20) | 3
    source = opened(ROAD, kind="drive", frames=1, sizes=[[96, 64]], merge={"Pavement": "road"})
    seed, number, (width, height) = source.place(chance)
    frame, labels = Drive(width, height, seed=seed).frame(number)
    table = drive_table(ROAD)
    table[CAMVID11.names.index("Pavement")] = 1
    np.testing.assert_array_equal(source.read(0, chance)[0], frame)
    np.testing.assert_array_equal(source.read(0, chance)[1], table[labels])
    assert DriveFrames.table(ROAD)[CAMVID11_VOID] == 0  # the bonnet is not road
    assert DriveFrames.table(ROAD, {"Void": "void"})[CAMVID11_VOID] == VOID
    assert DriveFrames.table(CAMVID11)[CAMVID11_VOID] == VOID


def test_held_out_frames_are_fixed():
    source = opened(CAMVID11, kind="drive", split="val", frames=3, sizes=[[64, 64]])
    picked = [HELD_OUT_FRAMES[i] for i in (0, 20, 40)]
    assert names(source) == [f"drive {seed}/{number}" for seed, number in picked]
    seed, number = picked[1]
    frame, mask = Drive(64, 64, seed=seed).frame(number)
    for chance in (0, 12345):
        np.testing.assert_array_equal(source.read(1, chance)[0], frame)
        np.testing.assert_array_equal(source.read(1, chance)[1], drive_table(CAMVID11)[mask])
    assert len(opened(CAMVID11, kind="drive", split="val")) == len(HELD_OUT_FRAMES) == 60


def test_frames_beyond_the_held_out_ones_are_refused():
    with pytest.raises(UsageError, match=says("data.val[3].frames: 61: up to 60")):
        opened(CAMVID11, kind="drive", split="val", frames=61)
    with pytest.raises(UsageError, match=says("data.val[3].seeds", "fixed")):
        opened(CAMVID11, kind="drive", split="val", seeds=[100, 200])
    far = ClassTable(("Sky", "Snow"), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(UsageError, match=says("data.val[3]: ", "no Snow")):
        opened(far, kind="drive", frames=1)
