"""KITTI road's measures and its bird's-eye view, against their definitions worked out anew."""

import json
import math
from dataclasses import asdict, astuple
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rtseg.data.kitti_road import decode_truth
from rtseg.errors import InputError
from rtseg.evaluation.birds_eye import BirdsEye, calibration_of
from rtseg.evaluation.kitti_road import RoadCurve, by_category, category_of

VOID = 255
NAMES = ("maxf", "ap", "precision", "recall", "fpr", "fnr", "threshold")


def curve_of(*frames):
    curve = RoadCurve()
    for truth, probability in frames:
        curve.add(np.asarray(truth, np.uint8), np.asarray(probability, np.uint8))
    return curve


def naive(frames):
    """The measures pixel by pixel and threshold by threshold, in whole numbers and fractions."""
    best, points = None, []
    for step in range(256):
        threshold = step / 255
        tp = fp = fn = tn = 0
        for truth, probability in frames:
            for t, p in zip(np.ravel(truth), np.ravel(probability), strict=True):
                if t == VOID:
                    continue
                said = float(p) / 255 >= threshold
                tp += said and t == 1
                fp += said and t == 0
                fn += not said and t == 1
                tn += not said and t == 0
        precision = Fraction(tp, tp + fp) if tp + fp else Fraction(0)
        recall = Fraction(tp, tp + fn)
        both = precision + recall
        f1 = 2 * precision * recall / both if both else Fraction(0)
        points.append((precision, recall))
        if best is None or f1 > best["maxf"]:
            best = {
                "maxf": f1,
                "precision": precision,
                "recall": recall,
                "fpr": Fraction(fp, fp + tn) if fp + tn else math.nan,
                "fnr": Fraction(fn, tp + fn),
                "threshold": threshold,
            }
    grid = np.arange(0, 1.1, 0.1)
    best["ap"] = sum(max(p for p, r in points if float(r) >= least) for least in grid) / 11
    return best


def agree(scores, expected):
    assert asdict(scores) == pytest.approx(
        {name: float(expected[name]) for name in NAMES}, abs=1e-12, nan_ok=True
    )


@st.composite
def frames(draw, least=1):
    levels = draw(
        st.sampled_from([st.integers(0, 255), st.sampled_from([0, 255]), st.integers(126, 129)])
    )
    made = []
    for _ in range(draw(st.integers(least, 3))):
        shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=4))
        truth = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, VOID])))
        made.append((truth, draw(hnp.arrays(np.uint8, shape, elements=levels))))
    return made


# The measures


@settings(max_examples=40)
@given(frames())
def test_the_measures_are_those_of_the_definitions(made):
    scores = curve_of(*made).scores()
    if any((truth == 1).any() for truth, _ in made):
        agree(scores, naive(made))
    else:
        assert all(map(math.isnan, astuple(scores)))


def test_a_case_worked_by_hand():
    # By threshold: >200 none; 101–200: 1 right; 51–100: 2 right, 1 wrong; 1–50: 2, 1; 0: 3, 3.
    truth = [[1, 1, 0], [1, 0, 0], [VOID, VOID, VOID]]
    probability = [[200, 100, 60], [0, 0, 0], [255, 0, 130]]
    scores = curve_of((truth, probability)).scores()
    # At 60 (0.235): 2 right, 1 wrong, 1 missed: F 4/6; at 100: 2, 0, 1: F 4/5, from 61 on.
    assert scores.maxf == pytest.approx(4 / 5)
    assert scores.threshold == pytest.approx(61 / 255)
    assert (scores.precision, scores.recall) == (1, pytest.approx(2 / 3))
    assert (scores.fpr, scores.fnr) == (0, pytest.approx(1 / 3))
    # Recall reaches 0 to 0.6 at a precision of 1, and 0.7 to 1 at 1/2, where all is road.
    assert scores.ap == pytest.approx((7 * 1 + 4 * 0.5) / 11)


def test_the_recalls_of_average_precision_are_those_of_the_development_kit():
    # 3 of 10 is a recall of 0.3, and the kit's fourth recall is 0.30000000000000004.
    truth = [[1] * 10 + [0] * 10]
    probability = [[200] * 3 + [0] * 17]
    assert curve_of((truth, probability)).scores().ap == pytest.approx((3 * 1 + 8 * 0.5) / 11)


