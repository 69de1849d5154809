"""``rtseg-bench choose``: what it compares, whom it takes, and what it refuses."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import tiny_spec
from footage import picture, true_mask, write_video

from rtseg.cli import bench_choose
from rtseg.cli.bench_choose_turns import Candidate, common_classes, take_turns
from rtseg.cli.bench_choose_verdict import best_of, others_line, verdict
from rtseg.data.labels import CAMVID11, ROAD
from rtseg.engine.base import Engine
from rtseg.errors import UsageError
from rtseg.evaluation.masked_video import MaskedVideo
from rtseg.evaluation.streaming import FrameTime

SMALL = ("--drives", 1, "--seconds", 0.8, "--capture-size", "96x64", "--backend", "openvino")


@pytest.fixture
def choose(capfd):
    """Run ``rtseg-bench choose``; gives status, output and lines of errors."""

    def run(*arguments):
        try:
            status = bench_choose.main([str(a) for a in arguments])
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        return status, out, err.splitlines()

    return run


def test_it_compares_and_says_which_in_one_line(choose, tiny_network, tmp_path):
    file = tmp_path / "choice.json"
    status, out, err = choose(
        tiny_network, "--size", "96x64,192x128", "--fps", "10,30", *SMALL, "--json", file
    )
    assert (status, err) == (0, [])
    values = json.loads(file.read_text())
    assert values["classes"] == ["background", "road"]
    (video,) = values["videos"]
    assert (video["name"], video["frames"], video["fps"]) == ("drive 4", 24, 30)
    assert video["others_share"] is None or 0 <= video["others_share"] <= 1
    assert [row["size"] for row in values["results"]] == [[96, 64], [192, 128]]
    for row in values["results"]:
        assert row["latency_ms"]["count"] == len(row["frame_times_us"]) == 24
        totals = sorted(sum(parts) / 1e3 for parts in row["frame_times_us"])
        assert row["latency_ms"]["p50"] == pytest.approx(totals[11], abs=0.001)
        assert row["latency_ms"]["max"] == pytest.approx(totals[-1], abs=0.001)
        assert row["offline"]["frames"] == 24 - 15, "half a second is not scored"
        assert row["streaming"]["30"]["frames"] == 9
        assert row["streaming"]["10"]["frames"] == 3
        assert row["temporal_consistency"]["pairs"] == 23
        assert 0 < row["temporal_consistency"]["tc"] <= 1
        assert 0 < row["offline"]["miou"] < 1
    assert set(values["best"]) == {"10", "30"}
    lines = [line for line in out.splitlines() if line.startswith("At ")]
    assert len(lines) == 2
    assert lines[1] == values["best"]["30"]
    assert "over background, road" in out


def write_dataset(folder, count):
    """A folder of one's own whose masks are what the tests' network says."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("0 0 0 background\n0 200 90 road\n")
    for k in range(count):
        cv2.imwrite(str(folder / "images" / f"{k:03d}.png"), picture(k))
        cv2.imwrite(str(folder / "masks" / f"{k:03d}.png"), true_mask(k))
    return folder


def test_a_dataset_with_a_mask_for_each_frame_is_a_video(choose, tiny_network, tmp_path):
    data = write_dataset(tmp_path / "data", 12)
    file = tmp_path / "choice.json"
    status, _, err = choose(
        tiny_network, "--data", data, "--data-fps", 1, "--fps", "0.5,1", "--backend", "openvino",
        "--limit", 8, "--json", file,
    )  # fmt: skip
    assert (status, err) == (0, [])
    (row,) = json.loads(file.read_text())["results"]
    assert row["offline"]["miou"] == 1
    assert (row["offline"]["frames"], row["streaming"]["0.5"]["frames"]) == (7, 3)
    # At a frame a second each mask is there before the next frame, and no sooner than its own.
    assert row["streaming"]["1"]["mean_age_frames"] == 1
    assert row["streaming"]["1"]["dropped"] == 0
    matrix = np.zeros((2, 2), int)
    for k in range(1, 8):
        np.add.at(matrix, (true_mask(k).ravel(), true_mask(k - 1).ravel()), 1)
    iou = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    assert row["streaming"]["1"]["miou"] == pytest.approx(iou.mean(), abs=1e-4)


