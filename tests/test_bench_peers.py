"""``rtseg-bench --peer``: other people's networks do the same job, and give the masks they should."""

import json

import cv2
import numpy as np
import pytest

import rtseg
from rtseg.cli import bench
from rtseg.cli.bench_peers import Maker
from rtseg.engine.cache import EngineCache
from rtseg.errors import NetworkError, UsageError

onnx = pytest.importorskip("onnx", reason="peers are composed with onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from rtseg.cli.bench_wrap import wrap  # noqa: E402

MEAN, STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
SIZE = (96, 64)


def peer(
    path, classes, *, stride=1, sides=("h", "w"), opset=17, first="Conv", last=None, seed=0,
    kind=TensorProto.FLOAT, metadata=None, inputs=1,
):  # fmt: skip
    """Write an ONNX network of one convolution; ``last`` operators follow, each on what is before."""
    rng = np.random.default_rng(seed)
    dtype = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}[kind]
    weight = rng.normal(size=(classes, 3, 3, 3)).astype(dtype)
    nodes, now = [], "pictures"
    if first != "Conv":
        nodes, now = [helper.make_node(first, [now], ["before"])], "before"
    nodes.append(
        helper.make_node(
            "Conv", [now, "weight"], ["logits"], strides=[stride] * 2, pads=[1, 1, 1, 1]
        )
    )
    now, of = "logits", kind
    for operator, options in last or ():
        nodes.append(helper.make_node(operator, [now], [f"after {operator}"], **options))
        now = f"after {operator}"
        of = TensorProto.INT64 if operator == "ArgMax" else of
    given = [
        helper.make_tensor_value_info(f"pictures{'' if i == 0 else i}", kind, ["n", 3, *sides])
        for i in range(inputs)
    ]
    graph = helper.make_graph(
        nodes, "peer", given, [helper.make_tensor_value_info(now, of, None)],
        [numpy_helper.from_array(weight, "weight")],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
    if metadata:
        helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def theirs(path, frames, dtype=np.float32):
    """What a user of the peer would do by hand: normalise, run, stretch, argmax."""
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    pictures = ((frames[..., ::-1] / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(dtype)
    (found,) = session.run(None, {"pictures": pictures})
    size = frames.shape[2], frames.shape[1]
    masks = []
    for logits in found:
        if logits.dtype == np.int64:
            plane = logits.reshape(logits.shape[-2:]).astype(np.uint8)
            rows = np.arange(size[1]) * plane.shape[0] // size[1]
            columns = np.arange(size[0]) * plane.shape[1] // size[0]
            masks.append(plane[rows][:, columns])
            continue
        full = np.stack([cv2.resize(p.astype(np.float32), size) for p in logits])
        border = 0.5 if logits.min() >= 0 else 0
        masks.append(full[0] > border if len(full) == 1 else full.argmax(0))
    return np.stack(masks).astype(np.uint8)


ARGMAX = ("ArgMax", {"axis": 1, "keepdims": 0})


@pytest.mark.parametrize(
    "made",
    [
        {"classes": 5},
        {"classes": 5, "stride": 4},
        {"classes": 5, "stride": 3},  # 96x64 does not divide
        {"classes": 2},
        {"classes": 2, "stride": 2},
        {"classes": 1},
        {"classes": 1, "stride": 2, "last": [("Sigmoid", {})]},
        {"classes": 4, "last": [ARGMAX]},
        {"classes": 4, "stride": 2, "last": [ARGMAX]},
        {"classes": 4, "stride": 4, "last": [("ArgMax", {"axis": 1, "keepdims": 1})]},
        {"classes": 3, "first": "Relu"},  # no convolution to turn the channels in
        {"classes": 3, "stride": 2, "sides": (64, 96)},
        {"classes": 3, "opset": 9, "stride": 2},
        {"classes": 3, "opset": 20, "stride": 2},
    ],
    ids=str,
)
def test_a_peer_does_the_same_job_and_gives_its_own_masks(made, tmp_path) -> None:
    path = peer(tmp_path / "peer.onnx", **made)
    spec, known = wrap(path, tmp_path / "wrapped.onnx", None, SIZE)
    assert (spec.width, spec.height, spec.mask_stride, spec.fixed_size) == (*SIZE, 1, True)
    assert not known
    frames = np.random.default_rng(1).integers(0, 256, (3, 64, 96, 3), np.uint8)
    expected = theirs(path, frames)
    assert len(np.unique(expected)) > 1
    for backend, batch in (("onnxruntime", 1), ("openvino", 1), ("onnxruntime", 2)):
        with rtseg.load(
            tmp_path / "wrapped.onnx", backend=backend, precision="fp32", batch=batch,
            cache=EngineCache(tmp_path / "cache"),
        ) as engine:  # fmt: skip
            masks = engine.infer(frames)
        assert np.mean(masks == expected) > 0.999, backend


def test_half_precision_is_told_as_such(tmp_path) -> None:
    path = peer(tmp_path / "peer.onnx", 3, kind=TensorProto.FLOAT16)
    spec, _ = wrap(path, tmp_path / "wrapped.onnx", None, SIZE)
    assert spec.precision == "fp16"
    frames = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3), np.uint8)
    with rtseg.load(tmp_path / "wrapped.onnx", backend="onnxruntime") as engine:
        assert engine.precision == "fp16"
        assert np.mean(engine.infer(frames) == theirs(path, frames, np.float16)) > 0.98


@pytest.mark.parametrize(
    ("metadata", "classes", "expected"),
    [
        ({"classes": '["background", "road"]'}, 2, ("background", "road")),
        ({"names": "{0: 'background', 1: 'road', 10: 'sky'}"}, 3, ("background", "road", "sky")),
        ({"names": "{0: 'background', 1: 'road'}"}, 3, None),  # one is missing
        ({"names": "__import__('os')"}, 2, None),
        ({"classes": '["road", "road"]'}, 2, None),
        ({"classes": "{"}, 2, None),
    ],
)
def test_classes_are_known_where_the_metadata_names_them(
    metadata, classes, expected, tmp_path
) -> None:
    path = peer(tmp_path / "peer.onnx", classes, metadata=metadata)
    spec, known = wrap(path, tmp_path / "wrapped.onnx", None, SIZE)
    assert known is (expected is not None)
    assert len(spec.classes) == classes
    if expected:
        assert spec.classes == expected


@pytest.mark.parametrize(
    ("made", "size", "words"),
    [
        ({"classes": 300}, None, "neither logits"),
        ({"classes": 3, "inputs": 2}, None, "not a network of pictures"),
        ({"classes": 3, "sides": (64, 96)}, (128, 64), "96x64 only"),
        ({"classes": 3, "last": [("Flatten", {})]}, None, "neither logits"),
    ],
)
def test_what_is_no_such_network_is_refused_in_a_line(made, size, words, tmp_path) -> None:
    path = peer(tmp_path / "peer.onnx", **made)
    with pytest.raises(NetworkError, match=words) as caught:
        wrap(path, tmp_path / "wrapped.onnx", size, SIZE)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "wrapped.onnx").exists()


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x08" * 40])
def test_what_is_no_onnx_is_refused(content, tmp_path) -> None:
    path = tmp_path / "peer.onnx"
    path.write_bytes(content)
    with pytest.raises(NetworkError, match=r"peer\.onnx"):
        wrap(path, tmp_path / "wrapped.onnx", None, SIZE)


