"""``rtseg-eval`` on labelled data: its figures against scikit-learn and torchmetrics, and its files."""

import csv
import importlib.util
import json

import cv2
import numpy as np
import pytest
from dataset_files import OWN_COLOURS, noise, own_folder, stripes, write, write_colours
from evaluated import (
    mask_of,
    noisy,
    result_of,
    road_folder,
    run_eval,
    truth_of,
)

from rtseg.cli.eval import main
from rtseg.evaluation import BoundaryF1
from rtseg.evaluation.kitti_road import RoadCurve


@pytest.fixture
def evaluate(capfd, tiny_network, tmp_path):
    """Run the command with the tests' network; gives status, error lines and the output folder."""

    def run(source, *arguments, network=tiny_network, out=None):
        out = out or tmp_path / "out"
        status, lines = run_eval(capfd, network, source, "--out", out, *arguments)
        return status, lines, out

    return run


@pytest.mark.parametrize("size", [(96, 64), (150, 110), (40, 30)])
def test_scores_are_those_of_scikit_learn(evaluate, tmp_path, size):
    metrics = pytest.importorskip("sklearn.metrics")
    pairs = road_folder(tmp_path / "data", 5, *size)
    status, lines, out = evaluate(tmp_path / "data")
    assert (status, lines) == (0, [])
    result = result_of(out)
    truth = np.concatenate([t.ravel() for t, _ in pairs])
    mask = np.concatenate([m.ravel() for _, m in pairs])[truth != 255]
    truth = truth[truth != 255]
    assert result["confusion"] == metrics.confusion_matrix(truth, mask).tolist()
    scores = result["scores"]
    iou = metrics.jaccard_score(truth, mask, average=None)
    precision, recall, dice, support = metrics.precision_recall_fscore_support(truth, mask)
    for i, name in enumerate(("background", "road")):
        found = scores["classes"][name]
        assert found["present"]
        assert found["iou"] == pytest.approx(iou[i])
        assert found["precision"] == pytest.approx(precision[i])
        assert found["recall"] == pytest.approx(recall[i])
        assert found["dice"] == pytest.approx(dice[i])
        assert found["pixels"] == support[i]
    assert scores["miou"] == pytest.approx(iou.mean())
    assert scores["pixel_accuracy"] == pytest.approx(metrics.accuracy_score(truth, mask))
    assert scores["mean_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, mask))
    assert scores["mean_dice"] == pytest.approx(dice.mean())
    weighted = metrics.jaccard_score(truth, mask, average="weighted")
    assert scores["frequency_weighted_iou"] == pytest.approx(weighted)
    for frame, (t, m) in zip(result["frames"], pairs, strict=True):
        known = t != 255
        own = metrics.jaccard_score(t[known], m[known], average="macro")
        assert frame["miou"] == pytest.approx(own)
        assert frame["pixel_accuracy"] == pytest.approx((t == m)[known].mean())


def test_scores_are_those_of_torchmetrics(evaluate, tmp_path):
    torch = pytest.importorskip("torch")
    segmentation = pytest.importorskip("torchmetrics.classification")
    pairs = road_folder(tmp_path / "data", 4)
    _, _, out = evaluate(tmp_path / "data", "--boundary")
    options = {"num_classes": 2, "ignore_index": 255}
    iou = segmentation.MulticlassJaccardIndex(**options, average="none")
    accuracy = segmentation.MulticlassAccuracy(**options, average="micro")
    boundary = BoundaryF1(2)
    for truth, mask in pairs:
        tensors = torch.from_numpy(mask.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))
        iou.update(*tensors)
        accuracy.update(*tensors)
        boundary.add(truth.astype(np.uint8), mask)
    scores = result_of(out)["scores"]
    found = [values["iou"] for values in scores["classes"].values()]
    assert found == pytest.approx(iou.compute().tolist())
    assert scores["pixel_accuracy"] == pytest.approx(float(accuracy.compute()))
    assert scores["boundary_f1"] == pytest.approx(boundary.mean)
    assert [v["boundary_f1"] for v in scores["classes"].values()] == pytest.approx(boundary.f1)


def test_the_tables_hold_what_the_result_does(evaluate, tmp_path):
    road_folder(tmp_path / "data", 3)
    _, _, out = evaluate(tmp_path / "data")
    result = result_of(out)
    frames = list(csv.DictReader((out / "frames.csv").open()))
    assert [row["name"] for row in frames] == ["f00.png", "f01.png", "f02.png"]
    assert [float(row["miou"]) for row in frames] == [f["miou"] for f in result["frames"]]
    classes = list(csv.DictReader((out / "classes.csv").open()))
    assert {row["class"]: float(row["iou"]) for row in classes} == {
        name: values["iou"] for name, values in result["scores"]["classes"].items()
    }
    assert result["engine"]["precision"] in ("fp32", "bf16", "fp16")
    assert result["network"]["name"] == "tiny"
    assert result["speed"]["frames"] == 3


