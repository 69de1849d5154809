import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data.drive import CLASS_NAMES, Drive, DriveClass

WIDTH, HEIGHT = 192, 108


@pytest.fixture(scope="module")
def drives():
    return [Drive(WIDTH, HEIGHT, seed=seed) for seed in range(6)]


@pytest.fixture(scope="module")
def samples(drives):
    """Pictures and masks of several drives at several moments."""
    return [drive.frame(index) for drive in drives for index in range(0, 900, 60)]


def test_a_frame_is_the_same_in_any_order_and_in_any_instance(drives):
    drive = drives[0]
    order = [500, 3, 4, 2000, 3, 500]
    there = [drive.frame(index) for index in order]
    for index, (picture, mask) in zip(order[:4], there, strict=False):
        again = Drive(WIDTH, HEIGHT, seed=0).frame(index)
        np.testing.assert_array_equal(again[0], picture)
        np.testing.assert_array_equal(again[1], mask)
    np.testing.assert_array_equal(there[4][0], there[1][0])
    np.testing.assert_array_equal(there[5][0], there[0][0])


def test_a_frame_is_the_same_in_another_process(drives):
    code = (
        "import hashlib; from rtseg.data.drive import Drive;"
        f"f, m = Drive({WIDTH}, {HEIGHT}, seed=2).frame(321);"
        "print(hashlib.sha256(f.tobytes() + m.tobytes()).hexdigest())"
    )
    here = {}
    exec(code.replace("print(", "here['digest'] = (", 1), {"here": here})
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert there == here["digest"]


def test_buffers_are_filled_and_returned(drives):
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mask = np.full((HEIGHT, WIDTH), 99, np.uint8)
    picture, labels = drives[1].frame(7, out, mask)
    assert picture is out
    assert labels is mask
    fresh = drives[1].frame(7)
    np.testing.assert_array_equal(fresh[0], out)
    np.testing.assert_array_equal(fresh[1], mask)


@pytest.mark.parametrize(
    ("out", "mask"),
    [
        (np.zeros((HEIGHT, WIDTH, 4), np.uint8), None),
        (np.zeros((HEIGHT, WIDTH, 3), np.float32), None),
        (np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8)[:, ::2], None),
        (None, np.zeros((WIDTH, HEIGHT), np.uint8)),
        (None, np.broadcast_to(np.uint8(0), (HEIGHT, WIDTH))),
    ],
)
def test_wrong_buffers_are_refused(drives, out, mask):
    with pytest.raises(ValueError, match="must be"):
        drives[0].frame(0, out, mask)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((63, 100), {}),
        ((100, 63), {}),
        ((8193, 100), {}),
        ((100, 8193), {}),
        ((-1, 100), {}),
        ((100, 100), {"fps": 0.0}),
        ((100, 100), {"fps": -30.0}),
        ((100, 100), {"fps": 1000.5}),
        ((100, 100), {"fps": float("nan")}),
        ((100, 100), {"fps": float("inf")}),
        ((100, 100), {"seed": -1}),
    ],
)
def test_wrong_settings_are_refused_in_one_line(size, options):
    with pytest.raises(ValueError, match="must be") as caught:
        Drive(*size, **options)
    assert "\n" not in str(caught.value)


def test_a_negative_index_is_refused(drives):
    with pytest.raises(ValueError, match="index must be 0 or more"):
        drives[0].frame(-1)


def test_settings_can_be_read_and_not_changed(drives):
    drive = Drive(128, 96, fps=12.5, seed=9)
    assert (drive.width, drive.height, drive.fps, drive.seed) == (128, 96, 12.5, 9)
    for name in ("width", "height", "fps", "seed"):
        with pytest.raises(AttributeError):
            setattr(drive, name, 1)


def test_the_default_is_720p_at_30():
    drive = Drive()
    assert (drive.width, drive.height, drive.fps, drive.seed) == (1280, 720, 30.0, 0)


