"""Quantised network files: what is in them, and what they paint."""

import importlib.util
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from three_convolutions import write_three_convolutions

onnx = pytest.importorskip("onnx", reason="quantising needs onnx (extra int8)")
ort = pytest.importorskip("onnxruntime", reason="quantising needs onnxruntime (extra int8)")
if importlib.util.find_spec("nncf") is None:
    pytest.skip("quantising needs nncf (extra int8)", allow_module_level=True)
from onnx import numpy_helper  # noqa: E402

from rtseg.engine import find_network, load, zoo  # noqa: E402
from rtseg.engine.parity import agreement, rendered_frames  # noqa: E402
from rtseg.engine.quantise import check_quantised, quantise  # noqa: E402
from rtseg.errors import InputError, NetworkError  # noqa: E402
from rtseg.spec import read_network  # noqa: E402

SIZE = (128, 64)
PAIR = ("QuantizeLinear", "DequantizeLinear")


@pytest.fixture(scope="module")
def network():
    """The zoo's road-unet, small."""
    found = find_network("road-unet")
    return replace(found, spec=found.spec.resized(*SIZE))


@pytest.fixture(scope="module")
def quantised(network, tmp_path_factory):
    """The path of road-unet in INT8, with the ranges of eight rendered frames."""
    said = []
    content = quantise(
        network, list(rendered_frames(192, 96, 8)), on_progress=lambda *step: said.append(step)
    )
    assert said == [("calibrating", done, 8) for done in range(1, 9)]
    path = tmp_path_factory.mktemp("quantised") / "road-unet.int8.onnx"
    path.write_bytes(content)
    return path


def noise(count, width=96, height=64):
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def constants(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def producer(model, name):
    return next((node for node in model.graph.node if name in node.output), None)


def test_the_file_keeps_the_contract_and_says_that_it_is_int8(quantised, network):
    spec = read_network(quantised).spec
    assert spec.precision == "int8"
    assert spec.measured == {}  # those are the FP32 file's
    assert spec.versions.items() >= network.spec.versions.items()
    assert "nncf" in spec.versions
    same = {"precision": "fp32", "measured": network.spec.measured}
    assert replace(spec, **same, versions=network.spec.versions) == network.spec


@pytest.mark.parametrize("name", zoo())
def test_the_published_files_are_as_every_backend_takes_them(name):
    model = onnx.load(find_network(name, "int8").path)
    check_quantised(model)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) > 50
    full = onnx.load(find_network(name).path)
    for sides in (model.graph.input, full.graph.input), (model.graph.output, full.graph.output):
        quantised, unquantised = (side[0].type.tensor_type for side in sides)
        assert quantised == unquantised


def test_every_pair_is_symmetric_int8_with_one_scale_a_tensor_or_an_output_channel(quantised):
    model = onnx.load(quantised)
    values = constants(model)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    pairs = [node for node in model.graph.node if node.op_type in PAIR]
    assert len(pairs) > 200
    for node in pairs:
        scale, zero_point = values[node.input[1]], values[node.input[2]]
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert (scale > 0).all()
        weight = values.get(node.input[0])
        if node.op_type == "DequantizeLinear":  # a whole pair: TensorRT 8 takes no INT8 weights
            assert producer(model, node.input[0]).op_type == "QuantizeLinear"
        elif weight is None:
            assert scale.size == 1
        else:
            assert weight.dtype == np.float32
            assert scale.shape == zero_point.shape == weight.shape[:1]
            assert next(a.i for a in node.attribute if a.name == "axis") == 0
            steps = weight / scale.reshape(-1, 1, 1, 1)
            assert np.abs(steps).max() < 127.5
            assert np.abs(steps - np.rint(steps)).max() < 1e-3


