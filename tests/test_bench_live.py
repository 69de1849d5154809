"""``rtseg-bench live``: what it measures, writes and refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import tiny_spec
from footage import write_folder, write_video

from rtseg.cli import bench_live
from rtseg.cli.bench_live_run import ages, run_paced
from rtseg.cli.bench_live_sources import AsCamera, Log, Reel, ReelSource, Screen
from rtseg.data.labels import ROAD, drive_table
from rtseg.engine.base import Engine
from rtseg.evaluation.streaming import Schedule, StreamingMiou, score
from rtseg.video.frame import LiveFrame, now
from rtseg.video.sources import Source


@pytest.fixture
def bench(tiny_network, capfd):
    """Run ``rtseg-bench live`` on the tests' network; gives status, output and lines of errors."""

    def run(*arguments, network=tiny_network):
        try:
            status = bench_live.main([*map(str, arguments), "--network", str(network)])
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        return status, out, err.splitlines()

    return run


def test_the_drive_is_measured_in_real_time(bench, tmp_path):
    file = tmp_path / "live.json"
    status, out, err = bench(
        "--capture-size", "96x64", "--fps", 40, "--seconds", 1, "--rounds", 2, "--json", file
    )
    assert (status, err) == (0, [])
    values = json.loads(file.read_text())
    (row,) = values["results"]
    assert row["network"] == "tiny"
    assert row["mode"] == "latency"
    assert row["frames_arrived"] == 40
    assert row["processed"] + row["dropped"] == 40
    # Nothing can arrive before its time; how much later is the machine's.
    assert row["arrived_fps"] < 42
    assert row["processed_fps"] == pytest.approx(row["displayed_fps"], rel=0.01)
    for stage in ("decode", "resize", "infer", "paint", "hud", "show", "capture_to_display"):
        times = row["stages"][stage]
        assert 0 <= times["p50_ms"] <= times["p95_ms"] <= times["p99_ms"] <= times["max_ms"]
    assert "write" not in row["stages"], "what is noted is the benchmark's own"
    age = row["age"]
    assert age["at_display"]["count"] == row["processed"]
    assert age["at_display"]["p50_ms"] >= row["stages"]["infer"]["p50_ms"] * 0.98
    assert age["on_screen"]["max_ms"] >= age["at_display"]["p50_ms"]
    streaming = row["streaming"]
    assert streaming["frames"] == 40
    assert 1 <= streaming["unserved"] <= 40
    assert 0 < streaming["miou"] < 1
    found = row["efficiency"]
    assert len(found["rounds"]["bare"]) == len(found["rounds"]["loop"]) == 2
    assert found["ratio"] == pytest.approx(found["loop_fps"] / found["bare_fps"], rel=0.01)
    assert values["machine"]["cores"]
    assert values["versions"]["openvino"]
    assert "40 frames dropped" in out
    assert "age of the mask on the screen" in out
    assert "streaming mIoU" in out


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_a_file_plays_at_the_rate_asked_for_and_from_the_start_again(bench, tmp_path, kind):
    source = (
        write_video(tmp_path / "clip.mp4", 6)
        if kind == "video"
        else write_folder(tmp_path / "pictures", 6)
    )
    file = tmp_path / "live.json"
    status, _, err = bench(source, "--fps", 50, "--limit", 20, "--rounds", 1, "--json", file)
    assert (status, err) == (0, [])
    (row,) = json.loads(file.read_text())["results"]
    assert row["frames_arrived"] == 20
    assert row["processed"] + row["dropped"] == 20
    assert row["streaming"] is None, "it has no truth"
    assert row["efficiency"]["ratio"] > 0


def test_each_network_has_a_row(bench, make_network, tiny_network, tmp_path):
    other = make_network("other.onnx", name="other", classes=("sky", "sea"))
    file = tmp_path / "live.json"
    status, out, _ = bench(
        "--capture-size", "96x64", "--limit", 5, "--rounds", 0, "--json", file,
        network=f"{tiny_network},{other}",
    )  # fmt: skip
    assert status == 0
    first, second = json.loads(file.read_text())["results"]
    assert (first["network"], second["network"]) == ("tiny", "other")
    assert first["streaming"] is not None
    assert second["streaming"] is None, "the drive has no sea"
    assert first["efficiency"] is None
    assert "efficiency" not in out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["missing.mp4"], 1, "missing.mp4: no such file or folder"),
        (["demo", "--camera", 0], 2, "not both"),
        (["--fps", 0], 2, "--fps"),
        (["--limit", 1], 2, "--limit"),
        (["--size", "12"], 2, "width x height"),
        (["--capture-size", "9x9"], 2, "demo: width must be 64 to 8192"),
        (["--backend", "caffe"], 2, "unknown backend"),
        (["--json", "no/such/live.json"], 1, "cannot write this file"),
        (["--window"], 1, "display"),
    ],
)
def test_it_refuses_in_one_line(bench, monkeypatch, tmp_path, arguments, status, words):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)
    if "--window" in arguments and sys.platform != "linux":
        pytest.skip("there is always a display")
    found, _, err = bench(*arguments, "--seconds", 0.1)
    assert found == status
    assert len(err) == 1
    assert words in err[0]
    assert err[0].startswith("rtseg-bench live: error: ")


