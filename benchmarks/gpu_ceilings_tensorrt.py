"""The two ceilings where there is no PyTorch: a copy by pycuda, a product by TensorRT itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rtseg.engine.tensorrt.bindings import create, generation, import_tensorrt, version
from rtseg.engine.tensorrt.driver import Device
from rtseg.engine.tensorrt.log import make_log

RUNS = 10


def _seconds(device: Device, held: Any, stream: Any, work: Callable[[], object]) -> float:
    """Seconds of the fastest run, by events; the context must be current."""
    start, end = held.event(timing=True), held.event(timing=True)
    for _ in range(3):
        work()
    times = []
    for _ in range(RUNS):
        start.record(stream)
        work()
        end.record(stream)
        end.synchronize()
        times.append(float(end.time_since(start)) / 1e3)
    return min(times)


def copy(found: dict[str, Any], quick: bool) -> None:
    """Measure a copy on the device; errors as those of pycuda and ``rtseg.engine.tensorrt``."""
    device = Device()
    try:
        held = device.hold()
        with device.current():
            free, _ = device.cuda.mem_get_info()
            count = min(1 << 24 if quick else 4 << 30, int(free) // 4)
            source, target = held.buffer(count), held.buffer(count)
            stream = held.stream()
            # What was never written may be read faster than it can.
            device.cuda.memset_d8(source.address, 0x5A, count)
            seconds = _seconds(
                device,
                held,
                stream,
                lambda: device.cuda.memcpy_dtod_async(
                    target.address, source.address, count, stream
                ),
            )
        found["bytes_per_second"] = 2 * count / seconds
        found["bytes_by"] = f"pycuda copy of {count / 2**30:.1f} GiB on the device"
    finally:
        device.close()


def product(found: dict[str, Any], quick: bool) -> None:
    """Measure a half-precision product of two matrices, as TensorRT builds it."""
    trt = import_tensorrt()
    n = 1024 if quick else 8192
    device = Device()
    try:
        held = device.hold()
        with device.current():
            runtime = create(trt, trt.Runtime, make_log(trt))
            engine = runtime.deserialize_cuda_engine(_plan(trt, n))
            if engine is None:
                raise RuntimeError("TensorRT does not take its own engine of a matrix product")
            held.on_close(lambda: (runtime, engine))
            context = engine.create_execution_context()
            held.on_close(lambda: context)
            random = np.random.default_rng(0).standard_normal((n, n), np.float32)
            host = np.ascontiguousarray(random, np.float16)
            for i in range(engine.num_io_tensors):
                buffer = held.buffer(host.nbytes)
                device.cuda.memcpy_htod(buffer.address, host)
                if not context.set_tensor_address(engine.get_tensor_name(i), buffer.address):
                    raise RuntimeError("TensorRT refuses an address")
            stream = held.stream()

            def work() -> None:
                if not context.execute_async_v3(stream.handle):
                    raise RuntimeError("TensorRT refused to run a matrix product")

            seconds = _seconds(device, held, stream, work)
        found["operations_per_second"]["fp16"] = 2 * n**3 / seconds
        found["operations_by"] = (
            f"TensorRT {version(trt)} product of two {n}×{n} matrices of random numbers"
        )
    finally:
        device.close()


def _plan(trt: Any, n: int) -> Any:
    flags = trt.NetworkDefinitionCreationFlag
    of = generation(trt)
    wanted = {8: "EXPLICIT_BATCH", 10: "STRONGLY_TYPED"}.get(of)
    builder = create(trt, trt.Builder, make_log(trt))
    network = builder.create_network(1 << int(getattr(flags, wanted)) if wanted else 0)
    a, b = (network.add_input(name, trt.DataType.HALF, (n, n)) for name in ("a", "b"))
    none = trt.MatrixOperation.NONE
    output = network.add_matrix_multiply(a, none, b, none).get_output(0)
    if of == 8:
        output.dtype = trt.DataType.HALF
    network.mark_output(output)
    config = builder.create_builder_config()
    if of == 8:
        config.set_flag(trt.BuilderFlag.FP16)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("TensorRT cannot build a matrix product")
    return plan