def test_peers_are_measured_beside_ours(tiny_network, tmp_path, capfd) -> None:
    """One whose classes are known is scored, another is not, and a third is left out with a line."""
    named = peer(tmp_path / "named.onnx", 2, metadata={"classes": '["background", "road"]'})
    nameless = peer(tmp_path / "nameless.onnx", 3, stride=2)
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    files = [x for p in (named, nameless, tmp_path / "broken.onnx") for x in ("--peer", str(p))]
    out = tmp_path / "bench.json"
    status = bench.main(
        [str(tiny_network), *files, "--rounds", "1", "--frames", "2", "--limit", "1", "--json",
         str(out), "--backend", "onnxruntime"]
    )  # fmt: skip
    printed, err = capfd.readouterr()
    assert status == 0
    assert len(err.splitlines()) == 1
    assert "left out: broken: " in err
    result = json.loads(out.read_text())
    rows = {row["network"]: row for row in result["rows"]}
    assert rows.keys() == {"tiny", "named", "nameless"}
    assert {tuple(row["size"]) for row in rows.values()} == {SIZE}
    assert rows["named"]["accuracy"]["miou"] is not None
    assert rows["nameless"]["accuracy"]["miou"] is None
    assert rows["nameless"]["accuracy"]["reason"] == "its classes are not known"
    assert rows["nameless"]["accuracy"]["parity"]["share"] > 0.99
    assert [failed["network"] for failed in result["failed"]] == ["broken"]
    assert "nameless" in printed