def test_the_division_in_single_precision_keeps_every_value_at_its_threshold():
    # The kit divides a picture of float32 by 255, and compares with thresholds of float64.
    values = np.arange(256).astype(np.float32) / 255
    thresholds = np.array(range(256)) / 255.0
    at_least = values.astype(np.float64)[:, None] >= thresholds
    np.testing.assert_array_equal(at_least, np.tri(256, dtype=bool))


def test_frames_are_summed_and_not_averaged():
    small = ([[1]], [[0]])  # missed: a frame of its own would have F 1 at threshold 0
    large = ([[1] * 8 + [0] * 8], [[255] * 8 + [0] * 8])
    both = curve_of(small, large).scores()
    assert both.maxf == pytest.approx(2 * 8 / (2 * 8 + 1))
    assert both.recall == pytest.approx(8 / 9)
    assert curve_of(small).scores().maxf == curve_of(large).scores().maxf == 1


def test_the_right_submission_has_full_marks():
    truth = np.array([[1, 0, VOID], [0, 1, 1]], np.uint8)
    scores = curve_of((truth, np.where(truth == 1, 255, 0))).scores()
    assert astuple(scores)[:6] == (1, 1, 1, 1, 0, 0)
    assert scores.threshold == pytest.approx(1 / 255)


def test_where_nothing_is_said_to_be_road_everything_is_at_threshold_0():
    scores = curve_of(([[1, 0, 0, 0]], [[0, 0, 0, 0]])).scores()
    assert astuple(scores) == pytest.approx((2 / 5, 1 / 4, 1 / 4, 1, 1, 0, 0))


@pytest.mark.parametrize(
    ("truth", "valid"), [([[0, 0, VOID]], 2), ([[VOID] * 3], 0), (np.zeros((0, 3)), 0)]
)
def test_without_a_pixel_of_road_there_is_nothing_to_score(truth, valid):
    curve = curve_of((truth, np.full(np.shape(truth), 9)))
    assert all(map(math.isnan, astuple(curve.scores())))
    # Such a frame still counts among others: what it calls road is wrong.
    curve.merge(curve_of(([[1]], [[9]])))
    assert curve.scores().precision == pytest.approx(1 / (1 + valid))


def test_where_all_is_road_no_share_of_the_rest_can_be_wrong():
    scores = curve_of(([[1, 1]], [[3, 200]])).scores()
    assert math.isnan(scores.fpr)
    assert (scores.maxf, scores.ap, scores.recall) == (1, 1, 1)


@settings(max_examples=40)
@given(frames(), st.randoms())
def test_neither_the_order_nor_the_parting_of_frames_matters(made, random):
    whole = curve_of(*made)
    parts = [curve_of(frame) for frame in made]
    random.shuffle(parts)
    total = RoadCurve()
    for part in parts:
        total = total + part
    np.testing.assert_array_equal(total.counts, whole.counts)
    again = RoadCurve.of(json.loads(json.dumps(whole.counts.tolist())))
    np.testing.assert_array_equal(again.counts, whole.counts)
    assert astuple(again.scores()) == pytest.approx(astuple(whole.scores()), nan_ok=True, abs=0)


@settings(max_examples=40)
@given(frames(), st.integers(0, 255))
def test_pixels_without_a_truth_do_not_count(made, other):
    changed = [(t, np.where(t == VOID, np.uint8(other), p)) for t, p in made]
    np.testing.assert_array_equal(curve_of(*made).counts, curve_of(*changed).counts)
    assert curve_of(*made).counts.sum() == sum(np.count_nonzero(t != VOID) for t, _ in made)


def test_merging_leaves_the_other_curve_alone():
    one, other = curve_of(([[1]], [[7]])), curve_of(([[0]], [[8]]))
    total = one + other
    one.merge(other)
    total.counts[:] = 0
    assert (one.counts.sum(), other.counts.sum()) == (2, 1)


