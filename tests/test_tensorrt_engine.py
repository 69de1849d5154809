"""The TensorRT runtime, on the double of TensorRT, pycuda and cuda-python: no GPU is needed."""

import contextlib
import gc
import logging
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_spec, write_tiny_network

import rtseg
from rtseg.engine.cache import EngineCache
from rtseg.errors import BackendError

pytest.importorskip("onnxruntime", reason="the double of TensorRT computes with ONNX Runtime")

from doubles import Faults, fake_gpu

from rtseg.engine.tensorrt import driver
from rtseg.engine.tensorrt.driver import Device

GENERATIONS = (8, 10, 11)


@contextlib.contextmanager
def machine(**options):
    """A machine with a GPU, on which nothing may be left at the end."""
    with fake_gpu(**options) as gpu:
        try:
            yield gpu
        finally:
            driver.shut_down()
    assert gpu.leaks == []
    # The tests' network casts from truth values, which says nothing of the runtime.
    assert [remark for remark in gpu.remarks if "a cast between" not in remark] == []


@pytest.fixture
def network(tmp_path):
    write_tiny_network(tmp_path / "tiny.fp16.onnx", tiny_spec(precision="fp16"))
    return write_tiny_network(tmp_path / "tiny.onnx", tiny_spec())


@pytest.fixture
def load(network, tmp_path):
    def load(**options):
        # Without the check, whose frames would be among those that are counted here.
        cache = EngineCache(tmp_path / "cache")
        return rtseg.load(network, cache=cache, check=False, **options)

    return load


@pytest.fixture(params=GENERATIONS)
def generation(request):
    return request.param


