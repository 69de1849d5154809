"""Engines that also give the road's probability: against the logits, and beside their own masks."""

import importlib.util
import logging
import sys

import numpy as np
import pytest
from conftest import tiny_spec

import rtseg
from rtseg.engine import backends, find_network
from rtseg.engine.cache import EngineCache
from rtseg.engine.probability import OUTPUT, road_index, with_probability
from rtseg.errors import BackendError, NetworkError, UsageError
from rtseg.onnx_header import read_header
from rtseg.spec import KEY, read_network

onnx = pytest.importorskip("onnx", reason="the networks of these tests need onnx (extra test)")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

SMALL = (128, 64)
ROUNDED = 0.502  # of 255 p, with a little for the arithmetic in FP32


@pytest.fixture(params=["openvino", "onnxruntime"])
def backend(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def noise(count, width=96, height=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(logits, axis):
    powers = np.exp(logits - logits.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def write_network(path, nodes, weights, **changes):
    """Write a network file whose graph is ``nodes``, from ``planes`` (N, 3, H, W) to ``masks``."""
    sides = ["batch", "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frames"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
            *nodes,
        ],
        "made",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [*sides, 3])],
        [helper.make_tensor_value_info("masks", TensorProto.UINT8, sides)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, {KEY: tiny_spec(name="made", **changes).to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def two_classes(path, scale, *, threshold=0.0, classes=("background", "road")):
    """Class 1 is where (blue - 128) * scale is above ``threshold``: blue 128 is a logit of 0."""
    weights = {
        "weight": np.array([scale, 0, 0], np.float32).reshape(1, 3, 1, 1),
        "bias": np.array([-128 * scale], np.float32),
        "zero": np.array(threshold, np.float32),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["planes", "weight", "bias"], ["score"]),
        helper.make_node("Greater", ["score", "zero"], ["above"]),
        helper.make_node("Squeeze", ["above", "axis"], ["plane"]),
        helper.make_node("Cast", ["plane"], ["masks"], to=TensorProto.UINT8),
    ]
    return write_network(path, nodes, weights, classes=classes)


FOUR = ("sky", "Road", "tree", "car")


def four_classes(path, weight, *, operator="ArgMax", axis=1, classes=FOUR):
    """Logits that are a linear map of the pixel: ``weight`` (classes, 3)."""
    weights = {"weight": weight.astype(np.float32)[..., None, None]}
    nodes = [
        helper.make_node("Conv", ["planes", "weight"], ["logits"]),
        helper.make_node(operator, ["logits"], ["best"], axis=axis, keepdims=0),
        helper.make_node("Cast", ["best"], ["masks"], to=TensorProto.UINT8),
    ]
    palette = ((0, 0, 0),) * len(classes)
    return write_network(path, nodes, weights, classes=classes, palette=palette)


# What the probability is


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.02, 1.0, 300.0])
@pytest.mark.parametrize("road", [0, 1])
def test_of_two_classes_it_is_the_sigmoid_of_their_difference(tmp_path, backend, scale, road):
    classes = ("background", "road") if road else ("road", "background")
    path = two_classes(tmp_path / "two.onnx", scale, classes=classes)
    frames = noise(3)
    with rtseg.load(path, backend=backend, precision="fp32", probability=True) as engine:
        masks, probabilities = engine.infer_probability(frames)
    assert (masks.dtype, masks.shape) == (probabilities.dtype, probabilities.shape)
    assert (masks.dtype, masks.shape) == (np.uint8, (3, 64, 96))
    z = (frames[..., 0].astype(float) - 128) * scale
    np.testing.assert_array_equal(masks, z > 0)
    with np.errstate(over="ignore"):
        expected = 255 * sigmoid(z if road else -z)
    assert np.abs(probabilities - expected).max() <= ROUNDED
    # However near the logits are, and where they are equal too.
    assert (z == 0).any()
    np.testing.assert_array_equal(probabilities >= 128, masks == road)


def test_the_threshold_of_the_difference_counts(tmp_path, backend):
    path = two_classes(tmp_path / "two.onnx", 0.05, threshold=2.0)
    frames = noise(1)
    with rtseg.load(path, backend=backend, precision="fp32", probability=True) as engine:
        masks, probabilities = engine.infer_probability(frames)
    z = (frames[..., 0].astype(float) - 128) * 0.05 - 2
    assert np.abs(probabilities - 255 * sigmoid(z)).max() <= ROUNDED
    np.testing.assert_array_equal(probabilities >= 128, masks == 1)


