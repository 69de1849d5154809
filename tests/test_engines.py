"""Engines: what ``rtseg.load`` promises, on every backend that is installed."""

import importlib.metadata
import importlib.util
import math
import os
import subprocess
import sys
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

import rtseg
from rtseg.data.camvid import CamVid
from rtseg.engine import BACKENDS, find_network, parity, zoo
from rtseg.engine.backends import KNOWN, fault
from rtseg.errors import BackendError, NetworkError, UsageError
from rtseg.spec import read_network


@pytest.fixture(params=BACKENDS)
def backend(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    if reason := fault(KNOWN[request.param], None):
        pytest.skip(f"{request.param} is installed, but cannot run: {reason}")
    return request.param


@pytest.fixture
def engine(tiny_network, backend):
    with rtseg.load(tiny_network, backend=backend) as engine:
        yield engine


def noise(count, width=96, height=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def truth(frames):
    return (frames[..., 0] > 127).astype(np.uint8)


# infer


@pytest.mark.parametrize("count", [0, 1, 9])
def test_frames_become_masks_in_their_order(engine, count):
    frames = noise(count)
    masks = engine.infer(frames)
    assert (masks.shape, masks.dtype) == ((count, 64, 96), np.uint8)
    np.testing.assert_array_equal(masks, truth(frames))


@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_an_engine_takes_several_frames_at_once(tiny_network, backend, count):
    frames = noise(count)
    with rtseg.load(tiny_network, backend=backend, batch=3) as engine:
        np.testing.assert_array_equal(engine.infer(frames), truth(frames))
        batch = engine.frame()
        batch[:] = noise(3, seed=7)
        engine.submit(batch)
        np.testing.assert_array_equal(engine.collect(), truth(batch))
        with pytest.raises(ValueError, match="3, 64, 96, 3"):
            engine.submit(noise(1)[0])


def test_a_batch_is_at_least_one(tiny_network):
    with pytest.raises(UsageError, match="batch 0"):
        rtseg.load(tiny_network, batch=0)


def test_more_frames_than_are_in_flight_stay_in_order(engine):
    frames = noise(4 * engine.depth + 3)
    np.testing.assert_array_equal(engine.infer(frames), truth(frames))
    assert engine.pending == 0


def test_frames_that_are_views_are_seen_as_they_look(engine):
    frames = noise(7, width=192)[::-1, :, ::-2]
    assert not frames.flags.c_contiguous
    np.testing.assert_array_equal(engine.infer(frames), truth(frames))


def test_read_only_frames_are_taken(engine):
    frames = noise(3)
    before = frames.copy()
    frames.flags.writeable = False
    np.testing.assert_array_equal(engine.infer(frames), truth(before))
    np.testing.assert_array_equal(frames, before)


def test_masks_of_one_call_outlive_the_next(engine):
    first, second = noise(2, seed=1), noise(2, seed=2)
    masks = engine.infer(first)
    engine.infer(second)
    np.testing.assert_array_equal(masks, truth(first))


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 64, 96, 4), np.uint8),
        np.zeros((1, 96, 64, 3), np.uint8),
        np.zeros((1, 3, 64, 96), np.uint8),
        np.zeros((64, 96, 3), np.uint8),
        np.zeros((1, 64, 96, 3), np.float32),
        np.zeros((1, 64, 96, 3), np.int8),
    ],
    ids=lambda frames: f"{frames.dtype} {frames.shape}",
)
def test_other_frames_are_named(engine, frames):
    with pytest.raises(ValueError, match=r"\(N, 64, 96, 3\)") as caught:
        engine.infer(frames)
    assert f"{frames.dtype} {frames.shape}" in str(caught.value)
    np.testing.assert_array_equal(engine.infer(noise(1)), truth(noise(1)))


# submit and collect


