"""``rtseg-bench`` as a command: what it measures, prints, writes, refuses and survives."""

import csv
import json
import math
import os
import statistics
import subprocess
import sys

import cv2
import numpy as np
import pytest
from bench_doubles import InProcess
from conftest import tiny_spec, write_tiny_network

from rtseg.cli import bench
from rtseg.evaluation import contest as contests
from rtseg.evaluation.bootstrap import percentile

SMALL = ("--rounds", 2, "--frames", 3, "--limit", 2)


def run(capfd, *arguments):
    try:
        status = bench.main([str(a) for a in arguments])
    except SystemExit as end:
        status = end.code
    out, err = capfd.readouterr()
    return status, out, err.splitlines()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three pictures whose road is blue above 127, as the tiny network's is; one is half wrong."""
    root = tmp_path_factory.mktemp("data") / "roads"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("0 0 0 background\n0 200 90 road\n")
    rng = np.random.default_rng(0)
    for i in range(3):
        blocks = rng.integers(0, 2, (8, 12), np.uint8)
        mask = np.kron(blocks, np.ones((8, 8), np.uint8))
        frame = np.zeros((64, 96, 3), np.uint8)
        frame[..., 0] = 255 * mask
        if i == 2:
            mask[:, 48:] = 1 - mask[:, 48:]
        cv2.imwrite(str(root / "images" / f"{i}.png"), frame)
        cv2.imwrite(str(root / "masks" / f"{i}.png"), mask)
    return root


@pytest.fixture(scope="module")
def measured(tmp_path_factory, dataset):
    """One run of two engines at two batches on known pictures, with all of its files."""
    folder = tmp_path_factory.mktemp("bench")
    network = write_tiny_network(folder / "tiny.onnx", tiny_spec())
    pytest.importorskip("onnxruntime")
    files = {kind: folder / f"bench.{kind}" for kind in ("json", "csv", "md")}
    done = subprocess.run(
        [
            sys.executable, "-m", "rtseg.cli.bench", str(network), "--backend",
            "openvino,onnxruntime", "--precision", "fp32", "--batch", "1,2", "--rounds", "3",
            "--frames", "5", "--data", str(dataset), "--split", "all", "--json", str(files["json"]),
            "--csv", str(files["csv"]), "--markdown", str(files["md"]),
        ],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "140"}, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(files["json"].read_text()), done.stdout, files, network


def test_every_combination_is_measured(measured) -> None:
    result, *_ = measured
    rows = result["rows"]
    assert [(row["backend"], row["precision"], row["batch"]) for row in rows] == [
        ("openvino", "fp32", 1), ("openvino", "fp32", 2),
        ("onnxruntime", "fp32", 1), ("onnxruntime", "fp32", 2),
    ]  # fmt: skip
    assert result["failed"] == []
    assert result["machine"]["usable_cores"] >= 1
    assert {"openvino", "numpy", "python"} <= result["versions"].keys()
    for row in rows:
        assert set(row["versions"]) == {row["backend"]}
        assert row["frames_in_flight"] % row["batch"] == 0
        assert row["memory_mib"]["peak"] > 10
        assert row["gpu"] is None or row["on_gpu"]


def test_figures_follow_from_the_raw_samples(measured) -> None:
    result, *_ = measured
    for row in (*result["rows"], result["overhead"]):
        samples = row["samples"]
        batch = row["batch"]
        assert samples["frames"] == [math.ceil(5 / batch) * batch] * 3
        ms = [1e3 * s / n for s, n in zip(samples["seconds"], samples["frames"], strict=True)]
        assert row["ms_a_frame"]["median"] == pytest.approx(statistics.median(ms), rel=1e-5)
        assert row["fps"]["median"] == pytest.approx(1e3 / statistics.median(ms), rel=1e-5)
        low, high = row["fps"]["interval"]
        assert 1e3 / max(ms) <= low * 1.0001
        assert low <= row["fps"]["median"] <= high <= 1e3 / min(ms) * 1.0001
        pooled = [value for part in samples["latency_ms"] for value in part]
        latency = row["latency_ms"]
        assert latency["count"] == len(pooled) == sum(samples["frames"]) / batch
        for name, share in (("p50", 50), ("p95", 95), ("p99", 99)):
            assert latency[name] == pytest.approx(percentile(pooled, share), abs=1e-3)
            assert latency["intervals"][name][0] <= latency[name] * 1.001
        assert latency["max"] == pytest.approx(max(pooled), abs=1e-3)
        assert sum(count for _, count in latency["histogram"]["counts"]) == len(pooled)
        assert row["cpu_seconds"] == pytest.approx(sum(samples["cpu_seconds"]), rel=1e-5)
        # Little's law: the pipe was full all the time.
        assert latency["p50"] > 0


