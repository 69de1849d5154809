"""The report of an evaluation: one page that says what the result says, and harms nobody."""

import base64
import copy
import re
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from rtseg.errors import OutputError, UsageError
from rtseg.evaluation import ConfusionMatrix
from rtseg.evaluation.report import ReportPicture, write_report
from rtseg.evaluation.report.numbers import duration, moment, percent, whole_percent
from rtseg.evaluation.report.pictures import embed, error_map, overlay

CLASSES = ("Sky", "Road", "Pole", "Car")
PALETTE = ((128, 128, 128), (128, 64, 128), (192, 192, 128), (64, 0, 128))
HOSTILE = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>"

VOID_ELEMENTS = {"meta", "input", "img", "br"}


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text by element."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.texts = []  # (path of tags, text)
        self.open = []
        self.feed(source)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append((tuple(self.open), text))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def words(self):
        """The text that is read: without style and script."""
        kept = (text for path, text in self.texts if not {"style", "script"} & set(path))
        return " ".join(" ".join(kept).replace("\N{NO-BREAK SPACE}", " ").split())

    def figures(self):
        """The machine-readable values of all figures."""
        values = [attributes["value"] for attributes in self.all("data")]
        return [float(value) for value in values if value]


def a_result(frames=12, classes=CLASSES, seed=3):
    """A result and its records as an evaluation writes them; the last class is absent."""
    random = np.random.default_rng(seed)
    n = len(classes)
    total, records = ConfusionMatrix(n), []
    for i in range(frames):
        counts = random.integers(0, 60, (n, n)) + np.diag(random.integers(200, 900, n))
        counts[-1] = 0
        matrix = ConfusionMatrix.of(counts)
        total.merge(matrix)
        records.append(
            {
                "index": i, "name": f"frame{i:03}.png", "status": "scored", "reason": None,
                "detail": None, "boundary": None, "category": None, "road": None,
                "miou": matrix.miou,
                "matrix": [
                    [int(t), int(p), int(counts[t, p])]
                    for t, p in zip(*np.nonzero(counts), strict=True)
                ],
            }
        )  # fmt: skip
    records.append(
        {"index": frames, "name": "torn.png", "status": "skipped", "reason": "unreadable",
         "detail": "torn.png: ends early", "matrix": None, "miou": None}
    )  # fmt: skip

    def known(values, i):
        return None if np.isnan(values[i]) or i == n - 1 else float(values[i])

    return {
        "command": "rtseg-eval net data --out out",
        "date": "2026-11-20T21:14:03+0000",
        "rtseg": "0.1.0",
        "versions": {"python": "3.11.7"},
        "machine": {"processor": "A processor", "memory_gib": 23.5, "load_average": None},
        "network": {
            "name": "net", "sha256": "ab" * 32, "classes": list(classes),
            "palette": [list(c) for c in PALETTE[:n]], "size": [96, 64],
        },
        "engine": {
            "backend": "openvino", "precision": "bf16", "device": "A processor", "batch": 1,
            "frames_in_flight": 2,
        },
        "dataset": {
            "kind": "camvid", "folder": "CamVid", "split": "val", "frames": frames + 1,
        },
        "counts": {
            "frames": frames + 1, "scored": frames, "written": 0, "skipped": 1,
            "reasons": {"unreadable": 1},
        },
        "skipped": [{"name": "torn.png", "reason": "unreadable", "detail": "torn.png: ends early"}],
        "scores": {
            "miou": total.miou, "pixel_accuracy": total.pixel_accuracy,
            "mean_accuracy": total.mean_accuracy, "mean_dice": total.mean_dice,
            "frequency_weighted_iou": total.frequency_weighted_iou, "boundary_f1": 0.512345,
            "classes": {
                name: {
                    "iou": known(total.iou, i), "precision": known(total.precision, i),
                    "recall": known(total.recall, i), "dice": known(total.dice, i),
                    "boundary_f1": None if i == n - 1 else 0.4 + 0.1 * i,
                    "pixels": int(total.counts[i].sum()), "present": i < n - 1,
                }
                for i, name in enumerate(classes)
            },
        },
        "confusion": total.counts.tolist(),
        "frames": [
            {"name": r["name"], "miou": r["miou"], "pixel_accuracy": 0.75} for r in records[:-1]
        ],
        "kitti_road": None,
        "speed": {
            "seconds": 75.2, "frames": frames, "fps": 31.46, "engine_fps": 33.5,
            "efficiency": 0.939,
        },
    }, records  # fmt: skip