def test_masks_are_collected_in_the_order_of_submission(engine):
    frames = noise(3 * engine.depth + 1)
    masks = []
    for frame in frames:
        if engine.pending == engine.depth:
            masks.append(engine.collect())
        engine.submit(frame)
    while engine.pending:
        masks.append(engine.collect())
    np.testing.assert_array_equal(masks, [engine.infer(f[None])[0] for f in frames])
    np.testing.assert_array_equal(masks, truth(frames))


def test_a_mask_goes_where_it_is_told(engine):
    frame, out = noise(1)[0], np.full((64, 96), 9, np.uint8)
    engine.submit(frame)
    assert engine.collect(out) is out
    np.testing.assert_array_equal(out, truth(frame))


def test_too_many_frames_in_flight_are_refused(engine):
    frames = noise(engine.depth + 1)
    for frame in frames[:-1]:
        engine.submit(frame)
    with pytest.raises(RuntimeError, match=f"{engine.depth} frames are in flight"):
        engine.submit(frames[-1])
    masks = [engine.collect() for _ in frames[:-1]]
    np.testing.assert_array_equal(masks, truth(frames[:-1]))


def test_collecting_nothing_is_refused(engine):
    with pytest.raises(RuntimeError, match="no frame is in flight"):
        engine.collect()


def test_infer_is_refused_while_frames_are_in_flight(engine):
    frame = noise(1)
    engine.submit(frame[0])
    with pytest.raises(RuntimeError, match="in flight"):
        engine.infer(frame)
    np.testing.assert_array_equal(engine.collect(), truth(frame[0]))


@pytest.mark.parametrize(
    "frame",
    [np.zeros((32, 96, 3), np.uint8), np.zeros((64, 96, 3)), np.zeros((1, 64, 96, 3), np.uint8)],
    ids=lambda frame: f"{frame.dtype} {frame.shape}",
)
def test_another_frame_is_named_and_takes_no_place(engine, frame):
    for _ in range(engine.depth + 1):
        with pytest.raises(ValueError, match=r"\(64, 96, 3\)") as caught:
            engine.submit(frame)
    assert f"{frame.dtype} {frame.shape}" in str(caught.value)
    assert engine.pending == 0


def test_a_frame_lives_until_its_mask_is_there(engine):
    # The backends read it where it lies: freed memory would be read as the picture.
    frame = noise(1)[0]
    expected, alive = truth(frame), weakref.ref(frame)
    engine.submit(frame)
    del frame
    assert alive() is not None
    np.testing.assert_array_equal(engine.collect(), expected)
    assert alive() is None


def test_draining_forgets_what_is_in_flight(engine):
    engine.submit(noise(1)[0])
    engine.drain()
    assert engine.pending == 0
    np.testing.assert_array_equal(engine.infer(noise(5)), truth(noise(5)))


# Life


def test_closing_twice_is_fine_and_a_closed_engine_says_so(tiny_network, backend):
    engine = rtseg.load(tiny_network, backend=backend)
    engine.submit(noise(1)[0])
    engine.close()
    engine.close()
    assert engine.pending == 0
    with pytest.raises(RuntimeError, match="closed"):
        engine.infer(noise(1))
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(noise(1)[0])


def test_leaving_the_context_closes(tiny_network, backend):
    with rtseg.load(tiny_network, backend=backend) as engine:
        engine.infer(noise(1))
    with pytest.raises(RuntimeError, match="closed"):
        engine.infer(noise(1))


def test_an_engine_tells_what_it_is(engine, backend):
    assert engine.backend == backend
    assert engine.spec.name == "tiny"
    assert engine.device
    assert engine.depth >= 1
    assert backend in engine.versions  # those of a GPU also tell of its driver's bindings
    assert engine.versions[backend].startswith(
        importlib.metadata.version(backend).rpartition(".")[0]
    )


# Modes


