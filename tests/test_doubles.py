"""The doubles of TensorRT, pycuda and cuda-python behave as the real ones are known to."""

import ctypes
import gc
import importlib.util
import signal
import struct
import sys
import threading

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the doubles read networks with onnx (extra test)")
pytest.importorskip("onnxruntime", reason="the doubles run engines with ONNX Runtime")

from doubles import Faults, ParserFault, fake_gpu  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

GENERATIONS = (8, 10, 11)
SHAPE = (1, 64, 96, 3)


def make_network(*early, last=TensorProto.FLOAT16):
    """The bytes of a network of FP16 in which a pixel is road where its blue is above 127.

    ``early`` are nodes to begin with; ``last`` is the type that the mask is cast from.
    """
    weight = np.zeros((1, 3, 1, 1), np.float16)
    weight[0, 0] = 1
    nodes = early or (
        helper.make_node("Cast", ["frames"], ["real"], to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
    )
    sides = ["batch", "height", "width"]
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node("Conv", ["planes", "weight", "bias"], ["score"], "score"),
            helper.make_node("Greater", ["score", "zero"], ["is_road"]),
            helper.make_node("Squeeze", ["is_road", "axis"], ["plane"]),
            helper.make_node("Cast", ["plane"], ["number"], to=last),
            helper.make_node("Cast", ["number"], ["masks"], to=TensorProto.UINT8),
        ],
        "road",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [*sides, 3])],
        [helper.make_tensor_value_info("masks", TensorProto.UINT8, sides)],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([-127.5], np.float16), "bias"),
            numpy_helper.from_array(np.array(0, np.float16), "zero"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, ir_version=8, opset_imports=[opset]).SerializeToString()


@pytest.fixture(scope="module")
def half_network():
    """The bytes of a network that every generation takes."""
    return make_network()


@pytest.fixture
def current():
    """Make the primary context of a simulated GPU current; gives back what it made."""
    import contextlib

    @contextlib.contextmanager
    def enter():
        import pycuda.driver as cuda

        cuda.init()
        context = cuda.Device(0).retain_primary_context()
        context.push()
        try:
            yield cuda
        finally:
            cuda.Context.pop()
            context.detach()

    return enter


def new_log(trt):
    """A logger that keeps what it hears."""

    class Log(trt.ILogger):
        def __init__(self):
            super().__init__()
            self.heard = []

        def log(self, severity, msg):
            self.heard.append((severity.name, msg))

    return Log()


def network_flags(trt, generation):
    """The flags of an explicit, and where possible strongly typed, network."""
    flags = trt.NetworkDefinitionCreationFlag
    if generation == 8:
        return 1 << int(flags.EXPLICIT_BATCH)
    return 1 << int(flags.STRONGLY_TYPED) if generation == 10 else 0


def build(trt, generation, content, log=None, configure=lambda trt, config: None):
    """Build a network for frames of 96x64; None where TensorRT gives none."""
    log = log or new_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(network_flags(trt, generation))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(content), log.heard
    network.get_input(0).shape = SHAPE
    config = builder.create_builder_config()
    configure(trt, config)
    plan = builder.build_serialized_network(network, config)
    return None if plan is None else bytes(plan)


class Running:
    """An engine with everything it needs to run on one frame."""

    def __init__(self, trt, cuda, plan):
        self.cuda = cuda
        self.engine = trt.Runtime(new_log(trt)).deserialize_cuda_engine(plan)
        self.context = self.engine.create_execution_context()
        self.stream = cuda.Stream()
        self.frame = cuda.pagelocked_empty(SHAPE, np.uint8)
        self.mask = cuda.pagelocked_zeros(SHAPE[:3], np.uint8)
        self.frame[:] = np.random.default_rng(0).integers(0, 256, SHAPE)
        self.buffers = [cuda.mem_alloc(self.frame.nbytes), cuda.mem_alloc(self.mask.nbytes)]
        for index, buffer in enumerate(self.buffers):
            name = self.engine.get_tensor_name(index)
            assert self.context.set_tensor_address(name, int(buffer))

    def enqueue(self):
        self.cuda.memcpy_htod_async(self.buffers[0], self.frame, self.stream)
        ran = self.context.execute_async_v3(self.stream.handle)
        self.cuda.memcpy_dtoh_async(self.mask, self.buffers[1], self.stream)
        return ran

    @property
    def right(self):
        return np.array_equal(self.mask, self.frame[..., 0] > 127)