@pytest.mark.parametrize("seed", range(5))
def test_precision_and_recall_are_scikit_learns(seed):
    metrics = pytest.importorskip("sklearn.metrics", reason="an outside opinion (extra test)")
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1], (40, 50), p=(0.7, 0.3)).astype(np.uint8)
    probability = np.clip(rng.normal(90 + 60 * truth, 40), 0, 255).astype(np.uint8)
    scores = curve_of((truth, probability)).scores()
    precision, recall, _ = metrics.precision_recall_curve(truth.ravel(), probability.ravel())
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert scores.maxf == pytest.approx(f1.max(), abs=1e-12)
    assert scores.precision == pytest.approx(precision[f1.argmax()], abs=1e-12)
    assert scores.recall == pytest.approx(recall[f1.argmax()], abs=1e-12)
    said = probability.ravel() >= round(scores.threshold * 255)
    assert metrics.f1_score(truth.ravel(), said) == pytest.approx(scores.maxf, abs=1e-12)
    (tn, fp), (fn, tp) = metrics.confusion_matrix(truth.ravel(), said)
    assert (scores.fpr, scores.fnr) == pytest.approx((fp / (fp + tn), fn / (fn + tp)), abs=1e-12)
    # sklearn's last point, of recall 0, is none of the kit's: it has a precision of 1 by decree.
    points = list(zip(precision[:-1], recall[:-1], strict=True))
    eleven = [max(p for p, r in points if r >= least) for least in np.arange(0, 1.1, 0.1)]
    assert scores.ap == pytest.approx(np.mean(eleven), abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "probability", "says"),
    [
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), "not one shape"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), "uint8, not uint8 and float64"),
        (np.zeros((2, 2), bool), np.zeros((2, 2), np.uint8), "uint8, not bool"),
        (np.full((2, 2), 2, np.uint8), np.zeros((2, 2), np.uint8), "not 0, 1 or void"),
        (np.full((2, 2), 254, np.uint8), np.zeros((2, 2), np.uint8), "not 0, 1 or void"),
    ],
)
def test_what_cannot_be_counted_is_named_and_not_counted(truth, probability, says):
    curve = RoadCurve()
    with pytest.raises(ValueError, match=says):
        curve.add(truth, probability)
    assert not curve.counts.any()


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (np.zeros((2, 255), int), r"\(2, 256\), not \(2, 255\)"),
        ([0] * 512, r"not \(512,\)"),
        (np.zeros((2, 256)), "whole numbers"),
        (np.full((2, 256), -1), "whole numbers"),
    ],
)
def test_what_are_no_counts_is_named(counts, says):
    with pytest.raises(ValueError, match=says):
        RoadCurve.of(counts)


# Categories


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("um_000012.png", "um_road"),
        ("umm_000012.png", "umm_road"),
        ("training/image_2/uu_000012.png", "uu_road"),
        ("um_road_000012.png", "um_road"),
        ("um_lane_000012.png", "um_lane"),
        ("gt_image_2/umm_road_000095.png", "umm_road"),
        ("uu_000012", "uu_road"),
        ("umm_lane_000012.png", None),  # there are no such truths
        ("um_000012_10.png", None),
        ("um_.png", None),
        ("xum_000012.png", None),
        ("0001TP_006690.png", None),
        ("", None),
    ],
)
def test_a_files_name_tells_its_category(name, category):
    assert category_of(name) == category


def test_the_urban_roads_are_one_sum_without_the_lane():
    curves = [
        (name, curve_of(([[1] * count], [[200] * count])))
        for name, count in (("uu_road", 4), ("um_lane", 1), ("um_road", 2), ("uu_road", 8))
    ]
    sums = by_category(curves)
    assert list(sums) == ["um_lane", "um_road", "uu_road", "urban_road"]
    assert [int(curve.counts.sum()) for curve in sums.values()] == [1, 2, 12, 14]
    assert [int(curve.counts.sum()) for _, curve in curves] == [4, 1, 2, 8]
    assert list(by_category(curves[1:2])) == ["um_lane"]
    assert by_category([]) == {}
    with pytest.raises(ValueError, match="'urban_road' is none of"):
        by_category([("urban_road", RoadCurve())])


# The view from above