def test_both_modes_give_the_same_masks(tiny_network, backend):
    frames = noise(9)
    for mode in ("latency", "throughput"):
        with rtseg.load(tiny_network, backend=backend, mode=mode) as engine:
            assert engine.mode == mode
            np.testing.assert_array_equal(engine.infer(frames), truth(frames))


def test_latency_keeps_one_frame_in_flight_and_throughput_every_core_busy(tiny_network, backend):
    with rtseg.load(tiny_network, backend=backend, mode="latency") as engine:
        assert engine.depth == 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with rtseg.load(tiny_network, backend=backend) as engine:
        # One a core, and at most one more that waits for the first core that is free.
        assert 1 <= engine.depth <= cores + 1


def test_an_unknown_mode_is_named(tiny_network):
    with pytest.raises(UsageError, match="unknown mode 'fast': one of throughput, latency"):
        rtseg.load(tiny_network, mode="fast")


# Sizes


@pytest.mark.parametrize("size", [(96, 64), (32, 32), (160, 96), (64, 256)])
def test_other_sizes(tiny_network, backend, size):
    width, height = size
    frames = noise(3, width, height)
    with rtseg.load(tiny_network, backend=backend, size=size) as engine:
        assert (engine.spec.width, engine.spec.height) == size
        np.testing.assert_array_equal(engine.infer(frames), truth(frames))


def test_a_size_that_does_not_fit_names_one_that_does(tiny_network, backend):
    with pytest.raises(NetworkError, match="100x70") as caught:
        rtseg.load(tiny_network, backend=backend, size=(100, 70))
    near = tuple(int(side) for side in str(caught.value).rpartition("such as ")[2].split("x"))
    with rtseg.load(tiny_network, backend=backend, size=near) as engine:
        assert engine.infer(noise(1, *near)).shape == (1, near[1], near[0])


def test_masks_at_the_networks_stride(make_network, backend):
    path = make_network(mask_stride=4)
    frames = noise(5)
    with rtseg.load(path, backend=backend) as engine:
        np.testing.assert_array_equal(engine.infer(frames), truth(frames)[:, ::4, ::4])
    with rtseg.load(path, backend=backend, size=(128, 32)) as engine:
        assert engine.infer(noise(1, 128, 32)).shape == (1, 8, 32)


# Precision


def test_the_precision_asked_for_is_the_one_in_force(tiny_network, backend):
    with rtseg.load(tiny_network, backend=backend, precision="fp32") as engine:
        assert engine.precision == "fp32"
        np.testing.assert_array_equal(engine.infer(noise(3)), truth(noise(3)))


def capabilities():
    ov = pytest.importorskip("openvino")
    return ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_openvino_runs_a_precision_of_this_cpu_or_says_which_it_would_run(tiny_network, precision):
    if precision.upper() in capabilities():
        with rtseg.load(tiny_network, backend="openvino", precision=precision) as engine:
            assert engine.precision == precision
            np.testing.assert_array_equal(engine.infer(noise(3)), truth(noise(3)))
        return
    for _ in range(2):  # the second time from the cache
        with pytest.raises(BackendError, match=f"precision {precision}: OpenVINO") as caught:
            rtseg.load(tiny_network, backend="openvino", precision=precision)
        assert "--precision fp32" in str(caught.value) or "--precision bf16" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_openvinos_own_choice_is_told(tiny_network):
    expected = "bf16" if "BF16" in capabilities() else "fp32"
    with rtseg.load(tiny_network, backend="openvino") as engine:
        assert engine.precision == expected
    with rtseg.load(tiny_network, backend="openvino") as engine:  # from the cache
        assert engine.precision == expected


