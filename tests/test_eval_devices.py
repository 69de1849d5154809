"""Engines by device, on the double of a machine with one GPU."""

import numpy as np
import pytest
from conftest import tiny_spec, write_tiny_network
from evaluated import lasting, result_of, road_folder, run_eval

import rtseg
from rtseg.engine.cache import EngineCache
from rtseg.errors import BackendError

pytest.importorskip("onnxruntime", reason="the double of TensorRT computes with ONNX Runtime")

from doubles import fake_gpu

from rtseg.engine.tensorrt import driver


@pytest.fixture
def network(tmp_path):
    write_tiny_network(tmp_path / "tiny.fp16.onnx", tiny_spec(precision="fp16"))
    return write_tiny_network(tmp_path / "tiny.onnx", tiny_spec())


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with fake_gpu() as gpu:
        try:
            yield gpu
        finally:
            driver.shut_down()


@pytest.mark.parametrize("device", ["CUDA:0", "cuda:0", "0"])
def test_a_gpu_is_asked_for_by_number(gpu, network, tmp_path, device):
    options = {"cache": EngineCache(tmp_path / "c"), "check": False}
    with rtseg.load(network, device=device, **options) as engine:
        assert engine.backend == "tensorrt"
        assert engine.device == gpu.name


def test_the_cpu_can_be_asked_for_where_there_is_a_gpu(gpu, network):
    with rtseg.load(network, device="CPU") as engine:
        assert engine.backend == "openvino"


def test_a_gpu_that_is_not_there_is_one_line(gpu, network):
    with pytest.raises(BackendError, match="GPU 1 cannot be used"):
        rtseg.load(network, device="CUDA:1", backend="tensorrt", check=False)
    with pytest.raises(BackendError, match=r"tensorrt|GPU 1"):
        rtseg.load(network, device="CUDA:1", check=False)


def test_two_engines_of_a_gpu_give_what_one_gives(gpu, capfd, network, tmp_path):
    road_folder(tmp_path / "data", 7, 150, 110)
    outs = [tmp_path / "one", tmp_path / "two"]
    for out, devices in zip(outs, ("0", "CUDA:0,CUDA:0"), strict=True):
        status, _ = run_eval(capfd, network, tmp_path / "data", "--out", out, "--devices", devices)
        assert status == 0
    assert lasting(outs[0]) == lasting(outs[1])
    assert result_of(outs[1])["engine"]["backend"] == "tensorrt"
    assert np.sum(result_of(outs[0])["confusion"]) > 0


def test_devices_of_two_kinds_of_masks_are_refused(gpu, capfd, network, tmp_path):
    road_folder(tmp_path / "data", 1)
    status, lines = run_eval(
        capfd, network, tmp_path / "data", "--out", tmp_path / "out", "--devices", "CPU,0"
    )
    assert status == 2
    assert "their masks are not the same" in lines[-1]
