"""The parts of ``python -m benchmarks.gpu``: its plan, its clocks, its counts, what follows from them."""

import itertools
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_spec

from benchmarks import gpu_figures, gpu_report, gpu_timing
from benchmarks.gpu import main
from benchmarks.gpu_ceilings import measure
from benchmarks.gpu_costs import costs
from benchmarks.gpu_merge import merge
from benchmarks.gpu_plan import CONTENDERS, EAGER, OURS, Cell, cells, contenders, nearest
from benchmarks.gpu_supervise import save
from benchmarks.gpu_timing import flow, repeat, summary
from benchmarks.gpu_worker import is_fatal
from rtseg.engine import find_network
from rtseg.errors import BackendError, InputError
from rtseg.spec import NetworkFile


def test_only_errors_that_spoil_a_context_are_fatal():
    assert is_fatal(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert is_fatal(BackendError("cudaGraphLaunch failed: cudaErrorIllegalAddress"))
    assert not is_fatal(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_fatal(ModuleNotFoundError("No module named 'torch'"))


def test_cells_come_in_the_order_of_importance_at_sizes_that_the_networks_take(make_network):
    one = make_network("one.onnx", name="one")
    two = make_network("two.onnx", name="two")
    found = cells([str(one), str(two)], [(96, 64), (1920, 1080)], [1, 8])
    assert [(c.name, c.size, c.batch) for c in found] == [
        ("one", (96, 64), 1), ("two", (96, 64), 1), ("one", (96, 64), 8), ("two", (96, 64), 8),
        ("one", (1920, 1088), 1), ("two", (1920, 1088), 1),
        ("one", (1920, 1088), 8), ("two", (1920, 1088), 8),
    ]  # fmt: skip
    assert Cell.of(json.loads(json.dumps(found[4].values()))) == found[4]
    assert nearest(tiny_spec(fixed_size=True), (512, 256)) == (96, 64)
    assert len(cells([str(one)], [(1920, 1080), (1920, 1090)], [1])) == 1
    assert set(contenders("gpu", found[0])) > set(contenders("gpu", found[1]))
    assert contenders("gpu", found[1]) == contenders("gpu", found[4])
    assert set(CONTENDERS["gpu"]) >= {OURS, EAGER}


def test_a_summary_is_what_numpy_and_the_textbook_say():
    times = np.random.default_rng(0).lognormal(0, 1, 500)
    found = summary(times)
    assert found["p50"] == pytest.approx(statistics.median(times))
    assert found["p99"] == pytest.approx(np.percentile(times, 99))
    assert found["max"] == times.max()
    edges, counts = found["histogram"]["edges_ms"], found["histogram"]["counts"]
    assert sum(counts) == 500
    inside = [int(((times >= a) & (times < b)).sum()) for a, b in itertools.pairwise(edges)]
    inside[-1] += int((times == times.max()).sum())
    assert counts == inside
    assert summary([2.0, 2.0])["histogram"]["counts"] == [2]


class Paced:
    """An engine that needs 10 ms for a mask and works on one after the other, on a clock of its own."""

    def __init__(self, depth):
        self.spec, self.depth, self.batch = tiny_spec(), depth, 1
        self.now = 0.0
        self.ready = []
        self.at_most = 0

    @property
    def pending(self):
        return len(self.ready)

    def perf_counter(self):
        return self.now

    def submit(self, frame):
        self.now += 0.001  # the caller's own work
        self.ready.append(max([self.now, *self.ready[-1:]]) + 0.01)
        self.at_most = max(self.at_most, self.pending)

    def collect(self, out):
        self.now = max(self.now, self.ready.pop(0))

    def drain(self):
        self.ready.clear()


@pytest.mark.parametrize(("depth", "expected"), [(3, 100.0), (1, 1 / 0.011)])
def test_throughput_counts_what_an_engine_can_do_and_keeps_it_busy(depth, expected, monkeypatch):
    engine = Paced(depth)
    monkeypatch.setattr(gpu_timing, "time", engine)
    rate = flow(engine, [np.zeros((64, 96, 3), np.uint8)] * 3, 2.0)
    assert rate == pytest.approx(expected, rel=0.02)
    assert engine.at_most == depth
    assert engine.pending == 0


def test_a_turn_takes_some_runs_however_long_they_take():
    runs = []
    assert repeat(lambda: runs.append(0) or float(len(runs)), 0.0) == [3.0, 4.0, 5.0]


def test_operations_are_those_of_the_models_own_count():
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from rtseg.engine.export import load_checkpoint
    from rtseg.models.registry import flops, parameters

    network = find_network("street-unet")
    model, _ = load_checkpoint(network.path.with_suffix(".safetensors"))
    found = costs(network)
    spec = network.spec
    assert found.operations == flops(model, spec.width, spec.height)
    # Normalisation is folded into the convolutions: a weight and a bias less a channel.
    assert 0.97 * parameters(model) < found.weights < parameters(model)
    wide = costs(NetworkFile(network.path, spec.resized(1024, 512), network.sha256))
    assert wide.operations == 4 * found.operations
    assert wide.activations == 4 * found.activations
    assert wide.weights == found.weights


def test_floors_are_bytes_over_bandwidth_and_operations_over_rate():
    cost = {"operations": 2e9, "weights": 1e6, "activations": 4e7, "frame_bytes": 300_000,
            "mask_bytes": 100_000}  # fmt: skip
    ceilings = {"bytes_per_second": 4e12, "operations_per_second": {"fp16": 8e14}}
    found = gpu_figures.floors(cost, ceilings, "fp16", 8)
    assert found["bytes_ms"] == pytest.approx((8 * 400_000 + 2e6) / 4e12 * 1e3)
    assert found["operations_ms"] == pytest.approx(0.02)
    assert found["floor_ms"] == pytest.approx(0.02)
    assert found["layers_ms"] == pytest.approx((8 * 400_000 + 2e6 + 8 * 8e7) / 4e12 * 1e3)
    assert gpu_figures.floors(cost, ceilings, "fp32", 1)["floor_ms"] is None
    assert gpu_figures.floors({"missing": "onnx"}, ceilings, "fp16", 1)["bytes_ms"] is None


def measured(p50, p99, rate=None, **more):
    times = {"count": 9, "mean": p50, "min": p50, "p50": p50, "p95": p99, "p99": p99, "max": p99}
    return {"frame_to_mask_ms": times, "precision": "fp16", "masks_per_second": rate, **more}


def some_cell(**found):
    return {
        "key": "tiny 96x64 batch 1", "name": "tiny", "size": [96, 64], "asked": [96, 60],
        "batch": 1, "level": 0, "sha256": "0", "contenders": found, "rounds": 3, "finished": True,
    }  # fmt: skip


def test_the_figures_aimed_at_are_judged_one_by_one():
    cell = some_cell(**{OURS: measured(0.5, 0.8, 3500.0), EAGER: measured(5.0, 6.0, 200.0)})
    rows = {cell["key"]: gpu_figures.of_cell(cell, {}, {})}
    assert rows[cell["key"]][OURS]["times_torch_eager_fp32"] == pytest.approx(10)
    found = {aim["figure"]: aim["reached"] for aim in gpu_figures.aims([cell], rows)}
    assert found == {
        "frame_to_mask_p50_ms": True, "p99_to_p50": False, "masks_per_second": True,
        "times_torch_eager_fp32": True,
    }  # fmt: skip
    assert {a["reached"] for a in gpu_figures.aims([some_cell()], {})} == {None}


def one_result(folder, label, where, contenders, **ceilings):
    cell = some_cell(**contenders)
    run = {"run": label, "date": "2026-01-01T00:00", "gpu": {"name": where, "nvidia_smi": {},
           "compute_capability": "9.0", "cuda": {}}, "machine": {}, "versions": {}}  # fmt: skip
    planned = [{**{k: cell[k] for k in ("key", "name")}, "takes_part": list(contenders)}]
    samples = {"ceilings": {"operations_per_second": {}, **ceilings}, "costs": {}, "cells": [cell]}
    return save(folder, label, [], [run], planned, samples)


def test_results_of_two_interpreters_are_joined(tmp_path, capsys):
    ours = one_result(
        tmp_path,
        "a",
        "NVIDIA H200",
        {OURS: measured(0.5, 0.6, 4000.0), EAGER: {"failed": "no torch"}},
    )
    theirs = one_result(
        tmp_path, "b", "NVIDIA H200", {EAGER: measured(5.0, 6.0, 300.0), OURS: {"failed": "no tensorrt"}},
        bytes_per_second=4e12, bytes_by="a copy",
    )  # fmt: skip
    out = tmp_path / "joined"
    assert main(["--merge", str(ours), str(theirs), "--out", str(out)]) == 0
    result = json.loads((out / "gpu.json").read_text(encoding="utf-8"))
    (cell,) = result["samples"]["cells"]
    assert cell["contenders"][OURS]["run"] == "gpu-a"
    assert cell["contenders"][EAGER]["run"] == "gpu-b"
    row = result["figures"]["rows"][cell["key"]][OURS]
    assert row["times_torch_eager_fp32"] == pytest.approx(10)
    assert row["same_run"] is False
    assert result["samples"]["ceilings"]["bytes_per_second"] == 4e12
    assert "reached" in (out / "gpu.md").read_text(encoding="utf-8")
    assert "the nearest to 96×60" in capsys.readouterr().out
    other = one_result(tmp_path, "c", "NVIDIA L4", {})
    with pytest.raises(InputError, match="NVIDIA L4"):
        merge([ours, other])
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match=r"bad\.json"):
        merge([tmp_path / "bad.json"])


@pytest.mark.parametrize("version", ["8.6.1", "10.16.1", "11.4.0"])
def test_tensorrt_has_what_the_matrix_product_is_built_of(version):
    """The double plays no such network: at least the names and arguments are NVIDIA's."""
    folder = Path(__file__).parent / "doubles" / "surfaces"
    surface = json.loads((folder / f"tensorrt-{version}.json").read_text(encoding="utf-8"))
    methods = surface["classes"]["INetworkDefinition"]["methods"]
    assert "name: str, dtype: " in methods["add_input"][0]
    order = [methods["add_matrix_multiply"][0].index(n) for n in ("input0", "op0", "input1", "op1")]
    assert order == sorted(order)
    assert "mark_output" in methods
    assert "NONE" in surface["enums"]["MatrixOperation"]["members"]
    assert ("FP16" in surface["enums"]["BuilderFlag"]["members"]) or not version.startswith("8")
    assert surface["classes"]["ITensor"]["properties"]["dtype"]


def test_ceilings_are_measured_on_the_cpu():
    found = measure("cpu", quick=True)
    assert found["bytes_per_second"] > 1e6
    assert found["operations_per_second"]["fp32"] > 1e6


def test_the_plot_shows_every_cell_of_batch_one(tmp_path):
    pytest.importorskip("matplotlib")
    cell = some_cell(**{OURS: measured(0.5, 0.8, 1.0), EAGER: measured(5.0, 6.0, 1.0)})
    cost = {
        "operations": 2e9,
        "weights": 1e6,
        "activations": 4e7,
        "frame_bytes": 1,
        "mask_bytes": 1,
    }
    ceilings = {"bytes_per_second": 4e12, "operations_per_second": {"fp16": 8e14}}
    rows = {cell["key"]: gpu_figures.of_cell(cell, cost, ceilings)}
    result = {"samples": {"cells": [cell]}, "figures": {"rows": rows}}
    assert gpu_report.plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    assert not gpu_report.plot({"samples": {"cells": []}, "figures": {"rows": {}}}, tmp_path / "no")
