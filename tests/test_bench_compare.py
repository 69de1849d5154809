"""Two results of ``rtseg-bench`` compared: what is noise, what is the machine, what is a change."""

import copy
import io

import numpy as np
import pytest
from rich.console import Console

from rtseg.cli.bench_table import figure, print_comparison, print_result
from rtseg.evaluation.comparison import compare

DATA = {"kind": "drive", "folder": None, "split": "val", "frames": 60}


def made(ms_of, *, seed=0, noise=0.02, rounds=15, drift=0.1, data=DATA):
    """A result in which engines take these ms a frame, on a machine that drifts from round to round."""
    rng = np.random.default_rng(seed)
    machine = 1 + drift * rng.random(rounds)
    rows = []
    for name, ms in ms_of.items():
        seconds = 60 * ms / 1e3 * machine * (1 + noise * rng.standard_normal(rounds))
        fps = 60 / np.median(seconds)
        rows.append(
            {
                "network": name, "sha256": f"sha of {name}", "weights": "trained",
                "backend": "openvino", "precision": "bf16", "size": [512, 256], "batch": 1,
                "mode": "throughput", "versions": {"openvino": "2026.4.1-1-releases"}, "gpu": None,
                "memory_mib": {"peak": 171.0}, "processor_joules_a_frame": None,
                "fps": {"median": fps, "interval": [0.98 * fps, 1.02 * fps]},
                "latency_ms": dict.fromkeys(("p50", "p95", "p99", "max", "mean"), 1e3 / fps),
                "cpu_ms_a_frame": {"median": 2e3 / fps},
                "accuracy": {"miou": 0.95, "iou": {}, "pixel_accuracy": 0.99,
                             "parity": {"share": 0.99999, "reference": "onnxruntime fp32"}},
                "samples": {"frames": [60] * rounds, "seconds": seconds.tolist(),
                            "others_share": [0.01] * rounds},
            }
        )  # fmt: skip
    return {
        "date": "2026-11-20T10:00:00+0000", "rtseg": "0.1.0", "gpu": None, "data": data,
        "machine": {"usable_cores": 2, "processor": "a processor"}, "failed": [], "rows": rows,
        "settings": {"rounds": rounds, "frames_a_turn": 60, "mode": "throughput"},
        "quiet": {"turns": rounds, "quiet_turns": rounds, "median_others_share": 0.01},
        "overhead": {"ms_a_frame": {"median": 0.0123, "interval": [0.0119, 0.0131]}}, "front": [],
    }  # fmt: skip


def verdicts(comparison):
    return {row["label"].split()[0]: row["verdict"] for row in comparison["rows"]}


FOUR = {"a": 8.0, "b": 15.0, "c": 16.0, "d": 40.0}


@pytest.mark.parametrize("seed", range(1, 21))
def test_the_same_again_is_the_same(seed) -> None:
    """However the machine drifts and whatever its noise: no false alarm in twenty runs."""
    comparison = compare(made(FOUR), made(FOUR, seed=seed))
    assert not comparison["worse"]
    assert set(verdicts(comparison).values()) <= {"same", "machine"}


@pytest.mark.parametrize("factor", [0.7, 1.4, 2.0])
def test_another_machine_is_no_change(factor) -> None:
    new = made({name: ms * factor for name, ms in FOUR.items()}, seed=1)
    comparison = compare(made(FOUR), new)
    assert not comparison["worse"]
    assert set(verdicts(comparison).values()) == {"machine"}


@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_one_engine_that_became_slower_is_found(factor) -> None:
    """On the same machine, and on a slower one."""
    slower = {name: ms * factor * (1.12 if name == "b" else 1) for name, ms in FOUR.items()}
    comparison = compare(made(FOUR), made(slower, seed=1))
    assert comparison["worse"]
    assert verdicts(comparison)["b"] == "slower"
    assert {v for name, v in verdicts(comparison).items() if name != "b"} <= {"same", "machine"}
    (row,) = (row for row in comparison["rows"] if row["verdict"] == "slower")
    low, high = row["relative"]["interval"]
    assert low < 1 / 1.12 < high


def test_one_engine_that_became_faster_is_told_and_is_not_worse() -> None:
    faster = {**FOUR, "b": 10.0}
    comparison = compare(made(FOUR), made(faster, seed=1))
    assert not comparison["worse"]
    assert verdicts(comparison)["b"] == "faster"