# The modules.


def test_modules_are_there_for_the_block_only():
    with fake_gpu():
        for name in ("tensorrt", "pycuda.driver", "cuda.bindings.runtime"):
            assert importlib.util.find_spec(name) is not None
        import tensorrt

        assert tensorrt.__version__ == "10.16.1.11"
    assert "tensorrt" not in sys.modules
    with fake_gpu(tensorrt=False):
        assert importlib.util.find_spec("tensorrt") is None
        with pytest.raises(ModuleNotFoundError):
            import tensorrt


def test_a_generation_has_its_own_names_and_no_others():
    names = {
        8: (["NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "BuilderFlag.FP16"],
            ["IProgressMonitor", "NetworkDefinitionCreationFlag.STRONGLY_TYPED"]),
        10: (["NetworkDefinitionCreationFlag.STRONGLY_TYPED", "BuilderFlag.FP16",
              "IProgressMonitor"], ["ICudaEngine.num_bindings"]),
        11: (["IProgressMonitor", "ICudaEngine.device_memory_size_v2"],
             ["BuilderFlag.FP16", "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
              "ICudaEngine.device_memory_size", "Builder.platform_has_fast_fp16"]),
    }  # fmt: skip
    for generation, (there, absent) in names.items():
        with fake_gpu(generation):
            import tensorrt as trt

            for chain in there + absent:
                found = trt
                for name in chain.split("."):
                    found = getattr(found, name, None)
                assert (found is not None) == (chain in there), (generation, chain)


def test_calls_are_held_to_the_real_signatures():
    with fake_gpu(10):
        import tensorrt as trt

        builder = trt.Builder(trt.Logger())
        config = builder.create_builder_config()
        config.set_memory_pool_limit(pool=trt.MemoryPoolType.WORKSPACE, pool_size=1 << 30)
        for wrong in (
            lambda: trt.Builder(),
            lambda: trt.Builder(None),
            lambda: builder.create_network(flags="STRONGLY_TYPED"),
            lambda: config.set_flag(0),
            lambda: config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1.5),
            lambda: config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size=1),
            lambda: trt.ICudaEngine(),
            lambda: trt.Dims((1, 2)) == trt.Dims((1, 2)),
        ):
            with pytest.raises(TypeError):
                wrong()
        with pytest.raises(AttributeError):
            config.max_workspace_size = 1  # gone since 10
        with pytest.raises(AttributeError):
            builder.colour = "green"
        with pytest.raises(AttributeError):
            config.num_optimization_profiles = 2  # to be read only

        class Careless(trt.ILogger):
            def __init__(self):
                pass

        with pytest.raises(TypeError, match="must be called"):
            Careless()
        with pytest.raises(NotImplementedError, match="does not play"):
            builder.max_DLA_batch_size  # noqa: B018 - reading it is the test


def test_cuda_python_has_the_real_functions():
    with fake_gpu():
        from cuda.bindings import runtime

        assert runtime.cudaGetDeviceCount() == (runtime.cudaError_t.cudaSuccess, 1)
        assert runtime.cudaSetDevice(3) == (runtime.cudaError_t.cudaErrorInvalidDevice,)
        with pytest.raises(TypeError):
            runtime.cudaGraphLaunch(1)
        with pytest.raises(AttributeError):
            _ = runtime.cudaGraphGo


# Builds and plans.


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_network_is_built_read_and_run(generation, half_network, current):
    with fake_gpu(generation) as gpu, current() as cuda:
        import tensorrt as trt

        run = Running(trt, cuda, build(trt, generation, half_network))
        assert run.engine.get_tensor_shape("frames") == SHAPE
        assert run.engine.get_tensor_dtype("masks") == trt.DataType.UINT8
        assert run.enqueue()
        run.stream.synchronize()
        assert run.right
        assert 0 < run.mask.mean() < 1
        del run
    assert gpu.leaks == []
    assert gpu.builds[-1].strongly_typed == (generation > 8)
    assert gpu.calls["IExecutionContext.execute_async_v3"] == 1


