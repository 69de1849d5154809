"""``rtseg-compile``: what it prints, writes and refuses."""

import json

import pytest

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


def test_the_spec_is_that_of_the_precision_asked_for(capfd) -> None:
    for precision in ("fp32", "fp16", "int8"):
        status, out, _ = _run(capfd, compiling, "road-unet", "--spec", "--precision", precision)
        assert status == 0
        assert json.loads(out)["precision"] == precision


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
