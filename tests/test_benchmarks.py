"""Every benchmark with tiny counts: its JSON is whole, and its figures follow from its samples.

No absolute time is asserted: that is what the benchmarks are for, on a quiet machine.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("peers", "live", "startup", "memory", "mask_stride")


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import measuring

    return measuring


def call(name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def result_of(name, folder, *arguments):
    done = call(name, "--out", folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == [f"{name}.json"]
    result = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert result["benchmark"] == name
    assert result["command"].startswith(f"python -m benchmarks.{name} ")
    assert str(folder) not in json.dumps(result)
    assert {"processor", "cores", "kernel"} <= result["machine"].keys()
    assert {"python", "rtseg", "numpy", "openvino"} <= result["versions"].keys()
    assert result["settings"]
    return result


def assert_ratio(found, above, below):
    """The ratio of medians is what the raw samples give, and so are its extremes."""
    by_round = [a / b for a, b in zip(above, below, strict=True)]
    expected = statistics.median(above) / statistics.median(below)
    assert found["of_medians"] == pytest.approx(expected, rel=1e-3)
    assert found["min"] == pytest.approx(min(by_round), rel=1e-3)
    assert found["max"] == pytest.approx(max(by_round), rel=1e-3)
    assert found["min"] <= found["p25"] <= found["p75"] <= found["max"]


@pytest.fixture
def video(tmp_path):
    """A few frames of moving colour: rendering a drive would take longer than measuring."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (128, 96))
    assert writer.isOpened()
    for index in range(12):
        writer.write(np.full((96, 128, 3), 20 * index, np.uint8))
    writer.release()
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.slow
def test_help_and_a_wrong_argument_are_plain(name):
    done = call(name, "--help")
    assert done.returncode == 0
    assert "--out" in done.stdout
    done = call(name, "--no-such-thing")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["live", "startup"])
@pytest.mark.slow
def test_a_missing_video_is_one_line(name, out):
    done = call(name, "--video", "no-such-file.mp4", "--out", out)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "no-such-file.mp4" in done.stderr
    assert not out.exists()


def test_turns_are_interleaved_and_no_round_starts_as_the_last_did(measuring):
    calls = []

    def turn(name):
        def act():
            calls.append(name)
            return float(len(calls))

        return act

    samples = measuring.interleave({name: turn(name) for name in "abc"}, 4)
    assert "".join(calls) == "abcbcacababc"
    assert samples["a"] == [1.0, 6.0, 8.0, 10.0]
    assert {len(values) for values in samples.values()} == {4}
    # These rounds are shorter than the kernel's clock tick, so others' share may be unknown.
    assert all(not share < 0 and not share > 1 for share in samples["others_share"])


def test_spread_and_ratio_are_those_of_the_medians(measuring):
    found = measuring.spread([4.0, 1.0, 2.0, 3.0, 100.0])
    assert found["median"] == 3.0
    assert (found["p25"], found["p75"]) == (2.0, 4.0)
    assert found["spread"] == pytest.approx(2 / 3)
    assert_ratio(measuring.ratio([2.0, 4.0, 60.0], [1.0, 2.0, 3.0]), [2, 4, 60], [1, 2, 3])


def test_results_are_plain_json_and_tell_no_folder(measuring, tmp_path):
    path = measuring.write_result(
        tmp_path / "made" / "here",
        "some",
        ["--camvid", str(tmp_path / "camvid"), "--rounds", "3"],
        settings={},
        samples={"a": [1.23456789]},
        figures={"x": float("nan"), "y": 123.456789},
    )
    values = json.loads(path.read_text(encoding="utf-8"))
    assert values["command"] == "python -m benchmarks.some --camvid camvid --rounds 3"
    assert values["figures"] == {"x": None, "y": 123.46}


def test_a_slope_is_the_least_squares_line(measuring):
    from benchmarks.memory import variant_figures

    steady = [(frames, 10**8 + 3 * frames) for frames in range(1000, 3000, 100)]
    found = variant_figures(steady)
    assert found["slope_bytes_per_1000_frames"] == pytest.approx(3000)
    assert found["reached"]
    leak = [(frames, 10**8 + 3000 * frames) for frames in range(1000, 21000, 100)]
    assert not variant_figures(leak)["reached"]
    # 3 % of a small process is a leak, too, where it is less than 5 MB.
    assert not variant_figures([(1, 10**8), (2, 103 * 10**6)])["reached"]


@pytest.mark.slow
def test_peers(out):
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    result = result_of("peers", out, "--rounds", 2, "--frames", 1, "--size", "64x64")
    samples, figures = result["samples"], result["figures"]
    best = figures["best_of_road_unet"]
    medians = {label: statistics.median(samples[label]) for label in result["settings"]["peers"]}
    assert medians[best] == min(m for label, m in medians.items() if label.startswith("road-unet"))
    for label, found in figures["times_slower_than_best"].items():
        assert_ratio(found, samples[label], samples[best])
    eager = figures["bars"]["smp_eager"]
    assert eager["bar"] == 10
    fastest = min(m for label, m in medians.items() if label.startswith("SMP, PyTorch eager"))
    assert eager["ratio"] == pytest.approx(fastest / medians[best], rel=1e-3)
    runtime = figures["bars"]["smp_onnxruntime"]
    assert runtime["bar"] == 4
    assert runtime["ratio"] == pytest.approx(medians["SMP, ONNX Runtime"] / medians[best], rel=1e-3)
    for bar in (eager, runtime):
        assert bar["reached"] is (bar["ratio"] >= bar["bar"])


