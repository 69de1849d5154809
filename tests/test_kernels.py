"""The GPU's kernels: compiled for every GPU in question, and their arithmetic against OpenCV's.

The arithmetic is the same file's, compiled by g++ and run on the CPU with the tables and the grids
that the GPU gets.
"""

import shutil
import subprocess
import sys
import types

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernels_on_cpu import SOURCE, CpuKernels, Function, address, guarded

from rtseg.engine.cache import EngineCache
from rtseg.engine.tensorrt import kernels
from rtseg.errors import BackendError
from rtseg.video.overlay import Painter

CLASSES = ("background", "road", "car", "sky")
PALETTE = ((1, 2, 3), (0, 200, 90), (255, 0, 10), (70, 130, 180))


class CudaError(Exception):
    """pycuda.driver.Error."""


class Gpu:
    """As much of a device as loading kernels needs; takes no cubin that starts with ``bad``."""

    name = "a GPU"
    compute_capability = "9.0"
    cuda_version = "13.0"

    def __init__(self, functions=None):
        self.loaded = []
        self.functions = functions
        self.cuda = types.SimpleNamespace(Error=CudaError, module_from_buffer=self.load)

    def load(self, image):
        self.loaded.append(image)
        if image.startswith(b"bad"):
            raise CudaError("device kernel image is invalid")
        return types.SimpleNamespace(
            get_function=lambda name: Function(getattr(self.functions, name, None))
        )


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """The kernels as the GPU's caller sees them, run by the CPU."""
    functions = CpuKernels(tmp_path_factory.mktemp("kernels"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "compile_kernels", lambda arch: b"cubin")
        cache = EngineCache(tmp_path_factory.mktemp("cache"))
        return kernels.Kernels(Gpu(functions), cache)


def tables_of(size, small_size=(8, 8), mask_size=(8, 8)):
    tables = kernels.Tables(size, small_size, mask_size)
    content, _ = guarded(tables.content().shape, np.int32)
    content[:] = tables.content()
    return tables.at(address(content)), content


def shrunk(on_cpu, picture, size):
    tables, _content = tables_of(picture.shape[1::-1], size)
    small, behind = guarded((size[1], size[0], 3))
    on_cpu.shrink(None, address(picture), address(small), tables)
    assert (behind == 0xA5).all(), "nothing is written behind the picture"
    return small


def painted(on_cpu, picture, mask, painter):
    height, width = picture.shape[:2]
    tables, _content = tables_of((width, height), mask_size=mask.shape[::-1])
    table, _ = guarded((256, 4), np.float32)
    table[:] = kernels.blending(painter.table())
    groups = -(-width * height // 4)
    whole, behind = guarded((groups * 12,))
    whole[: picture.size] = picture.reshape(-1)
    on_cpu.paint(None, address(whole), address(mask), address(table), tables)
    assert (behind == 0xA5).all(), "nothing is written behind the picture"
    return whole[: picture.size].reshape(picture.shape)


def noise(seed, *shape, top=256):
    return np.random.default_rng(seed).integers(0, top, shape, np.uint8)


sides = st.integers(1, 90)


@settings(max_examples=150)
@given(sides, sides, sides, sides, st.integers(0, 9))
@example(96, 64, 48, 32, 0)  # half: OpenCV takes another way for it
@example(96, 64, 192, 128, 0)  # twice
@example(64, 48, 64, 48, 0)
@example(1, 1, 7, 5, 0)
@example(90, 1, 7, 5, 0)
def test_the_resize_is_that_of_opencv_to_the_bit(on_cpu, width, height, to_width, to_height, seed):
    picture = noise(seed, height, width, 3)
    expected = cv2.resize(picture, (to_width, to_height))
    np.testing.assert_array_equal(shrunk(on_cpu, picture, (to_width, to_height)), expected)


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (1241, 376), (640, 480), (3840, 2160)])
def test_the_resize_of_real_sizes_is_that_of_opencv_to_the_bit(on_cpu, size):
    picture = noise(0, size[1], size[0], 3)
    for to in ((512, 256), (480, 360), (1024, 512)):
        np.testing.assert_array_equal(shrunk(on_cpu, picture, to), cv2.resize(picture, to))


lengths = st.tuples(st.integers(1, 4000), st.integers(1, 2000))


@settings(max_examples=60)
@given(lengths)
def test_long_lines_are_resized_to_the_bit(on_cpu, lengths):
    length, to = lengths
    line = noise(length, 3, length, 3)
    np.testing.assert_array_equal(shrunk(on_cpu, line, (to, 2)), cv2.resize(line, (to, 2)))
    column = np.ascontiguousarray(line.transpose(1, 0, 2))
    np.testing.assert_array_equal(shrunk(on_cpu, column, (2, to)), cv2.resize(column, (2, to)))


