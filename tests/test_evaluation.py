"""The confusion matrix against scikit-learn's and torchmetrics'."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rtseg.evaluation import ConfusionMatrix

VOID = 255


def mask_values(classes, *, void):
    indices = st.integers(0, classes - 1)
    return st.one_of(indices, st.just(VOID)) if void else indices


@st.composite
def mask_pairs(draw):
    """(classes, truth with void, prediction) of one shape."""
    classes = draw(st.integers(1, 7))
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=3, max_side=12))
    truth = draw(arrays.arrays(np.uint8, shape, elements=mask_values(classes, void=True)))
    prediction = draw(arrays.arrays(np.uint8, shape, elements=mask_values(classes, void=False)))
    return classes, truth, prediction


def scored(classes, *pairs):
    matrix = ConfusionMatrix(classes)
    for truth, prediction in pairs:
        matrix.add(truth, prediction)
    return matrix


@pytest.mark.filterwarnings("ignore:A single label:UserWarning")
@given(mask_pairs())
def test_the_matrix_is_scikit_learns(masks):
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle of this test (extra test)")
    classes, truth, prediction = masks
    known = truth != VOID
    expected = np.zeros((classes, classes), int)
    if known.any():  # scikit-learn takes no empty lists
        expected = metrics.confusion_matrix(
            truth[known], prediction[known], labels=np.arange(classes)
        )
    np.testing.assert_array_equal(scored(classes, (truth, prediction)).matrix, expected)


@given(mask_pairs())
def test_iou_a_class_is_torchmetrics_jaccard_index(masks):
    torch = pytest.importorskip("torch", reason="the oracle of this test (extra train)")
    metrics = pytest.importorskip("torchmetrics.classification")
    classes, truth, prediction = masks
    classes = max(classes, 2)  # torchmetrics takes no single class
    index = metrics.MulticlassJaccardIndex(
        classes, average=None, ignore_index=VOID, validate_args=False
    )
    expected = index(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long()).numpy()
    iou = scored(classes, (truth, prediction)).iou
    seen = ~np.isnan(iou)
    np.testing.assert_allclose(iou[seen], expected[seen], atol=1e-6)
    known = truth != VOID
    occurring = set(truth[known].tolist()) | set(prediction[known].tolist())
    assert set(np.flatnonzero(seen).tolist()) == occurring


@given(mask_pairs())
def test_miou_and_pixel_accuracy_by_counting_sets(masks):
    classes, truth, prediction = masks
    matrix = scored(classes, (truth, prediction))
    known = truth != VOID
    if not known.any():
        assert np.isnan(matrix.miou)
        assert np.isnan(matrix.pixel_accuracy)
        return
    ious = []
    for c in np.unique(truth[known]):
        in_truth, in_prediction = (truth == c) & known, (prediction == c) & known
        ious.append((in_truth & in_prediction).sum() / (in_truth | in_prediction).sum())
    assert matrix.miou == pytest.approx(np.mean(ious))
    assert matrix.pixel_accuracy == pytest.approx((truth == prediction)[known].mean())


@given(st.data())
def test_a_sum_over_images_is_the_matrix_of_them_all_side_by_side(data):
    classes, truth, prediction = data.draw(mask_pairs())
    cut = data.draw(st.integers(0, len(truth)))
    parts = scored(classes, (truth[:cut], prediction[:cut]), (truth[cut:], prediction[cut:]))
    whole = scored(classes, (truth, prediction))
    np.testing.assert_array_equal(parts.matrix, whole.matrix)
    np.testing.assert_equal(parts.miou, whole.miou)


def test_a_worked_example():
    truth = np.array([[0, 0, 1, 1], [2, 2, VOID, VOID]], np.uint8)
    prediction = np.array([[0, 1, 1, 1], [2, 0, 0, 2]], np.uint8)
    matrix = scored(4, (truth, prediction))
    np.testing.assert_array_equal(matrix.matrix[:3, :3], [[1, 1, 0], [0, 2, 0], [1, 0, 1]])
    np.testing.assert_allclose(matrix.iou[:3], [1 / 3, 2 / 3, 1 / 2])
    assert np.isnan(matrix.iou[3])
    assert matrix.miou == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3)
    assert matrix.pixel_accuracy == pytest.approx(4 / 6)


def test_scores_are_of_the_sum_not_means_over_images():
    # IoU of class 1 is 1 on the first image and 0 on the second, and 1 / 10 of all pixels.
    first = np.array([1], np.uint8), np.array([1], np.uint8)
    second = np.full(9, 1, np.uint8), np.zeros(9, np.uint8)
    assert scored(2, first, second).iou[1] == pytest.approx(0.1)


def test_a_class_that_only_the_prediction_has_costs_the_others_alone():
    truth = np.zeros(4, np.uint8)
    prediction = np.array([0, 0, 0, 1], np.uint8)
    matrix = scored(3, (truth, prediction))
    np.testing.assert_array_equal(matrix.iou, [0.75, 0, np.nan])
    assert matrix.miou == 0.75


def test_nothing_counted_is_nan():
    matrix = ConfusionMatrix(2)
    assert np.isnan(matrix.miou)
    assert np.isnan(matrix.pixel_accuracy)
    assert np.isnan(matrix.iou).all()


def test_void_in_the_truth_hides_any_prediction():
    truth = np.full((2, 3), VOID, np.uint8)
    prediction = np.array([[0, 1, 2], [7, 254, 255]], np.uint8)
    assert scored(2, (truth, prediction)).matrix.sum() == 0


def test_masks_that_are_views_are_counted_as_they_look():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 3, (2, 20, 30), dtype=np.uint8)
    views = truth[::2, ::-3], prediction[::2, ::-3]
    copies = views[0].copy(), views[1].copy()
    np.testing.assert_array_equal(scored(3, views).matrix, scored(3, copies).matrix)


def test_255_classes_fill_a_uint8():
    every = np.arange(255, dtype=np.uint8)
    np.testing.assert_array_equal(scored(255, (every, every)).matrix, np.eye(255))


def test_the_masks_are_left_as_they_are():
    truth, prediction = np.array([[0, 255, 1]], np.uint8), np.array([[1, 1, 1]], np.uint8)
    scored(2, (truth, prediction))
    assert truth.tolist() == [[0, 255, 1]]
    assert prediction.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("truth", "prediction", "says"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "not one shape"),
        (np.array([3], np.uint8), np.array([0], np.uint8), "truth holds an index above 2"),
        (np.array([254], np.uint8), np.array([0], np.uint8), "truth holds an index above 2"),
        (np.array([0], np.uint8), np.array([3], np.uint8), "prediction holds an index above 2"),
        (np.array([0], np.uint8), np.array([255], np.uint8), "prediction holds an index above 2"),
        (np.array([-1]), np.array([0], np.uint8), "uint8, not int64"),
        (np.array([0], np.uint8), np.array([0.5]), "uint8, not uint8 and float64"),
    ],
)
def test_masks_that_cannot_be_counted_are_named_and_leave_the_sum_alone(truth, prediction, says):
    matrix = scored(3, (np.array([0, 1], np.uint8), np.array([0, 2], np.uint8)))
    before = matrix.matrix.copy()
    with pytest.raises(ValueError, match=says):
        matrix.add(truth, prediction)
    np.testing.assert_array_equal(matrix.matrix, before)


@pytest.mark.parametrize("classes", [0, -1, 256])
def test_an_impossible_number_of_classes_is_an_error(classes):
    with pytest.raises(ValueError, match="1 to 255"):
        ConfusionMatrix(classes)