@pytest.mark.slow
def test_the_rebuilt_peer_is_the_one_it_was_compared_with(measuring):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.smp_unet import SMPUNet

    model = SMPUNet(2).eval()
    assert sum(p.numel() for p in model.parameters()) == 6_629_090
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logits = model(torch.zeros(1, 3, 256, 512))
    assert logits.shape == (1, 2, 256, 512)
    assert counter.get_total_flops() == 13_417_807_872


@pytest.mark.slow
def test_live(out, video):
    result = result_of("live", out, "--rounds", 2, "--frames", 30, "--video", video)
    samples, figures = result["samples"], result["figures"]
    share = figures["live_share_of_bare"]
    assert_ratio(share, samples["live.fps"], samples["bare.fps"])
    assert share["reached"] is (share["of_medians"] >= share["bar"] == 0.8)
    engine_ms = 1e3 / statistics.median(samples["bare.fps"])
    for name, key in (("host_in_loop", "live"), ("host_alone", "host")):
        parts = zip(*(samples[f"{key}.{s}_ms"] for s in ("resize", "paint", "hud")), strict=True)
        ms = statistics.median(sum(part) for part in parts)
        assert figures[name]["share_of_engine_time"] == pytest.approx(ms / engine_ms, rel=1e-3)
    cpu = figures["cpu_ms_per_frame"]
    assert cpu["share_bound"] == pytest.approx(cpu["bare"] / cpu["live"], rel=1e-3)


@pytest.mark.slow
def test_startup(out, video):
    result = result_of("startup", out, "--rounds", 1, "--video", video)
    samples, figures = result["samples"], result["figures"]
    for name in ("cold", "warm"):
        found = figures[f"{name}_to_bare"]
        assert_ratio(found, samples[f"{name}.first_s"], samples["bare.first_s"])
        assert found["reached"] is (found["of_medians"] <= found["bar"] == 1.5)
        assert 0 < samples[f"{name}.main_s"][0] < samples[f"{name}.first_s"][0]


@pytest.mark.slow
def test_memory(out, video):
    counts = ("--frames", 60, "--frames-masks", 60, "--frames-recording", 0)
    result = result_of("memory", out, *counts, "--warm-up", 20, "--every", 5, "--video", video)
    assert set(result["samples"]) == {"headless", "masks"}
    for name, series in result["samples"].items():
        assert [frames for frames, _ in series] == list(range(20, 61, 5))
        found = result["figures"][name]
        memory = [resident for _, resident in series]
        assert found["growth_bytes"] == pytest.approx(memory[-1] - memory[0], rel=1e-3)
        assert found["max_less_min_bytes"] == pytest.approx(max(memory) - min(memory), rel=1e-3)
        slope = 1000 * np.polyfit(*np.array(series, float).T, 1)[0]
        assert found["slope_bytes_per_1000_frames"] == pytest.approx(slope, rel=1e-2, abs=10)


@pytest.mark.slow
def test_memory_refuses_too_few_frames(out, video):
    done = call("memory", "--frames", 500, "--video", video, "--out", out)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def checkpoint(tmp_path):
    """A small network with random weights, as a training writes it."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from safetensors.torch import save_file

    from rtseg.models import build

    # As few layers as can be: what its export costs is time a layer.
    options = {"width": 0.25, "widths": [8], "logits_stride": 16}
    model = build("unet-mobilenetv2", 2, **options)
    path = tmp_path / "small.safetensors"
    metadata = {
        "architecture": "unet-mobilenetv2",
        "options": json.dumps(options),
        "classes": json.dumps(["background", "road"]),
        "palette": json.dumps([[0, 0, 0], [0, 200, 90]]),
        "size": json.dumps([64, 64]),
    }
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path, metadata)
    return path


@pytest.fixture
def camvid(tmp_path):
    """Two frames in CamVid's layout: road below, sky above, a strip without a class."""
    folder = tmp_path / "camvid"
    for name in ("val", "valannot"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(2):
        frame = random.integers(0, 255, (72, 96, 3), np.uint8)
        mask = np.zeros((72, 96), np.uint8)
        mask[40:] = 3
        mask[38:40] = 11
        cv2.imwrite(str(folder / "val" / f"{index}.png"), frame)
        cv2.imwrite(str(folder / "valannot" / f"{index}.png"), mask)
    return folder


@pytest.mark.slow
def test_mask_stride(out, checkpoint, camvid):
    result = result_of(
        "mask_stride", out, "--camvid", camvid, "--checkpoint", checkpoint,
        "--rounds", 2, "--frames", 2, "--drives", 1,
    )  # fmt: skip
    samples, figures = result["samples"], result["figures"]
    assert result["settings"]["mask_stride"] == {"full_size": 1, "logits_stride": 16}
    for key in ("engine", "to_picture"):
        assert_ratio(
            figures[f"{key}_full_to_stride"],
            samples[f"full_size.{key}_ms"],
            samples[f"logits_stride.{key}_ms"],
        )
    for data in ("camvid_val", "held_out_drives"):
        full, small = (figures["accuracy"][data][k] for k in ("full_size", "logits_stride"))
        for scores in (full, small):
            assert 0 <= scores["road_iou"] <= 1
            assert scores["miou"] == pytest.approx(
                statistics.mean(scores["iou"].values()), abs=1e-4
            )
        cost = figures["full_less_stride"][data]
        assert cost["miou"] == pytest.approx(full["miou"] - small["miou"], abs=1e-4)


@pytest.mark.slow
def test_mask_stride_without_a_checkpoint_is_one_line(out, camvid):
    done = call("mask_stride", "--camvid", camvid, "--checkpoint", "none.safetensors", "--out", out)
    assert done.returncode == 1
    assert "none.safetensors" in done.stderr
    assert len(done.stderr.splitlines()) == 1