def test_flags_that_do_not_go_together_give_no_plan(half_network):
    with fake_gpu(10) as gpu:
        import tensorrt as trt

        log = new_log(trt)
        fp16 = lambda trt, config: config.set_flag(trt.BuilderFlag.FP16)  # noqa: E731
        assert build(trt, 10, half_network, log, fp16) is None
        assert "strongly typed" in gpu.builds[-1].ended
        assert log.heard[-1][0] == "ERROR"
        builder = trt.Builder(log)
        network = builder.create_network(network_flags(trt, 10))
        trt.OnnxParser(network, log).parse(half_network)
        assert builder.build_serialized_network(network, builder.create_builder_config()) is None
        assert "optimization profile" in gpu.builds[-1].ended
    with fake_gpu(8):
        import tensorrt as trt

        parser = trt.OnnxParser(trt.Builder(log := new_log(trt)).create_network(0), log)
        assert not parser.parse(half_network)
        assert "EXPLICIT_BATCH" in parser.get_error(0).desc()


def test_the_parser_names_what_it_refuses(half_network):
    fault = ParserFault(2, "no such convolution")
    with fake_gpu(10, faults=Faults(parser=(fault,))):
        import tensorrt as trt

        log = new_log(trt)
        parser = trt.OnnxParser(trt.Builder(log).create_network(0), log)
        assert not parser.parse(half_network)
        assert parser.num_errors == 1
        error = parser.get_error(0)
        assert (error.node(), error.node_operator(), error.desc()) == (2, "Conv", fault.description)
        assert not trt.OnnxParser(trt.Builder(log).create_network(0), log).parse(half_network[:99])
    transposed = make_network(
        helper.make_node("Transpose", ["frames"], ["early"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["early"], ["planes"], to=TensorProto.FLOAT16),
    )
    with fake_gpu(8):
        import tensorrt as trt

        network = trt.Builder(log := new_log(trt)).create_network(1)
        parser = trt.OnnxParser(network, log)
        assert not parser.parse(transposed)
        assert "Transpose does not take UINT8" in parser.get_error(0).desc()
    model = onnx.load_from_string(half_network)
    model.opset_import[0].version = 18
    with fake_gpu(8):
        import tensorrt as trt

        network = trt.Builder(log := new_log(trt)).create_network(1)
        assert not trt.OnnxParser(network, log).parse(model.SerializeToString())
        assert "opset 18" in log.heard[-1][1]


def test_casts_that_tensorrt_has_not_are_noted_or_refused(half_network):
    from_integers = make_network(last=TensorProto.INT32)
    with fake_gpu(10, strict_casts=False) as gpu:
        import tensorrt as trt

        assert build(trt, 10, half_network) is not None
        assert gpu.remarks == []
        assert build(trt, 10, from_integers) is not None
        assert "UINT8 and INT32" in gpu.remarks[0]
    with fake_gpu(10):
        import tensorrt as trt

        parser = trt.OnnxParser(trt.Builder(log := new_log(trt)).create_network(0), log)
        assert not parser.parse(from_integers)
        assert trt.OnnxParser(trt.Builder(log).create_network(0), log).parse(half_network)


def test_a_plan_is_for_its_version_and_gpu_and_whole(half_network):
    with fake_gpu(10):
        import tensorrt as trt

        plan = build(trt, 10, half_network)
        flipped = bytearray(plan)
        flipped[len(plan) // 2] ^= 1
        log = new_log(trt)
        runtime = trt.Runtime(log)
        for broken in (b"", plan[:50], plan[:-100], bytes(flipped), half_network):
            log.heard.clear()
            assert runtime.deserialize_cuda_engine(broken) is None
            assert log.heard[-1][0] == "ERROR"
        assert runtime.deserialize_cuda_engine(plan) is not None
    for other, said in (
        ({"generation": 11}, "Version tag does not match"),
        (
            {"gpu": "NVIDIA L4", "compute_capability": (8, 9)},
            "expecting compute 9.0 got compute 8.9",
        ),
    ):
        with fake_gpu(**other):
            import tensorrt as trt

            log = new_log(trt)
            assert trt.Runtime(log).deserialize_cuda_engine(plan) is None
            assert said in log.heard[-1][1]
    with fake_gpu(gpu="NVIDIA H100"):
        import tensorrt as trt

        log = new_log(trt)
        runtime = trt.Runtime(log)
        assert runtime.deserialize_cuda_engine(plan) is not None, "slower, but it runs"
        assert log.heard[-1][0] == "WARNING"


def test_compatible_plans_run_where_they_should(half_network):
    def compatible(trt, config):
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS

    plans = {}
    for generation in (8, 10):
        with fake_gpu(generation):
            import tensorrt as trt

            plans[generation] = build(trt, generation, half_network, configure=compatible)
    for built, runs, allowed, loads in (
        (8, 10, True, True),
        (10, 11, True, True),
        (8, 11, True, False),
        (10, 11, False, False),
    ):
        with fake_gpu(runs, gpu="NVIDIA A100", compute_capability=(8, 0)):
            import tensorrt as trt

            runtime = trt.Runtime(new_log(trt))
            runtime.engine_host_code_allowed = allowed
            assert (runtime.deserialize_cuda_engine(plans[built]) is not None) == loads


def test_a_build_reports_and_can_be_cancelled(half_network):
    with fake_gpu(10) as gpu:
        import tensorrt as trt

        class Monitor(trt.IProgressMonitor):
            def __init__(self, steps):
                trt.IProgressMonitor.__init__(self)
                self.left, self.heard = steps, []

            def phase_start(self, phase_name, parent_phase, num_steps):
                self.heard.append((phase_name, parent_phase, num_steps))

            def step_complete(self, phase_name, step):
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt  # is printed and lost, and ends the build
                return True

            def phase_finish(self, phase_name):
                self.heard.append(phase_name)

        def watch(monitor):
            return lambda trt, config: setattr(config, "progress_monitor", monitor)

        whole, cut = Monitor(0), Monitor(3)
        assert build(trt, 10, half_network, configure=watch(whole)) is not None
        assert whole.heard[0][1] is None
        assert whole.heard[-1] == whole.heard[0][0]
        assert build(trt, 10, half_network, configure=watch(cut)) is None
        assert gpu.builds[-1].ended == "cancelled"
        assert cut.heard[-1] == cut.heard[0][0], "every phase is finished"
    with fake_gpu(8):
        import tensorrt as trt

        assert not hasattr(trt, "IProgressMonitor")


def test_ctrl_c_waits_for_the_build_in_the_main_thread(half_network):
    steps = []

    def interrupt(step):
        if step == 1:
            signal.raise_signal(signal.SIGINT)
        steps.append(step)

    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with fake_gpu(8, faults=Faults(on_build_step=interrupt)):
            import tensorrt as trt

            assert build(trt, 8, half_network) is not None
    finally:
        signal.signal(signal.SIGINT, before)
    assert (len(steps), heard) == (8, [signal.SIGINT])


def test_timing_caches_are_of_a_version_and_a_gpu(half_network):
    with fake_gpu(10) as gpu:
        import tensorrt as trt

        kept = []

        def cached(content):
            def configure(trt, config):
                assert config.set_timing_cache(config.create_timing_cache(content), False)
                kept.append(config)

            return configure

        build(trt, 10, half_network, configure=cached(b""))
        content = bytes(kept[-1].get_timing_cache().serialize())
        build(trt, 10, half_network, configure=cached(content))
        assert [made.cache_hits for made in gpu.builds] == [0, 1]
    with fake_gpu(11):
        import tensorrt as trt

        config = trt.Builder(new_log(trt)).create_builder_config()
        assert not config.set_timing_cache(config.create_timing_cache(content), False)


def test_the_first_logger_hears_for_all(half_network):
    with fake_gpu(10):
        import tensorrt as trt

        first, second = new_log(trt), new_log(trt)
        runtime = trt.Runtime(first)
        other = trt.Runtime(second)
        assert "ignored" in first.heard[-1][1]
        assert other.deserialize_cuda_engine(b"no plan") is None
        assert len(first.heard) == 2
        assert second.heard == []
        del runtime, other
        gc.collect()
        assert trt.Runtime(second).deserialize_cuda_engine(b"no plan") is None
        assert len(second.heard) == 1


# Streams.


def test_nothing_happens_before_somebody_waits(half_network, current):
    with fake_gpu() as gpu, current() as cuda:
        import tensorrt as trt

        run = Running(trt, cuda, build(trt, 10, half_network))
        event = cuda.Event()
        run.enqueue()
        event.record(run.stream)
        other = cuda.Stream()
        other.synchronize()
        assert run.mask.max() == 0, "another stream's wait is none for this one"
        assert not event.query()
        event.synchronize()
        assert event.query()
        assert run.stream.is_done()
        assert run.right
        del run, event, other
    assert gpu.leaks == []


def test_streams_meet_in_events_and_in_the_default_stream(current):
    with fake_gpu(), current() as cuda:
        data = cuda.pagelocked_empty(16, np.uint8)
        back = cuda.pagelocked_zeros(16, np.uint8)
        data[:] = 7
        memory = cuda.mem_alloc(16)
        one, two, free = cuda.Stream(), cuda.Stream(), cuda.Stream(1)  # 1: non-blocking
        cuda.memcpy_htod_async(memory, data, one)
        two.wait_for_event(cuda.Event().record(one))
        cuda.memcpy_dtoh_async(back, memory, two)
        two.synchronize()
        assert back.tolist() == [7] * 16
        data[:] = 8
        cuda.memcpy_htod_async(memory, data, one)
        cuda.memcpy_dtoh(back, memory)  # the default stream waits for blocking streams
        assert back.tolist() == [8] * 16
        data[:] = 9
        cuda.memcpy_htod_async(memory, data, free)
        cuda.memcpy_dtoh(back, memory)  # and not for the others
        assert back.tolist() == [8] * 16
        free.synchronize()
        cuda.memcpy_dtoh(back, memory)
        assert back.tolist() == [9] * 16
        for array in (data, back):
            array.base.free()
        memory.free()


def test_events_measure_time(current):
    with fake_gpu(), current() as cuda:
        start, end, untimed = cuda.Event(), cuda.Event(), cuda.Event(2)
        stream = cuda.Stream()
        start.record(stream)
        end.record(stream)
        with pytest.raises(cuda.RuntimeError, match="device not ready"):
            end.time_since(start)
        end.synchronize()
        assert end.time_since(start) >= 0
        untimed.record(stream).synchronize()
        with pytest.raises(cuda.LogicError, match="invalid resource handle"):
            untimed.time_since(start)


def test_a_captured_graph_replays_and_does_nothing_before(half_network, current):
    with fake_gpu() as gpu, current() as cuda:
        import tensorrt as trt
        from cuda.bindings import runtime as cudart

        run = Running(trt, cuda, build(trt, 10, half_network))
        ok, local = cudart.cudaError_t.cudaSuccess, cudart.cudaStreamCaptureMode(1)
        assert cudart.cudaStreamBeginCapture(run.stream.handle, local) == (ok,)
        refused = run.context.execute_async_v3(run.stream.handle)
        assert not refused, "the first run loads kernels, which a capture does not allow"
        error, _ = cudart.cudaStreamEndCapture(run.stream.handle)
        assert error == cudart.cudaError_t.cudaErrorStreamCaptureInvalidated
        run.enqueue()
        run.stream.synchronize()
        assert cudart.cudaStreamBeginCapture(run.stream.handle, local) == (ok,)
        run.mask[:] = 9
        assert run.enqueue()
        assert (run.mask == 9).all()
        _, graph = cudart.cudaStreamEndCapture(run.stream.handle)
        run.stream.synchronize()
        assert (run.mask == 9).all()
        _, instance = cudart.cudaGraphInstantiate(graph, 0)
        run.frame[:] = 255 - run.frame
        for _ in range(2):
            assert cudart.cudaGraphLaunch(instance, run.stream.handle) == (ok,)
        run.stream.synchronize()
        assert run.right
        assert cudart.cudaGraphExecDestroy(instance) == (ok,)
        assert cudart.cudaGraphLaunch(instance, run.stream.handle) != (ok,)
        assert cudart.cudaGraphDestroy(graph) == (ok,)
        del run
    assert gpu.leaks == []


def test_a_capture_is_spoilt_by_what_waits_or_allocates(current):
    with fake_gpu(), current() as cuda:
        from cuda.bindings import runtime as cudart

        stream, local = cuda.Stream(), cudart.cudaStreamCaptureMode(1)
        pinned, memory = cuda.pagelocked_empty(4, np.uint8), cuda.mem_alloc(4)
        for forbidden in (
            stream.synchronize,
            lambda: cuda.mem_alloc(16),
            lambda: cuda.pagelocked_empty(16, np.uint8),
            lambda: cuda.memcpy_htod(memory, pinned),
            lambda: cuda.memcpy_htod_async(memory, bytes(4), stream),
            cuda.Context.synchronize,
        ):
            cudart.cudaStreamBeginCapture(stream.handle, local)
            with pytest.raises(cuda.LogicError, match="captur"):
                forbidden()
            error, _ = cudart.cudaStreamEndCapture(stream.handle)
            assert error == cudart.cudaError_t.cudaErrorStreamCaptureInvalidated
        event = cuda.Event()
        cudart.cudaStreamBeginCapture(stream.handle, local)
        event.record(stream)
        cudart.cudaStreamEndCapture(stream.handle)
        with pytest.raises(cuda.LogicError, match="last recorded in a capturing stream"):
            event.synchronize()


# Contexts and memory.


def test_every_thread_needs_a_context(current):
    with fake_gpu() as gpu:
        import pycuda.driver as cuda

        with pytest.raises(cuda.LogicError, match="initialization error"):
            cuda.Device(0)
        cuda.init()
        with pytest.raises(cuda.LogicError, match="invalid device context"):
            cuda.mem_alloc(16)
        context = cuda.Device(0).retain_primary_context()
        context.push()
        memory, errors = cuda.mem_alloc(16), []

        def work():
            try:
                cuda.memcpy_htod(memory, bytes(16))
            except cuda.LogicError as error:
                errors.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert errors == ["cuMemcpyHtoD failed: invalid device context"]
        memory.free()
        cuda.Context.pop()
        with pytest.raises(cuda.LogicError, match="cannot pop non-current context"):
            cuda.Context.pop()
        context.detach()
        with pytest.raises(cuda.LogicError, match="cannot detach"):
            context.detach()
    assert gpu.leaks == []


def test_what_another_thread_lets_go_is_leaked(current):
    with fake_gpu() as gpu, current() as cuda:
        held = [cuda.mem_alloc(16)]
        thread = threading.Thread(target=held.clear)
        with pytest.warns(UserWarning, match="out-of-thread"):  # noqa: PT031 - it is one act
            thread.start()
            thread.join()
    assert gpu.leaks == ["1 device allocations (16 bytes) when its context was destroyed"]


def test_leaks_are_named():
    with fake_gpu() as gpu:
        import pycuda.driver as cuda

        cuda.init()
        context = cuda.Device(0).retain_primary_context()
        context.push()
        kept = [cuda.mem_alloc(16), cuda.pagelocked_empty(4, np.uint8), cuda.Stream(), cuda.Event()]
    assert kept
    assert sorted(gpu.leaks) == [
        "1 context",
        "1 device allocations (16 bytes)",
        "1 events",
        "1 pinned allocations (4 bytes)",
        "1 streams",
        "a context is still on a thread's stack: pycuda aborts at exit",
    ]


def test_memory_is_bounded_freed_once_and_full_of_junk(current):
    with fake_gpu(faults=Faults(out_of_memory_after=1000)) as gpu, current() as cuda:
        memory = cuda.mem_alloc(600)
        with pytest.raises(cuda.MemoryError, match="cuMemAlloc failed: out of memory"):
            cuda.mem_alloc(600)
        back = np.zeros(600, np.uint8)
        cuda.memcpy_dtoh(back, memory)
        assert (back == 0xCD).all()
        address = int(memory)
        assert address % 256 == 0
        memory.free()
        with pytest.raises(cuda.LogicError, match="invalid resource handle"):
            memory.free()
        with pytest.raises(cuda.LogicError, match="invalid argument"):
            cuda.memcpy_dtoh(back, address)
        with pytest.raises(TypeError):
            cuda.mem_alloc(np.int64(16))  # as Boost.Python has it
        assert gpu.memory.used == 0
        assert gpu.memory.peak == 600


def test_copies_from_ordinary_memory_are_remarked(current):
    with fake_gpu() as gpu, current() as cuda:
        memory, stream = cuda.mem_alloc(16), cuda.Stream()
        cuda.memcpy_htod_async(memory, np.zeros(16, np.uint8), stream)
        stream.synchronize()
        memory.free()
        del stream
    assert "not page-locked" in gpu.remarks[0]


def test_pinned_arrays_live_as_long_as_anybody_has_them(current):
    with fake_gpu() as gpu, current() as cuda:
        view = cuda.pagelocked_empty((4, 4), np.float32)[1]
        gc.collect()
        assert len(gpu.memory.pinned) == 1
        del view
        assert gpu.memory.pinned == {}


def test_a_graph_keeps_no_memory_alive(current):
    with fake_gpu(), current() as cuda:
        from cuda.bindings import runtime as cudart

        memory, stream = cuda.mem_alloc(4), cuda.Stream()
        pinned = cuda.pagelocked_zeros(4, np.uint8)
        cudart.cudaStreamBeginCapture(stream.handle, cudart.cudaStreamCaptureMode(1))
        cuda.memcpy_htod_async(memory, pinned, stream)
        _, graph = cudart.cudaStreamEndCapture(stream.handle)
        _, instance = cudart.cudaGraphInstantiate(graph, 0)
        del pinned
        cudart.cudaGraphLaunch(instance, stream.handle)
        with pytest.raises(cuda.LogicError, match="illegal memory access"):
            stream.synchronize()


def test_misaligned_addresses_are_refused(half_network, current):
    with fake_gpu() as gpu, current() as cuda:
        import tensorrt as trt

        run = Running(trt, cuda, build(trt, 10, half_network))
        assert not run.context.set_tensor_address("frames", int(run.buffers[0]) + 16)
        assert not run.context.set_tensor_address("pictures", int(run.buffers[0]))
        del run
    assert gpu.leaks == []
    with fake_gpu(alignment=64), current() as cuda:
        assert int(cuda.mem_alloc(16)) % 256 == 64


def test_an_illegal_access_spoils_the_context(half_network, current):
    with fake_gpu(), current() as cuda:
        import tensorrt as trt

        run = Running(trt, cuda, build(trt, 10, half_network))
        run.context.set_tensor_address("masks", 256)
        assert run.context.execute_async_v3(run.stream.handle)
        for _ in range(2):
            with pytest.raises(cuda.LogicError, match="illegal memory access"):
                run.stream.synchronize()
        with pytest.raises(cuda.LogicError, match="illegal memory access"):
            cuda.mem_alloc(16)


def test_runs_can_fail_and_be_wrong(half_network, current):
    with fake_gpu(faults=Faults(enqueue_fails_at=2)), current() as cuda:
        import tensorrt as trt

        run = Running(trt, cuda, build(trt, 10, half_network))
        assert [run.enqueue() for _ in range(3)] == [True, False, True]
    for faults, wrong in ((Faults(nan_logits=True), 0.5), (Faults(flipped=0.02), 0.02)):
        with fake_gpu(faults=faults), current() as cuda:
            import tensorrt as trt

            run = Running(trt, cuda, build(trt, 10, half_network))
            run.enqueue()
            run.stream.synchronize()
            share = (run.mask != (run.frame[..., 0] > 127)).mean()
            assert share == pytest.approx(wrong, abs=0.05 * wrong + 1e-4)


def test_engines_that_outlive_their_context_are_remarked(half_network):
    with fake_gpu() as gpu:
        import pycuda.driver as cuda
        import tensorrt as trt

        cuda.init()
        context = cuda.Device(0).make_context()
        engine = trt.Runtime(new_log(trt)).deserialize_cuda_engine(build(trt, 10, half_network))
        cuda.Context.pop()
        context.detach()
        del engine
    assert "destroyed after its CUDA context" in gpu.remarks[-1]


# Machines without.


def test_machines_without_a_driver_or_a_gpu():
    with fake_gpu(driver=None):
        with pytest.raises(ImportError, match="libcuda"):
            import pycuda.driver
        import tensorrt as trt

        with pytest.raises(TypeError, match="factory function returned nullptr"):
            trt.Runtime(new_log(trt))
    with fake_gpu(faults=Faults(no_device=True)):
        import pycuda.driver

        with pytest.raises(pycuda.driver.RuntimeError, match="no CUDA-capable device"):
            pycuda.driver.init()
    with fake_gpu(faults=Faults(old_driver=True)):
        import pycuda.driver
        import tensorrt as trt
        from cuda.bindings import runtime as cudart

        assert pycuda.driver.get_driver_version() == 11040
        with pytest.raises(TypeError, match="factory function returned nullptr"):
            trt.Builder(log := new_log(trt))
        assert "error: 35" in log.heard[0][1]
        error, _ = cudart.cudaGetDeviceCount()
        assert error == cudart.cudaError_t.cudaErrorInsufficientDriver


# Kernels.

SOURCE = """
extern "C" __global__ void scale(const unsigned char *from, unsigned char *to, float by, int n)
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) to[i] = (unsigned char)(from[i] * by); }
"""


def scale(launch, source, target, by, count):
    launch.memory(target, np.uint8, count)[:] = launch.memory(source, np.uint8, count) * by


@pytest.mark.parametrize("prepared", [False, True])
def test_kernels_are_played_by_python_functions(prepared, current):
    with fake_gpu(kernels={"scale": scale}) as gpu, current() as cuda:
        from pycuda.compiler import SourceModule

        function = SourceModule(SOURCE).get_function("scale")
        with pytest.raises(cuda.LogicError, match="named symbol not found"):
            cuda.module_from_buffer(b"cubin").get_function("scale")
        data, back = (cuda.pagelocked_zeros(10, np.uint8) for _ in range(2))
        data[:] = range(10)
        source, target, stream = cuda.mem_alloc(10), cuda.mem_alloc(10), cuda.Stream()
        cuda.memcpy_htod_async(source, data, stream)
        if prepared:
            function.prepare([np.uintp, np.uintp, np.float32, np.int32])
            values = (int(source), int(target), 3.0, 10)
            function.prepared_async_call((1, 1), (32, 1, 1), stream, *values)
        else:
            values = (source, target, np.float32(3), np.int32(10))
            function(*values, block=(32, 1, 1), grid=(1, 1), stream=stream)
            with pytest.raises(cuda.LogicError, match="invalid argument"):
                function(*values[:2], np.float64(3), np.int32(10), block=(32, 1, 1))
            with pytest.raises(TypeError, match="invalid type on parameter #3"):
                function(*values[:3], 10, block=(32, 1, 1))
        assert gpu.launches == []
        cuda.memcpy_dtoh_async(back, target, stream)
        stream.synchronize()
        assert back.tolist() == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
        assert gpu.launches[0].block == (32, 1, 1)


def test_compilers_can_be_absent(current):
    for faults in (Faults(), Faults(no_nvcc=True, no_nvrtc=True)):
        with fake_gpu(faults=faults), current() as cuda:
            import pycuda.compiler
            from cuda.bindings import nvrtc

            if faults.no_nvcc:
                with pytest.raises(OSError, match="nvcc was not found"):
                    pycuda.compiler.compile(SOURCE)
                with pytest.raises(RuntimeError, match="nvrtc"):
                    nvrtc.nvrtcVersion()
                continue
            _, program = nvrtc.nvrtcCreateProgram(SOURCE.encode(), b"kernels.cu", 0, [], [])
            assert nvrtc.nvrtcCompileProgram(program, 0, []) == (nvrtc.nvrtcResult.NVRTC_SUCCESS,)
            _, size = nvrtc.nvrtcGetCUBINSize(program)
            image = b" " * size
            nvrtc.nvrtcGetCUBIN(program, image)
            assert image == pycuda.compiler.compile(SOURCE)
            assert cuda.module_from_buffer(image).get_function("scale")


def test_layouts_of_kernels_are_read_from_their_source():
    from doubles.kernels import layout

    assert layout(SOURCE, "scale") == "PPfi"
    assert struct.calcsize("PPfi") == 2 * ctypes.sizeof(ctypes.c_void_p) + 8
    assert layout(SOURCE, "absent") is None
