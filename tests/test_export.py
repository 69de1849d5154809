"""From a PyTorch model to a network file: the contract, kept by the graph and by torch alike."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs torch (extra train)")
onnx = pytest.importorskip("onnx", reason="exporting needs onnx (extra train)")
pytest.importorskip("onnxscript", reason="exporting needs onnxscript (extra train)")
ort = pytest.importorskip("onnxruntime", reason="the judge of these tests (extra onnxruntime)")
from safetensors.torch import save_file  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import rtseg  # noqa: E402
from rtseg.engine import load  # noqa: E402
from rtseg.engine.export import OPSET, Contract, export, load_checkpoint  # noqa: E402
from rtseg.errors import InputError, NetworkError, OutputError  # noqa: E402
from rtseg.models import build  # noqa: E402
from rtseg.spec import KEY, Spec, read_network  # noqa: E402


class Small(torch.nn.Module):
    """A network of two convolutions, exported in a moment."""

    classes = 2
    logits_stride = 2
    size_divisor = 2

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.classifier = torch.nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.classifier(self.features(x).relu())


UNET = {"width": 0.35, "widths": [32, 16, 16, 8]}


def spec_of(classes, name="made"):
    return Spec(
        name=name,
        width=96,
        height=64,
        classes=tuple(f"class {i}" for i in range(classes)),
        palette=tuple((i, 2 * i, 3 * i) for i in range(classes)),
    )


def smooth_frames(count, width=96, height=64, seed=0):
    """Colourful pictures without edges, (N, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 5, 6, 3), dtype=np.uint8)
    return np.stack([cv2.resize(c, (width, height), interpolation=cv2.INTER_CUBIC) for c in coarse])


def by_hand(model, frames):
    """Logits of frames, normalised as torchvision documents it, with the model as it was trained."""
    rgb = frames[..., ::-1].astype(np.float64) / 255
    x = (rgb - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    with torch.no_grad():
        return model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).float())


def full_size(logits):
    return F.interpolate(logits, (64, 96), mode="bilinear", align_corners=False)


