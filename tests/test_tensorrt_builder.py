"""The TensorRT builder: what it asks of TensorRT, and what it says when that is refused."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from conftest import tiny_spec, write_tiny_network
from doubles import Faults, ParserFault, fake_gpu

from rtseg.engine.cache import EngineCache
from rtseg.engine.tensorrt import bindings
from rtseg.engine.tensorrt.builder import build_plan, plan_for
from rtseg.engine.tensorrt.options import BuildOptions, Gpu
from rtseg.errors import BackendError, UsageError
from rtseg.spec import NetworkFile, read_network

GENERATIONS = (8, 10, 11)
H200 = Gpu("NVIDIA H200", (9, 0), 13000, "0000:00:04.0")
FP32 = BuildOptions(precision="fp32")


@pytest.fixture
def network(make_network) -> NetworkFile:
    """``tiny.onnx``, with ``tiny.fp16.onnx`` beside it."""
    make_network("tiny.fp16.onnx", precision="fp16")
    return read_network(make_network("tiny.onnx"))


@pytest.fixture
def cache(tmp_path) -> EngineCache:
    return EngineCache(tmp_path / "cache")


def quantised(path: Path) -> Path:
    """Put a quantisation of the frames into a tiny network."""
    onnx = pytest.importorskip("onnx")
    np = pytest.importorskip("numpy")
    from onnx import helper, numpy_helper

    write_tiny_network(path, tiny_spec())
    model = onnx.load(path)
    nodes = list(model.graph.node)
    place = next(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    nodes[place].input[0] = "dequantised"
    scales = ["planes_scale", "planes_zero"]
    nodes[place:place] = [
        helper.make_node("QuantizeLinear", ["planes", *scales], ["quantised"]),
        helper.make_node("DequantizeLinear", ["quantised", *scales], ["dequantised"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(2, np.float32), scales[0]),
            numpy_helper.from_array(np.array(0, np.int8), scales[1]),
        ]
    )
    path.write_bytes(model.SerializeToString())
    return path


def said(caplog) -> list[str]:
    """What a command would print of the log."""
    return [
        r.getMessage()
        for r in caplog.records
        if r.levelno >= logging.WARNING or getattr(r, "news", False)
    ]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_each_generation_is_asked_for_fp16_in_its_own_way(network, cache, generation):
    with fake_gpu(generation=generation) as gpu:
        plan = plan_for(network, BuildOptions(), H200, cache)
    (build,) = gpu.builds
    assert plan.built
    assert build.strongly_typed == (generation > 8)
    assert build.flags == ({"FP16"} if generation == 8 else set())
    assert build.network_flags == {8: 1, 10: 2, 11: 0}[generation]
    assert build.inputs == {"frames": [1, 64, 96, 3]}
    assert build.profiles == 0


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fp32_is_fp32_without_tf32_and_int8_takes_a_quantised_file(
    network, cache, generation, tmp_path
):
    quantised(tmp_path / "tiny.int8.onnx")
    with fake_gpu(generation=generation) as gpu:
        plan_for(network, FP32, H200, cache)
        plan = plan_for(network, BuildOptions(precision="int8"), H200, cache)
    assert gpu.builds[0].flags == set()
    assert gpu.builds[1].flags == ({"INT8"} if generation == 8 else set())
    assert plan.sidecar["precision"] == "int8"
    assert plan.sidecar["network"] == read_network(tmp_path / "tiny.int8.onnx").sha256


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_options_reach_tensorrt(network, cache, generation):
    options = BuildOptions(
        batch=4,
        workspace_bytes=64 << 20,
        optimisation_level=5,
        version_compatible=True,
        ampere_plus=True,
    )
    with fake_gpu(generation=generation) as gpu:
        plan_for(network, options, H200, cache)
        plan_for(network, BuildOptions(), H200, cache)
    build, plain = gpu.builds
    assert build.inputs == {"frames": [4, 64, 96, 3]}
    assert build.pools["WORKSPACE"] == 64 << 20
    assert build.optimisation_level == 5
    assert "VERSION_COMPATIBLE" in build.flags
    assert build.hardware == "AMPERE_PLUS"
    assert plain.optimisation_level == 3
    assert plain.hardware == "NONE"


def test_the_libraries_that_8_6_cannot_load_are_left_out(network, monkeypatch):
    monkeypatch.setattr(
        "rtseg.engine.tensorrt.builder._loads", lambda library: library == "libcudnn.so.8"
    )
    with fake_gpu(generation=8) as gpu:
        build_plan(network, BuildOptions())
    (build,) = gpu.builds
    assert build.tactic_sources == {"CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}


@pytest.mark.parametrize(
    "options",
    [
        BuildOptions(precision="bf16"),
        BuildOptions(batch=0),
        BuildOptions(workspace_bytes=1),
        BuildOptions(optimisation_level=6),
        BuildOptions(optimisation_level=-1),
    ],
)
def test_options_that_cannot_be_are_refused(network, cache, options):
    with fake_gpu() as gpu, pytest.raises(UsageError):
        plan_for(network, options, H200, cache)
    assert gpu.builds == []


def test_ampere_and_later_is_refused_on_an_older_gpu(network, cache):
    turing = Gpu("NVIDIA T4", (7, 5), 13000, "0000:00:04.0")
    with fake_gpu() as gpu, pytest.raises(BackendError, match=r"NVIDIA T4.*7\.5.*--ampere-plus"):
        plan_for(network, BuildOptions(ampere_plus=True), turing, cache)
    assert gpu.builds == []


def test_each_precision_needs_its_file(make_network, cache):
    network = read_network(make_network("alone.onnx"))
    with fake_gpu(), pytest.raises(BackendError) as caught:
        plan_for(network, BuildOptions(), H200, cache)
    assert "rtseg-compile alone.safetensors --half" in str(caught.value)
    with fake_gpu(), pytest.raises(BackendError, match="--int8 FOLDER"):
        plan_for(network, BuildOptions(precision="int8"), H200, cache)
    make_network("alone.fp16.onnx")
    with fake_gpu(), pytest.raises(BackendError, match=r"alone\.fp16\.onnx.*not of fp16"):
        plan_for(network, BuildOptions(), H200, cache)
    make_network("alone.fp16.onnx", precision="fp16", classes=("background", "water"))
    with fake_gpu(), pytest.raises(BackendError, match="not the network of"):
        plan_for(network, BuildOptions(), H200, cache)


def test_a_quantised_file_is_not_built_as_another_precision(tmp_path, cache):
    network = read_network(quantised(tmp_path / "q.onnx"))
    with fake_gpu(), pytest.raises(BackendError, match="a network file of int8"):
        plan_for(network, BuildOptions(), H200, cache)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_parser_error_names_its_node(network, generation, caplog):
    faults = Faults(
        parser=(ParserFault(2, "a stride\nof\t-1", "INVALID_NODE"), ParserFault(4, "no"))
    )
    with fake_gpu(generation=generation, faults=faults), pytest.raises(BackendError) as caught:
        build_plan(network, FP32)
    text = str(caught.value)
    assert text.endswith("node 2 (Conv): a stride of -1 [INVALID_NODE]")
    assert str(network.path) in text
    (other,) = said(caplog)
    assert "node 4 (Squeeze): no [UNSUPPORTED_NODE]" in other


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_failed_build_says_why(network, generation):
    faults = Faults(build_fails="out of memory")
    with fake_gpu(generation=generation, faults=faults), pytest.raises(BackendError) as caught:
        build_plan(network, FP32)
    assert "out of memory" in str(caught.value)
    assert "--batch" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"faults": Faults(no_driver=True)}, "no NVIDIA driver"),
        ({"driver": None}, "no NVIDIA"),
        ({"faults": Faults(no_device=True)}, "no NVIDIA GPU"),
        ({"faults": Faults(old_driver=True)}, "driver is too old"),
        ({"tensorrt": False}, "TensorRT is not installed"),
        ({"pycuda": False}, "pycuda is not installed"),
    ],
    ids=["no driver", "driver None", "no device", "old driver", "no tensorrt", "no pycuda"],
)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_a_machine_lacks_is_one_clear_line(network, cache, capfd, generation, machine, words):
    with fake_gpu(generation=generation, **machine), pytest.raises(BackendError) as caught:
        plan_for(network, FP32, H200, cache)
    text = str(caught.value)
    assert words in text
    assert "\n" not in text
    assert "nullptr" not in text + "".join(capfd.readouterr())


def test_a_driver_older_than_the_installed_tensorrt_is_said_before_it_is_used(
    network, cache, monkeypatch
):
    monkeypatch.setattr(bindings, "_cuda_of_installation", lambda: 13)
    monkeypatch.setattr(bindings, "load_driver", lambda: Driver)

    class Driver:
        @staticmethod
        def get_driver_version() -> int:
            return 12040

    with fake_gpu() as gpu, pytest.raises(BackendError) as caught:
        plan_for(network, FP32, H200, cache)
    assert "CUDA 12, CUDA 13 is needed" in str(caught.value)
    assert "tensorrt-cu12" in str(caught.value)
    assert gpu.builds == []


def test_an_object_that_tensorrt_cannot_make_is_never_a_null_pointer():
    with fake_gpu():
        trt = bindings.import_tensorrt()

        def builder(log):
            log.log(trt.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

        from rtseg.engine.tensorrt.log import make_log

        with pytest.raises(BackendError) as caught:
            bindings.create(trt, builder, make_log(trt))
    assert "CUDA initialization failure with error: 35" in str(caught.value)
    assert "nullptr" not in str(caught.value)


@pytest.mark.parametrize("version", ["7.2.3", "8.5.3.1", "9.3.0"])
def test_versions_that_are_not_supported_are_refused(version):
    module = ModuleType("tensorrt")
    module.__version__ = version
    with pytest.raises(BackendError, match=rf"TensorRT {version} is not supported"):
        bindings.generation(module)


@pytest.mark.parametrize(("version", "known"), [("8.6.1", 8), ("10.0.1", 10), ("12.1", 11)])
def test_versions_that_are_supported(version, known):
    module = ModuleType("tensorrt")
    module.__version__ = version
    assert bindings.generation(module) == known


def test_a_stand_in_for_tensorrt_is_a_broken_installation(monkeypatch):
    with fake_gpu():
        monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
        with pytest.raises(BackendError, match="cannot be loaded"):
            bindings.import_tensorrt()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_an_engine_is_built_once_and_its_sidecar_says_what_it_is(network, cache, generation):
    with fake_gpu(generation=generation) as gpu:
        built = plan_for(network, BuildOptions(), H200, cache)
        again = plan_for(network, BuildOptions(), H200, cache)
        version = sys.modules["tensorrt"].__version__
        rebuilt = plan_for(network, BuildOptions(), H200, cache, rebuild=True)
    assert [p.built for p in (built, again, rebuilt)] == [True, False, True]
    assert len(gpu.builds) == 2
    assert again.payload == built.payload
    half = read_network(network.path.with_name("tiny.fp16.onnx"))
    expected = {
        "backend": "tensorrt",
        "version": version,
        "device": "NVIDIA H200",
        "compute_capability": "9.0",
        "network": half.sha256,
        "precision": "fp16",
        "size": "1x96x64",
    }
    for plan in (built, again):
        assert expected.items() <= plan.sidecar.items()
        assert plan.sidecar["build_seconds"] >= 0
        assert str(plan.sidecar["date"]).startswith("20")
    (entry,) = cache.entries()
    assert entry.damaged == ""
    assert expected.items() <= entry.key.items()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"generation": 11}, "of tensorrt 10."),
        ({"gpu": Gpu("NVIDIA A100", (9, 0), 13000, "")}, "another device: NVIDIA H200"),
        ({"gpu": Gpu("NVIDIA H200", (9, 1), 13000, "")}, "compute capability 9.0"),
    ],
    ids=["tensorrt", "gpu", "compute capability"],
)
def test_what_is_other_than_in_the_cache_is_named(network, cache, caplog, other, words):
    caplog.set_level(logging.INFO, "rtseg")
    with fake_gpu(generation=10):
        plan_for(network, FP32, H200, cache)
    assert said(caplog) == []
    with fake_gpu(generation=other.get("generation", 10)):
        assert plan_for(network, FP32, other.get("gpu", H200), cache).built
        (line,) = said(caplog)
        assert words in line
        assert "building it anew" in line
        assert not plan_for(network, FP32, other.get("gpu", H200), cache).built


def cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def flipped(content: bytes) -> bytes:
    return content[:-40] + bytes([content[-40] ^ 4]) + content[-39:]


@pytest.mark.parametrize("damage", [cut, flipped])
def test_a_damaged_engine_is_built_anew_with_one_line(network, cache, caplog, damage):
    with fake_gpu():
        first = plan_for(network, FP32, H200, cache)
        (entry,) = cache.entries()
        entry.path.write_bytes(damage(entry.path.read_bytes()))
        assert cache.entries()[0].damaged
        assert plan_for(network, FP32, H200, cache).built
        assert plan_for(network, FP32, H200, cache).payload == first.payload
    (line,) = said(caplog)
    assert str(entry.path) in line
    assert "damaged" in line


def test_an_engine_that_parity_has_refused_is_not_run_from_the_cache(network, cache):
    with fake_gpu() as gpu:
        plan_for(network, FP32, H200, cache)
        cache.note({"parity": 0.5, "parity_reference": "onnxruntime fp32"})
        with pytest.raises(BackendError, match=r"only 50\.00% .*onnxruntime fp32.*--rebuild"):
            plan_for(network, FP32, H200, cache)
        assert plan_for(network, FP32, H200, cache, rebuild=True).built
        assert not plan_for(network, FP32, H200, cache).built
    assert len(gpu.builds) == 2


def test_timings_are_shared_between_builds(network, cache, caplog):
    with fake_gpu() as gpu:
        plan_for(network, FP32, H200, cache)
        plan_for(network, FP32, H200, cache, rebuild=True)
        (file,) = cache.folder.glob("*.timing")
        assert gpu.builds[-1].cache_hits == 1
        assert said(caplog) == []
        file.write_bytes(b"garbage")
        plan_for(network, FP32, H200, cache, rebuild=True)
        assert gpu.builds[-1].cache_hits == 0
        (line,) = said(caplog)
        assert str(file) in line
        assert "ignored" in line
        plan_for(network, FP32, H200, cache, rebuild=True)
        assert gpu.builds[-1].cache_hits == 1
        own = BuildOptions(precision="fp32", timing_cache=cache.folder.parent / "own.timing")
        plan_for(network, own, H200, cache, rebuild=True)
        assert gpu.builds[-1].cache_hits == 0
        plan_for(network, own, H200, cache, rebuild=True)
        assert gpu.builds[-1].cache_hits == 1


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_cache_that_cannot_be_written_is_one_line(network, tmp_path, caplog, generation):
    (tmp_path / "file").write_text("a file where the folder should be")
    cache = EngineCache(tmp_path / "file")
    with fake_gpu(generation=generation) as gpu:
        plan = plan_for(network, FP32, H200, cache)
        assert plan.built
        assert len(said(caplog)) == 1
        assert "cannot write the engine cache" in said(caplog)[0]
        # This process keeps what it could not store.
        assert plan_for(network, FP32, H200, cache).payload == plan.payload
    assert len(gpu.builds) == 1


@pytest.mark.parametrize("generation", [10, 11])
def test_progress_goes_from_nothing_to_the_whole(network, cache, generation):
    heard = []
    with fake_gpu(generation=generation):
        plan_for(network, FP32, H200, cache, on_progress=lambda *a: heard.append(a))
    shares = [done / whole for _, done, whole in heard]
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert len(set(shares)) > 5


def test_a_progress_that_fails_does_not_end_the_build(network, cache):
    def progress(phase, done, whole):
        if done:
            raise RuntimeError("the bar is broken")

    with fake_gpu() as gpu:
        plan_for(network, FP32, H200, cache, on_progress=progress)
    assert gpu.builds[0].ended == "built"


def interrupting(at: int) -> Faults:
    """Press Ctrl-C during a build's step."""

    def step(number: int) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGINT)

    return Faults(on_build_step=step, build_seconds=0.8)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_ctrl_c_ends_a_build(network, cache, caplog, capfd, generation):
    machine = fake_gpu(generation=generation, faults=interrupting(1))
    with machine as gpu, pytest.raises(KeyboardInterrupt):
        plan_for(network, FP32, H200, cache)
    (build,) = gpu.builds
    if generation == 8:  # it has no progress monitor: nothing can end it
        assert build.ended == "built"
        assert "waiting for its end" in said(caplog)[0]
    else:
        assert build.ended == "cancelled"
        assert build.steps <= 3
    assert cache.entries() == []
    assert not list(cache.folder.glob(".*"))  # the lock has gone too
    assert capfd.readouterr().err == ""  # TensorRT has caught no exception