def test_of_two_the_one_that_changed_less_is_the_reference() -> None:
    two = {"a": 8.0, "b": 15.0}
    comparison = compare(made(two), made({"a": 8.0, "b": 20.0}, seed=1))
    assert comparison["reference"].startswith("a ")
    assert verdicts(comparison)["b"] == "slower"


def test_a_row_alone_is_judged_by_itself() -> None:
    old = made({"a": 8.0})
    assert compare(old, made({"a": 9.0}, seed=1, drift=0))["worse"]
    assert compare(old, made({"a": 8.0}, seed=1))["reference"] is None


def test_less_than_three_per_cent_is_no_change_however_sure() -> None:
    old, new = (made({"a": ms}, noise=1e-4, drift=0) for ms in (10.0, 10.2))
    comparison = compare(old, new)
    low, high = comparison["rows"][0]["speed"]["interval"]
    assert low <= high < 1
    assert not comparison["worse"]


def test_a_change_within_the_noise_is_no_change() -> None:
    comparison = compare(made({"a": 8.0}, noise=0.3), made({"a": 8.5}, noise=0.3, seed=1))
    assert not comparison["worse"]


@pytest.mark.parametrize(
    ("change", "verdict"), [(-0.003, "worse"), (-0.001, "same"), (0.001, "same"), (0.003, "better")]
)
def test_accuracy_is_judged_by_two_thousandths(change, verdict) -> None:
    new = made(FOUR, seed=1)
    new["rows"][1]["accuracy"]["miou"] += change
    comparison = compare(made(FOUR), new)
    assert comparison["rows"][1]["accuracy"]["verdict"] == verdict
    assert comparison["worse"] is (verdict == "worse")
    other = compare(made(FOUR), {**new, "data": {**DATA, "frames": 30}})
    assert other["rows"][1]["accuracy"]["verdict"] == "other frames"
    assert not other["worse"]
    new["rows"][1]["accuracy"]["miou"] = None
    assert compare(made(FOUR), new)["rows"][1]["accuracy"]["verdict"] == "not scored"


def test_rows_are_matched_by_content_then_by_name() -> None:
    old, new = made(FOUR), made(FOUR, seed=1)
    new["rows"][0]["network"] = "a, renamed"
    new["rows"][1]["sha256"] = "trained anew"
    new["rows"][2]["precision"] = "fp32"
    comparison = compare(old, new)
    assert [(row["label"].split(" openvino")[0], row["same_file"]) for row in comparison["rows"]] == [
        ("a, renamed", True), ("b", False), ("d", True),
    ]  # fmt: skip
    assert comparison["missing"] == ["c openvino bf16 512×256"]
    assert comparison["added"] == ["c openvino fp32 512×256"]
    assert not comparison["worse"]


def test_what_runs_no_more_is_worse_and_what_was_not_asked_for_is_not() -> None:
    old, new = made(FOUR), made(FOUR, seed=1)
    lost = new["rows"].pop(3)
    assert not compare(old, new)["worse"]
    keys = ("network", "backend", "batch", "mode")
    failed = {**{key: lost[key] for key in keys}, "precision": None, "size": None, "error": "no"}
    comparison = compare(old, {**new, "failed": [failed]})
    assert comparison["worse"]
    assert comparison["failed"] == ["d openvino bf16 512×256"]
    assert not compare(old, {**new, "failed": [{**failed, "batch": 4}]})["worse"]


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal_and_cut_nothing(width) -> None:
    result = made({"road-unet": 8.0, "smp:Unet/mobilenet_v2": 200.0, "street-fcn8s": 0.05})
    result["rows"][1]["weights"] = "random"
    result["front"] = ["road-unet openvino bf16 512×256"]
    slower = copy.deepcopy(result)
    slower["rows"][0]["samples"]["seconds"] = [1.0] * 15
    console = Console(width=width, record=True, highlight=False, file=io.StringIO())
    print_result(result, console)
    print_comparison(compare(result, slower), console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for word in ("0.9500", "FPS", "p99", "slower", "Worse beyond noise.", "0.012 ms", "●"):
        assert word in text
    assert ("max" in text.splitlines()[1]) is (width == 120)


@pytest.mark.parametrize(
    ("value", "text"),
    [(118.24, "118"), (68.77, "68.8"), (8.512, "8.51"), (0.01234, "0.0123"), (0.0, "0.00"),
     (1234.5, "1234"), (None, "–")],
)  # fmt: skip
def test_figures_have_three_digits(value, text) -> None:
    assert figure(value) == text