def test_of_more_classes_it_is_the_roads_share(tmp_path, backend):
    weight = np.random.default_rng(3).normal(0, 0.02, (4, 3))
    path = four_classes(tmp_path / "four.onnx", weight)
    frames = noise(3, seed=4)
    with rtseg.load(path, backend=backend, precision="fp32", probability=True) as engine:
        masks, probabilities = engine.infer_probability(frames)
    logits = frames.astype(float) @ weight.astype(np.float32).astype(float).T
    assert np.mean(masks == logits.argmax(-1)) > 0.999
    assert np.abs(probabilities - 255 * softmax(logits, -1)[..., 1]).max() <= ROUNDED
    assert len(np.unique(probabilities)) > 50


def test_two_classes_may_be_chosen_by_argmax_too(tmp_path, backend):
    weight = np.array([[0.02, 0, 0], [0, 0.02, 0]])
    path = four_classes(tmp_path / "two.onnx", weight, classes=("rest", "road"))
    frames = noise(1)
    with rtseg.load(path, backend=backend, precision="fp32", probability=True) as engine:
        _, probabilities = engine.infer_probability(frames)
    z = (frames[..., 1].astype(float) - frames[..., 0]) * 0.02
    assert np.abs(probabilities - 255 * sigmoid(z)).max() <= ROUNDED


def test_logits_far_apart_do_not_overflow(tmp_path, backend):
    path = four_classes(tmp_path / "four.onnx", np.diag([900.0, 800, 700, 600])[:, :3])
    frames = noise(1)
    with rtseg.load(path, backend=backend, precision="fp32", probability=True) as engine:
        masks, probabilities = engine.infer_probability(frames)
    sure = np.isin(probabilities, (0, 255))
    assert sure.mean() > 0.9
    np.testing.assert_array_equal((probabilities == 255)[sure], (masks == 1)[sure])


@pytest.mark.parametrize("file", ["road-unet", "road-unet.fp16", "street-unet"])
def test_the_zoo_against_its_own_logits(file, backend, tmp_path):
    ort = pytest.importorskip("onnxruntime", reason="runs the reference (extra onnxruntime)")
    network = find_network(file.partition(".")[0], "fp16" if "fp16" in file else None)
    precision = "fp16" if (half := network.spec.precision == "fp16") else "fp32"
    if half and backend == "openvino":
        pytest.skip("FP16 files are run in FP32 or BF16 there")
    frames = np.kron(noise(2, 16, 8, seed=5), np.ones((1, 8, 8, 1), np.uint8))
    frames += noise(2, *SMALL) // 8
    options = {"backend": backend, "precision": precision, "size": SMALL}
    options["cache"] = EngineCache(tmp_path)
    with rtseg.load(network.path, **options) as plain:
        expected_masks = plain.infer(frames)
    with rtseg.load(network.path, **options, probability=True) as engine:
        masks, probabilities = engine.infer_probability(frames)
        np.testing.assert_array_equal(engine.infer(frames), masks)
    np.testing.assert_array_equal(masks, expected_masks)
    # What the class is chosen by, out of the untouched file.
    model = onnx.load(network.path)
    chosen_by = next(n for n in reversed(model.graph.node) if n.op_type in ("Greater", "ArgMax"))
    model.graph.output.append(helper.make_empty_tensor_value_info(chosen_by.input[0]))
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), settings)
    logits = session.run([chosen_by.input[0]], {"frames": frames})[0].astype(float)
    road = road_index(network.spec)
    if chosen_by.op_type == "Greater":
        expected = sigmoid(logits)
        np.testing.assert_array_equal(probabilities >= 128, masks == road)
    else:
        expected = softmax(logits, 1)[:, road]
    assert np.abs(probabilities - 255 * expected).max() <= ROUNDED + 0.1
    assert len(np.unique(probabilities)) > 10


@pytest.mark.parametrize("name", ["road-unet", "street-unet"])
def test_the_zoo_against_its_models(name):
    torch = pytest.importorskip("torch", reason="runs the model (extra train)")
    from torch.nn import functional

    from rtseg.engine.export import load_checkpoint
    from rtseg.models.normalisation import IMAGENET_MEAN, IMAGENET_STD

    network = find_network(name)
    model, spec = load_checkpoint(network.path.with_suffix(".safetensors"))
    frames = np.kron(noise(1, 16, 8, seed=6), np.ones((1, 8, 8, 1), np.uint8))
    rgb = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        logits = functional.interpolate(
            model((rgb - mean) / std), scale_factor=float(model.logits_stride), mode="bilinear"
        )
    expected = 255 * logits.double().softmax(1)[:, road_index(spec)].numpy()
    with rtseg.load(name, precision="fp32", size=SMALL, probability=True) as engine:
        _, probabilities = engine.infer_probability(frames)
    # The checkpoint keeps its weights in half precision, the network file in single.
    error = np.abs(probabilities - expected)
    assert error.max() <= 4
    assert np.mean(error <= ROUNDED) > 0.8
    assert expected.std() > 5


