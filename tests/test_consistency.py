"""Temporal consistency on masks and motions worked out by hand, and on pictures that move."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg.evaluation.consistency import OpticalFlow, TemporalConsistency, motion_of

VOID = 255


def flow(shape, x, y):
    return np.broadcast_to(np.array((x, y), np.float32), (*shape, 2)).copy()


def texture(height, width, seed=0):
    """A picture with something to follow everywhere."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 2).astype(np.float32)
    return np.clip((soft - 127) * 4 + 127, 0, 255).astype(np.uint8)


def tc_of(motion, before, after, classes=2):
    found = TemporalConsistency(classes)
    found.add(motion, before, after)
    return found


def test_without_motion_warping_changes_nothing():
    mask = np.random.default_rng(1).integers(0, 5, (7, 9), np.uint8)
    np.testing.assert_array_equal(motion_of(flow((7, 9), 0, 0)).warp(mask), mask)


def test_a_mask_moves_with_the_flow_and_what_comes_into_the_picture_is_not_known():
    # The scene goes 2 right and 1 down: a pixel was 2 to the left and 1 above.
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    warped = motion_of(flow((3, 4), -2, -1)).warp(mask)
    expected = [[VOID] * 4, [VOID, VOID, 0, 1], [VOID, VOID, 4, 5]]
    np.testing.assert_array_equal(warped, expected)


@pytest.mark.parametrize(("x", "there"), [(0.4, 0), (0.6, 1), (-0.6, -1), (1.4, 1)])
def test_flow_goes_to_the_nearest_pixel(x, there):
    mask = np.arange(9, dtype=np.uint8)[None]
    warped = motion_of(flow((1, 9), x, 0)).warp(mask)
    inner = warped[0, 2:7]
    np.testing.assert_array_equal(inner, np.arange(2, 7) + there)


def test_there_and_back_must_agree():
    shape = (1, 8)
    back = flow(shape, -2, 0)
    agrees, strays = flow(shape, 2, 0), flow(shape, 2, 0)
    strays[0, 3] = (5, 0)  # pixel 3 goes elsewhere: what seems to come from it, 5, was hidden
    assert motion_of(back, agrees).known.tolist() == [[False] * 2 + [True] * 6]
    known = motion_of(back, strays).known[0]
    assert known.tolist() == [False, False, True, True, True, False, True, True]


@pytest.mark.parametrize(("error", "known"), [(0.5, True), (0.7, True), (0.9, False)])
def test_the_bound_of_the_check_is_sundarams(error, known):
    # |e|² against 0.01 (|b|² + |f|²) + 0.5, at b = 0 and f = (e, 0): e² ≤ 0.5 / 0.99, e ≤ 0.7107.
    assert motion_of(flow((3, 3), 0, 0), flow((3, 3), error, 0)).known.all() == known


def test_a_mask_that_moves_with_the_picture_is_consistent():
    before = np.zeros((4, 10), np.uint8)
    before[:, 2:5] = 1
    after = np.roll(before, 3, axis=1)
    found = tc_of(motion_of(flow((4, 10), -3, 0)), before, after)
    assert found.tc == 1
    assert found.compared == pytest.approx(7 / 10)  # 3 of 10 columns came into the picture


def test_a_mask_that_stays_while_the_picture_moves_is_not():
    before = np.zeros((1, 10), np.uint8)
    before[:, 2:6] = 1
    # Warped by 2: road at 4 to 7, known from 2 on. Own: 2 to 5. Common 4, 5.
    found = tc_of(motion_of(flow((1, 10), -2, 0)), before, before)
    assert found.iou == pytest.approx([2 / 6, 2 / 6])


def test_flicker_has_the_value_worked_out_by_hand():
    # A still scene of 10 pixels, road in 4 of them in even frames and in 2 of those in odd ones.
    still = motion_of(flow((1, 10), 0, 0))
    even, odd = np.zeros((1, 10), np.uint8), np.zeros((1, 10), np.uint8)
    even[0, :4] = 1
    odd[0, :2] = 1
    found = TemporalConsistency(2)
    for before, after in ((even, odd), (odd, even), (even, odd)):
        found.add(still, before, after)
    # In every pair 2 road pixels are common, 4 in either; 6 and 8 of background.
    assert found.iou == pytest.approx([6 / 8, 2 / 4])
    assert found.tc == pytest.approx(0.625)
    assert (found.pairs, found.compared) == (3, 1)