def some_pictures(count=2, size=(48, 64)):
    random = np.random.default_rng(5)
    found = []
    for kind in ("worst", "best"):
        for i in range(count):
            truth = random.integers(0, 3, size, np.uint8)
            truth[:4] = 255
            mask = np.where(random.random(size) < 0.2, np.uint8(1), truth).astype(np.uint8)
            mask[:4] = 0
            frame = random.integers(0, 256, (*size, 3), np.uint8)
            found.append(ReportPicture(f"{kind}{i}.png", kind, 0.3 + 0.1 * i, frame, truth, mask))
    return found


@pytest.fixture
def written(tmp_path):
    """Write a report and parse it; skipped where the extra is not installed."""
    pytest.importorskip("jinja2", reason="the report needs jinja2 (extra report)")
    pytest.importorskip("matplotlib", reason="the report needs matplotlib (extra report)")

    def write(result, records, pictures=()):
        path = tmp_path / "report.html"
        write_report(path, result, records, pictures)
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
        return Page(path.read_text(encoding="utf-8"))

    return write


def test_the_page_says_the_figures_of_the_result(written):
    result, records = a_result()
    page = written(result, records, some_pictures())
    scores, words, figures = result["scores"], page.words(), page.figures()
    for key in ("miou", "pixel_accuracy", "mean_accuracy", "mean_dice", "frequency_weighted_iou"):
        assert scores[key] in figures
        assert f"{100 * scores[key]:.1f}" in words
    for own in scores["classes"].values():
        for key in ("iou", "precision", "recall", "dice", "boundary_f1"):
            assert own[key] is None or own[key] in figures
    confusion = np.array(result["confusion"], float)
    shares = confusion[:3] / confusion[:3].sum(1, keepdims=True)
    matrix = shares.ravel().tolist()
    assert any(figures[i : i + len(matrix)] == matrix for i in range(len(figures)))
    assert {frame["miou"] for frame in result["frames"]} <= set(figures)
    for said in (
        "net on CamVid", "val split", "OpenVINO", "BF16 in force", "96 × 64", "31.5 FPS",
        "engine alone 33.5", "93.9 %", "12 frames in 1 min 15 s", "1 skipped of 13",
        "20 November 2026, 21:14 UTC", "memory 23.5 GiB", "rtseg-eval net data --out out",
        "ab" * 32, "torn.png: ends early", "1 of 13 frames: unreadable.",
    ):  # fmt: skip
        assert said in words, said


def test_an_absent_class_is_said_to_be_absent(written):
    result, records = a_result()
    page = written(result, records)
    predicted = np.array(result["confusion"])
    share = 100 * predicted[:, 3].sum() / predicted.sum()
    words = page.words()
    assert (
        f"Car absent: no pixel of it in the truth, though {share:.1f} % of the scored pixels"
        in words
    )
    assert "mean of 3 classes" in words
    assert "Absent Car: not in the truth of any frame, so not scored." in words
    # Neither 0 nor 1 stands for it, and it has no histogram.
    assert "IoU of Car, by frame" not in [svg.get("aria-label") for svg in page.all("svg")]


def test_histograms_count_the_frames_that_hold_a_class(written):
    result, records = a_result(frames=3)
    only = ConfusionMatrix(4)
    only.add(np.uint8([[0, 0, 1]]), np.uint8([[0, 1, 1]]))
    records[0]["matrix"] = [[0, 0, 1], [0, 1, 1], [1, 1, 1]]
    page = written(result, records)
    words = page.words()
    assert re.search(r"Sky 0 50 100 3 frames", words)
    assert re.search(r"Pole 0 50 100 2 frames", words)


