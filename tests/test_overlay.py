"""Painting against a plain formula, and text that keeps to its corner."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rtseg
from rtseg.engine.pictures import nearest
from rtseg.errors import UsageError
from rtseg.spec import Spec
from rtseg.video.hud import HeadUpDisplay
from rtseg.video.overlay import Painter

CLASSES = ("background", "road", "car", "sky")
PALETTE = ((1, 2, 3), (0, 200, 90), (255, 0, 10), (70, 130, 180))


def plain(picture, mask, paint, opacity):
    """The promise, in NumPy: the nearest mask pixel's colour, mixed in where its class is painted."""
    height, width = picture.shape[:2]
    large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    colours = np.zeros((256, 3))
    colours[: len(PALETTE)] = np.array(PALETTE)[:, ::-1]
    mixed = (1 - opacity) * picture + opacity * colours[large]
    painted = np.isin(large, [CLASSES.index(name) for name in paint])
    return np.where(painted[..., None], mixed, picture)


def random_case(seed, scale):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, len(CLASSES), (16, 24), np.uint8)
    picture = rng.integers(0, 256, (16 * scale, 24 * scale, 3), np.uint8)
    return picture, mask


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.integers(1, 5),
    paint=st.lists(st.sampled_from(CLASSES), min_size=1, unique=True),
    opacity=st.floats(0, 1),
)
def test_painting_is_the_plain_formula(seed, scale, paint, opacity):
    picture, mask = random_case(seed, scale)
    expected = plain(picture, mask, paint, opacity)
    Painter(CLASSES, PALETTE, paint=paint, opacity=opacity).paint(picture, mask)
    assert np.abs(picture - expected).max() <= 1


def test_one_painter_serves_pictures_and_masks_of_changing_sizes():
    painter = Painter(CLASSES, PALETTE)
    for scale in (2, 3, 2, 1):
        picture, mask = random_case(scale, scale)
        expected = plain(picture, mask, CLASSES[1:], 0.45)
        painter.paint(picture, mask)
        assert np.abs(picture - expected).max() <= 1


def test_only_the_rows_of_the_mask_are_touched():
    picture, mask = random_case(0, 4)
    mask[:] = 0
    mask[5:9] = 1
    before = picture.copy()
    Painter(CLASSES, PALETTE, contours=False).paint(picture, mask)
    np.testing.assert_array_equal(picture[:20], before[:20])
    np.testing.assert_array_equal(picture[36:], before[36:])
    assert (picture[20:36] != before[20:36]).any(axis=2).mean() > 0.9


def test_indices_without_a_class_are_not_painted():
    picture, mask = random_case(0, 2)
    mask[:] = 255
    before = picture.copy()
    Painter(CLASSES, PALETTE, paint=CLASSES, contours=True).paint(picture, mask)
    np.testing.assert_array_equal(picture, before)


def test_contours_follow_the_edge():
    picture = np.zeros((160, 240, 3), np.uint8)
    mask = np.zeros((16, 24), np.uint8)
    mask[4:12, 6:18] = 1
    Painter(CLASSES, PALETTE, opacity=0, contours=True).paint(picture, mask)
    rows, columns = np.nonzero(picture.max(axis=2) > 127)
    assert (rows.min(), columns.min()) == (pytest.approx(44, abs=2), pytest.approx(64, abs=2))
    assert (rows.max(), columns.max()) == (pytest.approx(115, abs=2), pytest.approx(175, abs=2))
    assert not picture[60:100, 80:160].any()


def test_class_names_are_checked_and_their_case_is_not():
    Painter(CLASSES, PALETTE, paint=["ROAD"])
    with pytest.raises(UsageError, match="background, road, car, sky"):
        Painter(CLASSES, PALETTE, paint=["road", "river"])
    with pytest.raises(UsageError, match="opacity"):
        Painter(CLASSES, PALETTE, opacity=1.5)


def test_overlay_gives_a_copy():
    picture, mask = random_case(0, 2)
    before = picture.copy()
    spec = Spec(name="x", width=32, height=32, classes=CLASSES, palette=PALETTE)
    painted = rtseg.overlay(picture, mask, spec, paint=["car"], opacity=1)
    np.testing.assert_array_equal(picture, before)
    assert np.abs(painted - plain(before, mask, ["car"], 1)).max() <= 1
    road = rtseg.overlay(picture, (mask == 1).astype(np.uint8), opacity=1)
    assert np.abs(road - plain(before, mask, ["road"], 1)).max() <= 1