def test_all_convolutions_but_the_first_and_the_last_are_quantised(quantised, network):
    model = onnx.load(quantised)
    layers = [node for node in model.graph.node if node.op_type == "Conv"]

    def is_quantised(name):
        node = producer(model, name)
        while node is not None and node.op_type in ("Concat", "Slice"):
            node = producer(model, node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    told = [(is_quantised(layer.input[0]), is_quantised(layer.input[1])) for layer in layers]
    assert told == [(False, False), *[(True, True)] * (len(layers) - 2), (False, False)]
    for layer in layers:  # biases stay in FP32
        assert constants(model)[layer.input[2]].dtype == np.float32
    before = constants(onnx.load(network.path))
    first = layers[0].input[1]
    assert np.array_equal(constants(model)[first], before[first])


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_it_paints_what_fp32_paints(quantised, network, backend):
    frames = list(rendered_frames(*SIZE, 12))[8:]  # another drive than the ranges are from
    with (
        load(quantised, backend=backend) as engine,
        load(network.path, backend=backend, precision="fp32", size=SIZE) as reference,
    ):
        share = agreement(engine, reference, frames)
        road = reference.infer(np.stack(frames)).mean()
    assert 0.1 < road < 0.9
    assert 0.97 < share < 1


def test_openvino_runs_it_with_int8_kernels(quantised):
    import openvino as ov

    core = ov.Core()
    model = core.read_model(quantised)
    model.reshape([1, SIZE[1], SIZE[0], 3])
    inside = core.compile_model(model, "CPU").get_runtime_model().get_ops()
    told = [
        tuple(str(op.get_rt_info()[key].value) for key in ("layerType", "runtimePrecision"))
        for op in inside
    ]
    kernels = [precision for layer, precision in told if layer == "Convolution"]
    assert len(kernels) == sum(node.op_type == "Conv" for node in onnx.load(quantised).graph.node)
    assert sum(kernel in ("u8", "i8") for kernel in kernels) == len(kernels) - 2


def test_the_file_tells_nothing_of_the_machine(quantised):
    content = quantised.read_bytes()
    assert str(ROOT).encode() not in content
    assert str(Path.home()).encode() not in content


def test_ranges_are_those_of_the_frames(tmp_path):
    path = tmp_path / "three.int8.onnx"
    three = read_network(write_three_convolutions(tmp_path / "three.onnx"))
    frames = noise(6)
    path.write_bytes(quantise(three, frames))
    model = onnx.load(path)
    values = constants(model)
    scales = [
        float(values[node.input[1]])
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in values
    ]
    # Pixels of 0 to 255: 127 steps, though nothing is negative.
    assert scales == pytest.approx([255 / 127], rel=0.01)
    with load(path, backend="onnxruntime") as engine:
        masks = engine.infer(np.stack(frames))
    blue = np.stack(frames)[..., 0].astype(int)
    far = np.abs(blue - 127.5) > 255 / 127  # no rounding leads over the threshold
    assert np.array_equal(masks[far], blue[far] > 127)


@pytest.mark.parametrize(
    ("changes", "says"), [({}, "nothing to quantise"), ({"precision": "fp16"}, "of fp16")]
)
def test_networks_that_cannot_be_quantised(make_network, changes, says):
    with pytest.raises(NetworkError, match=says):
        quantise(read_network(make_network(**changes)), noise(1))


def test_nothing_is_quantised_twice(quantised):
    with pytest.raises(NetworkError, match="a network file of int8: quantise the one of fp32"):
        quantise(read_network(quantised), noise(1))


def test_without_frames(network):
    with pytest.raises(InputError, match="no frames"):
        quantise(network, [])


def unsigned(model, pair, tensors):
    tensors[pair.input[2]].CopyFrom(numpy_helper.from_array(np.uint8(0), pair.input[2]))


def shifted(model, pair, tensors):
    tensors[pair.input[2]].CopyFrom(numpy_helper.from_array(np.int8(3), pair.input[2]))


def by_channel(model, pair, tensors):
    for name, value in ((pair.input[1], np.float32(1)), (pair.input[2], np.int8(0))):
        tensors[name].CopyFrom(numpy_helper.from_array(np.full(8, value), name))


def no_scale(model, pair, tensors):
    tensors[pair.input[1]].CopyFrom(numpy_helper.from_array(np.float32(0), pair.input[1]))


@pytest.mark.parametrize("fault", [unsigned, shifted, by_channel, no_scale])
def test_a_quantisation_that_tensorrt_refuses_is_refused(quantised, fault):
    model = onnx.load(quantised)
    check_quantised(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    pair = next(
        node for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in tensors
    )  # fmt: skip
    fault(model, pair, tensors)
    with pytest.raises(ValueError, match=pair.name):
        check_quantised(model)


@pytest.fixture
def three(tmp_path):
    return write_three_convolutions(tmp_path / "three.onnx")


def test_nncf_neither_talks_nor_reports(three):
    code = (
        "import sys, numpy as np; from rtseg.engine.quantise import quantise; "
        "from rtseg.spec import read_network; "
        "quantise(read_network(sys.argv[1]), [np.full((64, 96, 3), 90, np.uint8)]); "
        "print('openvino_telemetry' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(three)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_benchmark_says_whether_int8_pays(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.int8 import figures

    def judged(int8_ms, int8_miou, beside=None):
        times = {"fp32": [20.0] * 4, "default": [10.0, 10.2, 9.8, 10.0], "int8": int8_ms}
        samples = {"others_share": [0.0] * 4}
        for kind, values in times.items():
            samples[f"net {kind}.ms"] = samples[f"net {kind}.cpu_ms"] = values
        scores = {"fp32": 0.75, "default": 0.751, "int8": int8_miou, "int8 on onnxruntime": 0.7}
        if beside is not None:
            samples["net other.ms"] = samples["net other.cpu_ms"] = [8.0] * 4
            scores["other"] = beside
        accuracy = {"net": {kind: {"miou": miou} for kind, miou in scores.items()}}
        return figures(["net"], samples, accuracy)["networks"]["net"]

    good = judged([8.0, 8.2, 8.1, 8.3], 0.7465)
    assert good["pays"]
    assert good["miou_lost"] == pytest.approx({"fp32": 0.0035, "default": 0.0045})
    assert good["speed_up"]["default"]["of_medians"] == pytest.approx(10.0 / 8.15)
    assert not judged([8.0, 8.2, 8.1, 8.3], 0.7455)["pays"]  # against the default too much is lost
    assert not judged([10.0, 10.1, 9.9, 10.2], 0.75)["pays"]

    both = judged([8.0, 8.2, 8.1, 8.3], 0.7465, beside=0.744)
    assert both["pays"]
    assert not both["beside"]["other"]["pays"]  # no slower, but it loses 0.007
    assert both["beside"]["other"]["miou_lost"] == pytest.approx({"fp32": 0.006, "default": 0.007})
    assert list(both["ms"]) == ["fp32", "default", "int8", "other"]


def test_the_log_is_as_before(quantised, caplog):
    assert quantised.exists()  # NNCF has been at work
    logging.getLogger("rtseg").warning("still heard")
    assert caplog.messages == ["still heard"]
    assert type(logging.getLogger("rtseg.made.now")) is logging.Logger


def test_the_other_quantiser_is_named_where_it_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setitem(sys.modules, "modelopt", None)
    from benchmarks.int8_modelopt import main

    assert main(["--camvid", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "modelopt cannot be imported" in line
    assert not (tmp_path / "out").exists()