def noise(count, width=96, height=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def truth(frames):
    return (frames[..., 0] > 127).astype(np.uint8)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Masks


@pytest.mark.parametrize("cuda_python", [True, False], ids=["graphs", "plain"])
def test_frames_become_masks_in_their_order(load, generation, cuda_python):
    frames = noise(11)
    with machine(generation=generation, cuda_python=cuda_python), load() as engine:
        assert (engine.backend, engine.precision, engine.depth) == ("tensorrt", "fp16", 3)
        assert engine.device == "NVIDIA H200"
        assert set(engine.versions) == {"tensorrt", "pycuda", "driver", "cuda"}
        assert engine.versions["tensorrt"].startswith(str(generation))
        np.testing.assert_array_equal(engine.infer(frames), truth(frames))
        assert engine.infer(frames[:0]).shape == (0, 64, 96)


def test_three_frames_are_in_flight_or_one(load):
    frames = noise(8)
    for mode, depth in (("throughput", 3), ("latency", 1)):
        with machine(), load(mode=mode) as engine:
            assert engine.depth == depth
            masks = []
            for frame in frames:
                if engine.pending == depth:
                    masks.append(engine.collect())
                engine.submit(frame)
            with pytest.raises(RuntimeError, match="in flight"):
                engine.submit(frames[0])
            while engine.pending:
                masks.append(engine.collect())
            np.testing.assert_array_equal(masks, truth(frames))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_an_engine_takes_several_frames_at_once(load, generation, count):
    frames = noise(count)
    with machine(generation=generation), load(batch=3) as engine:
        np.testing.assert_array_equal(engine.infer(frames), truth(frames))
        batch = engine.frame()
        batch[:] = noise(3, seed=7)
        engine.submit(batch)
        np.testing.assert_array_equal(engine.collect(), truth(batch))
        del batch


def test_masks_at_the_networks_stride_and_other_sizes(tmp_path):
    for precision, name in (("fp32", "s.onnx"), ("fp16", "s.fp16.onnx")):
        spec = tiny_spec(name="s", mask_stride=4, precision=precision)
        write_tiny_network(tmp_path / name, spec)
    with machine(), rtseg.load(tmp_path / "s.onnx", size=(128, 32)) as engine:
        frames = noise(5, 128, 32)
        np.testing.assert_array_equal(engine.infer(frames), truth(frames)[:, ::4, ::4])


def test_views_and_read_only_frames_are_seen_as_they_look(load):
    frames = noise(7, width=192)[::-1, :, ::-2]
    frozen = noise(3)
    frozen.flags.writeable = False
    with machine(), load() as engine:
        np.testing.assert_array_equal(engine.infer(frames), truth(frames))
        np.testing.assert_array_equal(engine.infer(frozen), truth(frozen))


# Memory of the host


def test_an_ordinary_frame_is_copied_and_one_of_the_engines_own_is_read_where_it_lies(load):
    black = np.zeros((64, 96, 3), np.uint8)
    with machine() as gpu, load() as engine:
        ordinary, own = black.copy(), engine.frame()
        own[:] = 0
        for frame, expected in ((ordinary, 0), (own, 1)):
            engine.submit(frame)
            # The double copies when somebody waits: what is changed now is seen in pinned memory.
            frame[:] = 255
            assert (engine.collect() == expected).all()
        assert not any("page-locked" in remark for remark in gpu.remarks)
        del own, frame


def test_a_frame_may_outlive_its_engine(load):
    with machine():
        engine = load()
        frame = engine.frame()
        frame[:] = 7
        engine.close()
        assert (frame == 7).all()
        with pytest.raises(RuntimeError, match="closed"):
            engine.frame()
        del frame


def test_without_pinned_memory_frames_are_ordinary(load, monkeypatch):
    with machine(), load() as engine:
        import pycuda.driver as cuda

        def refuse(*_):
            raise cuda.MemoryError("cuMemHostAlloc failed: out of memory")

        monkeypatch.setattr(cuda, "pagelocked_empty", refuse)
        frame = engine.frame()
        frame[:] = noise(1)[0]
        engine.submit(frame)
        np.testing.assert_array_equal(engine.collect(), truth(frame))


@pytest.mark.parametrize("alignment", [64, 128, 256])
def test_addresses_are_aligned_whatever_the_driver_gives(load, alignment):
    frames = noise(4)
    with machine(alignment=alignment), load() as engine:
        addresses = [b.address for slot in engine.slots for b in (slot.frames, slot.masks)]
        assert all(address % 256 == 0 for address in addresses)
        np.testing.assert_array_equal(engine.infer(frames), truth(frames))


# CUDA graphs


def test_graphs_are_replayed_where_cuda_python_is_there(load, generation):
    frames = noise(9)
    with machine(generation=generation) as gpu, load() as engine:
        before = gpu.enqueues
        np.testing.assert_array_equal(engine.infer(frames), truth(frames))
        own = engine.frame()
        own[:] = frames[3]
        engine.submit(own)
        np.testing.assert_array_equal(engine.collect(), truth(own))
        assert gpu.enqueues == before
        assert sum(graph.runs for graph in gpu.graphs.values()) == engine.depth + 10
        del own


def test_without_cuda_python_each_frame_is_enqueued(load, caplog):
    caplog.set_level(logging.DEBUG, "rtseg")
    with machine(cuda_python=False) as gpu, load() as engine:
        before = gpu.enqueues
        engine.infer(noise(9))
        assert gpu.enqueues == before + 9
    said = [r for r in caplog.records if "no CUDA graphs" in r.getMessage()]
    assert [record.levelno for record in said] == [logging.DEBUG]


def test_a_capture_that_is_refused_leaves_the_plain_way(load, caplog):
    caplog.set_level(logging.DEBUG, "rtseg")
    frames = noise(7)
    # In each slot: the first enqueue, the capture's, and after that the plain one.
    with machine(faults=Faults(enqueue_fails_at=(2, 5, 8))) as gpu, load() as engine:
        np.testing.assert_array_equal(engine.infer(frames), truth(frames))
        assert not any(graph.alive for graph in gpu.graphs.values())
    assert sum("no CUDA graph," in record.getMessage() for record in caplog.records) == 3


def test_a_graph_that_gives_another_mask_is_not_used(load, monkeypatch):
    from rtseg.engine.tensorrt import graph

    frames = noise(5)
    with machine() as gpu:
        monkeypatch.setattr(graph.Graph, "launch", lambda self: None)
        with load() as engine:
            before = gpu.enqueues
            np.testing.assert_array_equal(engine.infer(frames), truth(frames))
            assert gpu.enqueues == before + 5


# Threads and other users of the context


def in_thread(work):
    caught = []

    def run():
        try:
            work()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if caught:
        raise caught[0]


def test_an_engine_works_in_other_threads_than_the_one_that_made_it(load):
    frames = noise(7)
    with machine():
        made = []
        in_thread(lambda: made.append(load()))
        engine = made.pop()
        np.testing.assert_array_equal(engine.infer(frames), truth(frames))
        in_thread(lambda: np.testing.assert_array_equal(engine.infer(frames), truth(frames)))
        in_thread(engine.close)


def test_two_engines_in_two_threads(load):
    frames = noise(20)
    with machine():

        def work():
            with load() as engine:
                for _ in range(5):
                    np.testing.assert_array_equal(engine.infer(frames), truth(frames))

        other = threading.Thread(target=work)
        other.start()
        work()
        other.join()


@pytest.mark.parametrize("kind", ["primary", "own"])
def test_another_librarys_context_is_left_as_it_was(load, kind):
    frames = noise(4)
    with machine():
        import pycuda.driver as cuda

        cuda.init()
        if kind == "primary":  # as torch has it
            context = cuda.Device(0).retain_primary_context()
            context.push()
        else:
            context = cuda.Device(0).make_context()
        with load() as engine:
            np.testing.assert_array_equal(engine.infer(frames), truth(frames))
            assert cuda.Context.get_current() == context
        assert cuda.Context.get_current() == context
        context.pop()
        context.detach()


# The end


def test_closing_twice_is_fine_and_gives_all_back(load):
    with machine() as gpu:
        engine = load()
        engine.submit(noise(1)[0])
        engine.close()
        assert (gpu.memory.used, engine.pending) == (0, 0)
        engine.close()
        with pytest.raises(RuntimeError, match="closed"):
            engine.infer(noise(1))


def test_an_engine_that_nobody_closed_is_closed_with_its_last_reference(load):
    with machine() as gpu:
        engine = load()
        engine.infer(noise(1))
        assert gpu.memory.used > 0
        del engine
        gc.collect()
        assert gpu.memory.used == 0


SCRIPT = """
import atexit, sys
sys.path.insert(0, {tests!r})
from doubles import fake_gpu

block = fake_gpu()
gpu = block.__enter__()

def check():
    block.__exit__(None, None, None)
    print(gpu.memory.used, gpu.leaks)

atexit.register(check)
import numpy as np
import rtseg
engine = rtseg.load({network!r}, backend="tensorrt")
engine.submit(np.zeros((64, 96, 3), np.uint8))
print(engine.device)
"""


def test_nothing_aborts_at_the_interpreters_end(network):
    script = SCRIPT.format(tests=str(Path(__file__).parent), network=str(network))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["NVIDIA H200", "0 []"]


# Faults


def needed(load, depth):
    """Bytes of GPU memory of an engine with so many frames in flight."""
    with machine() as gpu, load(mode="throughput" if depth == 3 else "latency"):
        return gpu.memory.used


def test_with_less_memory_there_are_fewer_frames_in_flight(load, caplog):
    three, one = needed(load, 3), needed(load, 1)
    slot = (three - one) // 2
    for room, depth in ((three, 3), (one + slot, 2), (one + slot // 2, 1), (one, 1)):
        caplog.clear()
        with machine(faults=Faults(out_of_memory_after=room)), load() as engine:
            assert engine.depth == depth
            frames = noise(7)
            np.testing.assert_array_equal(engine.infer(frames), truth(frames))
        said = warnings_of(caplog)
        assert len(said) == 3 - depth
        if said:
            assert f"{depth} frame{'s' if depth > 1 else ''} in flight" in said[-1]


def test_too_little_memory_for_one_frame_is_one_line(load):
    room = needed(load, 1)
    # Less than a slot, and less than the engine itself.
    for limit in (room - 1000, 1000):
        with machine(faults=Faults(out_of_memory_after=limit)):
            with pytest.raises(BackendError, match="memory") as caught:
                load(backend="tensorrt")
            assert "\n" not in str(caught.value)


def test_a_frame_that_tensorrt_refuses_gives_an_error_and_never_an_old_mask(load):
    # Three enqueues make the engine ready; of the frames the third is refused.
    frames = noise(6)
    with machine(cuda_python=False, faults=Faults(enqueue_fails_at=6)), load() as engine:
        for frame in frames[:3]:
            engine.submit(frame)
        for i in range(6):
            if i == 2:
                with pytest.raises(BackendError, match="Cask convolution") as caught:
                    engine.collect()
                assert "\n" not in str(caught.value)
                del caught  # its traceback keeps what the engine held
            else:
                np.testing.assert_array_equal(engine.collect(), truth(frames[i]))
            if i < 3:
                engine.submit(frames[i + 3])


def test_an_engine_that_cannot_run_at_all_is_an_error_at_once(load):
    with machine(faults=Faults(enqueue_fails_at=1)):
        with pytest.raises(BackendError, match="TensorRT refused to run") as caught:
            load(backend="tensorrt")
        assert "\n" not in str(caught.value)


def test_a_gpu_that_fails_is_an_error_at_collect_and_none_at_close(load):
    with fake_gpu():
        engine = load()
        with engine.gpu.current():
            engine.slots[0].masks.free()  # the network that comes writes into nowhere
        engine.submit(noise(1)[0])
        with pytest.raises(BackendError, match="TensorRT failed on a frame") as caught:
            engine.collect()
        assert "\n" not in str(caught.value)
        with pytest.raises(BackendError):  # the context is spoilt for good
            engine.infer(noise(1))
        engine.close()
        driver.shut_down()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"faults": Faults(no_driver=True)}, "no NVIDIA driver"),
        ({"faults": Faults(no_device=True)}, "no NVIDIA GPU"),
        ({"faults": Faults(old_driver=True)}, "driver is too old"),
        ({"pycuda": False}, "pycuda is not installed"),
    ],
    ids=["no driver", "no GPU", "old driver", "no pycuda"],
)
def test_what_a_machine_lacks_is_one_line(options, says):
    with fake_gpu(**options), pytest.raises(BackendError, match=says) as caught:
        Device()
    assert "\n" not in str(caught.value)


