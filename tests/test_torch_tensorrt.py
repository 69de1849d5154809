"""The torch-tensorrt route: what it builds, refuses and says; on a double where there is no GPU."""

import contextlib
import importlib.machinery
import importlib.util
import json
import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="this route needs torch (extra torch-tensorrt)")
pytest.importorskip("onnx", reason="exporting needs onnx (extra train)")
pytest.importorskip("onnxscript", reason="exporting needs onnxscript (extra train)")
from conftest import tiny_spec, write_tiny_network  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import rtseg  # noqa: E402
from rtseg.engine import torch_tensorrt as route  # noqa: E402
from rtseg.engine import torch_tensorrt_build as building  # noqa: E402
from rtseg.engine.cache import EngineCache  # noqa: E402
from rtseg.engine.export import Contract  # noqa: E402
from rtseg.errors import BackendError, UsageError  # noqa: E402
from rtseg.spec import Spec  # noqa: E402

CLASSES = ("background", "road", "sky")


class Small(torch.nn.Module):
    """A network of two convolutions, exported in a moment."""

    logits_stride = 2

    def __init__(self, classes):
        super().__init__()
        self.classes = classes
        self.features = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.classifier = torch.nn.Conv2d(8, classes, 1)

    def forward(self, x):
        return self.classifier(self.features(x).relu())


def write_checkpoint(path, classes=CLASSES):
    torch.manual_seed(1)
    save_file(Small(len(classes)).state_dict(), path, {"classes": json.dumps(classes)})
    return path


def load_checkpoint(path):
    """As :func:`rtseg.engine.export.load_checkpoint`, for :class:`Small`."""
    with safe_open(str(path), framework="pt") as file:
        classes = tuple(json.loads(file.metadata()["classes"]))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = Small(len(classes))
    model.load_state_dict(state)
    palette = tuple((i, i, i) for i in range(len(classes)))
    spec = Spec("road", 96, 64, classes, palette, size_divisor=32)
    return model.eval(), spec


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkpoint and a network file of the same classes and size; the latter is not looked into."""
    monkeypatch.setattr("rtseg.engine.export.load_checkpoint", load_checkpoint)
    write_checkpoint(tmp_path / "road.safetensors")
    palette = tuple((i, i, i) for i in range(len(CLASSES)))
    spec = tiny_spec(name="road", classes=CLASSES, palette=palette)
    write_tiny_network(tmp_path / "road.onnx", spec)
    return tmp_path


@pytest.fixture
def load(folder):
    def load(**options):
        options = {"backend": "torch-tensorrt", **options}
        # The file beside the checkpoint is not of the same network: there is nothing to compare with.
        cache = EngineCache(folder / "cache")
        return rtseg.load(folder / "road.onnx", cache=cache, check=False, **options)

    return load


class FakeTorchTensorRTModule(torch.nn.Module):
    """A part of the graph in TensorRT, with what its inspector tells."""

    def __init__(self, program, layers):
        super().__init__()
        self._hidden = [program.module()]
        self._layers = layers

    def forward(self, frames):
        return self._hidden[0](frames)

    def get_layer_info(self):
        return json.dumps({"Layers": self._layers})

    def get_extra_state(self):
        return ("serialised", b"engine")


class Compiled(torch.nn.Module):
    def __init__(self, program, engine):
        super().__init__()
        self.program = program
        if engine is not None:
            self._run_on_acc_0 = engine
        self._forward = engine or program.module()

    def forward(self, frames):
        return self._forward(frames)


def conv(datatype):
    return {
        "Name": "conv1",
        "LayerType": "CaskConvolution",
        "Outputs": [{"Name": "y", "Format/Datatype": datatype}],
    }


class Double:
    """torch_tensorrt as far as it is used, and torch's view of a GPU."""

    def __init__(self):
        self.layers = [conv("Row major linear FP16 format"), {"Name": "relu", "LayerType": "x"}]
        self.engine = True
        self.settings = []
        self.graphs = 0
        self.fail = None
        self.explicit = True
        self.module = types.ModuleType("torch_tensorrt")
        self.module.__spec__ = importlib.machinery.ModuleSpec("torch_tensorrt", None)
        self.module.__version__ = "2.13.0"
        self.module.save = self._save
        self.module.runtime = types.SimpleNamespace(enable_cudagraphs=self._enable_cudagraphs)
        self.module.dynamo = types.SimpleNamespace(compile=self._compile_typed)

    def old(self):
        """A release from before explicit typing."""
        self.module.dynamo.compile = self._compile_old

    def new(self):
        """A release that always keeps the graph's types, and takes the old words unheeded."""
        self.module.dynamo.compile = self._compile_new

    def _compile_typed(self, program, inputs, *, use_explicit_typing=False, **settings):
        return self._compile(program, {"use_explicit_typing": use_explicit_typing, **settings})

    def _compile_old(self, program, inputs, *, enabled_precisions=None, **settings):
        return self._compile(program, {"enabled_precisions": enabled_precisions, **settings})

    def _compile_new(self, program, inputs, **settings):
        return self._compile(program, settings)

    def _compile(self, program, settings):
        print("building...")  # to standard output, as the real one
        self.settings.append(settings)
        if self.fail:
            raise self.fail
        return Compiled(
            program, FakeTorchTensorRTModule(program, self.layers) if self.engine else None
        )

    def _save(self, module, file_path="", *, output_format, inputs):
        assert output_format == "exported_program"
        torch.export.save(module.program, file_path)

    @contextlib.contextmanager
    def _enable_cudagraphs(self, module):
        self.graphs += 1
        try:
            yield module
        finally:
            self.graphs -= 1