def test_the_whole_of_nothing_is_not_rounded_away():
    assert [percent(v) for v in (0.0, 1e-6, 0.5, 0.99999, 1.0, None, float("nan"))] == [
        "0.0", "<0.1", "50.0", "99.9", "100.0", "–", "–",
    ]  # fmt: skip
    assert [whole_percent(v) for v in (0.0, 0.004, 0.005001, 0.9999, 1.0)] == [
        "", "<1", "1", "99", "100",
    ]  # fmt: skip
    assert [duration(s) for s in (0.84, 41.2, 75.2, 3599.7, 12000)] == [
        "0.8 s", "41 s", "1 min 15 s", "1 h 0 min", "3 h 20 min",
    ]  # fmt: skip
    assert moment("yesterday") == "yesterday"


def test_hostile_names_are_text(written):
    result, records = a_result(classes=("Sky", HOSTILE, "Pole", "Car"))
    for part, key in (("network", "name"), ("dataset", "folder"), ("dataset", "split")):
        result[part][key] = HOSTILE
    result["command"] = HOSTILE
    result["dataset"]["note"] = HOSTILE
    result["versions"][HOSTILE] = HOSTILE
    result["machine"][HOSTILE] = HOSTILE
    result["skipped"][0].update(name=HOSTILE, reason=HOSTILE, detail=HOSTILE)
    result["counts"]["reasons"] = {HOSTILE: 1}
    result["frames"][0]["name"] = HOSTILE
    picture = some_pictures(1)[0]
    hostile = ReportPicture(
        HOSTILE, "worst", 0.1, picture.frame, picture.truth, picture.mask
    )  # fmt: skip
    page = written(result, records, [hostile])
    assert len(page.all("script")) == 1
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
    assert page.words().count(" ".join(HOSTILE.split())) > 12
    assert HOSTILE in page.all("img")[0]["alt"]


def test_names_that_are_no_text_are_written(written):
    result, records = a_result()
    result["frames"][0]["name"] = b"stra\xdfe.png".decode("utf-8", "surrogateescape")
    assert "stra\\udcdfe.png" in written(result, records).words()


def test_the_page_loads_nothing(written, tmp_path):
    result, records = a_result()
    page = written(result, records, some_pictures())
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "://" not in source
    assert not re.search(r"@import|url\((?!#)", source)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            if name in attributes and tag != "data":
                assert attributes[name].startswith(("data:image/jpeg;base64,", "#")), tag
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script")


def test_the_policy_lets_the_pages_own_script_run(written):
    import hashlib

    page = written(*a_result())
    (script,) = (text for path, text in page.texts if path[-1:] == ("script",))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert f"script-src 'sha256-{digest}'" in policy


def test_charts_take_their_colours_from_the_page_and_names_do_not_repeat(written):
    page = written(*a_result())
    charts = page.all("svg")
    assert len(charts) == 4  # of the frames, and of three classes
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert not re.search(r"url\(#|xlink:href", str(page.elements))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert not re.search("#0[0-9]0[0-9]0[0-9]", str(page.elements))  # what stands for variables
    assert "#804080" in str(page.elements)  # the road's own colour
    words = page.words()
    assert "mIoU of a frame, %" in words  # text is text


def test_pictures_can_be_decoded_and_show_what_is_wrong(written):
    result, records = a_result()
    pictures = some_pictures()
    page = written(result, records, pictures)
    images = page.all("img")
    assert len(images) == 4 * len(pictures)
    for image in images:
        data = base64.b64decode(image["src"].split(",", 1)[1], validate=True)
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert decoded.shape[:2] == (int(image["height"]), int(image["width"])) == (48, 64)
    words = page.words()
    wrong = pictures[0].wrong
    known = pictures[0].truth != 255
    assert wrong == np.mean(pictures[0].truth[known] != pictures[0].mask[known])
    assert f"mIoU 30.0 % · {100 * wrong:.1f} % of pixels wrong" in words
    assert words.index("Worst frames") < words.index("worst0.png") < words.index("Best frames")