def test_a_quantised_network_gives_it_too(tmp_path, backend):
    if importlib.util.find_spec("nncf") is None:  # importing it is rtseg's: without its telemetry
        pytest.skip("quantising needs nncf (extra int8)")
    from three_convolutions import write_three_convolutions

    from rtseg.engine.quantise import quantise

    frames = noise(4)
    path = write_three_convolutions(tmp_path / "three.onnx")
    path.with_name("three.int8.onnx").write_bytes(quantise(read_network(path), list(frames)))
    with rtseg.load(path, backend=backend, precision="int8", probability=True) as engine:
        assert engine.precision == "int8"
        masks, probabilities = engine.infer_probability(frames)
    np.testing.assert_array_equal(probabilities >= 128, masks == 1)
    assert set(np.unique(probabilities)) >= {0, 255}


# The engine


@pytest.fixture
def engine(tmp_path, backend):
    path = two_classes(tmp_path / "two.onnx", 0.02)
    with rtseg.load(path, backend=backend, precision="fp32", probability=True) as engine:
        yield engine


def expected_of(frames):
    z = (frames[..., 0].astype(float) - 128) * 0.02
    return (z > 0).astype(np.uint8), 255 * sigmoid(z)


def test_mask_and_probability_belong_to_the_oldest_frame(engine):
    assert engine.probability
    frames = noise(3 * engine.depth + 1)
    found = []
    for frame in frames:
        if engine.pending == engine.depth:
            found.append(engine.collect_probability())
        engine.submit(frame)
    while engine.pending:
        found.append(engine.collect_probability())
    for frame, (mask, probability) in zip(frames, found, strict=True):
        expected_mask, expected = expected_of(frame)
        np.testing.assert_array_equal(mask, expected_mask)
        assert np.abs(probability - expected).max() <= ROUNDED


def test_they_go_where_they_are_told(engine):
    frame = noise(1)[0]
    mask, probability = np.full((2, 64, 96), 9, np.uint8)
    engine.submit(frame)
    found = engine.collect_probability(mask, probability)
    assert found[0] is mask
    assert found[1] is probability
    np.testing.assert_array_equal(mask, expected_of(frame)[0])
    assert np.abs(probability - expected_of(frame)[1]).max() <= ROUNDED


def test_masks_alone_can_be_had_of_it(engine):
    frames = noise(2)
    engine.submit(frames[0])
    np.testing.assert_array_equal(engine.collect(), expected_of(frames[0])[0])
    np.testing.assert_array_equal(engine.infer(frames), expected_of(frames)[0])


@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_number_of_frames(engine, count):
    masks, probabilities = engine.infer_probability(noise(count))
    assert masks.shape == probabilities.shape == (count, 64, 96)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_several_frames_at_once(tmp_path, backend, count):
    path, frames = two_classes(tmp_path / "two.onnx", 0.02), noise(count)
    options = {"backend": backend, "precision": "fp32", "batch": 3, "mode": "latency"}
    with rtseg.load(path, **options, probability=True) as engine:
        masks, probabilities = engine.infer_probability(frames)
        batch = noise(3, seed=9)
        engine.submit(batch)
        mask, probability = engine.collect_probability()
    expected_masks, expected = expected_of(frames)
    np.testing.assert_array_equal(masks, expected_masks)
    assert np.abs(probabilities - expected).max() <= ROUNDED
    assert mask.shape == probability.shape == (3, 64, 96)
    assert np.abs(probability - expected_of(batch)[1]).max() <= ROUNDED


def test_masks_at_the_networks_stride(make_network, backend):
    frames = noise(2)
    with rtseg.load(make_network(mask_stride=4), backend=backend, probability=True) as engine:
        masks, probabilities = engine.infer_probability(frames)
    assert probabilities.shape == (2, 16, 24)
    np.testing.assert_array_equal(probabilities >= 128, masks == 1)
    np.testing.assert_array_equal(masks, frames[:, ::4, ::4, 0] > 127)


def test_misuse_is_said(engine):
    with pytest.raises(RuntimeError, match="no frame is in flight"):
        engine.collect_probability()
    engine.submit(noise(1)[0])
    with pytest.raises(RuntimeError, match="in flight"):
        engine.infer_probability(noise(1))
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.infer_probability(noise(1))