class Stream:
    def wait_event(self, event):
        assert event.recorded

    def synchronize(self):
        pass


class Event:
    recorded = False

    def record(self, stream):
        self.recorded = True

    def synchronize(self):
        assert self.recorded


@pytest.fixture
def double(monkeypatch):
    fake = Double()
    monkeypatch.setitem(sys.modules, "torch_tensorrt", fake.module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    for module in (route, building):
        monkeypatch.setattr(module, "gpu", lambda torch: torch.device("cpu"))
    monkeypatch.setattr(
        route, "_pinned", lambda torch, shape: torch.empty(shape, dtype=torch.uint8)
    )
    monkeypatch.setattr(route, "gpu_fault", lambda: "")
    return fake


def noise(count):
    return np.random.default_rng(0).integers(0, 256, (count, 64, 96, 3), dtype=np.uint8)


def expected(folder, frames, half=True):
    model, _ = load_checkpoint(folder / "road.safetensors")
    contract = Contract(model)
    contract = (contract.half() if half else contract).eval()
    with torch.inference_mode():
        return np.stack([contract(torch.from_numpy(f[None])).numpy()[0] for f in frames])


# What it builds


def test_masks_are_those_of_the_checkpoint_in_half_precision(load, folder, double, capfd):
    frames = noise(7)
    with load() as engine:
        assert (engine.backend, engine.precision, engine.depth) == ("torch-tensorrt", "fp16", 3)
        assert engine.device == "NVIDIA H200"
        assert engine.versions == {"torch-tensorrt": "2.13.0", "torch": torch.__version__}
        assert engine.built
        np.testing.assert_array_equal(engine.infer(frames), expected(folder, frames))
        own = engine.frame()
        own[:] = frames[2]
        engine.submit(own)
        np.testing.assert_array_equal(engine.collect()[None], expected(folder, frames[2:3]))
        assert double.graphs == 1
    assert double.graphs == 0
    assert capfd.readouterr().out == ""
    assert double.settings == [
        {"use_explicit_typing": True, "min_block_size": 1, "disable_tf32": True}
    ]


def test_fp32_and_batches_and_modes(load, folder, double):
    double.layers = [conv("Row major linear FP32")]
    frames = noise(4)
    with load(precision="fp32", batch=3, mode="latency") as engine:
        assert (engine.precision, engine.depth) == ("fp32", 1)
        np.testing.assert_array_equal(engine.infer(frames), expected(folder, frames, half=False))


def test_releases_before_explicit_typing_are_told_by_precision(load, double):
    double.old()
    with load() as engine:
        assert engine.precision == "fp16"
    assert double.settings[0]["enabled_precisions"] == {torch.float16}


def test_releases_that_always_keep_types_are_told_nothing_of_it(load, double):
    double.new()
    double.layers = []  # and need not tell of the layers either
    with load() as engine:
        assert engine.precision == "fp16"
    assert set(double.settings[0]) == {"min_block_size", "disable_tf32"}


def test_the_second_time_it_needs_no_checkpoint(load, folder, double):
    with load():
        pass
    frames = noise(2)
    masks = expected(folder, frames)
    (folder / "road.safetensors").unlink()
    with load() as engine:
        assert not engine.built
        np.testing.assert_array_equal(engine.infer(frames), masks)
    assert len(double.settings) == 1


def test_a_program_that_torch_cannot_read_is_built_anew(load, folder, double, caplog):
    with load():
        pass
    cache = EngineCache(folder / "cache")
    (entry,) = cache.entries()
    key = {name: value for name, value in entry.key.items() if name != "rtseg"}
    cache.write("road", key, b"no program")
    caplog.clear()
    with load() as engine:
        assert engine.built
    (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said.startswith("road: building the engine anew: ")


# What it refuses


@pytest.mark.parametrize(
    "layers",
    [
        [conv("Row major linear FP32")],
        [conv("Row major linear FP16"), conv("Channel major Float, vectorised")],
    ],
)
def test_a_precision_that_was_quietly_ignored_is_refused(load, double, folder, layers):
    double.layers = layers
    with pytest.raises(BackendError, match="in FP32, though FP16 was asked for") as caught:
        load()
    assert "\n" not in str(caught.value)
    assert EngineCache(folder / "cache").entries() == []


def test_an_engine_that_does_not_tell_is_taken_only_if_it_is_typed(load, double):
    double.layers = ["conv1", "relu"]  # names only, as built without a debugger
    with load() as engine:
        assert engine.precision == "fp16"
    double.old()
    double.module.__version__ = "2.2.0"
    with pytest.raises(BackendError, match="does not tell in which precision"):
        load()


def test_weights_left_in_fp32_are_refused(double):
    module = Compiled(types.SimpleNamespace(module=lambda: None), None)
    module._run_on_acc_0 = FakeTorchTensorRTModule(
        types.SimpleNamespace(module=lambda: None), double.layers
    )
    module.rest = torch.nn.Conv2d(1, 1, 1)
    with pytest.raises(BackendError, match=r"left weights of torch\.float32"):
        building.require_precision(torch, module, "fp16", typed=True)
    module.rest.half()
    building.require_precision(torch, module, "fp16", typed=True)


def test_a_network_that_stays_in_torch_is_refused(load, double):
    double.engine = False
    with pytest.raises(BackendError, match="nothing of this network into TensorRT"):
        load()


def test_what_the_compiler_raises_is_one_line(load, double, folder):
    double.fail = RuntimeError("[Error] IBuilder::buildSerializedNetwork\n  at foo.cpp:3")
    with pytest.raises(BackendError, match="torch-tensorrt cannot compile this network") as caught:
        load()
    assert str(folder / "road.onnx") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_checkpoint_it_says_where_it_looked(load, double, folder):
    (folder / "road.safetensors").unlink()
    with pytest.raises(BackendError, match=r"road\.safetensors is not there"):
        load()


def test_another_networks_checkpoint_is_refused(load, double, folder):
    write_checkpoint(folder / "road.safetensors", ("a", "b"))
    with pytest.raises(BackendError, match="has 2 classes"):
        load()


def test_a_frame_that_fails_gives_an_error_and_never_an_old_mask(load, double, folder):
    frames = noise(3)
    with load() as engine:
        plain, count = engine._module, iter(range(10))

        def module(frames):
            if next(count) == 1:
                raise RuntimeError("CUDA error: an illegal memory access\nCompile with")
            return plain(frames)

        engine._module = module
        for frame in frames:
            engine.submit(frame)
        masks = expected(folder, frames)
        np.testing.assert_array_equal(engine.collect(), masks[0])
        with pytest.raises(BackendError, match="failed on a frame: CUDA error") as caught:
            engine.collect()
        assert "\n" not in str(caught.value)
        np.testing.assert_array_equal(engine.collect(), masks[2])


# What it meets


def test_it_is_chosen_where_tensorrt_itself_is_not_installed(load, double, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name in ("tensorrt", "pycuda") else found(name, *a),
    )
    with load(backend=None) as engine:
        assert engine.backend == "torch-tensorrt"
    double.fail = RuntimeError("no GPU memory")
    with load(backend=None, size=(128, 64)) as engine:
        assert engine.backend == "openvino"


def test_an_import_that_fails_is_one_line_and_leaves_no_trace(tmp_path, monkeypatch, capfd):
    package = tmp_path / "torch_tensorrt"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import sys\n"
        "print('Unable to import tensorrt')\n"
        "sys.modules['tensorrt'] = object()\n"
        "raise Exception('libnvinfer.so.10:\\n cannot open shared object file')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch_tensorrt", raising=False)
    for before in (None, types.ModuleType("tensorrt")):
        if before is None:
            monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        else:
            monkeypatch.setitem(sys.modules, "tensorrt", before)
        with pytest.raises(BackendError, match=r"cannot be imported: libnvinfer\.so\.10") as caught:
            route.import_torch_tensorrt()
        assert "\n" not in str(caught.value)
        assert sys.modules.get("tensorrt") is before
    assert capfd.readouterr().out == ""


def test_a_torch_without_cuda_is_named(double, load, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="sees no GPU"):
        load()


def test_a_machine_without_a_driver_is_told_without_an_import(tmp_path):
    if route.gpu_fault() == "":
        pytest.skip("this machine has a GPU")
    assert route.gpu_fault().startswith("no NVIDIA")


def test_without_the_package_its_extra_is_named(load):
    if importlib.util.find_spec("torch_tensorrt") is not None:
        pytest.skip("torch-tensorrt is installed")
    with pytest.raises(UsageError, match=r"pip install 'rtseg\[torch-tensorrt\]'"):
        load()


# The real one


def test_on_a_gpu(load, folder):
    pytest.importorskip("torch_tensorrt", reason="torch-tensorrt is not installed")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    frames = noise(5)
    with load() as engine:
        assert engine.precision == "fp16"
        assert (engine.infer(frames) == expected(folder, frames)).mean() > 0.99
    with load() as engine:
        assert not engine.built
