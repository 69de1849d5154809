"""``rtseg-compile`` and ``rtseg-bench``: what they print, write and refuse."""

import json
from pathlib import Path

import pytest

from rtseg.cli import bench
from rtseg.cli import compile as compiling


def _run(capfd, command, *arguments):
    try:
        status = command.main([str(a) for a in arguments])
    except SystemExit as end:
        status = end.code
    out, err = capfd.readouterr()
    return status, out, err.splitlines()


def test_compile_says_the_precision_in_force_and_the_agreement(capfd, tiny_network) -> None:
    status, out, err = _run(capfd, compiling, tiny_network, "--precision", "fp32", "--frames", 2)
    assert (status, err) == (0, [])
    assert "tiny 96x64: openvino fp32" in out
    assert "100.0000% of the pixels of 2 frames" in out


def test_compile_prints_the_spec(capfd, tiny_network) -> None:
    status, out, _ = _run(capfd, compiling, tiny_network, "--spec")
    assert status == 0
    assert json.loads(out)["classes"] == ["background", "road"]


def test_an_engine_that_disagrees_is_refused_with_the_figure(
    capfd, tiny_network, monkeypatch
) -> None:
    monkeypatch.setattr("rtseg.engine.parity.agreement", lambda *_: 0.5)
    status, _, err = _run(capfd, compiling, tiny_network, "--frames", 1)
    assert status == 1
    assert len(err) == 1
    assert "only 50.00% of the pixels agree" in err[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.onnx"], "no such network file"),
        (["nothing"], "no network of the zoo"),
        (["road-unet", "--size", "501x250"], "multiples of 2,"),
        (["road-unet", "--backend", "caffe"], "unknown backend"),
        (["road-unet", "--frames", "0"], "--frames"),
    ],
)
def test_compile_refuses_in_one_line(capfd, arguments, words) -> None:
    status, _, err = _run(capfd, compiling, *arguments)
    assert status in (1, 2)
    assert len(err) == 1
    assert words in err[0]


def test_bench_measures_speed_alongside_accuracy(capfd, tiny_network, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    status, out, err = _run(
        capfd, bench, tiny_network, "--rounds", 3, "--frames", 4,
        "--size", "96x64,160x96", "--json", file,
    )  # fmt: skip
    assert (status, err) == (0, [])
    values = json.loads(file.read_text())
    assert [row["size"] for row in values["results"]] == [[96, 64], [160, 96]]
    for row in values["results"]:
        rounds = row["rounds_ms"]
        assert len(rounds) == 3
        assert min(rounds) <= row["ms_a_frame"] <= max(rounds)
        assert row["fps"] == pytest.approx(1000 / row["ms_a_frame"], rel=0.02)
        assert 0 <= row["miou"] <= 1
        assert row["precision"] in ("fp32", "bf16", "fp16")
    assert "tiny" in out


def test_bench_leaves_out_what_cannot_run_and_says_so(capfd, tiny_network) -> None:
    status, _, err = _run(
        capfd, bench, tiny_network, "--size", "96x64,100x64", "--rounds", 1, "--frames", 1
    )
    assert status == 0
    assert len(err) == 1
    assert "left out" in err[0]
    assert "100x64" in err[0]
    status, _, err = _run(capfd, bench, tiny_network, "--size", "100x64")
    assert status == 2
    assert "nothing to measure" in err[-1]


def test_bench_refuses_an_output_that_cannot_be_written(capfd, tiny_network, tmp_path) -> None:
    status, _, err = _run(capfd, bench, tiny_network, "--json", tmp_path / "no" / "bench.json")
    assert status == 1
    assert len(err) == 1
