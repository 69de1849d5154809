"""The parity check: what it compares with, what it refuses, and what it leaves in the cache."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_spec

from rtseg.engine import parity
from rtseg.engine.base import Engine
from rtseg.engine.cache import EngineCache
from rtseg.engine.logits import count_not_finite
from rtseg.engine.onnxruntime import ONNXRuntimeEngine
from rtseg.engine.openvino import OpenVINOEngine
from rtseg.errors import BackendError
from rtseg.spec import KEY, Spec, read_network


def scaled_network(path: Path, spec: Spec, scale: float) -> Path:
    """Write a network in which a pixel is road where its blue is above 127, with inner values
    ``scale`` times as large, taken back before the logits.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    kind, dtype = {
        "fp32": (TensorProto.FLOAT, np.float32),
        "fp16": (TensorProto.FLOAT16, np.float16),
    }[spec.precision]
    weight = np.zeros((1, 3, 1, 1), dtype)
    weight[0, 0] = scale
    sides = ["batch", "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frames"], ["real"], to=kind),
            helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["planes", "weight"], ["large"]),
            helper.make_node("Mul", ["large", "back"], ["logits"]),
            helper.make_node("Resize", ["logits", "", "sizes"], ["upsampled"], mode="linear"),
            helper.make_node("Greater", ["upsampled", "zero"], ["is_road"]),
            helper.make_node("Squeeze", ["is_road", "axis"], ["plane"]),
            helper.make_node("Cast", ["plane"], ["masks"], to=TensorProto.UINT8),
        ],
        "scaled",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [*sides, 3])],
        [helper.make_tensor_value_info("masks", TensorProto.UINT8, sides)],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array(1 / scale, dtype), "back"),
            numpy_helper.from_array(np.ones(4, np.float32), "sizes"),
            numpy_helper.from_array(np.array(127.5, dtype), "zero"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, {KEY: spec.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def half_network(tmp_path, scale):
    return scaled_network(tmp_path / "net.fp16.onnx", tiny_spec(precision="fp16"), scale)


def test_values_that_overflow_inside_are_counted_though_fp32_would_hide_them(tmp_path, frame):
    # 255 × 256 = 65280 is the largest multiple that FP16 holds.
    assert count_not_finite(half_network(tmp_path, 256), [frame], (96, 64)) == 0
    # 255 × 1024 is beyond from 64 on: in the frame, and in all of the white one.
    beyond = int(np.count_nonzero(frame[..., 0] >= 64))
    found = count_not_finite(half_network(tmp_path, 1024), [frame], (96, 64))
    assert found == beyond + frame[..., 0].size


def test_a_file_that_cannot_be_run_is_a_backend_error(tmp_path, frame):
    onnx = pytest.importorskip("onnx")
    path = half_network(tmp_path, 1)
    model = onnx.load(path)
    model.graph.node[1].op_type = "NoSuchOperator"
    onnx.save(model, path)
    with pytest.raises(BackendError, match=r"net\.fp16\.onnx"):
        count_not_finite(path, [frame], (96, 64))


class FP16(ONNXRuntimeEngine):
    """As a GPU's engine: FP16, by another program than the reference."""

    backend = "tensorrt"


@pytest.fixture
def files(tmp_path):
    """A network's FP32 file and beside it its FP16 file."""
    plain = scaled_network(tmp_path / "net.onnx", tiny_spec(), 256)
    return read_network(plain), read_network(half_network(tmp_path, 256))


def test_the_reference_is_the_fp32_file_whichever_is_given(files):
    plain, half = files
    with FP16(half, None, "latency") as engine:
        for network in (plain, half):
            with parity.reference_engine(engine, network) as reference:
                assert (reference.backend, reference.precision) == ("onnxruntime", "fp32")
                assert reference.spec.precision == "fp32"
            found = parity.check(engine, network, frames=2)
            assert found.share == 1
            assert found.frames == 2
            assert found.reference == "onnxruntime fp32"
            assert found.not_finite == 0
            found.require("net")
    plain.path.unlink()
    with (
        FP16(half, None, "latency") as engine,
        parity.reference_engine(engine, half) as reference,
    ):
        assert (reference.backend, reference.precision) == ("openvino", "fp32")


def test_without_onnx_runtime_openvino_is_the_reference(files, monkeypatch):
    plain, half = files
    find = importlib.util.find_spec
    with FP16(half, None, "latency") as engine:
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda n, *a: None if n == "onnxruntime" else find(n, *a)
        )
        found = parity.check(engine, plain, frames=1)
    assert found.reference == "openvino fp32"
    assert found.not_finite is None
    assert "onnxruntime is not installed" in found.unchecked
    assert "logits_not_finite" not in found.facts()
    found.require("net")


def test_a_network_that_overflows_is_refused_with_the_count(tmp_path):
    plain = scaled_network(tmp_path / "net.onnx", tiny_spec(), 1024)
    half_network(tmp_path, 1024)
    with FP16(read_network(tmp_path / "net.fp16.onnx"), None, "latency") as engine:
        found = parity.check(engine, read_network(plain), frames=1)
    assert found.not_finite > 0
    with pytest.raises(
        BackendError, match=rf"^net: {found.not_finite} of its logits .* --precision fp32$"
    ):
        found.require("net")


class Inverted(OpenVINOEngine):
    """The classes of the upper rows are exchanged."""

    rows = 16

    def _finish(self, slot):
        mask = super()._finish(slot).copy()
        mask[: self.rows] ^= 1
        return mask


def test_too_little_agreement_is_refused_and_noted_in_the_cache(files, tmp_path):
    plain, _ = files
    cache = EngineCache(tmp_path / "cache")
    with Inverted(plain, "fp32", "latency", cache) as engine:
        found = parity.check(engine, plain, cache, frames=2)
    assert found.share == 0.75
    with pytest.raises(
        BackendError, match=r"^net: only 75\.00% .* 99% are needed: use --precision"
    ):
        found.require("net")
    (entry,) = cache.entries()
    assert entry.damaged == ""
    assert entry.facts["parity"] == 0.75
    assert entry.facts["parity_reference"] == "onnxruntime fp32"
    assert entry.facts["parity_frames"] == 2


@pytest.mark.parametrize(("precision", "passes"), [("int8", True), ("fp16", False)])
def test_an_int8_engine_has_a_bar_of_its_own(files, precision, passes):
    plain, _ = files

    class Rounded(Inverted):
        rows = 2  # of 64

    with Rounded(plain, "fp32", "latency", EngineCache()) as engine:
        engine.precision = precision
        found = parity.check(engine, plain, frames=1)
    assert found.share == pytest.approx(31 / 32)
    if passes:
        found.require("net")
    else:
        with pytest.raises(BackendError):
            found.require("net")


def test_no_frames_are_no_agreement(files):
    plain, _ = files
    with OpenVINOEngine(plain, "fp32", "latency", EngineCache()) as engine:
        assert isinstance(engine, Engine)
        found = parity.check(engine, plain, frames=0)
    with pytest.raises(BackendError):
        found.require("net")