def write_calibration(path, *, focal=100.0, centre=(200.0, 50.0), height=1.5):
    """A camera that looks straight ahead, ``height`` metres above the road."""
    cx, cy = centre
    matrices = {
        "P0": np.zeros((3, 4)),
        "P2": np.array([[focal, 0, cx, 0], [0, focal, cy, 0], [0, 0, 1, 0]]),
        "R0_rect": np.eye(3),
        "Tr_velo_to_cam": np.zeros((3, 4)),
        "Tr_cam_to_road": np.hstack((np.eye(3), [[0], [-height], [0]])),
    }
    lines = [f"{name}: " + " ".join(f"{v:.12e}" for v in m.flat) for name, m in matrices.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_place_of_the_road_has_the_value_of_its_pixel(tmp_path):
    view = BirdsEye(write_calibration(tmp_path / "calib.txt"))
    rows, columns = np.mgrid[1:61, 1:401].astype(np.int32)  # counted from 1, as the kit does
    seen_rows, seen_columns = view.warp(rows, -1), view.warp(columns, -1)
    assert (seen_rows.shape, seen_rows.dtype) == ((800, 400), np.int32)
    checked = 0
    for row in range(0, 800, 7):
        for column in range(0, 400, 7):
            x, z = -10 + 0.05 * (column + 0.5), 46 - 0.05 * (row + 0.5)
            u, v = 200 + 100 * x / z, 50 + 100 * 1.5 / z
            if min(abs(u - round(u)), abs(v - round(v))) < 1e-4:
                continue  # on an edge: rounding decides
            inside = 1 <= u <= 400 and 1 <= v <= 60
            expected = (math.floor(v), math.floor(u)) if inside else (-1, -1)
            assert (seen_rows[row, column], seen_columns[row, column]) == expected
            checked += 1
    assert checked > 6000
    assert -1 in seen_rows[-1]  # 6 m ahead is below the picture
    assert -1 not in seen_rows[0]


def test_nothing_is_interpolated_and_the_outside_is_void(tmp_path):
    view = BirdsEye(write_calibration(tmp_path / "calib.txt"))
    truth = np.zeros((60, 400), np.uint8)
    truth[:, 199:] = 1  # the camera's middle is in column 200, counted from 1
    seen = view.warp_truth(truth)
    assert (seen.shape, seen.dtype) == ((800, 400), np.uint8)
    assert set(np.unique(seen)) == {0, 1, VOID}
    np.testing.assert_array_equal(seen[0], np.arange(400) // 200)
    colours = np.dstack([np.where(truth == 1, 255, 0), np.zeros_like(truth), truth * 0 + 255])
    np.testing.assert_array_equal(decode_truth(view.warp(colours.astype(np.uint8))), seen)


def test_pictures_of_several_sizes_each_have_their_outside(tmp_path):
    view = BirdsEye(write_calibration(tmp_path / "calib.txt"))
    for height, width in ((60, 400), (40, 300), (60, 400)):
        ones = np.ones((height, width), np.uint8)
        again = BirdsEye(tmp_path / "calib.txt").warp(ones)
        np.testing.assert_array_equal(view.warp(ones), again)
    # A picture that ends above the road's nearest part shows less of it.
    assert (
        view.warp(np.ones((40, 300), np.uint8)).sum()
        < view.warp(np.ones((60, 400), np.uint8)).sum()
    )


def test_a_road_behind_the_camera_is_not_seen(tmp_path):
    path = write_calibration(tmp_path / "calib.txt")
    text = path.read_text()
    turned = np.diag([-1.0, 1, -1])
    turned = np.hstack((turned, [[0], [-1.5], [0]]))
    line = "Tr_cam_to_road: " + " ".join(map(str, turned.flat))
    path.write_text(text[: text.index("Tr_cam_to_road")] + line + "\n")
    assert not BirdsEye(path).warp(np.ones((60, 400), np.uint8)).any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("P2", "P9"), "no P2 in this calibration"),
        (lambda text: "", "no P2 and no R0_rect and no Tr_cam_to_road"),
        (
            lambda text: text.replace("R0_rect: ", "R0_rect: one "),
            "R0_rect holds what is no number",
        ),
        (lambda text: text.replace("R0_rect: ", "R0_rect: 1 "), "R0_rect is not 3 x 3 finite"),
        (lambda text: text.replace("P2: 1", "P2: nan"), "P2"),
        (lambda text: text.replace("P2: ", "P2: \N{DEGREE SIGN}"), "not text"),
        (lambda text: text.partition("Tr_cam")[0] + "Tr_cam_to_road: " + "0 " * 12, "singular"),
    ],
    ids=["missing", "empty", "words", "too many", "nan", "not ascii", "singular"],
)
def test_a_bad_calibration_is_named_in_one_line(tmp_path, change, says):
    path = write_calibration(tmp_path / "calib.txt")
    path.write_text(change(path.read_text()), encoding="utf-8")
    with pytest.raises(InputError, match=says) as caught:
        BirdsEye(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_calibration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt: cannot read this calibration: No such file"):
        BirdsEye(tmp_path / "gone.txt")


def test_a_pictures_calibration_lies_beside_its_folder(tmp_path):
    picture = tmp_path / "image_2" / "um_000003.png"
    (tmp_path / "calib").mkdir()
    assert calibration_of(picture) is None
    file = write_calibration(tmp_path / "calib" / "um_000003.txt")
    assert calibration_of(picture) == file
    assert calibration_of(tmp_path / "frames" / "um_000003.png") is None


# The real frames


@pytest.fixture(params=["um_road_000000", "um_road_000001", "um_lane_000000", "um_lane_000001"])
def real(request, shared):
    """A real truth, and a probability that is nearly right: blurred, beside its place, and noisy."""
    folder = shared / "data" / "kitti_road" / "training"
    file = folder / "gt_image_2" / f"{request.param}.png"
    if not file.is_file():
        pytest.skip(f"no {file}")
    truth = decode_truth(cv2.imread(str(file)))
    road = np.roll((truth == 1).astype(np.float32), 9, axis=1)
    noise = np.random.default_rng(1).normal(0, 0.05, truth.shape)
    probability = np.clip(cv2.GaussianBlur(road, (0, 0), 12) + noise, 0, 1)
    return truth, np.round(255 * probability).astype(np.uint8)


def thresholded(truth, probability):
    """The measures by 256 comparisons with a submission as the development kit reads it."""
    submission = probability.astype(np.float32) / 255
    valid = truth != VOID
    road, rest = submission[valid & (truth == 1)], submission[valid & (truth == 0)]
    thresholds = np.array(range(256)) / 255.0
    tp = np.array([np.count_nonzero(road.astype(np.float64) >= t) for t in thresholds])
    fp = np.array([np.count_nonzero(rest.astype(np.float64) >= t) for t in thresholds])
    precision, recall = tp / (tp + fp + 1e-10), tp / len(road)
    f1 = 2 * precision * recall / (precision + recall + 1e-10)
    best = f1.argmax()
    return {
        "maxf": f1[best],
        "ap": np.mean([precision[recall >= r].max() for r in np.arange(0, 1.1, 0.1)]),
        "precision": precision[best],
        "recall": recall[best],
        "fpr": fp[best] / len(rest),
        "fnr": 1 - recall[best],
        "threshold": thresholds[best],
    }


def test_real_frames_in_perspective(real):
    scores = curve_of(real).scores()
    assert asdict(scores) == pytest.approx(thresholded(*real), abs=1e-9)
    assert 0.5 < scores.maxf < 1  # nearly right, and not quite


def test_real_frames_from_above(real, shared):
    truth, probability = real
    folder = shared / "data" / "kitti_road" / "training" / "calib"
    file = folder / "um_000000.txt"
    if not file.is_file():
        pytest.skip(f"no {file}")
    view = BirdsEye(file)
    above = view.warp_truth(truth), view.warp(probability)
    scores = curve_of(above).scores()
    assert asdict(scores) == pytest.approx(thresholded(*above), abs=1e-9)
    # Against the matrices of the file, taken as they are: X in the road's frame, Y 0, Z.
    lines = dict(line.split(":") for line in file.read_text().splitlines() if ":" in line)
    p2, r0, to_road = (
        np.array(lines[name].split(), float).reshape(3, -1)
        for name in ("P2", "R0_rect", "Tr_cam_to_road")
    )
    checked = 0
    for row, column in np.random.default_rng(0).integers(0, (800, 400), (500, 2)):
        place = np.array([-10 + 0.05 * (column + 0.5), 0, 46 - 0.05 * (row + 0.5)])
        camera = np.linalg.solve(to_road[:, :3], place - to_road[:, 3])
        u, v, w = p2 @ np.append(r0 @ camera, 1)
        u, v = u / w, v / w
        if min(abs(u - round(u)), abs(v - round(v))) < 1e-3:
            continue
        inside = 1 <= u <= truth.shape[1] and 1 <= v <= truth.shape[0]
        expected = truth[math.floor(v) - 1, math.floor(u) - 1] if inside else VOID
        assert above[0][row, column] == expected
        checked += 1
    assert checked > 450