def test_a_build_can_be_cancelled_from_elsewhere(network):
    with fake_gpu() as gpu, pytest.raises(BackendError, match="cancelled"):
        build_plan(network, FP32, cancelled=lambda: True)
    assert gpu.builds[0].ended == "cancelled"


CHILD = """
import json, sys, time
from pathlib import Path
from doubles import Faults, fake_gpu
from rtseg.cli.arguments import run
from rtseg.engine.cache import EngineCache
from rtseg.engine.tensorrt.builder import plan_for
from rtseg.engine.tensorrt.options import BuildOptions, Gpu
from rtseg.spec import read_network

def command():
    gpu = Gpu("NVIDIA H200", (9, 0), 13000, "")
    cache, network = EngineCache(Path(sys.argv[2])), read_network(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    plan = plan_for(network, BuildOptions(precision="fp32"), gpu, cache)
    print(json.dumps([plan.built, len(plan.payload)]))
    return 0

with fake_gpu(faults=Faults(build_seconds=float(sys.argv[3]))):
    sys.exit(run("child", command))
"""


def child(network: NetworkFile, cache: EngineCache, seconds: float) -> subprocess.Popen:
    """A process that builds as soon as it reads a line."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, network.path, cache.folder, str(seconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def test_of_two_processes_one_builds_and_one_waits(network, cache):
    processes = [child(network, cache, 1.5) for _ in range(2)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    built = sorted(json.loads(out) for out, _ in results)
    assert [b for b, _ in built] == [False, True]
    assert built[0][1] == built[1][1]
    waiting = "child: another process builds the engine of tiny now: waiting for it\n"
    assert sorted(err for _, err in results) == ["", waiting]
    assert sorted(p.suffix for p in cache.folder.iterdir()) == [".engine", ".timing"]


def test_a_build_that_was_killed_hinders_nobody(network, cache):
    process = child(network, cache, 60)
    process.stdin.write("go\n")
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not list(cache.folder.glob(".*.lock")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    start = time.monotonic()
    with fake_gpu():
        assert plan_for(network, FP32, H200, cache).built
    assert time.monotonic() - start < 20
    assert sorted(p.suffix for p in cache.folder.iterdir()) == [".engine", ".timing"]
