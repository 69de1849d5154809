"""Every name and call of TensorRT, pycuda and cuda-python in the sources exists in NVIDIA's own.

The surfaces lie in tests/doubles/surfaces. They are read anew from the published packages where pip
and gcc can (slow), and the sources and the doubles are held to them.
"""

import functools
import inspect
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the doubles read networks with onnx (extra test)")
pytest.importorskip("onnxruntime", reason="the doubles run engines with ONNX Runtime")

from conftest import ROOT
from doubles import fake_gpu, surface, surface_cuda
from doubles.bindings import World
from doubles.cuda_runtime import Calls
from doubles.device import Gpu
from doubles.faults import Faults
from doubles.nvrtc import NvrtcCalls
from doubles.strict import fits, parameters
from doubles.usage import Usage

GENERATIONS = tuple(surface.RELEASES)
ENGINE = ROOT / "rtseg" / "engine"
SOURCES = sorted(
    [
        *ENGINE.glob("tensorrt/*.py"),
        *ENGINE.glob("*tensorrt*.py"),
        *(ROOT / "benchmarks").glob("gpu*.py"),
    ]
)

# What a generation lacks and is not asked there, by a condition that the syntax does not show.
GUARDED = {
    ("builder.py", 8): {
        # No monitor is made where TensorRT has no IProgressMonitor: progress.make_monitor.
        "object:IBuilderConfig has no progress_monitor",
    },
}


# The surfaces are those of the published packages.


@pytest.mark.slow
@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_committed_surface_is_that_of_nvidias_bindings(generation):
    try:
        read = surface.read_tensorrt(generation)
    except surface.CannotReadError as error:
        pytest.skip(f"the bindings cannot be read here: {error}")
    assert read == surface.load(surface.path_of(generation))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "read"),
    [
        (surface_cuda.PYCUDA, surface_cuda.read_pycuda),
        (surface_cuda.BINDINGS, surface_cuda.read_bindings),
    ],
    ids=["pycuda", "cuda-python"],
)
def test_the_committed_surface_is_that_of_the_published_package(path, read):
    try:
        found = read()
    except surface.CannotReadError as error:
        pytest.skip(f"the package cannot be read here: {error}")
    assert found == surface.load(path)


def test_missing_wheels_are_said(tmp_path):
    with pytest.raises(surface.CannotReadError, match="holds no tensorrt_bindings"):
        surface.read_tensorrt(8, tmp_path)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_surfaces_hold_what_is_known_of_each_generation(generation):
    """The table of differences, as NVIDIA's documentation has it."""
    found = surface.load(surface.path_of(generation))
    flags, classes = found["enums"]["BuilderFlag"]["members"], found["classes"]
    network = found["enums"]["NetworkDefinitionCreationFlag"]["members"]
    engine = classes["ICudaEngine"]["properties"]
    assert found["version"].startswith(f"{generation}.")
    assert ("FP16" in flags) == (generation < 11)
    assert ("EXPLICIT_BATCH" in network) == (generation < 11)
    assert ("STRONGLY_TYPED" in network) == (generation >= 10)
    assert ("IProgressMonitor" in classes) == (generation >= 10)
    assert ("num_bindings" in engine) == (generation == 8)
    assert ("device_memory_size" in engine) == (generation < 11)
    assert ("device_memory_size_v2" in engine) == (generation >= 10)
    assert classes["IExecutionContext"]["methods"]["execute_async_v3"]
    assert classes["IBuilderConfig"]["properties"]["builder_optimization_level"][1], "settable"
    assert not engine["num_io_tensors"][1], "to be read only"


# The sources ask for nothing else.


@functools.cache
def usage_of(path, generation):
    return Usage(path, generation)


def test_the_sources_are_there():
    assert {"builder.py", "driver.py", "execution.py"} <= {path.name for path in SOURCES}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_sources_ask_for_what_exists(path, generation):
    usage = usage_of(path, generation)
    known = GUARDED.get((path.name, generation), set())
    left = [fault for fault in usage.faults if not any(text in fault for text in known)]
    assert left == []
    for text in known:
        assert any(text in fault for fault in usage.faults), f"no longer needed: {text}"


