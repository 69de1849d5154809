"""``python -m benchmarks.gpu`` on the CPU's engines, on the double of a GPU, and by its parts.

No absolute time is asserted: that is what the benchmark is for, on a quiet machine.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_spec, write_tiny_network

from benchmarks import gpu_figures
from benchmarks.gpu_accuracy import References, Truth, render, score
from benchmarks.gpu_plan import EAGER, OURS, cells, contenders
from benchmarks.gpu_supervise import Measurement, go_on_without
from benchmarks.gpu_worker import SpoiledError, work
from rtseg.engine import load
from rtseg.engine.cache import EngineCache
from rtseg.errors import BackendError

# Why PyTorch takes no part with the tests' network; without torch it does not get so far.
NOT_EAGER = "no checkpoint" if find_spec("torch") else "No module named 'torch'"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def network(tmp_path):
    pytest.importorskip("onnxruntime", reason="the engines here compute with ONNX Runtime")
    write_tiny_network(tmp_path / "tiny.fp16.onnx", tiny_spec(precision="fp16"))
    return write_tiny_network(tmp_path / "tiny.onnx", tiny_spec())


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def plan(tmp_path, network, kind, **changes):
    """What a worker is told, for one network of 96x64."""
    rendered = tmp_path / "rendered.npz"
    render(rendered, 2, (120, 80), (128, 72))
    planned = [
        {**cell.values(), "takes_part": contenders(kind, cell)}
        for cell in cells([str(network)], [(96, 64)], [1, 2])
    ]
    return {
        "kind": kind, "cells": planned, "excluded": {}, "ceilings": True, "quick": True,
        "deadline": time.time() + 300, "rendered": str(rendered), "rounds": 2, "seconds": 0.001,
        "references": str(tmp_path / "references"), "camvid": None,
        "cache": str(tmp_path / "cache"), **changes,
    }  # fmt: skip


@contextlib.contextmanager
def fake(**options):
    """A machine with a GPU, and nothing of it left at the end."""
    from doubles import fake_gpu

    from rtseg.engine.tensorrt import driver

    with fake_gpu(**options) as gpu:
        try:
            yield gpu
        finally:
            driver.shut_down()


def collected(given, monkeypatch):
    """Do a plan in this process, without PyTorch; returns what the command would have by its end."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(Measurement, "save", lambda self: None)
    options = Namespace(device="cpu", label=None, quick=True)
    measurement = Measurement(options, [], given["cells"], given["kind"])
    error = None
    try:
        work(given, lambda part: measurement.take(json.loads(json.dumps(part))))
    except SpoiledError as spoiled:
        error = spoiled
    return measurement, error


