"""Dice, precision, recall and their means against outside oracles; boundary F1 by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rtseg.data.labels import VOID
from rtseg.evaluation import BoundaryF1, ConfusionMatrix


@st.composite
def mask_pairs(draw, low=1, max_side=10):
    """(classes, truth with void, prediction) of one (H, W)."""
    classes = draw(st.integers(low, 5))
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=2, max_side=max_side))
    index = st.integers(0, classes - 1)
    truth = draw(arrays.arrays(np.uint8, shape, elements=st.one_of(index, st.just(VOID))))
    return classes, truth, draw(arrays.arrays(np.uint8, shape, elements=index))


def counted(classes, truth, prediction):
    matrix = ConfusionMatrix(classes)
    matrix.add(truth, prediction)
    return matrix


# From the confusion matrix


@pytest.mark.filterwarnings("ignore:A single label:UserWarning")
@given(mask_pairs())
def test_precision_recall_and_dice_are_scikit_learns(masks):
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle of this test (extra test)")
    classes, truth, prediction = masks
    known = truth != VOID
    matrix = counted(classes, truth, prediction)
    if not known.any():  # scikit-learn takes no empty lists
        assert np.isnan([*matrix.precision, *matrix.recall, *matrix.dice]).all()
        assert math.isnan(matrix.mean_dice)
        return
    expected = metrics.precision_recall_fscore_support(
        truth[known], prediction[known], labels=np.arange(classes), zero_division=np.nan
    )
    for mine, theirs in zip(
        (matrix.precision, matrix.recall, matrix.dice), expected[:3], strict=True
    ):
        np.testing.assert_allclose(mine, theirs)
    present = expected[3] > 0
    assert matrix.mean_dice == pytest.approx(expected[2][present].mean())
    balanced = metrics.balanced_accuracy_score
    if present[prediction[known]].all():  # or it warns of the others
        assert matrix.mean_accuracy == pytest.approx(balanced(truth[known], prediction[known]))


@settings(max_examples=40)
@given(mask_pairs(low=2))
def test_dice_and_the_weighted_iou_are_torchmetrics(masks):
    torch = pytest.importorskip("torch", reason="the oracle of this test (extra train)")
    metrics = pytest.importorskip("torchmetrics.classification")
    classes, truth, prediction = masks
    matrix = counted(classes, truth, prediction)
    pair = torch.from_numpy(prediction).long(), torch.from_numpy(truth).long()
    options = {"ignore_index": VOID, "validate_args": False}
    dice = metrics.MulticlassF1Score(classes, average=None, **options)(*pair).numpy()
    seen = ~np.isnan(matrix.dice)
    np.testing.assert_allclose(matrix.dice[seen], dice[seen], atol=1e-6)
    if (truth != VOID).any():
        weighted = metrics.MulticlassJaccardIndex(classes, average="weighted", **options)(*pair)
        assert matrix.frequency_weighted_iou == pytest.approx(float(weighted), abs=1e-6)
    else:
        assert math.isnan(matrix.frequency_weighted_iou)


@given(mask_pairs())
def test_dice_follows_from_iou(masks):
    matrix = counted(*masks)
    np.testing.assert_allclose(matrix.dice, 2 * matrix.iou / (1 + matrix.iou))


def test_a_worked_example():
    truth = np.array([[0, 0, 0, 1], [2, 2, VOID, VOID]], np.uint8)
    prediction = np.array([[0, 0, 1, 1], [2, 3, 0, 2]], np.uint8)
    matrix = counted(5, truth, prediction)
    np.testing.assert_allclose(matrix.precision, [1, 1 / 2, 1, 0, np.nan])
    np.testing.assert_allclose(matrix.recall, [2 / 3, 1, 1 / 2, np.nan, np.nan])
    np.testing.assert_allclose(matrix.dice, [4 / 5, 2 / 3, 2 / 3, 0, np.nan])
    # Class 3 is in the prediction only, class 4 nowhere: neither is in a mean.
    assert matrix.mean_dice == pytest.approx((4 / 5 + 2 / 3 + 2 / 3) / 3)
    assert matrix.mean_accuracy == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert matrix.frequency_weighted_iou == pytest.approx((3 * 2 / 3 + 1 / 2 + 2 * 1 / 2) / 6)


@given(st.data())
def test_matrices_add_up(data):
    classes, truth, prediction = data.draw(mask_pairs())
    cut = data.draw(st.integers(0, len(truth)))
    first = counted(classes, truth[:cut], prediction[:cut])
    second = counted(classes, truth[cut:], prediction[cut:])
    before = first.matrix.copy()
    whole = counted(classes, truth, prediction).matrix
    np.testing.assert_array_equal((first + second).matrix, whole)
    np.testing.assert_array_equal(first.matrix, before)
    np.testing.assert_array_equal(ConfusionMatrix.of(first.counts + second.counts).matrix, whole)
    first.merge(second)
    np.testing.assert_array_equal(first.matrix, whole)


def test_what_does_not_add_up_is_an_error():
    with pytest.raises(ValueError, match="2 and 3 classes"):
        ConfusionMatrix(2).merge(ConfusionMatrix(3))
    with pytest.raises(ValueError, match="2 and 3 classes"):
        ConfusionMatrix(2) + ConfusionMatrix(3)
    for counts, says in (
        (np.zeros((2, 3), int), "square"),
        (np.zeros((2, 2)), "whole numbers"),
        (np.array([[-1]]), "whole numbers"),
    ):
        with pytest.raises(ValueError, match=says):
            ConfusionMatrix.of(counts)


# Boundary F1


def halves(column, shape=(30, 40)):
    """Class 0 left of ``column``, class 1 right of it. The diagonal is 50 pixels."""
    mask = np.zeros(shape, np.uint8)
    mask[:, column:] = 1
    return mask


def scored(truth, prediction, classes=2, tolerance=0.0075):
    measure = BoundaryF1(classes, tolerance)
    measure.add(truth, prediction)
    return measure


@pytest.mark.parametrize(
    ("shift", "tolerance", "expected"),
    [(0, 0.0075, 1), (1, 0.0075, 0), (1, 0.021, 1), (2, 0.04, 0), (2, 0.041, 1), (3, 0.041, 0)],
)
def test_a_boundary_is_matched_less_than_the_tolerance_away(shift, tolerance, expected):
    measure = scored(halves(20), halves(20 + shift), tolerance=tolerance)
    assert measure.mean == expected
    assert measure.f1.tolist() == [expected, expected]


def test_boundary_f1_on_a_worked_example():
    # The lower half of the picture is one column off, beyond the tolerance of 0.375 pixels.
    truth, prediction = halves(20), halves(20)
    prediction[15:, 20] = 0
    # Class 1: 30 true boundary pixels of which 15 are met. Predicted are the 15 that are right, 15
    # one column off, and none more: the step's own pixels are among them.
    # Class 0: the step adds no pixel either; in row 15 columns 19 and 20 touch class 1 from above.
    # So 15 right and 15 wrong in column 20, while column 19 is met in rows 0 to 14.
    half = scored(truth, prediction).f1
    np.testing.assert_allclose(half, [0.5, 0.5])


def test_precision_and_recall_differ_where_the_prediction_has_an_island():
    truth, prediction = halves(20), halves(20)
    prediction[10, 5] = 1
    # Class 1: 30 of 31 predicted are right, 30 of 30 are found. Class 0: 4 wrong beside 30.
    one, zero = 2 * (30 / 31) / (30 / 31 + 1), 2 * (30 / 34) / (30 / 34 + 1)
    measure = scored(truth, prediction)
    np.testing.assert_allclose(measure.f1, [zero, one])
    assert measure.mean == pytest.approx((one + zero) / 2)


def test_the_rim_of_the_picture_is_no_boundary():
    plain = np.zeros((30, 40), np.uint8)
    measure = scored(plain, plain)
    assert math.isnan(measure.mean)
    assert np.isnan(measure.f1).all()
    # But a boundary where the truth has none is a fault of the class that it has.
    assert scored(plain, halves(20)).mean == 0


def test_the_score_is_the_mean_over_images_of_the_mean_over_their_classes():
    measure = BoundaryF1(3)
    three = halves(20)
    three[:, 30:] = 2
    off = halves(20)
    off[:, 31:] = 2  # class 0 is right, class 1 on one of two sides, class 2 nowhere
    measure.add(three, off)
    measure.add(halves(20), halves(20))
    first = (1 + 0.5 + 0) / 3
    assert measure.mean == pytest.approx((first + 1) / 2)
    np.testing.assert_allclose(measure.f1, [1, 0.75, 0])


def test_a_class_that_only_the_prediction_has_costs_the_others_alone():
    truth, prediction = halves(20), halves(20)
    prediction[10, 5] = 2
    measure = scored(truth, prediction, classes=3)
    np.testing.assert_allclose(measure.f1, [2 * (30 / 34) / (30 / 34 + 1), 1, np.nan])


def test_void_is_no_boundary_and_may_hide_one():
    truth, prediction = halves(20), halves(22)
    assert scored(truth, prediction, tolerance=0.021).mean == 0
    # The true boundary is under void: nobody knows where, so that none can be right or wrong.
    truth[:, 19:23] = VOID
    assert math.isnan(scored(truth, prediction, tolerance=0.021).mean)
    # Far from void there is no excuse.
    assert scored(truth, halves(30), tolerance=0.021).mean == 0


@given(st.data())
def test_what_is_predicted_under_void_changes_nothing(data):
    classes, truth, prediction = data.draw(mask_pairs())
    other = np.where(truth == VOID, data.draw(st.integers(0, 255)), prediction).astype(np.uint8)
    tolerance = data.draw(st.sampled_from([0.01, 0.2]))
    np.testing.assert_array_equal(
        scored(truth, prediction, classes, tolerance).sums,
        scored(truth, other, classes, tolerance).sums,
    )


@given(mask_pairs(), st.sampled_from([0.01, 0.15, 0.3]))
def test_boundary_f1_by_looking_at_every_pair_of_pixels(masks, tolerance):
    classes, truth, prediction = masks
    height, width = truth.shape
    reach = tolerance * math.hypot(height, width)

    def boundary(mask, c):
        found = []
        for y, x in np.argwhere((mask == c) & (truth != VOID)):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < height and 0 <= u < width
                if inside and truth[v, u] != VOID and mask[v, u] != c:
                    found.append((y, x))
                    break
        return found

    void = np.argwhere(truth == VOID).tolist()

    def near(point, points):
        return any(math.dist(point, other) < reach for other in points)

    scores = {}
    for c in set(truth[truth != VOID].tolist()):
        true, mine = boundary(truth, c), boundary(prediction, c)
        shares = []
        for points, others in ((mine, true), (true, mine)):
            hits = [near(p, others) for p in points]
            judged = [h for h, p in zip(hits, points, strict=True) if h or not near(p, void)]
            shares.append(judged)
        if not shares[0] and not shares[1]:
            continue
        precision, recall = (np.mean(s) if s else 0 for s in shares)
        scores[c] = 2 * precision * recall / (precision + recall) if precision * recall else 0
    measure = scored(truth, prediction, classes, tolerance)
    expected = [scores.get(c, np.nan) for c in range(classes)]
    np.testing.assert_allclose(measure.f1, expected)
    np.testing.assert_allclose(measure.mean, np.mean(list(scores.values())) if scores else np.nan)


@given(st.lists(mask_pairs(low=5), min_size=2, max_size=4), st.integers(0, 4))
def test_boundary_sums_add_up(images, cut):
    whole, first, second = BoundaryF1(5), BoundaryF1(5), BoundaryF1(5)
    for i, (_, truth, prediction) in enumerate(images):
        whole.add(truth, prediction)
        (first if i < cut else second).add(truth, prediction)
    total = BoundaryF1.of(first.sums + second.sums)
    first.merge(second)
    for parts in (first, total):
        np.testing.assert_allclose(parts.sums, whole.sums)
        np.testing.assert_allclose(parts.mean, whole.mean)


@pytest.mark.parametrize(
    ("truth", "prediction", "says"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "not one"),
        (np.zeros(3, np.uint8), np.zeros(3, np.uint8), "not one"),
        (np.array([[3]], np.uint8), np.array([[0]], np.uint8), "truth holds an index above 2"),
        (np.array([[0]], np.uint8), np.array([[3]], np.uint8), "prediction holds an index above 2"),
        (np.array([[0]]), np.array([[0]], np.uint8), "uint8, not int64"),
    ],
)
def test_masks_that_cannot_be_scored_are_named_and_leave_the_sums_alone(truth, prediction, says):
    measure = BoundaryF1(3)
    with pytest.raises(ValueError, match=says):
        measure.add(truth, prediction)
    assert not measure.sums.any()


def test_an_impossible_measure_is_an_error():
    for classes in (0, 256):
        with pytest.raises(ValueError, match="1 to 255"):
            BoundaryF1(classes)
    for tolerance in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="tolerance"):
            BoundaryF1(2, tolerance)
    with pytest.raises(ValueError, match="classes"):
        BoundaryF1.of(np.zeros(4))
    for other in (BoundaryF1(3), BoundaryF1(2, 0.01)):
        with pytest.raises(ValueError, match="not one measure"):
            BoundaryF1(2).merge(other)