LINES = ["87 FPS  12.3 ms  mIoU 0.981", "road-unet  openvino bf16  512x256"]


@pytest.mark.parametrize("size", [(640, 360), (1280, 720), (1920, 1080), (1242, 375)])
def test_text_keeps_to_its_corner(size):
    width, height = size
    picture = np.full((height, width, 3), 128, np.uint8)
    HeadUpDisplay().draw(picture, LINES)
    rows, columns = np.nonzero((picture != 128).any(axis=2))
    assert rows.max() < 0.2 * height
    assert columns.max() < 0.6 * width
    corner = picture[: rows.max() + 1, : columns.max() + 1]
    assert corner.max() > 240
    assert np.median(corner) < 80


@pytest.mark.parametrize("size", [(320, 180), (96, 64), (16, 16), (3, 2), (1, 1)])
def test_text_on_a_small_picture_is_no_failure(size):
    width, height = size
    picture = np.full((height, width, 3), 128, np.uint8)
    HeadUpDisplay().draw(picture, LINES)
    HeadUpDisplay().draw(picture, [])


def test_text_is_drawn_anew_when_it_or_the_picture_changes():
    display = HeadUpDisplay()
    for lines in (LINES, LINES, ["other"], LINES):
        for height in (360, 720):
            picture = np.full((height, height, 3), 128, np.uint8)
            again = picture.copy()
            display.draw(picture, lines)
            HeadUpDisplay().draw(again, lines)
            np.testing.assert_array_equal(picture, again)


def test_painting_draws_into_the_picture_it_is_given():
    whole = np.zeros((64, 96, 3), np.uint8)
    part = whole[8:40, 16:80]
    Painter(CLASSES, PALETTE, opacity=1).paint(part, np.ones((8, 16), np.uint8))
    assert (part == PALETTE[1][::-1]).all()
    assert cv2.countNonZero(whole[..., 1]) == part.shape[0] * part.shape[1]


@given(st.integers(1, 700), st.integers(1, 3000))
def test_the_mask_is_stretched_by_the_centres_of_its_pixels(short: int, long: int) -> None:
    mask = np.random.default_rng(short).integers(0, 256, (1, short), np.uint8)
    found = nearest(short, long)
    expected = cv2.resize(mask, (long, 1), interpolation=cv2.INTER_NEAREST_EXACT)
    assert np.array_equal(mask[0][found], expected[0])
    # A pixel's centre lies within the one that was taken, or on its edge. OpenCV 4 counts the steps in
    # 16 bits after the point: what it rounds there adds up along a row.
    centres = (np.arange(long) + 0.5) * short / long
    assert (np.abs(centres - (found + 0.5)) <= 0.5 + 1e-3 + long / 2**17).all()


def test_a_painted_half_is_the_half() -> None:
    # Three rows of the mask are stretched to eight of the picture: 2.67 a row, road from row 1 down.
    mask = np.array([[0], [1], [1]], np.uint8)
    picture = np.zeros((8, 4, 3), np.uint8)
    Painter(("background", "road"), ((0, 0, 0), (0, 200, 90)), opacity=1.0).paint(picture, mask)
    assert picture.any(axis=(1, 2)).tolist() == [False] * 3 + [True] * 5


def test_what_was_painted_before_leaves_no_trace() -> None:
    # The painter keeps its buffers, and works on the rows that have something to paint only.
    rng = np.random.default_rng(7)
    painter = Painter(("background", "road"), ((0, 0, 0), (0, 200, 90)))
    for first, last in ((0, 17), (5, 9), (13, 17), (2, 3), (16, 17)):
        mask = np.zeros((17, 23), np.uint8)
        mask[first:last] = rng.integers(0, 2, (last - first, 23))
        for height, width in ((31, 40), (17, 23), (9, 11), (100, 64)):
            picture = rng.integers(0, 256, (height, width, 3), np.uint8)
            before, once = picture.copy(), picture.copy()
            painter.paint(picture, mask)
            Painter(("background", "road"), ((0, 0, 0), (0, 200, 90))).paint(once, mask)
            assert np.array_equal(picture, once)
            stretched = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            assert not (picture != before).any(axis=2)[stretched == 0].any()