def test_consistency_can_be_measured_on_a_video_without_labels(choose, tiny_network, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 5)
    file = tmp_path / "choice.json"
    status, _, err = choose(tiny_network, *SMALL, "--video", video, "--json", file)
    assert (status, err) == (0, [])
    values = json.loads(file.read_text())
    (row,) = values["results"]
    assert row["temporal_consistency"]["pairs"] == 4
    assert row["latency_ms"]["count"] == 24, "latencies are of the labelled frames"
    assert values["consistency_on"] == str(video)


def test_what_cannot_run_is_left_out_and_said(choose, tiny_network):
    status, _, err = choose(tiny_network, "--size", "96x64,100x64", *SMALL)
    assert status == 0
    assert len(err) == 1
    assert "left out" in err[0]
    assert "100x64" in err[0]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--fps", "0"], 2, "--fps"),
        (["--fps", "24,30"], 2, "--fps 24: these frames come at 30 a second"),
        (["--data", "."], 2, "--data-fps"),
        (["--data", "missing", "--data-fps", "30"], 1, "missing: no such folder"),
        (["--video", "missing.mp4"], 1, "missing.mp4: no such file"),
        (["--backend", "caffe"], 2, "unknown backend"),
        (["--precision", "fp8"], 2, "unknown precision"),
        (["--json", "no/such/file.json"], 1, "cannot write this file"),
        (["nothing"], 2, "no network of the zoo"),
        (["--size", "100x64"], 2, "nothing to choose from"),
    ],
)
def test_it_refuses_in_one_line(
    choose, tiny_network, tmp_path, monkeypatch, arguments, status, words
):
    monkeypatch.chdir(tmp_path)
    found, _, err = choose(tiny_network, *arguments)
    assert found == status
    errors = [line for line in err if "left out" not in line]
    assert len(errors) == 1
    assert words in errors[0]
    assert errors[0].startswith("rtseg-bench choose: error: ")


def test_help_has_examples(choose):
    status, out, _ = choose("--help")
    assert status == 0
    assert "rtseg-bench choose --fps 30" in out


def spec_of(*classes, name="n"):
    return tiny_spec(name=name, classes=classes, palette=((0, 0, 0),) * len(classes))


def test_all_are_scored_on_the_classes_that_all_have():
    street, road = spec_of(*CAMVID11.names), spec_of("background", "road")
    assert common_classes([street, street]) is CAMVID11
    assert common_classes([street, road]) is ROAD
    assert common_classes([road]) is ROAD
    seas = spec_of("sea", "ship", name="sailor")
    assert common_classes([seas, seas]).names == ("sea", "ship")
    with pytest.raises(UsageError, match="sailor: it has no class road"):
        common_classes([road, seas])


class Given(Engine):
    """Gives its masks one after the other, and each again: the timers ask for some twice."""

    backend = "given"

    def __init__(self, spec, answer):
        super().__init__(
            spec, precision="none", device="none", depth=1, mode="latency", built=False, versions={}
        )
        self._answer = answer

    def _start(self, slot, frame):
        self._frame = frame.copy()

    def _finish(self, slot):
        return self._answer(self._frame)


def test_a_street_network_is_scored_on_road():
    road = CAMVID11.names.index("Road")
    spec = spec_of(*CAMVID11.names)

    def answer(frame):
        return np.where(frame[..., 0] > 127, road, 0).astype(np.uint8)

    pictures = [cv2.resize(picture(k), (96, 64)) for k in range(20)]
    truths = [(p[..., 0] > 127).astype(np.uint8) for p in pictures]
    candidate = Candidate(Given(spec, answer), ROAD, [1.0])
    take_turns([candidate], pictures)
    candidate.score_video(MaskedVideo("bars", 1.0, pictures, truths))
    assert candidate.offline.miou == 1
    assert candidate.offline.frames == 19
    assert len(candidate.times) == 20