def test_a_network_that_is_none_is_said_at_once(bench):
    status, _, err = bench("--seconds", 1, network="nothing")
    assert status == 2
    assert "no network of the zoo" in err[0]


def test_help_has_examples(bench):
    status, out, _ = bench("--help")
    assert status == 0
    assert "rtseg-bench live --camera 0" in out


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "rtseg.cli.bench_live", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("rtseg ")


def test_ages_are_those_worked_out_by_hand():
    ms = 1_000_000
    # Captured at 0, 10 and 50 ms, shown at 20, 40 and 80 ms: 20, 30 and 30 ms old.
    found = ages([0, 10 * ms, 50 * ms], [20 * ms, 40 * ms, 80 * ms])
    assert found["at_display"]["count"] == 3
    assert found["at_display"]["mean_ms"] == pytest.approx(80 / 3, abs=1e-3)
    # On the screen, each ms: 20 to 39 ms old, then 30 to 69 ms old, until the last is shown.
    seen = [*range(20, 40), *range(30, 70)]
    assert found["on_screen"]["count"] == len(seen)
    assert found["on_screen"]["mean_ms"] == pytest.approx(np.mean(seen))
    assert found["on_screen"]["max_ms"] == 69


def test_one_frame_is_on_the_screen_for_no_time_that_is_known():
    found = ages([0], [5_000_000])
    assert found["at_display"]["max_ms"] == 5
    assert found["on_screen"] == {"count": 0}


@pytest.fixture(scope="module")
def reel():
    return Reel((96, 64), 100, 30)


def test_a_reel_goes_forwards_and_backwards(monkeypatch):
    monkeypatch.setattr("rtseg.cli.bench_live_sources._BUDGET", 96 * 64 * 4 * 3)
    reel = Reel((96, 64), 30, 100)
    assert len(reel.pictures) == 3
    assert [reel.place(k) for k in range(9)] == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    source = ReelSource(reel)
    frame = LiveFrame(np.empty(0, np.uint8), np.empty(0, np.uint8))
    for k in (0, 1, 2, 1):
        assert source.read(frame)
        np.testing.assert_array_equal(frame.picture, reel.pictures[k])
        frame.picture[:] = 0  # what the loop paints is its own


class Silent(Source):
    """A live source that has three frames."""

    kind = "camera"
    live = True
    name = "three"

    def __init__(self):
        super().__init__()
        self.left = 3
        self.closed = False

    def read(self, frame):
        self.left -= 1
        frame.captured = now()
        return self.left >= 0

    def skip(self, count):
        pass

    def close(self):
        self.closed = True


def test_a_camera_that_ends_ends_the_run():
    inner = Silent()
    camera = AsCamera(inner, 1000.0, 99, 3600.0)
    frame = LiveFrame(np.empty(0, np.uint8), np.empty(0, np.uint8))
    assert [camera.read(frame) for _ in range(4)] == [True] * 3 + [False]
    assert len(camera.arrived) == 3
    assert camera.arrived == sorted(camera.arrived)
    camera.close()
    assert inner.closed


class Blue(Engine):
    """Sees road where blue is high, and can be interrupted."""

    backend = "blue"

    def __init__(self, interrupt_at=None):
        super().__init__(
            tiny_spec(), precision="none", device="none", depth=1, mode="latency", built=False,
            versions={},
        )  # fmt: skip
        self.done = 0
        self.at = interrupt_at

    def _start(self, slot, frame):
        self._mask = (frame[..., 0] > 127).astype(np.uint8)

    def _finish(self, slot):
        self.done += 1
        if self.done == self.at:
            raise KeyboardInterrupt
        return self._mask


def test_the_score_is_of_the_masks_that_were_on_the_screen(reel, monkeypatch):
    logs = []
    monkeypatch.setattr(
        "rtseg.cli.bench_live_run.Log", lambda **kw: logs.append(Log(**kw)) or logs[-1]
    )
    camera = AsCamera(ReelSource(reel), 100, 30, 60)
    row = run_paced(Blue(), camera, Screen(), reel)
    (log,) = logs
    table = drive_table(ROAD)
    truths = [table[reel.masks[k]] for k in range(30)]
    for index, mask in zip(log.indices, log.masks, strict=True):
        np.testing.assert_array_equal(mask, reel.pictures[index][..., 0] > 127)
    run = Schedule(tuple(camera.arrived), tuple(log.indices), tuple(log.at))
    expected = StreamingMiou(2)
    masks = dict(zip(log.indices, log.masks, strict=True))
    score(run, masks, truths, expected, np.arange(256, dtype=np.uint8))
    assert row["streaming"]["miou"] == pytest.approx(expected.miou, abs=1e-4)
    assert row["streaming"]["unserved"] == run.newest().count(None)
    assert all(at > came for at, came in zip(log.at, log.captured, strict=True))


def test_what_was_measured_before_ctrl_c_is_kept(reel):
    row = run_paced(Blue(interrupt_at=4), AsCamera(ReelSource(reel), 100, 30, 60), Screen(), reel)
    assert row["interrupted"]
    assert row["processed"] == 3
    assert row["age"]["at_display"]["count"] == 3