def test_a_peer_is_not_quantised_for_the_occasion(tiny_network, tmp_path, capfd) -> None:
    path = peer(tmp_path / "theirs.onnx", 2)
    out = tmp_path / "bench.json"
    status = bench.main(
        [str(tiny_network), "--peer", str(path), "--rounds", "1", "--frames", "2", "--limit", "1",
         "--json", str(out), "--backend", "onnxruntime", "--precision", "fp32,int8"]
    )  # fmt: skip
    assert status == 0
    assert "theirs is not quantised: a peer is measured as it is" in capfd.readouterr().err
    result = json.loads(out.read_text())
    assert [row["network"] for row in result["rows"]] == ["tiny", "theirs"]
    assert [failed["precision"] for failed in result["failed"]] == ["int8", "int8"]


LIBRARY = """
import torch
class SegmentationModel: pass
class Unet(torch.nn.Module):
    def __init__(self, encoder_name="resnet34", encoder_weights="imagenet", classes=1):
        super().__init__()
        assert encoder_weights is None, "it would be downloaded"
        if encoder_name != "mobilenet_v2":
            raise KeyError(f"Wrong encoder name {encoder_name}")
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
            torch.nn.Conv2d(8, classes, 1), torch.nn.UpsamplingBilinear2d(scale_factor=2),
        )
    def forward(self, x):
        return self.layers(x)
"""
VISION = """
from types import SimpleNamespace as _S
import segmentation_models_pytorch as _smp
import torch
class _Named(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.network = _smp.Unet("mobilenet_v2", None, classes)
    def forward(self, x):
        return {"out": self.network(x), "aux": x}
def _get_model(name, *, weights, weights_backbone, num_classes):
    assert weights is None and weights_backbone is None
    return _Named(num_classes)
models = _S(segmentation=None, list_models=lambda module: ["fcn"], get_model=_get_model)
"""


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """Doubles of both libraries, with the calls of theirs that are used."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    for name, text in (("segmentation_models_pytorch", LIBRARY), ("torchvision", VISION)):
        (tmp_path / "libraries" / name).mkdir(parents=True)
        (tmp_path / "libraries" / name / "__init__.py").write_text(text)
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "libraries"))


@pytest.mark.parametrize("name", ["smp:Unet/mobilenet_v2", "torchvision:fcn"])
def test_a_librarys_network_is_built_with_random_weights(name, libraries, tmp_path) -> None:
    out = tmp_path / "peer.onnx"
    made = Maker(lambda *_: None).make(name, out, None, SIZE, 4)
    assert (made.weights, made.classes) == ("random", False)
    with rtseg.load(made.path, backend="onnxruntime") as engine:
        assert len(engine.spec.classes) == 4
        assert engine.infer(np.zeros((1, 64, 96, 3), np.uint8)).max() < 4
    assert [path.name for path in tmp_path.glob("*.onnx")] == ["peer.onnx"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smp:Onet", "has no Onet"),
        ("smp:Unet/resnet", "Wrong encoder name resnet"),
        ("torchvision:unet", "one of fcn"),
    ],
)
def test_a_network_that_a_library_lacks_is_named(name, words, libraries, tmp_path) -> None:
    with pytest.raises(UsageError, match=words):
        Maker(lambda *_: None).make(name, tmp_path / "peer.onnx", None, SIZE, 4)


def test_a_library_that_is_missing_is_named(capfd, monkeypatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    hidden = ("torchvision", "segmentation_models_pytorch")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in hidden else find(name, *a)
    )
    assert bench.main(["--peer", "torchvision:fcn"]) == 2
    err = capfd.readouterr().err.splitlines()
    assert len(err) == 1
    assert "pip install 'rtseg[smp]'" in err[0]
