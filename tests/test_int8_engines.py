"""Engines of a quantised network file: found beside the network, and truthful about themselves."""

import importlib.util

import numpy as np
import pytest
from three_convolutions import write_three_convolutions

import rtseg
from rtseg.cli.compile import main
from rtseg.errors import BackendError

pytest.importorskip("onnxruntime", reason="quantising needs onnxruntime (extra int8)")
if importlib.util.find_spec("nncf") is None:
    pytest.skip("quantising needs nncf (extra int8)", allow_module_level=True)
from rtseg.engine.quantise import quantise
from rtseg.spec import read_network

FRAMES = list(np.random.default_rng(5).integers(0, 256, (4, 64, 96, 3), np.uint8))


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The path of a network file, with its quantised one beside it."""
    path = write_three_convolutions(tmp_path_factory.mktemp("three") / "three.onnx")
    path.with_name("three.int8.onnx").write_bytes(quantise(read_network(path), FRAMES))
    return path


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(("file", "asked"), [("three", "int8"), ("three.int8", None)])
def test_int8_is_what_is_asked_for_and_what_is_said(three, backend, file, asked):
    with rtseg.load(three.with_name(f"{file}.onnx"), backend=backend, precision=asked) as engine:
        assert (engine.precision, engine.spec.precision) == ("int8", "int8")
        assert bool(engine.rest) == (backend == "openvino")
        masks = engine.infer(np.stack(FRAMES))
    blue = np.stack(FRAMES)[..., 0].astype(int)
    far = np.abs(blue - 127.5) > 255 / 127
    assert np.array_equal(masks[far], blue[far] > 127)


def test_a_cached_engine_says_the_same(three):
    for _ in range(2):
        with rtseg.load(three, backend="openvino", precision="int8") as engine:
            assert engine.precision == "int8"
    assert not engine.built


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_quantised_file_does_not_run_as_fp32(three, backend):
    with pytest.raises(BackendError, match="int8"):
        rtseg.load(three.with_name("three.int8.onnx"), backend=backend, precision="fp32")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_without_a_quantised_file(tiny_network, backend):
    with pytest.raises(BackendError, match=r"tiny\.int8\.onnx.* --int8 FOLDER-OF-PICTURES"):
        rtseg.load(tiny_network, backend=backend, precision="int8")


def test_fp32_stays_fp32_beside_it(three):
    with rtseg.load(three, backend="openvino", precision="fp32") as engine:
        assert (engine.precision, engine.rest) == ("fp32", "")


def test_the_command_quantises_and_compiles(tmp_path, capfd):
    import cv2

    path = write_three_convolutions(tmp_path / "three.onnx")
    for number, frame in enumerate(FRAMES):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
    assert main([str(path), "--int8", str(tmp_path)]) == 0
    assert main([str(path), "--backend", "openvino", "--precision", "int8", "--frames", "2"]) == 0
    out = capfd.readouterr().out
    assert f"{path.with_name('three.int8.onnx')}: network file of INT8" in out
    assert "three 96x64: openvino int8 on " in out