def test_a_class_that_flashes_counts_as_nought_and_one_that_never_comes_not_at_all():
    still = motion_of(flow((1, 8), 0, 0))
    calm, flash = np.zeros((1, 8), np.uint8), np.zeros((1, 8), np.uint8)
    flash[0, 0] = 2
    found = tc_of(still, calm, flash, classes=4)
    assert found.tc == pytest.approx((7 / 8 + 0) / 2)


def test_who_always_says_the_same_is_consistent():
    mask = np.zeros((4, 4), np.uint8)
    assert tc_of(motion_of(flow((4, 4), -1, 0)), mask, mask).tc == 1


def test_void_on_either_side_is_not_compared():
    still = motion_of(flow((1, 4), 0, 0))
    before = np.array([[VOID, 0, 1, 1]], np.uint8)
    after = np.array([[1, VOID, 1, 0]], np.uint8)
    found = tc_of(still, before, after)
    assert found.matrix.matrix.tolist() == [[0, 0], [1, 1]]


def test_without_pairs_there_is_no_figure():
    assert np.isnan(TemporalConsistency(2).tc)
    assert np.isnan(TemporalConsistency(2).compared)


def test_sums_of_parts_are_the_whole():
    rng = np.random.default_rng(2)
    still = motion_of(flow((5, 6), 0, 0))
    whole, parts = TemporalConsistency(3), [TemporalConsistency(3) for _ in range(2)]
    for k in range(4):
        masks = rng.integers(0, 3, (2, 5, 6), np.uint8)
        whole.add(still, *masks)
        parts[k % 2].add(still, *masks)
    parts[0].merge(parts[1])
    assert (parts[0].tc, parts[0].pairs, parts[0].compared) == (whole.tc, 4, 1)


@given(st.integers(0, 2**32 - 1), st.integers(-3, 3), st.integers(-3, 3))
def test_any_mask_that_is_moved_exactly_is_consistent(seed, x, y):
    before = np.random.default_rng(seed).integers(0, 4, (9, 11), np.uint8)
    after = np.roll(before, (y, x), (0, 1))
    assert tc_of(motion_of(flow((9, 11), -x, -y)), before, after, classes=4).tc == 1


@pytest.mark.parametrize(("x", "y"), [(0, 0), (5, 0), (-4, 3)])
def test_the_optical_flow_finds_a_picture_that_is_moved(x, y):
    height, width = 96, 160
    large = texture(height + 20, width + 20)
    mask = np.zeros(large.shape[:2], np.uint8)
    cv2.circle(mask, (85, 55), 25, 1, -1)

    def at(image, x, y):
        return np.ascontiguousarray(image[10 - y : 10 - y + height, 10 - x : 10 - x + width])

    motion = OpticalFlow().motion(at(large, 0, 0), at(large, x, y))
    found = tc_of(motion, at(mask, 0, 0), at(mask, x, y))
    assert found.tc > 0.995, "the mask moves along"
    assert found.compared > 0.85
    stays = tc_of(motion, at(mask, 0, 0), at(mask, 0, 0))
    if (x, y) == (0, 0):
        assert found.tc == 1
    else:
        assert stays.tc < 0.9, "the mask stays behind"


def test_what_a_passing_object_hides_and_uncovers_is_left_out():
    height, width = 96, 160
    ground, thing = texture(height, width), texture(40, 40, seed=5)
    before, after = ground.copy(), ground.copy()
    before[30:70, 40:80] = thing
    after[30:70, 52:92] = thing
    checked = OpticalFlow().motion(before, after)
    uncovered = np.s_[34:66, 42:50]  # ground that the thing stood on
    assert checked.known[uncovered].mean() < 0.5
    assert checked.known[:, 100:].mean() > 0.97
    assert OpticalFlow(check=False).motion(before, after).known[uncovered].mean() > 0.9


def test_large_pictures_are_compared_small_and_masks_of_any_size_fit():
    picture = texture(120, 200)
    motion = OpticalFlow(side=100).motion(picture, picture)
    assert motion.known.shape == (60, 100)
    mask = np.zeros((30, 50), np.uint8)
    mask[:, 20:] = 1
    assert tc_of(motion, mask, mask).tc == 1


def test_pictures_of_two_sizes_have_no_motion():
    with pytest.raises(ValueError, match="not one size"):
        OpticalFlow().motion(texture(64, 64), texture(64, 80))