def test_classes_that_no_mask_has_are_absent_not_0_or_1(evaluate, make_network, tmp_path):
    classes = ("background", "road", "water", "ice")
    network = make_network(classes=classes, palette=tuple((i, i, i) for i in range(4)))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "classes.txt").write_text(
        "0 0 0 background\n1 1 1 road\n2 2 2 water\n3 3 3 ice\n"
    )
    picture = noisy(0)
    write(tmp_path / "data" / "images" / "a.png", picture)
    # All that is road in truth is ice: road is predicted, and in no truth.
    write(tmp_path / "data" / "masks" / "a.png", mask_of(picture) * 3)
    status, _, out = evaluate(tmp_path / "data", "--boundary", network=network)
    assert status == 0
    scores = result_of(out)["scores"]
    for name in ("road", "water"):
        values = scores["classes"][name]
        assert values == {
            "iou": None, "precision": None, "recall": None, "dice": None, "boundary_f1": None,
            "pixels": 0, "present": False,
        }  # fmt: skip
    assert scores["classes"]["ice"]["iou"] == 0
    assert scores["miou"] == pytest.approx(scores["classes"]["background"]["iou"] / 2)


def test_a_mask_that_is_all_void_counts_for_nothing(evaluate, tmp_path):
    road_folder(tmp_path / "data", 2)
    write(tmp_path / "data" / "masks" / "f01.png", np.full((64, 96), 2, np.uint8))
    status, lines, out = evaluate(tmp_path / "data")
    assert (status, lines) == (0, [])
    result = result_of(out)
    assert result["counts"]["scored"] == 2
    assert result["frames"][1] == {"name": "f01.png", "miou": None, "pixel_accuracy": None}
    assert result["scores"]["miou"] == result["frames"][0]["miou"]


def test_other_classes_are_merged_by_name(evaluate, tmp_path):
    """A dataset of sky, grass and road: the tests' network knows road and the rest."""
    own_folder(tmp_path / "data", ("a", "b"))
    text = (tmp_path / "data" / "classes.txt").read_text()
    (tmp_path / "data" / "classes.txt").write_text(text.replace("the road", "Road"))
    status, lines, out = evaluate(tmp_path / "data")
    assert (status, lines) == (0, [])
    result = result_of(out)
    assert list(result["scores"]["classes"]) == ["background", "road"]
    truth = stripes(4)  # void, road, grass, sky
    counts = np.zeros((2, 2), int)
    for seed in (0, 1):
        mask = mask_of(noise(seed))
        for t, p in zip(truth[truth > 0], mask[truth > 0], strict=True):
            counts[int(t == 1), p] += 1
    assert result["confusion"] == counts.tolist()


def test_a_network_of_more_classes_is_scored_on_those_of_the_masks(
    evaluate, make_network, tmp_path
):
    classes = ("Sky", "Road", "Tree")
    network = make_network(classes=classes, palette=tuple((i, i, i) for i in range(3)))
    road_folder(tmp_path / "data", 2)
    status, _, out = evaluate(tmp_path / "data", network=network)
    assert status == 0
    result = result_of(out)
    assert list(result["scores"]["classes"]) == ["background", "road"]
    assert result["dataset"]["classes"] == ["background", "road"]
    assert "Sky, Tree count as background" in result["dataset"]["note"]


@pytest.fixture
def kitti(tmp_path):
    """KITTI road's layout with three frames of two categories, of which one has no calibration."""
    root = tmp_path / "road" / "training"
    calibration = (
        "P2: 120 0 75 0 0 120 20 0 0 0 1 0\n"
        "R0_rect: 1 0 0 0 1 0 0 0 1\n"
        "Tr_cam_to_road: 1 0 0 0 0 1 0 -1.6 0 0 1 0\n"
    )
    for i, name in enumerate(("um_000000", "um_000001", "uu_000000")):
        picture = noisy(i)
        truth = truth_of(picture, i, void=False)
        colours = np.zeros((*truth.shape, 3), np.uint8)
        colours[..., 2] = 255
        colours[truth == 1, 0] = 255
        colours[:5, :, 2] = 0  # invalid
        category, number = name.split("_")
        write(root / "image_2" / f"{name}.png", picture)
        write(root / "gt_image_2" / f"{category}_road_{number}.png", colours)
        if i:
            (root / "calib").mkdir(exist_ok=True)
            (root / "calib" / f"{name}.txt").write_text(calibration)
    return tmp_path / "road"