def test_accuracy_is_that_of_the_frames(measured) -> None:
    """Of three pictures one is wrong on its right half: 5 of 6 pixels are right."""
    result, *_ = measured
    assert result["data"] == {"kind": "folder", "folder": "roads", "split": "all", "frames": 3}
    for row in result["rows"]:
        accuracy = row["accuracy"]
        assert accuracy["pixel_accuracy"] == pytest.approx(5 / 6)
        assert accuracy["miou"] == pytest.approx(statistics.mean(accuracy["iou"].values()))
        assert set(accuracy["iou"]) == {"background", "road"}
        assert 0.6 < accuracy["miou"] < 0.8
        parity = accuracy["parity"]
        other = {"openvino": "onnxruntime fp32", "onnxruntime": "openvino fp32"}[row["backend"]]
        assert parity == {"share": 1.0, "reference": other, "frames": 3, "reason": None}


def test_the_benchmark_tells_its_own_overhead(measured) -> None:
    result, out, *_ = measured
    assert result["overhead"]["size"] == [96, 64]
    assert result["overhead"]["batch"] == 2
    assert "The benchmark itself takes" in out


def test_the_table_the_csv_and_the_markdown_say_the_same(measured) -> None:
    result, out, files, _ = measured
    rows = result["rows"]
    records = list(csv.DictReader(files["csv"].open(encoding="utf-8")))
    assert [float(r["fps"]) for r in records] == [row["fps"]["median"] for row in rows]
    assert [float(r["iou road"]) for r in records] == [
        row["accuracy"]["iou"]["road"] for row in rows
    ]
    assert records[0]["parity_reference"] == "onnxruntime fp32"
    markdown = files["md"].read_text(encoding="utf-8")
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows)
    assert len({line.count("|") for line in table}) == 1
    for row in rows:
        assert f"{row['accuracy']['miou']:.4f}" in out
        assert f"{row['accuracy']['miou']:.4f}" in markdown
    assert "3 frames of roads (folder, all)" in out
    assert "p99" in out
    assert "onnxruntime fp32 ×2" in out
    assert result["command"] in markdown
    assert str(files["json"].parent) not in files["json"].read_text() + markdown + out


def test_comparing_with_itself_changes_nothing(measured, capfd, dataset, tmp_path) -> None:
    """And a network that became worse fails the command; another dataset's mIoU is not compared."""
    result, _, files, network = measured
    old = json.loads(files["json"].read_text())
    better = tmp_path / "better.json"
    for row in old["rows"]:
        row["accuracy"]["miou"] += 0.1
        row["samples"]["seconds"] = [s * 1e3 for s in row["samples"]["seconds"]]  # once very slow
    better.write_text(json.dumps(old))
    common = (network, "--backend", "openvino", "--precision", "fp32", "--rounds", 3, "--frames", 5)
    data = ("--data", dataset, "--split", "all")
    new = tmp_path / "new.json"
    status, out, err = run(capfd, *common, *data, "--compare", better, "--json", new)
    assert (status, err) == (1, [])
    assert "Worse beyond noise." in out
    found = json.loads(new.read_text())["comparison"]
    assert [row["verdict"] for row in found["rows"]] == ["faster"]
    assert found["rows"][0]["accuracy"]["verdict"] == "worse"
    assert len(found["missing"]) == 3
    status, out, err = run(capfd, *common, *data, "--limit", 2, "--compare", better)
    assert (status, err) == (0, [])
    assert "other frames" in out
    assert result["rows"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read this result"),
        ("no json", "not a result of rtseg-bench"),
        ("[]", "not a result of rtseg-bench"),
        ('{"benchmark": "peers"}', "not a result of rtseg-bench"),
        ('{"benchmark": "rtseg-bench", "format": 1}', "another form"),
        ('{"benchmark": "rtseg-bench", "format": 2, "rows": [{}]}', "not whole"),
    ],
)
def test_what_cannot_be_compared_with_is_refused_at_once(capfd, tmp_path, content, words) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)
    status, out, err = run(capfd, "road-unet", "--compare", path)
    assert (status, out, len(err)) == (1, "", 1)
    assert words in err[0]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nothing"], 2, "no network of the zoo"),
        (["--backend", "caffe"], 2, "unknown backend"),
        (["--size", "12"], 2, "width x height"),
        (["--batch", "0"], 2, "--batch"),
        (["--rounds", "0"], 2, "--rounds"),
        (["--split", "test"], 2, "give --data"),
        (["--plot", "plot.pdf"], 2, ".png"),
        (["--json", "a.txt", "--csv", "a.txt"], 2, "same file"),
        (["--data", "no-such-folder"], 1, "no such folder"),
        (["--peer", "no-such-file.onnx"], 2, "no such file"),
        (["--json", "no/such/folder.json"], 1, "cannot write"),
    ],
)
def test_it_refuses_in_one_line(capfd, arguments, status, words) -> None:
    found, out, err = run(capfd, *arguments)
    assert (found, out, len(err)) == (status, "", 1)
    assert words in err[0]