def test_a_plain_engine_has_none_and_keeps_its_frame(tiny_network, backend):
    with rtseg.load(tiny_network, backend=backend) as engine:
        assert not engine.probability
        engine.submit(noise(1)[0])
        for call in (engine.collect_probability, lambda: engine.infer_probability(noise(1))):
            with pytest.raises(RuntimeError, match="load it with probability=True"):
                call()
        assert engine.pending == 1
        np.testing.assert_array_equal(engine.collect(), noise(1)[0][..., 0] > 127)


def test_the_cache_keeps_the_two_apart(tiny_network, tmp_path):
    pytest.importorskip("openvino", reason="the backend that is cached")
    for round_ in range(2):
        for probability in (False, True):
            cache = EngineCache(tmp_path)
            options = {"backend": "openvino", "cache": cache, "probability": probability}
            with rtseg.load(tiny_network, **options) as engine:
                assert (engine.built, engine.probability) == (round_ == 0, probability)
                masks = engine.infer(noise(2))
                np.testing.assert_array_equal(masks, noise(2)[..., 0] > 127)
                if probability:
                    np.testing.assert_array_equal(engine.infer_probability(noise(2))[0], masks)
    assert len(EngineCache(tmp_path).entries()) == 2


# The model


def test_the_model_is_a_whole_one_whose_first_output_is_untouched(tiny_network):
    network = read_network(tiny_network)
    before, content = onnx.load(tiny_network), with_probability(network)
    after = onnx.load_from_string(content)
    onnx.checker.check_model(after, full_check=True)
    for kept in ("node", "initializer", "input", "output"):
        old, new = getattr(before.graph, kept), getattr(after.graph, kept)
        assert list(new)[: len(old)] == list(old)
    assert after.metadata_props == before.metadata_props
    assert after.opset_import == before.opset_import
    masks, probability = read_header(content).outputs
    assert (masks.name, probability.name) == ("masks", OUTPUT)
    assert (masks.elem_type, masks.dims) == (probability.elem_type, probability.dims)


def test_the_package_onnx_is_not_needed(tiny_network, backend, monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "onnx"]:
        monkeypatch.setitem(sys.modules, name, None)
    with rtseg.load(tiny_network, backend=backend, probability=True) as engine:
        assert engine.infer_probability(noise(1))[1].any()


# What cannot be had


def test_a_network_without_a_road_is_named(tmp_path, backend):
    classes = ("sky", "railroad", "tree", "car")
    path = four_classes(tmp_path / "four.onnx", np.ones((4, 3)), classes=classes)
    with pytest.raises(UsageError, match=r"made: .*sky, railroad, tree, car.* is called road"):
        rtseg.load(path, backend=backend, probability=True)


@pytest.mark.parametrize("changes", [{"operator": "ArgMin"}, {"axis": -3}])
def test_masks_that_are_made_in_another_way(tmp_path, backend, changes):
    path = four_classes(tmp_path / "four.onnx", np.ones((4, 3)), **changes)
    with pytest.raises(NetworkError, match="no probability can be had") as caught:
        rtseg.load(path, backend=backend, probability=True)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_of_an_old_opset_is_refused(tmp_path):
    path = four_classes(tmp_path / "four.onnx", np.ones((4, 3)))
    model = onnx.load(path)
    model.opset_import[0].version = 12  # in which Softmax is over all axes from the named one on
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NetworkError, match="opset 12: 13 or later is needed"):
        with_probability(read_network(path))


def test_nodes_that_are_none_are_one_line(tmp_path):
    path = four_classes(tmp_path / "four.onnx", np.ones((4, 3)))
    model = onnx.load(path)
    for broken in ([], ["logits", "logits"], ["masks"]):
        for node in model.graph.node[-2:]:
            del node.input[:]
            node.input.extend(broken)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(NetworkError, match=r"four\.onnx: ") as caught:
            with_probability(read_network(path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gpu", ["tensorrt", "torch-tensorrt"])
def test_the_backends_of_a_gpu_say_that_they_give_none(tiny_network, gpu, monkeypatch):
    monkeypatch.setattr("rtseg.engine.choose.installed", lambda known: True)
    with pytest.raises(BackendError, match=f"--backend {gpu}: it gives no road probability"):
        rtseg.load(tiny_network, backend=gpu, probability=True)


def test_without_a_backend_asked_for_the_cpu_gives_it(tiny_network, monkeypatch, caplog):
    pytest.importorskip("openvino", reason="the first of the CPU's backends")
    known = backends.installed
    monkeypatch.setattr("rtseg.engine.choose.installed", lambda b: b.on_gpu or known(b))
    with caplog.at_level(logging.INFO, "rtseg"):
        engine = rtseg.load(tiny_network, probability=True)
    with engine:
        assert (engine.backend, engine.probability) == ("openvino", True)
    assert "tensorrt: it gives no road probability" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
