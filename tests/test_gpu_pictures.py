"""The GPU's picture path, on the double of a GPU, with its kernels run by the CPU."""

import contextlib

import cv2
import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the double of TensorRT computes with ONNX Runtime")

from doubles import Faults, fake_gpu
from footage import write_folder
from kernels_on_cpu import CpuKernels, address, guarded
from picture_runs import SCRIPTS, play, run, same, write_source

from rtseg.engine import load
from rtseg.engine.tensorrt.driver import shut_down
from rtseg.engine.tensorrt.kernels import compile_kernels
from rtseg.errors import BackendError
from rtseg.video.overlay import Painter


@pytest.fixture(scope="module")
def engine(tiny_network):
    """The host's engine, which is the reference."""
    with load(tiny_network, backend="openvino") as engine:
        yield engine


@pytest.fixture(scope="module")
def cpu_kernels(tmp_path_factory):
    return CpuKernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def kernels(cpu_kernels):
    """The kernels for the double: memory that is not the GPU's own is refused, as there."""

    def aligned(launch, address, dtype, *shape):
        memory = launch.memory(address, dtype, *shape)
        array, _ = guarded(memory.shape, dtype)
        array[:] = memory
        return array, memory

    def shrink(launch, picture, small, columns, rows, stride, width, height):
        columns, _ = aligned(launch, columns, np.int32, width, 4)
        rows, _ = aligned(launch, rows, np.int32, height, 4)
        picture, _ = aligned(launch, picture, np.uint8, (rows[:, :2].max() + 1) * stride)
        result, memory = aligned(launch, small, np.uint8, height * width * 3)
        arrays = (picture, result, columns, rows)
        cpu_kernels.shrink(launch.grid, launch.block, *map(address, arrays), stride, width, height)
        memory[:] = result

    def paint(launch, picture, mask, columns, rows, paints, width, pixels, mask_width):
        columns, _ = aligned(launch, columns, np.int32, width)
        rows, _ = aligned(launch, rows, np.int32, pixels // width)
        paints, _ = aligned(launch, paints, np.float32, 256, 4)
        mask, _ = aligned(launch, mask, np.uint8, (rows.max() + 1) * mask_width)
        result, memory = aligned(launch, picture, np.uint8, -(-pixels // 4) * 12)
        arrays = (result, mask, columns, rows, paints)
        cpu_kernels.paint(
            launch.grid, launch.block, *map(address, arrays), width, pixels, mask_width
        )
        memory[:] = result

    return {"shrink": shrink, "paint": paint}


@contextlib.contextmanager
def on_gpu(network, kernels, *, mode="throughput", **options):
    with fake_gpu(kernels=kernels, **options) as gpu:
        try:
            with load(network, backend="tensorrt", precision="fp32", mode=mode) as engine:
                yield gpu, engine
        finally:
            for handle in [h for h, graph in gpu.graphs.items() if not graph.alive]:
                del gpu.graphs[handle]  # it would hold on to the arrays that it copied to
            shut_down()  # as at the interpreter's end
    assert not gpu.leaks


@pytest.mark.parametrize("kind", ["folder", "video"])
@pytest.mark.parametrize("mode", ["throughput", "latency"])
def test_frames_of_the_gpu_are_those_of_the_host(
    engine, tiny_network, kernels, tmp_path, kind, mode
):
    source = write_source(kind, tmp_path)
    expected, _ = run(engine, source, limit=12)
    with on_gpu(tiny_network, kernels, mode=mode) as (gpu, other):
        found, report = run(other, source, limit=12)
    same(found, expected)
    assert report.processed.count == 12
    assert [launch.name for launch in gpu.launches] == ["shrink", "paint"] * 12
    assert not [remark for remark in gpu.remarks if "page-locked" in remark]


@pytest.mark.parametrize("script", SCRIPTS[1:4], ids=["overlay", "pause", "opacity"])
def test_keys_do_the_same_on_the_gpu(engine, tiny_network, kernels, tmp_path, script):
    folder = write_folder(tmp_path / "pictures", 10)
    expected, _ = play(engine, folder, script, tmp_path)
    with on_gpu(tiny_network, kernels) as (_, other):
        shown, _ = play(other, folder, script, tmp_path)
    for one, other in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def painter():
    return Painter(("background", "road"), ((0, 0, 0), (0, 200, 90)))


def by_host(engine, image, painter):
    """The reference: the picture painted, and its mask."""
    spec, painted = engine.spec, image.copy()
    mask = engine.infer(cv2.resize(image, (spec.width, spec.height))[None])[0]
    painter.paint(painted, mask)
    return painted, mask


def noise(seed, width, height):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def take(path, images, places, paint):
    """Take pictures through a path, from and to the memory named; returns what came, copied."""
    pinned = places in ("pinned", "beside")
    new = path.picture if pinned else lambda: np.empty_like(images[0])
    flying, found = [], []

    def collect():
        place, into, image = flying.pop(0)
        mask = np.empty((64, 96), np.uint8)
        path.collect(into, mask)
        found.append((into.copy(), mask))
        if into is not place:
            np.testing.assert_array_equal(place, image, "the clean picture stays clean")

    for image in images:
        place = new()
        place[:] = image
        into = new() if places in ("beside", "elsewhere") else place
        path.submit(place, paint, into if places == "beside" else None)
        flying.append((place, into, image))
        if path.pending == path.depth:
            collect()
    while path.pending:
        collect()
    return found


@pytest.mark.parametrize("size", [(192, 128), (101, 67), (96, 64), (31, 7)])
@pytest.mark.parametrize("places", ["pinned", "ordinary", "beside", "elsewhere"])
def test_pictures_from_and_to_any_memory(engine, tiny_network, kernels, painter, size, places):
    images = [noise(i, *size) for i in range(7)]
    with on_gpu(tiny_network, kernels) as (gpu, other):
        path = other.pictures(*size)
        found = take(path, images, places, painter.table())
        path.close()
        path.close()
        assert not [remark for remark in gpu.remarks if "page-locked" in remark]
    for image, (painted, mask) in zip(images, found, strict=True):
        expected, expected_mask = by_host(engine, image, painter)
        np.testing.assert_array_equal(mask, expected_mask)
        np.testing.assert_array_equal(painted, expected)


def test_nothing_is_allocated_and_no_colours_go_up_for_a_frame(
    tiny_network, kernels, painter, monkeypatch
):
    with on_gpu(tiny_network, kernels) as (gpu, engine):
        path = engine.pictures(192, 128)
        images = [np.zeros((128, 192, 3), np.uint8)] * 6
        sizes = []
        copy_in = gpu.copy_in
        monkeypatch.setattr(
            gpu,
            "copy_in",
            lambda at, source, stream: sizes.append(source.size) or copy_in(at, source, stream),
        )

        def go():
            """Take six pictures; returns how many pictures and tables of colours went up."""
            sizes.clear()
            take(path, images, "ordinary", painter.table())
            assert len(sizes) == sizes.count(128 * 192 * 3) + sizes.count(256 * 16)
            return sizes.count(128 * 192 * 3), sizes.count(256 * 16)

        assert go() == (6, path.depth), "each place has its table once"
        held = gpu.memory.used, len(gpu.memory.pinned), len(gpu.contexts[0].streams)
        assert go() == (6, 0)
        painter.opacity = 0.7
        assert go() == (6, path.depth)
        painter.opacity = 0.0
        launches = len(gpu.launches)
        assert go() == (6, 0)
        assert [launch.name for launch in gpu.launches[launches:]] == ["shrink"] * 6
        assert held == (gpu.memory.used, len(gpu.memory.pinned), len(gpu.contexts[0].streams))
        path.close()


def test_what_a_path_refuses(tiny_network, kernels, painter):
    with on_gpu(tiny_network, kernels) as (_, engine):
        path, mask = engine.pictures(192, 128), np.empty((64, 96), np.uint8)
        image = noise(0, 192, 128)
        for wrong in (image[:-1], image.astype(np.float32), image[..., 0]):
            with pytest.raises(ValueError, match=r"a picture is uint8 \(128, 192, 3\), not"):
                path.submit(wrong, None)
            with pytest.raises(ValueError, match="a picture is uint8"):
                path.submit(image, None, wrong)
        with pytest.raises(RuntimeError, match="no picture is in flight"):
            path.collect(image, mask)
        engine.submit(np.zeros((64, 96, 3), np.uint8))
        with pytest.raises(RuntimeError, match="the engine itself has frames in flight"):
            path.submit(image, None)
        engine.drain()
        images = [image.copy() for _ in range(path.depth)]
        for each in images:
            path.submit(each, None)
        with pytest.raises(RuntimeError, match="pictures are in flight"):
            path.submit(image, None)
        path.drain()
        assert path.pending == 0
        path.submit(image[:, ::-1], None)  # not contiguous: copied
        path.collect(other := np.empty_like(image), mask)
        np.testing.assert_array_equal(other, image[:, ::-1])
        path.close()
        with pytest.raises(RuntimeError, match="closed"):
            path.submit(image, None)
        with pytest.raises(RuntimeError, match="closed"):
            path.picture()
        assert engine.infer(np.zeros((1, 64, 96, 3), np.uint8)).shape == (1, 64, 96)


def test_a_closed_engine_takes_its_paths_along(tiny_network, kernels, painter):
    with on_gpu(tiny_network, kernels) as (_, engine):
        path = engine.pictures(192, 128)
        path.submit(noise(0, 192, 128), painter.table())
        engine.close()
        path.close()


def test_a_picture_that_fails_is_said_and_the_next_ones_are_right(
    engine, tiny_network, kernels, painter
):
    image = noise(0, 192, 128)
    expected, expected_mask = by_host(engine, image, painter)
    # Without cuda-python every picture is an enqueue; the warming up took one for each slot.
    faults = Faults(enqueue_fails_at=5)
    with on_gpu(tiny_network, kernels, cuda_python=False, faults=faults) as (_, other):
        path, mask = other.pictures(192, 128), np.empty((64, 96), np.uint8)
        failures = []
        for _ in range(5):
            place = image.copy()
            path.submit(place, painter.table())
            try:
                path.collect(place, mask)
            except BackendError as error:
                failures.append(str(error))
                continue
            np.testing.assert_array_equal(place, expected)
            np.testing.assert_array_equal(mask, expected_mask)
        (failure,) = failures
        assert failure.startswith("the GPU failed on a picture: TensorRT")
        path.close()


def test_with_little_memory_fewer_pictures_are_in_flight(tiny_network, kernels, painter, caplog):
    with on_gpu(tiny_network, kernels) as (gpu, engine):
        one = 1920 * 1080 * 3
        gpu.memory.limit = gpu.memory.used + 2 * one + one // 2
        path, mask = engine.pictures(1920, 1080), np.empty((64, 96), np.uint8)
        assert (engine.depth, path.depth) == (3, 2)
        assert "pictures in flight: 2" in caplog.text
        image = np.full((1080, 1920, 3), 200, np.uint8)
        path.submit(image, painter.table())
        path.collect(image, mask)
        assert mask.all()
        path.close()
        used = gpu.memory.used
        gpu.memory.limit = used + one // 2
        assert engine.pictures(1920, 1080) is None
        assert "out of memory" in caplog.text
        assert gpu.memory.used == used, "what was begun is given back"


def test_without_a_compiler_the_host_does_it_and_says_why(
    engine, tiny_network, monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compile_kernels.cache_clear()
    folder = write_folder(tmp_path / "pictures", 8)
    expected, _ = run(engine, folder)
    with on_gpu(tiny_network, {}, cuda_python=False, faults=Faults(no_nvcc=True)) as (gpu, other):
        found, _ = run(other, folder)
        assert not gpu.launches
    same(found, expected)
    assert "cannot be compiled for sm_90: cuda-python: " in caplog.text