def test_overlay_and_error_map_by_hand():
    frame = np.full((1, 4, 3), 100, np.uint8)
    truth, mask = np.uint8([[0, 1, 1, 255]]), np.uint8([[0, 1, 0, 1]])
    painted = overlay(frame, truth, ((0, 0, 0), (200, 0, 100)), clear=(0,))
    assert painted[0, 0].tolist() == [100, 100, 100]
    assert painted[0, 1].tolist() == [100, 45, 155]  # BGR: 0.45 × 100 + 0.55 × (100, 0, 200)
    assert len(set(painted[0, 3].tolist())) == 1
    errors = error_map(frame, truth, mask)
    assert errors[0, 0].tolist() == errors[0, 1].tolist() == [40, 40, 40]
    blue, green, red = errors[0, 2].tolist()
    assert red > 200 > 100 > max(blue, green)
    assert errors[0, 3].tolist() == [150, 150, 150]


def test_a_frame_is_shown_once(written):
    result, records = a_result()
    worst = some_pictures(2)[:2]
    best = [
        ReportPicture(p.name, "best", p.score, p.frame, p.truth, p.mask) for p in reversed(worst)
    ]
    page = written(result, records, worst + best)
    assert len(page.all("img")) == 8
    assert "Frames, the worst first" in page.words()


def test_many_large_pictures_stay_small():
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (600, 1000, 3), np.uint8) for _ in range(6)]
    shown = embed(noise, budget=600_000)
    assert sum(len(picture.uri) for picture in shown) * 3 / 4 < 600_000
    assert shown[0].width < 800
    assert embed(noise[:1])[0].width == 800
    assert abs(shown[0].height / shown[0].width - 0.6) < 0.01


def test_masks_of_another_size_than_the_picture_are_refused():
    frame, mask = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
    with pytest.raises(ValueError, match="not one size"):
        ReportPicture("a.png", "worst", 0.5, frame, mask[:2], mask)
    with pytest.raises(ValueError, match=r"a frame is \(H, W, 3\)"):
        ReportPicture("a.png", "worst", 0.5, frame[..., 0], mask, mask)


def test_the_same_result_is_the_same_page(written, tmp_path):
    result, records = a_result()
    written(result, records, some_pictures())
    first = (tmp_path / "report.html").read_bytes()
    written(copy.deepcopy(result), copy.deepcopy(records), some_pictures())
    assert (tmp_path / "report.html").read_bytes() == first


def test_kitti_road_names_its_space(written):
    result, records = a_result()
    road = {
        "maxf": 0.9523, "ap": 0.9371, "precision": 0.94, "recall": 0.96, "fpr": 0.03, "fnr": 0.04,
        "threshold": 0.4863, "frames": 95,
    }  # fmt: skip
    bev = {**road, "maxf": 0.9111}
    result["kitti_road"] = {
        "perspective": {"um_road": road, "um_lane": road, "urban_road": road},
        "bev": {"urban_road": bev},
    }
    # Half of the road is sure and right; the other half, and all that is not road, is at 0.
    counts = [[300] + [0] * 255, [50] + [0] * 254 + [50]]
    for record in records[:3]:
        record.update(category="um_road", road={"perspective": counts})
    page = written(result, records)
    words = page.words()
    assert "In perspective (the camera’s picture) Category MaxF" in words
    assert "In bird’s-eye view Category MaxF" in words
    assert "UM, marked road 95.2 93.7 94.0 96.0 3.0 4.0 0.486 95" in words
    assert "UM, own lane 95.2" in words
    assert "URBAN, all three 91.1" in words
    assert "MaxF, road 91.1 % bird’s-eye view, URBAN" in words  # the space that its ranking uses
    assert "Fritsch" in words
    assert any("Precision over recall" in svg.get("aria-label", "") for svg in page.all("svg"))