@settings(max_examples=150)
@given(
    size=st.tuples(sides, sides),
    mask_size=st.tuples(sides, sides),
    paint=st.lists(st.sampled_from(CLASSES), min_size=1, unique=True),
    opacity=st.floats(0, 1) | st.sampled_from([0.0, 0.05, 0.45, 0.5, 1.0]),
    seed=st.integers(0, 9),
)
def test_painting_is_that_of_the_host_to_the_bit(on_cpu, size, mask_size, paint, opacity, seed):
    picture = noise(seed, size[1], size[0], 3)
    mask = noise(seed, mask_size[1], mask_size[0], top=6)  # with two that are no class
    painter = Painter(CLASSES, PALETTE, paint=paint, opacity=opacity)
    expected = picture.copy()
    painter.paint(expected, mask)
    np.testing.assert_array_equal(painted(on_cpu, picture, mask, painter), expected)


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (1241, 376)])
@pytest.mark.parametrize("mask_size", [(512, 256), (480, 360), (256, 128)])
def test_painting_of_real_sizes_is_that_of_the_host_to_the_bit(on_cpu, size, mask_size):
    picture = noise(1, size[1], size[0], 3)
    mask = noise(2, mask_size[1], mask_size[0], top=4)
    painter = Painter(CLASSES, PALETTE)
    expected = picture.copy()
    painter.paint(expected, mask)
    np.testing.assert_array_equal(painted(on_cpu, picture, mask, painter), expected)


def test_the_table_of_a_painter_is_made_anew_only_when_the_opacity_changes():
    painter = Painter(CLASSES, PALETTE)
    first = painter.table()
    assert painter.table() is first
    painter.contours = True
    assert painter.table() is first
    painter.opacity = 0.5
    assert painter.table() is not first
    assert (painter.table().opacity, first.opacity) == (0.5, 0.45)


@pytest.mark.parametrize("arch", ["sm_75", "sm_86", "sm_89", "sm_90"])
def test_nvcc_compiles_the_kernels(arch, tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on the PATH")
    command = [nvcc, "-cubin", f"-arch={arch}", "-Werror", "all-warnings", "-Xptxas", "-v"]
    done = subprocess.run(
        [*command, str(SOURCE), "-o", "kernels.cubin"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    image = (tmp_path / "kernels.cubin").read_bytes()
    assert image.startswith(b"\x7fELF")
    assert {b"shrink", b"paint"} <= set(image.split(b"\0"))
    # Arrays that the compiler cannot keep in registers would go through memory.
    assert done.stderr.count("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == 2


@pytest.mark.parametrize("arch", ["sm_75", "sm_90"])
def test_nvrtc_compiles_the_kernels(arch):
    pytest.importorskip("cuda.bindings.nvrtc", reason="no cuda-python")
    try:
        image = kernels._by_nvrtc(kernels.source(), arch)
    except BackendError as error:
        if "nvrtcCompileProgram" in str(error):
            raise
        pytest.skip(f"NVRTC's library is not here: {error}")
    assert image.startswith(b"\x7fELF")


def test_kernels_are_compiled_once_for_a_gpu(monkeypatch, tmp_path):
    compiled = []
    monkeypatch.setattr(
        kernels,
        "compile_kernels",
        lambda arch: compiled.append(arch) or b"cubin of " + arch.encode(),
    )
    cache, gpu = EngineCache(tmp_path), Gpu()
    kernels.Kernels(gpu, cache)
    kernels.Kernels(gpu, EngineCache(tmp_path))
    assert compiled == ["sm_90"]
    assert gpu.loaded == [b"cubin of sm_90"] * 2
    for name, value in (("compute_capability", "8.6"), ("cuda_version", "12.4")):
        monkeypatch.setattr(gpu, name, value)
        kernels.Kernels(gpu, EngineCache(tmp_path))
    monkeypatch.setattr(kernels, "source", lambda: b"another source")
    kernels.Kernels(gpu, EngineCache(tmp_path))
    assert compiled == ["sm_90", "sm_86", "sm_86", "sm_86"]


def test_what_the_driver_does_not_take_is_said_and_not_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(kernels, "compile_kernels", lambda arch: b"bad")
    with pytest.raises(BackendError, match=r"a GPU does not take .* sm_90: .* update the driver"):
        kernels.Kernels(Gpu(), EngineCache(tmp_path))
    assert not list(tmp_path.iterdir())


def test_where_nothing_compiles_the_reasons_are_said(monkeypatch):
    for name in ("cuda", "cuda.bindings.nvrtc", "pycuda", "pycuda.compiler"):
        monkeypatch.setitem(sys.modules, name, None)
    kernels.compile_kernels.cache_clear()
    with pytest.raises(BackendError) as caught:
        kernels.compile_kernels("sm_90")
    text = str(caught.value)
    assert "\n" not in text
    for part in ("sm_90", "cuda-python: ", "nvcc: ", "pip install"):
        assert part in text
