"""What the tests share: a folder for caches, a network whose truth is known, and the data set."""

import os
from pathlib import Path

import hypothesis
import pytest

from rtseg.spec import KEY, Spec

ROOT = Path(__file__).resolve().parent.parent

# The tests' networks are small: torch's second thread would only wait where others compute too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Read once a process, at the first video: the commands set it, some tests read videos before them.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

# A loaded machine is no reason to fail.
hypothesis.settings.register_profile("rtseg", deadline=None)
hypothesis.settings.load_profile("rtseg")


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory):
    """No test reads or writes the user's own cache."""
    folder = tmp_path_factory.mktemp("cache-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared():
    """The folder of data sets and weights, where this machine has one."""
    folder = Path(os.environ.get("RTSEG_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}: set RTSEG_SHARED")
    return folder


def tiny_spec(**changes):
    """The spec of :func:`tiny_network`: frames of 96x64, background and road."""
    values = {
        "name": "tiny",
        "width": 96,
        "height": 64,
        "classes": ("background", "road"),
        "palette": ((0, 0, 0), (0, 200, 90)),
    }
    return Spec(**{**values, **changes})


def write_tiny_network(path, spec):
    """Write a network file in which a pixel is road where its blue is above 127.

    It is made without torch, and every uint8 is exact in FP32, BF16 and FP16, so that the truth is
    ``frame[..., 0] > 127`` on every backend and at every precision.
    """
    onnx = pytest.importorskip("onnx", reason="the network of the tests needs onnx (extra test)")
    from onnx import TensorProto, helper, numpy_helper

    np = pytest.importorskip("numpy")
    kind, dtype = {
        "fp32": (TensorProto.FLOAT, np.float32),
        "fp16": (TensorProto.FLOAT16, np.float16),
    }[spec.precision]
    stride = spec.mask_stride
    weight = np.zeros((1, 3, 1, 1), dtype)
    weight[0, 0] = 1
    sides = ["batch", "height", "width"]
    masks = sides if stride == 1 else ["batch", "mask_height", "mask_width"]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frames"], ["real"], to=kind),
            helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node(
                "Conv", ["planes", "weight", "bias"], ["score"], strides=[stride, stride]
            ),
            helper.make_node("Greater", ["score", "zero"], ["is_road"]),
            helper.make_node("Squeeze", ["is_road", "axis"], ["plane"]),
            # By way of a real number, since TensorRT makes uint8 of nothing else.
            helper.make_node("Cast", ["plane"], ["real_plane"], to=kind),
            helper.make_node("Cast", ["real_plane"], ["masks"], to=TensorProto.UINT8),
        ],
        "tiny",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [*sides, 3])],
        [helper.make_tensor_value_info("masks", TensorProto.UINT8, masks)],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([-127.5], dtype), "bias"),
            numpy_helper.from_array(np.array(0, dtype), "zero"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, {KEY: spec.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def tiny_network(tmp_path_factory):
    """The path of a network file, 96x64, in which a pixel is road where its blue is above 127."""
    return write_tiny_network(tmp_path_factory.mktemp("network") / "tiny.onnx", tiny_spec())


@pytest.fixture
def make_network(tmp_path):
    """Make a network like :func:`tiny_network`, with another spec."""

    def make(file="made.onnx", **changes):
        return write_tiny_network(tmp_path / file, tiny_spec(**changes))

    return make