# The engine in the cache


def test_the_second_time_it_comes_from_the_cache(load, generation):
    with machine(generation=generation) as gpu:
        with load() as engine:
            assert engine.built
        with load() as engine:
            assert not engine.built
            np.testing.assert_array_equal(engine.infer(noise(2)), truth(noise(2)))
        assert len(gpu.builds) == 1


@pytest.mark.parametrize(
    "other",
    [{"gpu": "NVIDIA L4", "compute_capability": (8, 9)}, {"generation": 11}],
    ids=["GPU", "version"],
)
def test_an_engine_of_another_gpu_or_version_is_not_taken(load, other):
    with machine(), load():
        pass
    with machine(**other) as gpu:
        with load() as engine:
            assert engine.built
            assert engine.device == gpu.name
            np.testing.assert_array_equal(engine.infer(noise(2)), truth(noise(2)))
        assert len(gpu.builds) == 1


def entry_of(tmp_path, engine):
    """The cache, and the key of an engine's entry."""
    cache = EngineCache(tmp_path / "cache")
    (entry,) = cache.entries()
    key = {name: value for name, value in entry.key.items() if name != "rtseg"}
    payload = cache.read(engine.spec.name, key)
    assert payload is not None
    return cache, key, payload


def spoilt(payload, how, tmp_path):
    if how == "cut short":
        return payload[: len(payload) // 2]
    if how == "empty":
        return b""
    if how == "of another version":
        with (
            machine(generation=11),
            rtseg.load(tmp_path / "tiny.onnx", cache=EngineCache(tmp_path / "eleven")) as engine,
        ):
            (entry,) = EngineCache(tmp_path / "eleven").entries()
            content = entry.path.read_bytes()
            assert engine.precision == "fp16"
            return content[content.index(b"\n") + 1 :]
    flipped = bytearray(payload)
    flipped[0] ^= 0xFF
    return bytes(flipped)


@pytest.mark.parametrize("how", ["cut short", "empty", "bit-flipped", "of another version"])
def test_a_plan_that_tensorrt_does_not_take_is_built_anew_once(load, tmp_path, caplog, how):
    # The entry itself is in order: only TensorRT can tell.
    with machine(), load() as engine:
        cache, key, payload = entry_of(tmp_path, engine)
    cache.write("tiny", key, spoilt(payload, how, tmp_path))
    caplog.clear()
    with machine() as gpu:
        with load() as engine:
            assert engine.built
            np.testing.assert_array_equal(engine.infer(noise(4)), truth(noise(4)))
        assert len(gpu.builds) == 1
        with load() as engine:
            assert not engine.built
    assert len(warnings_of(caplog)) == 1
    assert "tiny: building the engine anew" in warnings_of(caplog)[0]


def test_a_plan_of_other_frames_is_built_anew(load, tmp_path, caplog):
    with machine(), load() as engine:
        cache, key, _ = entry_of(tmp_path, engine)
    with machine(), load(size=(128, 64)) as engine:
        large = next(e for e in cache.entries() if "128x64" in e.shape).path.read_bytes()
    cache.write("tiny", key, large[large.index(b"\n") + 1 :])
    caplog.clear()
    with machine(), load() as engine:
        assert engine.built
        np.testing.assert_array_equal(engine.infer(noise(4)), truth(noise(4)))
    assert "(1, 64, 128, 3), not UINT8 (1, 64, 96, 3)" in warnings_of(caplog)[0]


def test_a_tensorrt_that_does_not_take_its_own_plans_is_one_line(load, monkeypatch):
    from rtseg.engine.tensorrt import builder

    real = builder.plan_for

    def cut(*args, **options):
        plan = real(*args, **options)
        return builder.Plan(plan.payload[:50], plan.built, plan.sidecar)

    monkeypatch.setattr(builder, "plan_for", cut)
    with machine():
        with pytest.raises(BackendError, match="does not take this engine") as caught:
            load(backend="tensorrt")
        assert "\n" not in str(caught.value)


# Precision


def test_the_precision_in_force_is_the_plans(load, tmp_path):
    for precision in ("fp32", "fp16"):
        with machine(), load(precision=precision) as engine:
            assert engine.precision == precision
            assert engine.sidecar["precision"] == precision


def test_without_an_fp16_file_it_runs_fp32_and_says_so(tiny_network, caplog):
    with machine(), rtseg.load(tiny_network) as engine:
        assert (engine.backend, engine.precision) == ("tensorrt", "fp32")
        np.testing.assert_array_equal(engine.infer(noise(2)), truth(noise(2)))
    assert any("tiny.fp16.onnx" in line for line in warnings_of(caplog))


# What is held on a device


def test_a_holding_gives_back_the_newest_first_and_only_its_own():
    with machine() as gpu:
        device = Device()
        order = []
        first, second = device.hold(), device.hold()
        first.buffer(1000)
        kept = gpu.memory.used
        for holding, name in ((first, "a"), (first, "b"), (second, "c")):
            holding.on_close(lambda name=name: order.append(name))
        second.buffer(1000)
        assert gpu.memory.used > kept
        second.close()
        second.close()
        assert gpu.memory.used == kept
        with pytest.raises(RuntimeError, match="given back"):
            second.stream()
        device.close()
        device.close()
        assert order == ["c", "b", "a"]
        assert gpu.memory.used == 0
        with pytest.raises(RuntimeError, match="closed"):
            device.hold()


def test_events_with_timing_tell_milliseconds():
    with machine():
        device = Device()
        held = device.hold()
        stream, begin, end = held.stream(), held.event(timing=True), held.event(timing=True)
        with device.current():
            begin.record(stream)
            end.record(stream)
            end.synchronize()
            assert end.time_since(begin) >= 0
        del stream, begin, end
        device.close()