def test_the_recall_curve_by_hand():
    from rtseg.evaluation.report.contents import recall_curves

    counts = [[300] + [0] * 255, [50] + [0] * 254 + [50]]
    lane = {"category": "um_lane", "road": {"bev": counts}}
    frame = {"category": "um_road", "road": {"bev": counts}}
    assert recall_curves([lane, {"road": None}], "bev") is None
    assert recall_curves([frame], "perspective") is None
    recall, precision = recall_curves([lane, frame, frame], "bev")
    assert (recall[0], precision[0]) == (0.5, 1.0)
    assert (recall[-1], precision[-1]) == (1.0, 0.25)


def test_without_truth_the_page_says_so(written):
    result, records = a_result(frames=3)
    result.update(scores=None, confusion=None, frames=[], skipped=[])
    result["counts"] = {"frames": 3, "scored": 0, "written": 3, "skipped": 0, "reasons": {}}
    result["dataset"] = {"kind": "pictures", "folder": "holiday", "split": None, "frames": 3}
    for record in records:
        record.update(status="written", matrix=None, miou=None)
    page = written(result, records)
    words = page.words()
    assert "No truth was there." in words
    assert "net on holiday" in words
    assert "Frames done 3" in words
    assert "frame001.png" in words
    assert "mIoU, %" not in words
    assert not page.all("svg")


def test_a_result_that_lacks_what_it_may_lack_is_shown(written):
    result, records = a_result()
    network = {key: result["network"][key] for key in ("name", "classes", "palette")}
    page = written(
        {"network": network, "counts": result["counts"], "scores": result["scores"],
         "confusion": result["confusion"]},
        records,
    )  # fmt: skip
    assert "net on unnamed frames" in page.words()


def test_scores_of_other_classes_than_the_networks_are_shown_as_such(written):
    result, records = a_result()
    classes = {"background": 1, "road": 2}
    result["scores"]["classes"] = {
        name: {"iou": 0.9, "precision": 0.9, "recall": 0.9, "dice": 0.9, "boundary_f1": None,
               "pixels": 500 * place, "present": True}
        for name, place in classes.items()
    }  # fmt: skip
    result["scores"]["boundary_f1"] = None
    result["confusion"] = [[450, 50], [50, 950]]
    result["dataset"].update(
        classes=["background", "road"], palette=[[255, 0, 0], [255, 0, 255]],
        note="scored on background, road: all others count as background",
    )  # fmt: skip
    for record in records:
        record["matrix"] = [[0, 0, 450], [0, 1, 50], [1, 0, 50], [1, 1, 950]]
    page = written(result, records)
    words = page.words()
    assert "Scored on background, road: all others count as background." in words
    assert "Share of pixels background 90.0" in words
    assert "Dice Boundary F1" not in words
    assert "Dice Share of pixels" in words
    swatches = {attributes["style"] for attributes in page.all("i")}
    assert swatches == {"background:rgb(140,140,140)", "background:rgb(128,64,128)"}


def test_long_lists_are_cut_to_the_worst_and_say_so(written, monkeypatch):
    monkeypatch.setattr("rtseg.evaluation.report.html.MOST_FRAMES", 5)
    result, records = a_result()
    words = written(result, records).words()
    assert "Those with the lowest mIoU; 7 more are in frames.csv." in words
    listed = words[words.index("All frames") :]
    ranked = sorted(result["frames"], key=lambda frame: frame["miou"])
    assert all((frame["name"] in listed) == (i < 5) for i, frame in enumerate(ranked))


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_without_the_extra_one_line_says_what_to_install(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    result, records = a_result()
    with pytest.raises(UsageError) as caught:
        write_report(tmp_path / "report.html", result, records, [])
    line = "the HTML report needs {}: pip install 'rtseg[report]'"
    assert str(caught.value) in {line.format("jinja2"), line.format("matplotlib")}
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    path = tmp_path / "nowhere" / "report.html"
    with pytest.raises(OutputError, match="cannot write this file") as caught:
        write_report(path, *a_result(), [])
    assert "\n" not in str(caught.value)