def test_turns_alternate_and_every_frame_is_measured_once_and_in_order():
    seen = []

    def engine(name):
        def answer(frame):
            seen.append((name, int(frame[0, 0, 0])))
            return np.zeros((64, 96), np.uint8)

        return Given(tiny_spec(), answer)

    candidates = [Candidate(engine(name), ROAD, [30.0]) for name in "ab"]
    pictures = [np.full((64, 96, 3), k, np.uint8) for k in range(25)]
    take_turns(candidates, pictures)
    assert [len(c.video_times) for c in candidates] == [25, 25]
    turns = [name for k, (name, _) in enumerate(seen) if k == 0 or seen[k - 1][0] != name]
    assert turns == ["a", "b", "a", "b"], "the second turn begins with b"
    for name in "ab":
        frames = [frame for who, frame in seen if who == name]
        assert frames[2:14] == list(range(12)), "after two that do not count"
        assert frames[16:28] == list(range(12, 24))
        assert frames[-1] == 24


def stand_in(name, offline, streamed, ms):
    """A candidate with these figures."""
    return SimpleNamespace(
        name=name,
        offline=SimpleNamespace(miou=offline),
        streamed={30.0: SimpleNamespace(miou=SimpleNamespace(miou=streamed))},
        latency_ms=lambda share: ms,
    )


def test_the_best_is_the_most_accurate_in_time():
    fine, quick = stand_in("fine", 0.95, 0.80, 200), stand_in("quick", 0.90, 0.89, 10)
    poor = stand_in("poor", 0.70, 0.70, 1)
    assert best_of([fine, quick, poor], 30.0) is quick
    line = verdict([fine, quick, poor], 30.0)
    assert line.startswith("At 30 FPS: quick: streaming mIoU 0.8900 (offline 0.9000)")
    assert "fine is more accurate offline (0.9500)" in line
    assert "200.0 ms and come too late: 0.8000" in line
    assert "\n" not in line


def test_of_equals_the_faster_is_taken():
    slow, fast = stand_in("slow", 0.92, 0.901, 20), stand_in("fast", 0.91, 0.900, 10)
    assert best_of([slow, fast], 30.0) is fast
    assert "slow is as good (0.9010) and slower, 20.0 ms" in verdict([slow, fast], 30.0)
    assert best_of([stand_in("slow", 0.92, 0.903, 20), fast], 30.0).name == "slow"


def test_one_alone_and_one_without_a_score_are_no_trouble():
    alone = stand_in("alone", 0.9, 0.9, 10)
    assert "the only one" in verdict([alone], 30.0)
    assert best_of([stand_in("none", 0.9, float("nan"), 1), alone], 30.0) is alone
    assert "next is poor: 0.5000, 1.0 ms" in verdict([alone, stand_in("poor", 0.5, 0.5, 1)], 30.0)


def test_slowness_costs_accuracy_in_the_end():
    """Two that give the same masks: the one that takes three frames' time scores less."""
    pictures = [picture(k, 96, 64) for k in range(40)]
    truths = [true_mask(k, 96, 64) for k in range(40)]
    found = []
    for ns in (1, 90_000_000):
        candidate = Candidate(
            Given(tiny_spec(), lambda frame: (frame[..., 0] > 127).astype(np.uint8)), ROAD, [30.0]
        )
        take_turns([candidate], pictures)
        candidate.video_times = [FrameTime(0, ns, 0)] * 40
        candidate.score_video(MaskedVideo("bars", 30.0, pictures, truths))
        assert candidate.offline.miou == 1
        found.append(candidate.as_dict(ROAD)["streaming"]["30"])
    quick, slow = found
    assert (quick["mean_age_frames"], quick["dropped"], quick["masks_per_second"]) == (1, 0, 30)
    assert slow["miou"] < quick["miou"] < 1
    assert 3 < slow["mean_age_frames"] < 5
    # One begins each 90 ms, from 0 to 1260; the last frame comes at 1300 ms, and begins at 1350.
    assert slow["dropped"] == 40 - 16


def test_who_else_used_the_machine_is_said():
    assert others_line(0.04) == ""
    assert others_line(0.4).startswith("Others used 40% of the cores meanwhile")