def test_the_command_measures_the_engines_of_a_cpu(network, tmp_path):
    out = tmp_path / "results"
    done = command(
        "--quick", "--minutes", 6, "--device", "cpu", "--networks", network, "--out", out,
        "--cache", tmp_path / "cache", "--batch", "1,2", "--label", "here",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {"gpu-here.json", "gpu-here.md"} <= {path.name for path in out.iterdir()}
    text = (out / "gpu-here.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text.replace(json.dumps(str(network)), "")
    result = json.loads(text)
    samples, figures = result["samples"], result["figures"]
    assert [cell["batch"] for cell in samples["cells"]] == [1, 2]
    assert samples["ceilings"]["bytes_per_second"] > 0
    assert samples["ceilings"]["operations_per_second"]["fp32"] > 0
    for cell in samples["cells"]:
        assert cell["rounds"] == 2
        for name in ("openvino", "openvino fp32", "onnxruntime fp32"):
            found = cell["contenders"][name]
            assert found["parity"]["share"] == 1, "this network is exact at every precision"
            assert 0 < found["accuracy"]["miou"] < 1
            assert ("frame_to_painted_ms" in found) == (cell["batch"] == 1)
            rates = found["masks_per_second_by_round"]
            assert found["masks_per_second"] in rates
            assert len(rates) == 2
            times = found["frame_to_mask_ms"]
            assert times["min"] <= times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
            assert sum(times["histogram"]["counts"]) == times["count"] >= 6
        # The tests' network has no checkpoint: said, and no reason for the others to stop.
        assert NOT_EAGER in cell["contenders"][EAGER]["failed"]
    missing = {(entry["cell"], entry["contender"]) for entry in figures["not_measured"]}
    assert ("tiny 96x64 batch 1", EAGER) in missing
    assert ("tiny 96x64 batch 1", "openvino") not in missing
    for line in ("tiny 96×64, batch 2", "onnxruntime fp32", NOT_EAGER):
        assert line in done.stdout
        assert line in (out / "gpu-here.md").read_text(encoding="utf-8")


def test_without_any_backend_it_says_what_is_missing_and_ends_well(network, tmp_path):
    """As in an interpreter that has NumPy and OpenCV, and no rtseg installed."""
    absent = ("torch", "openvino", "onnxruntime", "onnx", "matplotlib", "rich", "av", "tensorrt",
              "pycuda", "safetensors", "lightning")  # fmt: skip
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
    )
    out = tmp_path / "results"
    done = command(
        "--quick", "--minutes", 6, "--networks", f"road-unet,{network}", "--out", out,
        "--batch", "1", PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "gpu.json").read_text(encoding="utf-8"))
    names = [cell["name"] for cell in result["samples"]["cells"]]
    assert names == ["road-unet", "tiny"], "the zoo is found in a checkout that is not installed"
    for cell in result["samples"]["cells"]:
        assert "not installed" in cell["contenders"]["openvino"]["failed"]
        assert "torch" in cell["contenders"][EAGER]["failed"]
    assert {"missing"} == set(result["samples"]["costs"]["tiny 96x64 batch 1"])
    assert not (out / "gpu.png").exists()


def test_a_gpu_that_is_not_there_is_named_in_one_line(network, tmp_path):
    done = command("--device", "gpu", "--networks", network, "--out", tmp_path / "results")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no GPU" in done.stderr