def test_the_sources_are_understood():
    """What the check sees of the sources, so that it does not pass for seeing nothing."""
    used = set()
    for path in SOURCES:
        for generation in GENERATIONS:
            used |= usage_of(path, generation).used
    assert {
        "enum:NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        "enum:NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "object:Builder.build_serialized_network",
        "object:Runtime.deserialize_cuda_engine",
        "object:IExecutionContext.execute_async_v3",
        "object:IExecutionContext.set_tensor_address",
        "pycuda.memcpy_htod_async",
        "runtime.cudaStreamBeginCapture",
        "runtime.cudaGraphLaunch",
    } <= used


WRONG = [
    ("trt.BuilderFlag.FP16", {11}),
    ("trt.BuilderFlag.FP61", {8, 10, 11}),
    ("trt.IProgressMonitor", {8}),
    ("trt.Builder(log).max_workspace_size", {8, 10, 11}),
    ("trt.Builder(log).create_builder_config().max_workspace_size", {10, 11}),
    ("trt.Builder(log).create_network(flag=1)", {8, 10, 11}),
    ("trt.Builder(log).create_network(1)", set()),
    ("trt.Builder()", {8, 10, 11}),
    ("trt.Runtime(log).deserialize_cuda_engine(plan).num_bindings", {10, 11}),
    ("trt.Runtime(log).deserialize_cuda_engine(plan).get_tensor_mode()", {8, 10, 11}),
    ("builder = trt.Builder(log)\nbuilder.build_engine(network, config)", {10, 11}),
    ("if generation(trt) == 8:\n    trt.BuilderFlag.FP16", set()),
    ("of = generation(trt)\nif of == 8:\n    trt.BuilderFlag.FP16", set()),
    ("if generation(trt) != 11:\n    pass\nelse:\n    trt.BuilderFlag.FP16", {11}),
    ("if hasattr(trt, 'IProgressMonitor'):\n    trt.IProgressMonitor()", set()),
    ("if not hasattr(trt, 'IProgressMonitor'):\n    trt.IProgressMonitor()", {8}),
    ("def f():\n    if not hasattr(trt, 'IProgressMonitor'):\n        return\n"
     "    trt.IProgressMonitor()", set()),
    ("match generation(trt):\n    case 8:\n        trt.BuilderFlag.FP16\n    case _:\n"
     "        trt.IProgressMonitor", set()),
    ("match generation(trt):\n    case 8:\n        trt.IProgressMonitor\n    case _:\n"
     "        trt.BuilderFlag.FP16", {8, 11}),
    ("def f(config):\n    config.num_optimization_profiles = 2", {8, 10, 11}),
    ("def f(config):\n    config.set_memory_pool_limit(pool, size=2)", {8, 10, 11}),
    ("cuda.memcpy_htod_sync(a, b)", {8, 10, 11}),
    ("cuda.memcpy_htod_async(a, b, queue=s)", {8, 10, 11}),
    ("cuda.Stream(1).wait()", {8, 10, 11}),
    ("cuda.event_flags.UNTIMED", {8, 10, 11}),
    ("call('cudaGraphLaunch', graph)", {8, 10, 11}),
    ("call('cudaGraphStart', graph, stream)", {8, 10, 11}),
    ("load_runtime().cudaStreamCaptureMode.cudaStreamCaptureModeLocal", {8, 10, 11}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "wrong"), WRONG, ids=[case[0].split("\n")[-1] for case in WRONG]
)
def test_what_does_not_exist_is_found(source, wrong):
    found = {g for g in GENERATIONS if Usage(Path("made.py"), g, source).faults}
    assert found == wrong


# The doubles have nothing else.