def test_what_cannot_run_is_left_out_and_named(capfd, tiny_network, tmp_path) -> None:
    file = tmp_path / "bench.json"
    sizes = ("--size", "96x64,100x64", "--json", file)
    status, out, err = run(capfd, tiny_network, *SMALL, *sizes)
    assert status == 0
    assert len(err) == 1
    assert "left out: " in err[0]
    assert "100x64" in err[0]
    result = json.loads(file.read_text())
    assert [row["size"] for row in result["rows"]] == [[96, 64]]
    (failed,) = result["failed"]
    assert (failed["network"], failed["size"]) == ("tiny", [100, 64])
    assert "multiples of 32" in failed["error"]
    assert result["data"]["kind"] == "drive"
    assert "2 held-out frames" in out
    status, _, err = run(capfd, tiny_network, *SMALL, "--size", "100x64")
    assert status == 2
    assert "nothing to measure" in err[-1]


def test_frames_that_cannot_be_read_end_the_run(capfd, tiny_network, dataset, tmp_path) -> None:
    import shutil

    broken = tmp_path / "roads"
    shutil.copytree(dataset, broken)
    (broken / "images" / "1.png").write_bytes(b"no picture")
    status, _, err = run(capfd, tiny_network, *SMALL, "--data", broken, "--split", "all",
                         "--limit", 3)  # fmt: skip
    assert (status, len(err)) == (1, 1)
    assert "1.png" in err[0]


def test_latency_mode_has_one_frame_in_flight(capfd, tiny_network, tmp_path) -> None:
    file = tmp_path / "bench.json"
    status, *_ = run(capfd, tiny_network, *SMALL, "--mode", "latency", "--json", file)
    assert status == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert (row["mode"], row["frames_in_flight"]) == ("latency", 1)


def test_live_and_choose_are_commands_of_their_own(monkeypatch) -> None:
    import types

    for name in ("live", "choose"):
        module = types.ModuleType(f"rtseg.cli.bench_{name}")
        module.main = lambda arguments, name=name: (name, arguments) == (name, ["a", "--b"]) and 7
        monkeypatch.setitem(sys.modules, module.__name__, module)
        assert bench.main([name, "a", "--b"]) == 7


def test_a_gpu_is_measured_beside_the_cpu(capfd, tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxruntime", reason="the double of TensorRT computes with ONNX Runtime")
    from doubles import fake_gpu

    monkeypatch.setattr(contests, "Worker", InProcess)
    write_tiny_network(tmp_path / "tiny.fp16.onnx", tiny_spec(precision="fp16"))
    network = write_tiny_network(tmp_path / "tiny.onnx", tiny_spec())
    file = tmp_path / "bench.json"
    with fake_gpu():
        status, out, err = run(
            capfd, network, "--backend", "tensorrt,openvino", *SMALL, "--json", file
        )
    assert (status, err) == (0, [])
    assert "tensorrt fp16" in out
    gpu, cpu = json.loads(file.read_text())["rows"]
    assert (gpu["on_gpu"], cpu["on_gpu"]) == (True, False)
    assert gpu["accuracy"]["parity"]["share"] == 1.0
