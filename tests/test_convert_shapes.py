"""The pixels that a drawn shape covers."""

import math

import cv2
import numpy as np
import pytest
from annotated import H, W, centres, compress, fails
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data.convert.coco import decode_counts
from rtseg.data.convert.shapes import Bitmap, Ellipse, Polygon, Stroke, box, paint, run_lengths

__all__ = ["fails"]


def painted(shape, height=H, width=W):
    mask = np.zeros((height, width), np.uint8)
    covered = paint(shape, mask, 1)
    assert covered == mask.any()
    return mask > 0


def polygon(*pairs):
    return Polygon((np.array(pairs, np.float64),))


def is_inside(x, y, corners):
    """The even-odd rule by a ray upwards, for one point: plain, slow, and another way about."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (x1 > x) != (x2 > x) and y1 + (x - x1) / (x2 - x1) * (y2 - y1) < y:
            crossings += 1
    return crossings % 2 == 1


# Off the grid of centres, so that none lies on an edge; many of them outside of the picture.
COORDINATE = st.integers(-70, 210).map(lambda n: n / 7 + 0.0123)


@settings(max_examples=40)
@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=9))
def test_polygons_cover_the_centres_inside(corners):
    height, width = 11, 13
    truth = [[is_inside(x + 0.5, y + 0.5, corners) for x in range(width)] for y in range(height)]
    np.testing.assert_array_equal(painted(polygon(*corners), height, width), truth)


def test_a_rectangle_on_pixel_edges_covers_just_these_pixels():
    truth = np.zeros((H, W), bool)
    truth[5:8, 10:20] = True
    np.testing.assert_array_equal(painted(box(10, 5, 20, 8)), truth)
    np.testing.assert_array_equal(painted(box(20, 8, 10, 5)), truth)
    # cv2.fillPoly paints the edge's pixels too: 11x4 instead of 10x3.
    fat = np.zeros((H, W), np.uint8)
    cv2.fillPoly(fat, [np.array([(10, 5), (20, 5), (20, 8), (10, 8)])], 1)
    assert fat.sum() == 44


def test_neighbours_neither_overlap_nor_leave_a_gap():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b, c, d, middle = rng.uniform(1, 29, (5, 2))
        fan = [
            painted(polygon(p, q, middle)).astype(int) for p, q in ((a, b), (b, c), (c, d), (d, a))
        ]
        whole = painted(polygon(a, b, c, d))
        np.testing.assert_array_equal(sum(fan) % 2 == 1, whole)


def test_a_triangle_is_the_half_planes_it_is_made_of():
    x, y = centres()
    a, b, c = (3.3, 2.1), (36.7, 9.4), (12.2, 28.8)
    truth = np.ones((H, W), bool)
    for (x1, y1), (x2, y2) in ((a, b), (b, c), (c, a)):
        truth &= (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) > 0
    np.testing.assert_array_equal(painted(polygon(a, b, c)), truth)


def test_a_turned_box_turns_clockwise():
    x, y = centres()
    angle = math.radians(30)
    u = (x - 20) * math.cos(angle) + (y - 15) * math.sin(angle)
    v = -(x - 20) * math.sin(angle) + (y - 15) * math.cos(angle)
    truth = (abs(u) < 12) & (abs(v) < 4)
    np.testing.assert_array_equal(painted(box(8, 11, 32, 19, 30)), truth)
    assert painted(box(8, 14, 32, 16, 30))[9:13, 5:15].sum() < 20
    assert truth[20, 29]  # the right end has gone down
    assert not truth[10, 29]


def test_ellipses():
    x, y = centres()
    truth = (x - 20) ** 2 + (y - 15) ** 2 <= 49
    np.testing.assert_array_equal(painted(Ellipse(20, 15, 7, 7)), truth)
    turned = painted(Ellipse(20, 15, 14, 4, 30))
    assert turned[20, 29]
    assert not turned[10, 29]
    assert turned.sum() == pytest.approx(math.pi * 14 * 4, rel=0.03)
    assert not painted(Ellipse(-50, 15, 7, 7)).any()
    assert painted(Ellipse(20, 15, 500, 500)).all()


def test_lines_have_their_width_and_round_ends():
    x, y = centres()
    line = painted(Stroke(np.array([(5.0, 10.0), (30.0, 10.0)]), 4))
    truth = (abs(y - 10) <= 2) & (x >= 5) & (x <= 30)
    truth |= np.minimum((x - 5) ** 2, (x - 30) ** 2) + (y - 10) ** 2 <= 4
    np.testing.assert_array_equal(line, truth)
    dot = painted(Stroke(np.array([(5.0, 10.0), (5.0, 10.0)]), 4))
    np.testing.assert_array_equal(dot, painted(Ellipse(5, 10, 2, 2)))


@pytest.mark.parametrize(("left", "top"), [(0, 0), (-3, -2), (37, 28), (50, 0), (0, -9)])
def test_bitmaps_are_cut_at_the_edges(left, top):
    pixels = np.random.default_rng(0).random((5, 6)) > 0.5
    padded = np.zeros((H + 40, W + 60), bool)
    padded[top + 20 : top + 25, left + 20 : left + 26] = pixels
    truth = padded[20 : H + 20, 20 : W + 20]
    np.testing.assert_array_equal(painted(Bitmap(left, top, pixels)), truth)


def test_run_lengths():
    truth = [[0, 0, 1], [1, 1, 0]]
    np.testing.assert_array_equal(run_lengths([2, 3, 1], 2, 3), truth)
    np.testing.assert_array_equal(run_lengths([0, 6], 2, 3), np.ones((2, 3)))
    for wrong in ([], [2, 3], [2, 3, 2], [-1, 7], [1 << 62, 1 << 62, 1 << 62, 1 << 62, 6]):
        with pytest.raises(ValueError, match="do not add up to 3x2"):
            run_lengths(wrong, 2, 3)
    with pytest.raises(ValueError, match="no size"):
        run_lengths([10**14], 10**7, 10**7)


def test_cocos_compressed_run_lengths():
    # The mask of 4x5 with rows 1 and 2 of columns 1 to 3 set: zeros 5, ones 2, zeros 2, and from
    # here on differences: ones 2 (0), zeros 2 (0), ones 2 (0), zeros 5 (3).
    assert decode_counts("5220003") == [5, 2, 2, 2, 2, 2, 5]
    # 40 is 8 + 32 * 1: the character 48 + 8 + 32, then 48 + 1. -35 is 29 + 32 * -2: 48 + 29 + 32,
    # then 48 + 30.
    assert decode_counts("X10X1mN") == [40, 0, 40, -35]
    for broken in ("5P", "5 2", "5\x7f", "o" * 20):
        with pytest.raises(ValueError, match="run lengths"):
            decode_counts(broken)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 10**7), max_size=20))
def test_compressed_run_lengths_come_back(counts):
    assert decode_counts(compress(counts)) == counts