def world(generation):
    gpu = Gpu("NVIDIA H200", (9, 0), 1 << 30, 13000, 256, Faults(), {})
    return World(generation, gpu, strict_casts=True)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_doubles_take_what_the_real_signatures_name(generation):
    """A play gets its arguments by the real names: it must know them."""
    made = world(generation)
    checked = 0
    for name, played in made.played_classes().items():
        methods = made.surface["classes"][name]["methods"]
        for method, signatures in methods.items():
            play = getattr(played, method, None)
            if play is None or method.startswith("__"):
                continue
            known = inspect.signature(play).parameters
            free = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
            for signature in signatures:
                wanted = {parameter.name for parameter in parameters(signature)}
                assert free or wanted <= set(known), f"{name}.{method}"
                checked += 1
    assert checked > 60


@pytest.mark.parametrize("generation", GENERATIONS)
def test_types_of_signatures_are_understood(generation):
    """A type that the double does not know takes anything: only C++'s own may be so."""
    made = world(generation)
    anything = object()
    lax = set()
    for name in made.played_classes():
        for signatures in made.surface["classes"][name]["methods"].values():
            for signature in signatures:
                lax |= {
                    p.kind for p in parameters(signature) if fits(anything, p.kind, made.shells)
                }
    assert lax <= {
        *("", "object", "collections.abc.Callable", "capsule", "typing_extensions.CapsuleType")
    }


def test_the_double_of_pycuda_has_the_real_names():
    real = surface.load(surface_cuda.PYCUDA)
    names = {
        *real["classes"], *real["enums"], *real["functions"], *real["python"], *real["errors"],
        "HostAllocation",  # an alias of PagelockedHostAllocation
    }  # fmt: skip
    with fake_gpu():
        import pycuda.compiler
        import pycuda.driver

        public = {name for name in vars(pycuda.driver) if name[0] != "_"}
        assert public <= names
        for name in public & set(real["functions"]):
            wanted = real["functions"][name]
            given = [
                p.name if p.default is p.empty else f"{p.name}="
                for p in inspect.signature(getattr(pycuda.driver, name)).parameters.values()
            ]
            assert wanted is None or given == wanted, name
        for name in public & set(real["python"]):
            play = getattr(pycuda.driver, name)
            if inspect.isfunction(play):
                assert list(inspect.signature(play).parameters) == real["python"][name], name
        for name in public & set(real["classes"]):
            play = getattr(pycuda.driver, name)
            own = {
                n for kind in getattr(play, "__mro__", ())[:-1] for n in vars(kind) if n[0] != "_"
            }
            inherited = real["classes"]["HostPointer"] if "Host" in name else []
            known = {*real["classes"][name], *real["added"].get(name, []), *inherited}
            assert own <= known, name
        for name in public & set(real["enums"]):
            assert set(vars(getattr(pycuda.driver, name))) <= set(real["enums"][name]), name
        for name in ("compile", "SourceModule"):
            play = getattr(pycuda.compiler, name)
            wanted = [parameter for parameter in real["compiler"][name] if parameter != "self"]
            assert list(inspect.signature(play).parameters) == wanted


def test_the_double_of_cuda_python_has_the_real_functions():
    real = surface.load(surface_cuda.BINDINGS)
    functions = real["runtime"]["functions"] | real["driver"]["functions"]
    for kind, known in ((Calls, functions), (NvrtcCalls, real["nvrtc"]["functions"])):
        played = [name for name in vars(kind) if name[0] != "_"]
        assert len(played) > 5
        for name in played:
            given = list(inspect.signature(getattr(kind, name)).parameters)[1:]
            assert given == known[name], name


def test_nothing_of_pycuda_is_missing_in_the_surface():
    """The wrapper's text was read whole: some names of every sort."""
    real = surface.load(surface_cuda.PYCUDA)
    assert {"push", "pop", "detach", "get_current"} <= set(real["classes"]["Context"])
    assert "retain_primary_context" in real["classes"]["Device"]
    assert real["functions"]["memcpy_htod_async"] == ["dest", "src", "stream="]
    assert "DISABLE_TIMING" in real["enums"]["event_flags"]
    assert {"Error", "MemoryError", "LogicError"} <= set(real["errors"])
    assert "prepared_async_call" in real["added"]["Function"]