@pytest.mark.parametrize("generation", [8, 10, 11])
def test_tensorrt_is_measured_on_the_double(generation, network, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    with fake(generation=generation):
        measurement, error = collected(plan(tmp_path, network, "gpu"), monkeypatch)
    assert error is None
    samples = measurement.samples
    first, second = samples["cells"]
    for cell in (first, second):
        found = cell["contenders"][OURS]
        assert found.get("failed") is None
        assert found["precision"] == "fp16"
        assert found["parity"] == {"share": 1.0, "frames": 2, "reference": "onnxruntime fp32"}
        assert found["device_ms"]["count"] > 0
        assert found["device_back_to_back_ms"]["count"] == 2
        assert found["masks_per_second"] > 0
    assert first["contenders"]["tensorrt fp32"]["precision"] == "fp32"
    assert "tensorrt fp32" not in second["contenders"], (
        "the long builds are in the first cells only"
    )
    assert "int8" in first["contenders"]["tensorrt int8"]["failed"]
    figures = gpu_figures.derive(samples, measurement.planned)
    aims = {aim["figure"]: aim for aim in figures["aims"]}
    assert aims["frame_to_mask_p50_ms"]["measured"] > 0
    assert aims["times_torch_eager_fp32"]["reached"] is None, "nothing to compare with"
    assert samples["ceilings"]["bytes_by"].startswith("pycuda copy")
    (why,) = samples["ceilings"]["missing"]
    assert "add_input" in why, "the double plays no networks but those of files"


def test_a_spoiled_gpu_ends_the_process_and_the_next_goes_on_without(
    network, tmp_path, monkeypatch
):
    from benchmarks import gpu_cell

    made = gpu_cell.make

    def make(name, *rest):
        if name == "onnxruntime fp32":
            raise RuntimeError("cuMemcpyHtoDAsync failed: an illegal memory access was encountered")
        return made(name, *rest)

    monkeypatch.setattr(gpu_cell, "make", make)
    given = plan(tmp_path, network, "cpu")
    measurement, error = collected(given, monkeypatch)
    assert error is not None
    assert len(measurement.samples["cells"]) == 1
    go_on_without(measurement.samples, given, 75, "")
    assert "illegal memory" in given["excluded"]["tiny 96x64 batch 1"]["onnxruntime fp32"]["failed"]
    monkeypatch.setattr(gpu_cell, "make", made)
    again, error = collected(given, monkeypatch)
    assert error is None
    first, second = again.samples["cells"]
    assert "illegal memory" in first["contenders"]["onnxruntime fp32"]["failed"]
    assert "frame_to_mask_ms" in first["contenders"]["openvino"]
    assert "frame_to_mask_ms" in second["contenders"]["onnxruntime fp32"]


def test_a_process_that_dies_is_followed_by_one_without_the_one_at_fault():
    given = {"cells": [{"key": "a"}, {"key": "b"}, {"key": "c"}], "excluded": {}, "ceilings": True}
    cell = {
        "key": "b",
        "finished": False,
        "doing": ["running", "x"],
        "contenders": {"x": {}, "y": {}},
    }
    samples = {"ceilings": {"bytes_per_second": 1}, "cells": [{"key": "a", "finished": True}, cell]}
    go_on_without(samples, given, -11, "Segmentation fault")
    assert [c["key"] for c in given["cells"]] == ["b", "c"]
    assert list(given["excluded"]["b"]) == ["x"]
    assert "signal 11: Segmentation fault" in given["excluded"]["b"]["x"]["failed"]
    cell["doing"] = None
    cell["contenders"]["x"] = given["excluded"]["b"]["x"]
    go_on_without(samples, given, -11, "")
    assert [c["key"] for c in given["cells"]] == ["c"], "nobody is at fault: it would die again"
    with pytest.raises(BackendError, match="status 1"):
        go_on_without({"ceilings": {"missing": []}, "cells": []}, given, 1, "no")


def test_the_end_of_the_time_is_kept_and_said(network, tmp_path, monkeypatch):
    given = plan(tmp_path, network, "cpu", deadline=time.time() - 1)
    measurement, _ = collected(given, monkeypatch)
    found = gpu_figures.derive(measurement.samples, measurement.planned)["not_measured"]
    assert {(e["cell"], e["contender"]) for e in found} == {
        (cell["key"], name) for cell in given["cells"] for name in cell["takes_part"]
    }
    assert all("time was over" in entry["why"] for entry in found)


def test_masks_of_another_interpreter_serve_as_reference(network, tmp_path):
    render(tmp_path / "rendered.npz", 2, (120, 80), (96, 64))
    truth = Truth(tmp_path / "rendered.npz", None)
    (cell,) = cells([str(network)], [(96, 64)], [1])
    cache = EngineCache(tmp_path / "cache")

    def make(_):
        return "onnxruntime fp32", load(network, backend="onnxruntime", cache=cache)

    def none(_):
        raise BackendError("no engine in FP32")

    with load(network, backend="onnxruntime", cache=cache) as engine:
        frames = truth.parity_frames(engine.spec)
        by, masks = References(tmp_path / "kept", make).masks(cell, frames)
        assert by == "onnxruntime fp32"
        assert np.array_equal(masks, frames[..., 0] > 127)
        by, again = References(tmp_path / "kept", none).masks(cell, frames)
        assert "of another run" in by
        assert np.array_equal(again, masks)
        with pytest.raises(BackendError, match="no masks of another run"):
            References(tmp_path / "kept", none).masks(cell, 255 - frames)
        scored = score(engine, truth.labelled(engine.spec))
    assert scored["frames"] == 2
    assert set(scored["iou"]) == {"background", "road"}