def test_kitti_road_has_its_measures_by_category(evaluate, kitti):
    status, lines, out = evaluate(kitti)
    assert status == 0
    assert len(lines) == 1
    assert "1 frame has no calibration" in lines[0]
    result = result_of(out)
    road = result["kitti_road"]
    frames = {name: values["frames"] for name, values in road["perspective"].items()}
    assert frames == {"um_road": 2, "uu_road": 1, "urban_road": 3}
    assert {name: v["frames"] for name, v in road["bev"].items()} == {
        "um_road": 1, "uu_road": 1, "urban_road": 2,
    }  # fmt: skip
    # The network is as good as certain, so that every threshold gives its mask.
    curve = RoadCurve()
    for i in range(2):
        picture = noisy(i)
        truth = truth_of(picture, i, void=False)
        truth[:5] = 255
        curve.add(truth, mask_of(picture) * np.uint8(255))
    scores = curve.scores()
    for name in ("maxf", "ap", "precision", "recall", "fpr", "fnr"):
        found = road["perspective"]["um_road"][name]
        assert found == pytest.approx(getattr(scores, name), abs=0.03), name
    categories = [json.loads(line)["category"] for line in (out / "records.jsonl").open()]
    assert categories == ["um_road", "um_road", "uu_road"]


def test_kitti_road_without_its_measures(evaluate, kitti):
    status, lines, out = evaluate(kitti, "--space", "none")
    assert (status, lines) == (0, [])
    result = result_of(out)
    assert result["kitti_road"] is None
    assert result["counts"]["scored"] == 3


def test_a_damaged_calibration_is_told_of_its_frame(evaluate, kitti):
    (kitti / "training" / "calib" / "uu_000000.txt").write_text("P2: nothing\n")
    status, lines, out = evaluate(kitti)
    assert status == 0
    assert any("1 of 3 frames skipped (1 calibration)" in line for line in lines)
    assert result_of(out)["counts"]["scored"] == 2


def test_measure_tells_what_the_evaluation_costs(evaluate, tmp_path):
    road_folder(tmp_path / "data", 3)
    status, lines, out = evaluate(tmp_path / "data", "--measure", 1, "--boundary", "--masks")
    assert (status, lines) == (0, [])
    speed = result_of(out)["speed"]
    assert speed["engine_fps"] > 0
    (only,) = speed["measured"]["rounds"]
    assert speed["efficiency"] == pytest.approx(only["decoded_fps"] / only["engine_fps"], rel=1e-3)
    assert only["decoded_cpu_ms"] > 0
    assert sum(1 for _ in (out / "records.jsonl").open()) == 3  # it leaves the results alone


def test_a_report_is_written_or_said_to_be_missing(capfd, tiny_network, tmp_path, monkeypatch):
    road_folder(tmp_path / "data", 2)
    arguments = [str(tiny_network), str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "jinja2" else real(name)
    )
    assert main(arguments) == 0
    out, err = capfd.readouterr()
    assert "mIoU" in out
    assert err.splitlines() == [
        "rtseg-eval: the HTML report needs jinja2: pip install 'rtseg[report]'"
    ]
    monkeypatch.undo()
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    assert main(arguments) == 0
    assert b"f00.png" in (tmp_path / "out" / "report.html").read_bytes()


def test_camvid_is_scored_as_by_its_own_loader(evaluate, shared):
    """Real frames, by the road network: the figures of two independent ways are the same."""
    from rtseg import load
    from rtseg.data.camvid import CamVid
    from rtseg.data.labels import ROAD
    from rtseg.evaluation import ConfusionMatrix

    status, _, out = evaluate(shared / "data" / "camvid", "--limit", 2, network="road-unet")
    assert status == 0
    camvid, matrix = CamVid(shared / "data" / "camvid", "val", ROAD), ConfusionMatrix(2)
    with load("road-unet") as engine:
        for i in range(2):
            frame, truth = camvid[i]
            small = cv2.resize(frame, (engine.spec.width, engine.spec.height))
            mask = cv2.resize(
                engine.infer(small[None])[0],
                truth.shape[::-1],
                interpolation=cv2.INTER_NEAREST_EXACT,
            )
            matrix.add(truth, mask)
    assert result_of(out)["confusion"] == matrix.counts.tolist()


def test_colours_of_a_palette_can_be_asked_for(evaluate, tmp_path):
    own_folder(tmp_path / "data", ("a",))
    text = (tmp_path / "data" / "classes.txt").read_text()
    (tmp_path / "data" / "classes.txt").write_text(text.replace("the road", "Road"))
    write_colours(tmp_path / "data" / "masks" / "a.png", stripes(4), OWN_COLOURS)
    status, lines, _ = evaluate(tmp_path / "data", "--truths", "indices")
    assert status == 1
    assert "none of the 1 frames" in lines[-1]