def test_class_order_is_camvids():
    assert len(CLASS_NAMES) == len(DriveClass) == 12
    assert (CLASS_NAMES[DriveClass.SKY], CLASS_NAMES[DriveClass.ROAD]) == ("Sky", "Road")
    assert CLASS_NAMES[DriveClass.VOID] == "void"


def test_masks_hold_known_classes_and_most_of_them_occur(samples):
    seen = set()
    for picture, mask in samples:
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert picture.dtype == mask.dtype == np.uint8
        seen.update(np.unique(mask).tolist())
    assert seen <= {int(label) for label in DriveClass}
    assert seen >= {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}


def test_the_road_is_in_every_frame_and_reaches_the_camera(samples):
    for _, mask in samples:
        road = mask == DriveClass.ROAD
        assert 0.05 < road.mean() < 0.7
        _, _, stats, _ = cv2.connectedComponentsWithStats(road.astype(np.uint8))
        largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        foot = stats[largest, cv2.CC_STAT_TOP] + stats[largest, cv2.CC_STAT_HEIGHT]
        assert foot > 0.75 * HEIGHT


def test_the_sky_is_above_and_brighter_than_the_road(samples):
    rows = np.arange(HEIGHT)[:, None]
    brighter = []
    for picture, mask in samples:
        sky, road = mask == DriveClass.SKY, mask == DriveClass.ROAD
        assert not sky[int(0.75 * HEIGHT) :].any()
        if sky.mean() > 0.05:
            assert (rows * sky).sum() / sky.sum() < (rows * road).sum() / road.sum()
            brighter.append(picture[sky].mean() > picture[road].mean())
    assert np.mean(brighter) > 0.9


def test_neighbouring_frames_differ_a_little(drives):
    for drive in drives:
        (one, mask_one), (two, mask_two) = drive.frame(100), drive.frame(101)
        far = drive.frame(400)[0]
        step = np.abs(one.astype(int) - two).mean()
        assert 0.2 < step < 25.0
        assert step < np.abs(one.astype(int) - far).mean()
        assert (mask_one != mask_two).mean() < 0.15


def test_a_moment_is_the_same_at_any_rate():
    slow, fast = Drive(WIDTH, HEIGHT, fps=30, seed=5), Drive(WIDTH, HEIGHT, fps=60, seed=5)
    for index in (0, 30, 77):
        for a, b in zip(slow.frame(index), fast.frame(2 * index), strict=True):
            np.testing.assert_array_equal(a, b)


def test_sizes_agree_on_where_the_road_is():
    small, large = Drive(WIDTH, HEIGHT, seed=3), Drive(3 * WIDTH, 3 * HEIGHT, seed=3)
    for index in (0, 90, 300):
        a = small.frame(index)[1] == DriveClass.ROAD
        shrunk = cv2.resize(large.frame(index)[1], (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        b = shrunk == DriveClass.ROAD
        assert (a & b).sum() / (a | b).sum() > 0.9


def test_seeds_differ(drives):
    first = [drive.frame(0)[0].astype(int) for drive in drives]
    for i, a in enumerate(first):
        for b in first[i + 1 :]:
            assert np.abs(a - b).mean() > 3.0


def test_the_scenery_changes_within_ten_seconds(drives):
    for drive in drives:
        start, end = drive.frame(0)[1], drive.frame(300)[1]
        assert (start != end).mean() > 0.05


@settings(max_examples=12, deadline=None)
@given(
    width=st.integers(64, 260),
    height=st.integers(64, 200),
    seed=st.integers(0, 2**63 - 1),
    index=st.integers(0, 10**7),
    fps=st.floats(0.5, 1000.0),
)
def test_any_drive_at_any_moment_is_whole(width, height, seed, index, fps):
    picture, mask = Drive(width, height, fps=fps, seed=seed).frame(index)
    assert picture.shape == (height, width, 3)
    assert mask.shape == (height, width)
    assert mask.max() <= DriveClass.VOID
    assert (mask == DriveClass.ROAD).any()
    assert picture.std() > 3.0
