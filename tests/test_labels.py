"""Class tables and the CamVid folder."""

import re

import cv2
import numpy as np
import pytest

from rtseg.data.camvid import CamVid
from rtseg.data.labels import (
    CAMVID11,
    CAMVID11_VOID,
    ROAD,
    VOID,
    ClassTable,
    covers,
    drive_table,
    merge_table,
)
from rtseg.errors import InputError


def table(*names):
    return ClassTable(names, tuple((i, i, i) for i in range(len(names))))


def test_merging_with_a_background_sends_every_other_class_there():
    merged = merge_table(CAMVID11, ROAD, CAMVID11_VOID)
    road = CAMVID11.names.index("Road")
    expected = np.full(256, VOID)
    expected[: len(CAMVID11.names)] = 0
    expected[road] = 1
    np.testing.assert_array_equal(merged, expected)
    assert merged.dtype == np.uint8


def test_merging_without_a_background_makes_other_classes_void():
    merged = merge_table(table("car", "Road", "tree"), table("ROAD", "Car"), None)
    assert merged[:4].tolist() == [1, 0, VOID, VOID]
    assert (merged[3:] == VOID).all()


def test_merging_into_itself_changes_nothing_but_void():
    merged = merge_table(CAMVID11, CAMVID11, CAMVID11_VOID)
    assert merged[:11].tolist() == list(range(11))
    assert (merged[11:] == VOID).all()


def test_void_wins_over_a_class_of_its_index():
    assert merge_table(table("road", "unlabelled"), ROAD, 1)[:2].tolist() == [1, VOID]


def test_the_drives_bonnet_is_background_where_there_is_one():
    assert drive_table(ROAD)[CAMVID11_VOID] == 0
    assert drive_table(CAMVID11)[CAMVID11_VOID] == VOID
    others = np.arange(256) != CAMVID11_VOID
    for target in (ROAD, CAMVID11):
        np.testing.assert_array_equal(
            drive_table(target)[others], merge_table(CAMVID11, target, CAMVID11_VOID)[others]
        )


def test_covers():
    assert covers(CAMVID11, ROAD)
    assert covers(CAMVID11, CAMVID11)
    assert covers(table("road", "car"), table("Background", "ROAD"))
    assert not covers(ROAD, CAMVID11)
    assert not covers(table("car"), ROAD)


@pytest.mark.parametrize(
    ("names", "colours"),
    [(("a", "b"), ((0, 0, 0),)), (("a", "a"), ((0, 0, 0), (1, 1, 1)))],
)
def test_a_class_table_needs_distinct_names_and_a_colour_each(names, colours):
    with pytest.raises(ValueError, match="one colour and one distinct name"):
        ClassTable(names, colours)


# CamVid


@pytest.fixture
def folder(tmp_path):
    """Two pictures of 8x6: the road (index 3) in the lower half, void in one corner."""
    rng = np.random.default_rng(0)
    (tmp_path / "val").mkdir()
    (tmp_path / "valannot").mkdir()
    for name in ("b.png", "a.png"):
        mask = np.zeros((6, 8), np.uint8)
        mask[3:] = CAMVID11.names.index("Road")
        mask[0, 0] = CAMVID11_VOID
        frame = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        frame[0, 1] = (255, 0, 0) if name == "a.png" else (0, 0, 255)
        cv2.imwrite(str(tmp_path / "val" / name), frame)
        cv2.imwrite(str(tmp_path / "valannot" / name), mask)
    return tmp_path


def test_camvid_gives_bgr_frames_and_masks_in_the_order_of_names(folder):
    data = CamVid(folder, "val", ROAD)
    assert len(data) == 2
    for index, blue_green_red in enumerate([(255, 0, 0), (0, 0, 255)]):
        frame, mask = data[index]
        assert (frame.shape, frame.dtype) == ((6, 8, 3), np.uint8)
        assert (mask.shape, mask.dtype) == ((6, 8), np.uint8)
        assert tuple(frame[0, 1]) == blue_green_red
        assert mask[0, 0] == VOID
        assert (mask[3:] == 1).all()
        assert (mask[:3].ravel()[1:] == 0).all()


def test_camvid_gives_its_own_eleven_classes_by_default(folder):
    _, mask = CamVid(str(folder), "val")[0]
    assert set(np.unique(mask)) == {0, 3, VOID}


def says(*parts):
    return re.compile(".*".join(re.escape(str(part)) for part in parts))


def test_a_missing_split_is_named(folder):
    with pytest.raises(InputError, match=says(folder / "test", "no such folder")):
        CamVid(folder, "test")


def test_a_split_without_pictures_is_named(folder):
    (folder / "test").mkdir()
    with pytest.raises(InputError, match=says(folder / "test", "no PNG")):
        CamVid(folder, "test")


def test_a_missing_mask_is_named_at_once(folder):
    mask = folder / "valannot" / "b.png"
    mask.unlink()
    with pytest.raises(InputError, match=says(mask, "missing")):
        CamVid(folder, "val")


def test_a_broken_picture_is_named(folder):
    picture = folder / "val" / "a.png"
    picture.write_bytes(picture.read_bytes()[:40])
    with pytest.raises(InputError, match=says(picture, "not a readable picture")):
        CamVid(folder, "val")[0]


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((5, 8), np.uint8),
        np.zeros((6, 8, 3), np.uint8),
        np.full((6, 8), 300, np.uint16),
    ],
    ids=["another size", "colours", "16 bits"],
)
def test_a_mask_of_another_kind_is_named(folder, mask):
    path = folder / "valannot" / "a.png"
    cv2.imwrite(str(path), mask)
    with pytest.raises(InputError, match=says(path, "not a mask")):
        CamVid(folder, "val")[0]


def test_the_real_split_has_its_published_size(shared):
    camvid = shared / "data" / "camvid"
    counts = {split: len(CamVid(camvid, split)) for split in ("train", "val")}
    assert counts == {"train": 367, "val": 101}