def test_onnxruntime_runs_the_files_own_precision(tiny_network, make_network):
    pytest.importorskip("onnxruntime", reason="extra onnxruntime")
    half = make_network(precision="fp16")
    for precision in (None, "fp16"):
        with rtseg.load(half, backend="onnxruntime", precision=precision) as engine:
            assert engine.precision == "fp16"
            np.testing.assert_array_equal(engine.infer(noise(3)), truth(noise(3)))
    for path, precision in ((half, "fp32"), (tiny_network, "fp16"), (tiny_network, "bf16")):
        with pytest.raises(BackendError, match=f"precision {precision}") as caught:
            rtseg.load(path, backend="onnxruntime", precision=precision)
        assert "\n" not in str(caught.value)


# Parity


def test_agreement_is_the_share_of_equal_pixels(tiny_network, backend):
    class Inverted:
        def __init__(self, engine, rows):
            self.spec, self._engine, self._rows = engine.spec, engine, rows

        def infer(self, frames):
            masks = self._engine.infer(frames)
            masks[:, : self._rows] ^= 1
            return masks

    frames = list(noise(4))
    with rtseg.load(tiny_network, backend=backend) as engine:
        assert parity.agreement(engine, engine, frames) == 1
        assert parity.agreement(engine, Inverted(engine, 16), frames) == 0.75
        assert parity.agreement(Inverted(engine, 64), engine, frames) == 0
        assert math.isnan(parity.agreement(engine, engine, []))
        large = [cv2.resize(frame, (192, 128)) for frame in frames]
        assert parity.agreement(engine, engine, large) == 1
        with (
            rtseg.load(tiny_network, backend=backend, size=(128, 64)) as other,
            pytest.raises(ValueError, match="different sizes"),
        ):
            parity.agreement(engine, other, frames)


# What does not exist


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"backend": "abacus"}, "unknown backend 'abacus': one of openvino, onnxruntime"),
        ({"precision": "fp8"}, "unknown precision 'fp8': one of fp32, fp16, bf16"),
    ],
)
def test_an_unknown_backend_or_precision_is_named(tiny_network, options, says):
    with pytest.raises(UsageError, match=says):
        rtseg.load(tiny_network, **options)


@pytest.mark.parametrize(
    ("backend", "extra"),
    [("openvino", "'rtseg'"), ("onnxruntime", r"'rtseg\[onnxruntime\]'")],
)
def test_a_backend_that_is_not_installed_says_how_to_get_it(
    tiny_network, monkeypatch, backend, extra
):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == backend else found(name, *a)
    )
    with pytest.raises(UsageError, match=f"{backend} is not installed: pip install {extra}"):
        rtseg.load(tiny_network, backend=backend)


def test_an_unknown_network_names_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="'motorway' is no network of the zoo") as caught:
        rtseg.load("motorway")
    for name in zoo():
        assert name in str(caught.value)


def test_a_path_that_is_not_there_or_no_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such network file"):
        rtseg.load(tmp_path / "gone.onnx")
    with pytest.raises(UsageError, match="a folder"):
        rtseg.load(tmp_path)