@torch.no_grad()
def lively(model):
    """Make random weights give every class somewhere: the logits' means apart are taken away."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim == 4 and not parameter.any():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    model.eval()
    logits = by_hand(model, smooth_frames(8, seed=99))
    last = model.classifier if hasattr(model, "classifier") else model.scores[-1]
    last.bias -= logits.mean((0, 2, 3))
    return model


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(1)
    return lively(build("unet-mobilenetv2", 2, **UNET))


@pytest.fixture(scope="module")
def fcn():
    torch.manual_seed(2)
    return lively(build("fcn8s-mobilenetv2", 5, width=0.35))


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(3)
    return lively(Small())


@pytest.fixture(scope="module")
def models(unet, fcn, small):
    return {"unet": unet, "half": unet, "small": small, "fcn": fcn}


@pytest.fixture(scope="module")
def exported(models, tmp_path_factory):
    """The files of the networks, each in a folder of its own."""

    paths = {}
    for name, model in models.items():
        paths[name] = tmp_path_factory.mktemp(name) / f"{name}.onnx"
        options = {"half": {"half": True}, "small": {"full_size": False}}.get(name, {})
        spec = replace(spec_of(model.classes, name), size_divisor=model.size_divisor)
        export(model, spec, paths[name], **options)
    return paths


def run(path, frames):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (masks,) = session.run(None, {"frames": frames})
    return masks


def contract(model, frames, **options):
    with torch.no_grad():
        return Contract(model, **options)(torch.from_numpy(frames)).numpy()


def agreement(a, b):
    assert a.shape == b.shape
    return (a == b).mean()


EVERY = ["unet", "half", "small", "fcn"]


# The file


@pytest.mark.parametrize("name", EVERY)
def test_the_file_is_one_onnx_file_under_the_contract(exported, name):
    path = exported[name]
    assert [p.name for p in path.parent.iterdir()] == [f"{name}.onnx"]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert OPSET == 17
    (frames,), (masks,) = model.graph.input, model.graph.output
    sides = ["batch", "height", "width"]
    small = ["batch", "mask_height", "mask_width"]
    for value, expected in ((frames, [*sides, 3]), (masks, small if name == "small" else sides)):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        dims = value.type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in dims] == expected


@pytest.mark.parametrize("name", EVERY)
def test_the_only_shapes_in_the_graph_are_what_crops_are_cut_to(exported, name):
    nodes = onnx.load(exported[name]).graph.node
    kinds = {node.op_type for node in nodes}
    assert not kinds & {"Size", "ConstantOfShape", "NonZero", "Range", "If", "Loop"}
    sizes = {node.output[0] for node in nodes if node.op_type == "Shape"}
    assert {node.input[2] for node in nodes if node.op_type == "Slice"} == sizes
    used = [i for node in nodes for i in node.input if i in sizes]
    assert len(used) == len(sizes) == {"fcn": 2, "small": 0}.get(name, 4)


@pytest.mark.parametrize("name", EVERY)
def test_the_file_tells_nothing_of_the_machine(exported, name):
    content = exported[name].read_bytes()
    for private in (Path.cwd(), sys.prefix, f"{Path.home()}/", "site-packages", ".py"):
        assert str(private).encode() not in content


@pytest.mark.parametrize("name", EVERY)
def test_the_spec_travels_in_the_file(exported, models, name):
    model = onnx.load(exported[name])
    assert [p.key for p in model.metadata_props] == [KEY]
    spec = read_network(exported[name]).spec
    told = spec_of(5 if name == "fcn" else 2, name)
    assert (spec.name, spec.classes, spec.palette) == (name, told.classes, told.palette)
    assert (spec.width, spec.height) == (96, 64)
    assert spec.size_divisor == models[name].size_divisor < 32
    assert not spec.fixed_size
    assert spec.precision == ("fp16" if name == "half" else "fp32")
    assert spec.mask_stride == (2 if name == "small" else 1)
    assert spec.versions["torch"] == torch.__version__
    assert spec.versions["opset"] == "17"


def test_half_precision_is_in_every_weight(exported):
    def weights(path):
        graph = onnx.load(path).graph
        used = {n for node in graph.node if node.op_type == "Conv" for n in node.input[1:]}
        return [w for w in graph.initializer if w.name in used]

    half = weights(exported["half"])
    assert {w.data_type for w in half} == {onnx.TensorProto.FLOAT16}
    assert len(half) == len(weights(exported["unet"])) > 50
    # What is left in FP32 is what ONNX wants so: the factors of Resize.
    for w in onnx.load(exported["half"]).graph.initializer:
        assert w.data_type != onnx.TensorProto.FLOAT or np.prod(w.dims) <= 4, w.name
    sizes = [exported[name].stat().st_size for name in ("half", "unet")]
    assert sizes[0] < 0.65 * sizes[1]


# What the graph computes


def test_the_networks_of_these_tests_give_several_classes(exported):
    for name in EVERY:
        shares = np.bincount(run(exported[name], smooth_frames(8)).ravel()) / (8 * 64 * 96)
        assert (shares > 0.02).sum() >= 2, (name, shares)


@pytest.mark.parametrize(
    ("name", "options"), [("unet", {}), ("small", {"full_size": False}), ("fcn", {})]
)
def test_onnx_runtime_gives_torchs_masks(models, exported, name, options):
    frames = smooth_frames(8)
    expected = contract(models[name], frames, **options)
    assert agreement(run(exported[name], frames), expected) >= 0.9995


def test_half_precision_gives_nearly_the_same_masks(exported):
    frames = smooth_frames(8)
    assert agreement(run(exported["half"], frames), run(exported["unet"], frames)) >= 0.99


@pytest.mark.parametrize(("count", "width", "height"), [(1, 96, 64), (3, 64, 128), (2, 32, 32)])
def test_batch_and_size_are_free(unet, exported, count, width, height):
    frames = smooth_frames(count, width, height)
    assert agreement(run(exported["unet"], frames), contract(unet, frames)) >= 0.9995


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", ["unet", "small", "fcn"])
def test_engines_give_torchs_masks(models, exported, backend, name):
    model = models[name]
    frames = smooth_frames(8)
    expected = contract(model, frames, full_size=name != "small")
    with rtseg.load(exported[name], backend=backend, precision="fp32") as engine:
        assert agreement(engine.infer(frames), expected) >= 0.9995
    frames = smooth_frames(2, 128, 96)
    expected = contract(model, frames, full_size=name != "small")
    with rtseg.load(exported[name], backend=backend, precision="fp32", size=(128, 96)) as engine:
        assert agreement(engine.infer(frames), expected) >= 0.9995


# The contract in torch, against the plain computation


def test_frames_are_bgr_and_normalised_as_the_encoder_was_trained(unet, fcn):
    frames = smooth_frames(8)
    for model in (unet, fcn):
        expected = full_size(by_hand(model, frames)).argmax(1).numpy()
        assert agreement(contract(model, frames), expected) >= 0.9995
        swapped = full_size(by_hand(model, frames[..., ::-1])).argmax(1).numpy()
        assert agreement(contract(model, frames), swapped) < 0.99


def test_a_mask_at_the_logits_stride_is_their_argmax(unet):
    frames = smooth_frames(4)
    expected = by_hand(unet, frames).argmax(1).numpy()
    assert expected.shape == (4, 32, 48)
    assert agreement(contract(unet, frames, full_size=False), expected) >= 0.9995


def test_two_classes_without_a_classifier_layer_are_an_argmax_too():
    torch.manual_seed(5)
    model = lively(build("fcn16s-mobilenetv2", 2, width=0.35))
    frames = smooth_frames(4)
    logits = F.interpolate(by_hand(model, frames), scale_factor=16.0, mode="bilinear")
    assert agreement(contract(model, frames), logits.argmax(1).numpy()) >= 0.9995


@pytest.mark.parametrize(
    ("architecture", "parts"),
    [
        ("unet-mobilenetv2", [[0, 2, 3], [1]]),
        ("unet-mobilenetv2", [[3, 1], [2, 0]]),
        ("fcn8s-mobilenetv2", [[0, 2, 3], [1]]),
        ("fcn8s-mobilenetv2", [[1], [0, 3], [2]]),
    ],
)
def test_a_class_of_several_channels_is_their_masks_merged(tmp_path, architecture, parts):
    torch.manual_seed(5)
    options = UNET if architecture.startswith("unet") else {"width": 0.35}
    whole = lively(build(architecture, 4, **options))
    model = build(architecture, len(parts), **options, parts=parts)
    model.load_state_dict(whole.state_dict())
    frames = smooth_frames(4)
    stride = model.logits_stride
    fine = by_hand(whole, frames).argmax(1)
    merged = torch.stack([torch.isin(fine, torch.tensor(part)) for part in parts]).int().argmax(0)
    assert len(merged.unique()) == len(parts)
    at_stride = contract(model, frames, full_size=False)
    assert agreement(at_stride, merged.numpy()) >= 0.9995
    file = tmp_path / "parts.onnx"
    export(model, replace(spec_of(len(parts)), size_divisor=model.size_divisor), file)
    with load(file, backend="onnxruntime") as engine:
        masks = engine.infer(frames)
    assert agreement(masks, contract(model, frames)) >= 0.9995
    # Where all four upsampled neighbours agree, so does the mask.
    inner = np.kron(merged.numpy(), np.ones((1, stride, stride), int))
    assert agreement(masks, inner) >= 0.8


@pytest.mark.parametrize("parts", [[[0], [0]], [[0, 2], [3]], [[0, 1], []], [[0, 1, 2]]])
def test_parts_that_do_not_part_the_channels_are_refused(parts):
    for architecture in ("unet-mobilenetv2", "fcn8s-mobilenetv2"):
        with pytest.raises(ValueError, match="parts is "):
            build(architecture, 2, parts=parts)


@pytest.mark.parametrize("name", ["unet", "fcn"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_one_file_serves_every_size_that_its_divisor_divides(exported, models, name, backend):
    divisor = models[name].size_divisor
    assert divisor < 32
    for width, height in ((120, 72), (56, 104), (96, 64)):
        assert width % divisor == height % divisor == 0
        frames = smooth_frames(1, width, height)
        with load(
            exported[name], backend=backend, precision="fp32", size=(width, height)
        ) as engine:
            masks = engine.infer(frames)
        assert agreement(masks, contract(models[name], frames)) >= 0.9995


def test_the_model_is_left_as_it_was(unet):
    before = {k: v.clone() for k, v in unet.state_dict().items()}
    Contract(unet).half()
    for key, value in unet.state_dict().items():
        assert torch.equal(value, before[key]), key


# Checkpoints


METADATA = {
    "architecture": "unet-mobilenetv2",
    "options": json.dumps(UNET),
    "classes": json.dumps(["background", "road"]),
    "palette": json.dumps([[0, 0, 0], [0, 200, 90]]),
    "size": json.dumps([96, 64]),
}


def test_a_checkpoint_gives_its_model_and_spec(unet, tmp_path):
    path = tmp_path / "road.safetensors"
    save_file(unet.state_dict(), path, METADATA)
    model, spec = load_checkpoint(path)
    assert not model.training
    frames = smooth_frames(1)
    assert torch.equal(by_hand(model, frames), by_hand(unet, frames))
    assert (spec.name, spec.width, spec.height, spec.size_divisor) == ("road", 96, 64, 2)
    assert spec.classes == ("background", "road")
    assert spec.palette == ((0, 0, 0), (0, 200, 90))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": None}, "lacks 'architecture'"),
        ({"palette": None}, "lacks 'palette'"),
        ({"architecture": "segnet"}, "unknown architecture 'segnet'"),
        ({"options": '{"sparkle": 1}'}, "sparkle"),
        ({"options": '{"width": 1.0}'}, "size mismatch"),
        ({"options": "[]"}, "does not fit"),
        ({"classes": '["a", "b", "c"]'}, "size mismatch"),
        ({"classes": '["a", "a"]'}, "distinct"),
        ({"classes": "{"}, "does not fit"),
        ({"classes": "5"}, "does not fit"),
        ({"size": "[96]"}, "does not fit"),
        ({"size": "[0, 64]"}, "positive whole"),
        ({"palette": "[[0, 0, 0]]"}, "one colour a class"),
        ({"palette": "[[0, 0], [1, 1]]"}, "does not fit"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(unet, tmp_path, changes, says):
    path = tmp_path / "road.safetensors"
    metadata = {k: v for k, v in {**METADATA, **changes}.items() if v is not None}
    save_file(unet.state_dict(), path, metadata)
    with pytest.raises(InputError, match=says) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_with_a_tensor_too_few_or_too_many_names_it(unet, tmp_path):
    path = tmp_path / "road.safetensors"
    state = dict(unet.state_dict())
    save_file({**state, "stranger": torch.zeros(1)}, path, METADATA)
    with pytest.raises(InputError, match="stranger"):
        load_checkpoint(path)
    del state["classifier.bias"]
    save_file(state, path, METADATA)
    with pytest.raises(InputError, match=r"classifier\.bias"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [None, b"", b"no tensors at all" * 10, "cut", "folder"])
def test_a_file_that_is_no_checkpoint_is_one_line(unet, tmp_path, content):
    path = tmp_path / "road.safetensors"
    if content == "folder":
        path.mkdir()
    elif content == "cut":
        save_file(unet.state_dict(), path, METADATA)
        path.write_bytes(path.read_bytes()[:-100])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable safetensors checkpoint") as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# Whole or not at all


@pytest.fixture
def occupied(tmp_path):
    """A place where an older file lies."""
    path = tmp_path / "network.onnx"
    path.write_bytes(b"the older network")
    yield path
    assert [p.name for p in tmp_path.iterdir()] == ["network.onnx"]
    assert path.read_bytes() == b"the older network"


def test_a_spec_that_nobody_could_read_is_not_written(small, occupied):
    spec = spec_of(2)
    broken = Spec(spec.name, spec.width, spec.height, ("road", "road"), spec.palette)
    with pytest.raises(NetworkError, match="distinct"):
        export(small, broken, occupied)


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(small, occupied, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        export(small, spec_of(2), occupied)


def test_a_missing_folder_is_named(small, tmp_path):
    path = tmp_path / "gone" / "network.onnx"
    with pytest.raises(OutputError, match="No such file or directory") as caught:
        export(small, spec_of(2), path)
    assert str(path) in str(caught.value)
