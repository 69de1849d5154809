"""What rtseg-bench counts with: turns, intervals, histograms, workers, clocks and energy."""

import math
import os
import stat
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bench_doubles import BareSleep, Double, DoubleEngine, InProcess
from hypothesis import given
from hypothesis import strategies as st

from rtseg.evaluation import contest as contests
from rtseg.evaluation import machine, nvidia
from rtseg.evaluation.bench_result import row
from rtseg.evaluation.bootstrap import median_interval, percentile, percentile_intervals
from rtseg.evaluation.contender import Measured
from rtseg.evaluation.contest import Contest
from rtseg.evaluation.frames import Frames
from rtseg.evaluation.histogram import edge, histogram
from rtseg.evaluation.pareto import pareto_front
from rtseg.evaluation.result_file import encode, rounded, shown
from rtseg.evaluation.speed import NullEngine, fill, take_turn
from rtseg.evaluation.workers import Worker
from rtseg.spec import Spec

PICTURES = [np.full((64, 96, 3), level, np.uint8) for level in (1, 2, 3)]
positive = st.floats(1e-7, 1e7)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Two made-up frames in the place of rendered ones, all road."""
    folder = tmp_path_factory.mktemp("drive")
    np.save(folder / "frames.npy", np.zeros((2, 64, 96, 3), np.uint8))
    np.save(folder / "masks.npy", np.full((2, 64, 96), 3, np.uint8))
    return Frames("drive", folder)


# Turns


def test_a_turn_keeps_the_pipe_full_and_times_every_submission() -> None:
    engine = DoubleEngine(depth=3)
    most = 0

    def at(count):
        nonlocal most
        most = max(most, engine.pending)

    engine._at = at
    turn = take_turn(engine, fill(engine, PICTURES, 4), 10)
    assert (turn.frames, len(turn.latencies_ms)) == (10, 10)
    assert most + 1 == engine.depth  # the one that is being collected is no longer counted
    assert engine.pending == 0
    assert turn.seconds > 0
    assert turn.cpu_seconds >= 0


def test_a_batch_is_one_submission_of_several_frames() -> None:
    engine = DoubleEngine(batch=4)
    arrays = fill(engine, PICTURES, 2)
    assert [int(frame[0, 0, 0]) for array in arrays for frame in array] == [1, 2, 3, 1, 2, 3, 1, 2]
    turn = take_turn(engine, arrays, 5)
    assert (turn.frames, len(turn.latencies_ms)) == (20, 5)


def test_a_turn_may_last_by_time() -> None:
    engine = DoubleEngine(seconds=0.01)
    turn = take_turn(engine, fill(engine, PICTURES, 1), 1, seconds=0.1)
    assert turn.seconds >= 0.1
    assert turn.frames == len(turn.latencies_ms) > 1


def test_who_leaves_the_stretching_to_the_host_pays_for_it(monkeypatch) -> None:
    from rtseg.evaluation import speed

    seen = []
    monkeypatch.setattr(speed, "_stretch", lambda masks, full: seen.append(full.shape))
    for stride in (1, 4):
        engine = DoubleEngine(stride=stride)
        take_turn(engine, fill(engine, PICTURES, 1), 3)
    assert seen == [(1, 64, 96)] * (3 + speed.WARM_UP)


def test_an_engine_that_sleeps_5_ms_shows_5_ms(drive, tmp_path) -> None:
    """Beside a bare loop of sleeps, in turns, since how long a sleep is depends on the machine."""
    measured = Worker(partial(Measured, Double("five", seconds=0.005), drive), tmp_path / "a")
    bare = Worker(BareSleep, tmp_path / "b")
    try:
        facts = measured.ask("prepare")
        turns, sleeps = [], []
        for _ in range(8):
            turns.append(measured.ask("turn", 12))
            sleeps += bare.ask("turn", 12)
    finally:
        measured.end()
        bare.end()
    assert facts["frames_in_flight"] == 1
    latencies = sorted(value for turn in turns for value in turn.latencies_ms)
    assert min(latencies) >= 5.0
    assert all(turn.seconds / turn.frames * 1e3 >= 5.0 for turn in turns)
    # The better half: a machine that is busy wakes anybody late now and then.
    assert latencies[len(latencies) // 4] < 1.2 * sorted(sleeps)[len(sleeps) // 4]
    # One frame at a time: what passes between two frames is the benchmark's own.
    between = [turn.seconds * 1e3 / sum(turn.latencies_ms) for turn in turns]
    assert 1 <= statistics.median(between) < 1.1


def test_the_null_engine_has_all_that_an_engine_has_but_the_work() -> None:
    spec = Spec("null", 90, 50, ("a", "b"), ((0, 0, 0), (1, 1, 1)), size_divisor=1)
    for mode, depth in (("throughput", 2), ("latency", 1)):
        with NullEngine(spec, mode, 3) as engine:
            assert engine.depth == depth
            assert engine.infer(np.zeros((4, 50, 90, 3), np.uint8)).shape == (4, 50, 90)


# Statistics


@given(st.lists(positive, min_size=1, max_size=200), st.floats(0, 100))
def test_percentiles_are_nearest_ranks(values, share) -> None:
    found = percentile(values, share)
    assert found in values
    assert found == np.percentile(values, share, method="inverted_cdf")


def test_the_percentile_of_nothing_is_nan() -> None:
    assert math.isnan(percentile([], 50))


def test_an_interval_holds_the_median_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = median_interval(rng.lognormal(2, 0.3, 15).tolist())
        held += low <= math.exp(2) <= high
    assert 0.88 <= held / 200 <= 1.0


def test_an_interval_is_the_same_again_and_that_of_scipys_bootstrap() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    samples = np.random.default_rng(3).lognormal(2, 0.3, 25)
    low, high = median_interval(samples.tolist())
    assert (low, high) == median_interval(samples.tolist())
    theirs = scipy_stats.bootstrap(
        (samples,), np.median, n_resamples=5000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert low == pytest.approx(theirs.low, rel=0.03)
    assert high == pytest.approx(theirs.high, rel=0.03)


def test_one_round_has_no_width() -> None:
    assert median_interval([3.0]) == (3.0, 3.0)
    assert percentile_intervals([[1.0, 2.0, 9.0]], [50, 99]) == [(2.0, 2.0), (9.0, 9.0)]


def test_percentile_intervals_draw_whole_rounds() -> None:
    """Of two rounds a draw has the first twice, the second twice, or one of each."""
    (interval,) = percentile_intervals([[1.0] * 10, [5.0] * 10], [99])
    assert interval == (1.0, 5.0)
    rounds = [[1.0, 1.0, 7.0]] * 5  # all rounds alike: no draw differs
    assert percentile_intervals(rounds, [50, 100]) == [(1.0, 1.0), (7.0, 7.0)]


@given(st.lists(positive, min_size=1, max_size=100))
def test_a_histogram_clips_nothing(values) -> None:
    counts = histogram(values)
    assert sum(count for _, count in counts) == len(values)
    assert [k for k, _ in counts] == sorted({k for k, _ in counts})
    for value in values:
        value = max(value, 1e-6)
        assert any(edge(k) * (1 - 1e-9) <= value <= edge(k + 1) * (1 + 1e-9) for k, _ in counts)


def test_the_front_has_those_that_nothing_beats() -> None:
    points = {
        "fast": (100.0, 0.5), "best": (10.0, 0.7), "both": (50.0, 0.65), "beaten": (40.0, 0.6),
        "equal speed": (50.0, 0.6), "twin": (100.0, 0.5),
    }  # fmt: skip
    assert pareto_front(points) == ["best", "both", "fast", "twin"]
    assert pareto_front({}) == []


def test_results_are_plain_json_and_tell_no_folder(tmp_path) -> None:
    assert rounded({"a": [math.nan, 1.23456789, math.inf], "b": 1}) == {
        "a": [None, 1.2346, None], "b": 1,
    }  # fmt: skip
    assert shown(str(tmp_path / "CamVid")) == "CamVid"
    assert shown("../x.onnx") == "x.onnx"
    assert shown("runs/x.onnx") == "runs/x.onnx"
    with pytest.raises(ValueError, match="JSON"):
        encode({"a": math.nan})


# What is sampled beside it


@pytest.fixture
def fake_smi(tmp_path, monkeypatch):
    """Put an nvidia-smi on the path that prints ``lines`` to --loop-ms, or fails."""

    def put(line="100.5, 1980, 2619, 41", fail=False):
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "nvidia-smi"
        program.write_text(
            f"#!{sys.executable}\n"
            "import sys, time\n"
            "query = next(a for a in sys.argv if a.startswith('--query-gpu=')).partition('=')[2]\n"
            f"if {fail}: sys.exit('NVIDIA-SMI has failed')\n"
            "if not any(a.startswith('--loop-ms=') for a in sys.argv):\n"
            "    print(', '.join(f'the {name}' for name in query.split(','))); sys.exit()\n"
            "assert query == 'power.draw,clocks.sm,clocks.mem,temperature.gpu', query\n"
            "assert '--format=csv,noheader,nounits' in sys.argv\n"
            "while True:\n"
            f"    print({line!r}, flush=True)\n"
            "    time.sleep(0.01)\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return put


def _sampled(sampler, count):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = sampler.between(0, math.inf)
        if len(found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError("no samples came")


def test_a_gpu_is_sampled(fake_smi) -> None:
    fake_smi()
    assert nvidia.gpu_facts()["name"] == "the name"
    with nvidia.Sampler() as sampler:
        samples = _sampled(sampler, 3)
    assert nvidia.summed_up(samples) == {
        "samples": len(samples), "watts": pytest.approx(100.5), "clock_sm_mhz": 1980,
        "clock_memory_mhz": 2619, "temperature_c": 41,
    }  # fmt: skip


def test_what_a_gpu_does_not_tell_is_null(fake_smi) -> None:
    fake_smi("[N/A], 1980, [Not Supported], 41")
    with nvidia.Sampler() as sampler:
        found = nvidia.summed_up(_sampled(sampler, 1))
    assert found["watts"] is None
    assert found["clock_memory_mhz"] is None
    assert found["clock_sm_mhz"] == 1980


def test_no_gpu_is_no_energy(fake_smi, monkeypatch) -> None:
    fake_smi(fail=True)
    assert nvidia.gpu_facts() is None
    with nvidia.Sampler() as sampler:
        assert sampler.between(0, math.inf) == []
    monkeypatch.setenv("PATH", "/nowhere")
    assert nvidia.gpu_facts() is None
    with nvidia.Sampler() as sampler:
        assert sampler.between(0, math.inf) == []


def test_energy_is_power_under_a_lasting_load_by_the_frames(
    fake_smi, drive, tmp_path, monkeypatch
) -> None:
    fake_smi()
    monkeypatch.setattr(contests, "SUSTAIN_SECONDS", 0.5)
    monkeypatch.setattr(contests, "SETTLING", 0.1)
    monkeypatch.setattr(contests, "Worker", InProcess)
    doubles = [Double("on the gpu", backend="tensorrt", seconds=0.01), Double("cpu", seconds=0.01)]
    contest = Contest(doubles, drive, tmp_path)
    contest.run(2, 20)
    gpu, cpu = (row(entry) for entry in contest.entries)
    assert cpu["gpu"] is None
    turn, _ = contest.entries[0].load
    assert turn.seconds >= 0.5
    assert gpu["gpu"]["joules_a_frame"] == pytest.approx(100.5 * turn.seconds / turn.frames)
    assert gpu["gpu"]["clock_sm_mhz"] == 1980
    assert contest.samples


def test_energy_of_the_processor_is_read_where_it_can_be(tmp_path) -> None:
    counter = machine.EnergyCounter(tmp_path / "nothing")
    assert counter.lap() is None
    for zone, value in (("intel-rapl:0", 900), ("intel-rapl:1", 50), ("intel-rapl:0:0", 10)):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "max_energy_range_uj").write_text("1000\n")
        (tmp_path / zone / "energy_uj").write_text(f"{value}\n")
    counter = machine.EnergyCounter(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("100\n")  # it has turned over
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("80\n")
    assert counter.lap() == pytest.approx(230e-6)
    assert counter.lap() == 0
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert counter.lap() is None
    assert counter.lap() is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells its peak")
def test_the_peak_of_memory_begins_anew() -> None:
    block = np.ones(60 << 20, np.uint8)
    _, high = machine.memory_mib()
    del block
    assert machine.forget_peak()
    now, peak = machine.memory_mib()
    assert peak < high - 40
    assert now <= peak
    block = np.ones(60 << 20, np.uint8)
    assert machine.memory_mib()[1] > peak + 50
    assert statistics.mean(block[:10]) == 1


def test_the_machine_and_the_versions_are_told() -> None:
    assert machine.machine()["usable_cores"] >= 1
    assert {"python", "numpy", "rtseg"} <= machine.versions().keys()
    assert "/" not in machine.machine()["processor"]