def test_a_text_file_is_no_network(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("buy milk")
    with pytest.raises(NetworkError, match="not a whole ONNX model"):
        rtseg.load(path)


def test_a_network_the_backend_cannot_compile_is_one_line(tmp_path, tiny_network, backend):
    # The head is in order, the graph is not: an operator that nobody knows.
    content = tiny_network.read_bytes()
    assert content.count(b"Squeeze") == 1
    path = tmp_path / "odd.onnx"
    path.write_bytes(content.replace(b"Squeeze", b"Squooze"))
    read_network(path)
    with pytest.raises(BackendError, match="cannot") as caught:
        rtseg.load(path, backend=backend)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# The published networks


@pytest.mark.parametrize("name", zoo())
def test_the_zoos_networks_keep_the_contract(name):
    spec = find_network(name).spec
    assert spec.precision == "fp32"
    assert spec.name == name


@pytest.mark.parametrize("name", zoo())
def test_the_zoos_files_of_int8_are_the_same_networks(name):
    full, quantised = find_network(name).spec, find_network(name, "int8").spec
    assert (quantised.precision, quantised.name) == ("int8", name)
    assert (quantised.classes, quantised.palette) == (full.classes, full.palette)
    assert (quantised.width, quantised.height) == (full.width, full.height)
    lost = full.measured["camvid_val_miou"] - quantised.measured["camvid_val_miou"]
    assert lost <= 0.005  # what INT8 may cost


@pytest.fixture(scope="module")
def road_frames(shared):
    """Fifty frames of CamVid's validation split, of the network's size."""
    if "road-unet" not in zoo():
        pytest.skip("no network road-unet in engines/")
    spec = find_network("road-unet").spec
    frames = CamVid(shared / "data" / "camvid", "val")
    chosen = [frames[i][0] for i in range(0, len(frames), 2)][:50]
    return np.stack([cv2.resize(frame, (spec.width, spec.height)) for frame in chosen])


@pytest.fixture(scope="module")
def road_masks(road_frames):
    with rtseg.load("road-unet", backend="openvino", precision="fp32") as engine:
        return engine.infer(road_frames)


def agreement(a, b):
    return (a == b).mean()


@pytest.mark.slow
def test_the_published_network_sees_road_and_background(road_masks):
    assert 0.05 < (road_masks == 1).mean() < 0.8


@pytest.mark.slow
def test_backends_agree_on_real_frames(road_frames, road_masks):
    pytest.importorskip("onnxruntime", reason="extra onnxruntime")
    with rtseg.load("road-unet", backend="onnxruntime", precision="fp32") as engine:
        assert agreement(engine.infer(road_frames), road_masks) >= 0.9995


@pytest.mark.slow
def test_modes_agree_on_real_frames(road_frames, road_masks):
    with rtseg.load("road-unet", precision="fp32", mode="latency") as engine:
        assert agreement(engine.infer(road_frames[:20]), road_masks[:20]) >= 0.9995


@pytest.mark.slow
def test_bf16_agrees_on_real_frames(road_frames, road_masks):
    if "BF16" not in capabilities():
        pytest.skip("this CPU has no bf16")
    with rtseg.load("road-unet", backend="openvino", precision="bf16") as engine:
        assert agreement(engine.infer(road_frames), road_masks) >= 0.99


@pytest.mark.slow
def test_the_file_of_half_precision_agrees_on_real_frames(road_frames, road_masks):
    pytest.importorskip("onnxruntime", reason="extra onnxruntime")
    try:
        find_network("road-unet", "fp16")
    except NetworkError:
        pytest.skip("no road-unet.fp16.onnx in engines/")
    with rtseg.load("road-unet", backend="onnxruntime", precision="fp16") as engine:
        assert engine.precision == "fp16"
        assert agreement(engine.infer(road_frames[:10]), road_masks[:10]) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_file_of_int8_agrees_on_real_frames(road_frames, road_masks, backend):
    pytest.importorskip(backend)
    if backend == "openvino" and "INT8" not in capabilities():
        pytest.skip("OpenVINO does not run INT8 on this CPU")
    with rtseg.load("road-unet", backend=backend, precision="int8") as engine:
        assert engine.precision == "int8"
        assert agreement(engine.infer(road_frames[:10]), road_masks[:10]) >= 0.99


def test_a_signal_after_engines_have_come_and_gone_does_no_harm(
    tiny_network: Path,
) -> None:
    # OpenVINO's CPU plugin sets an alternate signal stack; one left dangling crashes the process.
    script = (
        "import gc, signal, sys, rtseg\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "first = rtseg.load(sys.argv[1])\n"
        "second = rtseg.load(sys.argv[1], mode='latency')\n"
        "del first; gc.collect(); del second; gc.collect()\n"
        "signal.raise_signal(signal.SIGUSR1)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tiny_network)], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "handled\n"), run.stderr


def test_openvino_reports_to_nobody() -> None:
    script = "import sys, rtseg.engine.openvino; print('openvino_telemetry' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "False\n"), run.stderr
