"""``rtseg-compile`` for TensorRT, and what it shows of the engine cache."""

import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from conftest import tiny_spec, write_tiny_network
from doubles import Faults, fake_gpu

from rtseg.cli import compile as compiling
from rtseg.engine.cache import EngineCache
from rtseg.engine.tensorrt.driver import shut_down

TENSORRT = ("--backend", "tensorrt", "--frames", 1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty cache of each test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))
    return tmp_path / "cache-home" / "rtseg"


@pytest.fixture
def network(make_network):
    """``tiny.onnx``, with ``tiny.fp16.onnx`` beside it."""
    make_network("tiny.fp16.onnx", precision="fp16")
    return make_network("tiny.onnx")


@pytest.fixture
def compile_(capfd):
    """Run the command; gives its exit status, output and lines of errors, without progress."""

    def call(*arguments):
        try:
            status = compiling.main([str(a) for a in arguments])
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        lines = [line for line in err.splitlines() if " % (" not in line]
        return status, out, lines

    return call


def listed(compile_, *arguments):
    status, out, err = compile_("--list", "--json", *arguments)
    assert (status, err) == (0, [])
    return json.loads(out)


@pytest.mark.parametrize("generation", [8, 10, 11])
def test_an_fp16_engine_is_built_checked_and_listed(compile_, network, home, generation):
    with fake_gpu(generation=generation) as gpu:
        status, out, err = compile_(network, *TENSORRT)
        assert (status, err) == (0, [])
        assert "tiny 96x64: tensorrt fp16 on NVIDIA H200, compiled in" in out
        assert "parity with onnxruntime fp32: 100.0000% of the pixels of 1 frames" in out
        assert "logits: all finite in FP16" in out
        (engine,) = home.glob("*.engine")
        assert f"engine: {engine}" in out
        status, out, err = compile_(network, *TENSORRT)
        assert "taken from the cache" in out
        status, out, err = compile_(network, *TENSORRT, "--rebuild")
        assert "compiled in" in out
        assert len(gpu.builds) == 2
        (entry,) = listed(compile_)
        shut_down()  # as at the process's end
    assert entry["valid"] is True
    assert entry["file"] == str(engine)
    assert (entry["name"], entry["backend"], entry["precision"], entry["shape"]) == (
        "tiny",
        "tensorrt",
        "fp16",
        "1x96x64",
    )
    assert entry["facts"]["parity"] == 1
    assert entry["facts"]["build_seconds"] > 0
    assert gpu.leaks == []


def test_the_options_reach_the_builder(compile_, network, tmp_path):
    timings = tmp_path / "own.timing"
    with fake_gpu() as gpu:
        status, out, err = compile_(
            network, *TENSORRT, "--precision", "fp32", "--batch", 2, "--size", "128x64",
            "--workspace", 32, "--optimisation-level", 1, "--timing-cache", timings,
            "--version-compatible", "--ampere-plus",
        )  # fmt: skip
    assert (status, err) == (0, [])
    assert "tiny 128x64 × 2: tensorrt fp32" in out
    (build,) = gpu.builds
    assert build.inputs == {"frames": [2, 64, 128, 3]}
    assert build.pools["WORKSPACE"] == 32 << 20
    assert build.optimisation_level == 1
    assert build.hardware == "AMPERE_PLUS"
    assert "VERSION_COMPATIBLE" in build.flags
    assert timings.stat().st_size > 0


def test_the_plan_is_written_for_others_with_its_sidecar(compile_, network, tmp_path):
    out_file = tmp_path / "road.engine"
    with fake_gpu():
        status, out, _ = compile_(network, *TENSORRT, "--out", out_file)
        assert status == 0
        assert str(out_file) in out
        trt = sys.modules["tensorrt"]
        from rtseg.engine.tensorrt.log import make_log

        plan = out_file.read_bytes()
        assert trt.Runtime(make_log(trt)).deserialize_cuda_engine(plan) is not None
        version = trt.__version__
    sidecar = json.loads((tmp_path / "road.engine.json").read_text())
    assert sidecar["sha256"] == hashlib.sha256(plan).hexdigest()
    assert sidecar["size"] == len(plan)
    assert sidecar["key"]["version"] == version
    assert sidecar["key"]["device"] == "NVIDIA H200"
    assert sidecar["facts"]["parity"] == 1
    assert {p.name for p in tmp_path.glob("*road*")} == {"road.engine", "road.engine.json"}


def test_an_engine_that_disagrees_is_refused_then_and_later(compile_, network, tmp_path):
    out_file = tmp_path / "road.engine"
    with fake_gpu(faults=Faults(flipped=0.3)):
        status, _, err = compile_(network, *TENSORRT, "--out", out_file)
        assert status == 1
        (line,) = err
        share = float(re.search(r"only (\d+\.\d\d)% of the pixels agree", line)[1])
        assert 50 < share < 90
        assert "--precision fp32" in line
        assert not out_file.exists()
        (entry,) = listed(compile_)
        assert entry["valid"] is False
        assert f"{share:.2f}%" in entry["fault"]
    with fake_gpu() as gpu:
        status, _, err = compile_(network, *TENSORRT)
        assert status == 1
        assert f"{share:.2f}%" in err[0]
        status, _, err = compile_(network, *TENSORRT, "--rebuild")
        assert (status, err) == (0, [])
        assert len(gpu.builds) == 1
        assert listed(compile_)[0]["valid"] is True


def test_the_list_is_a_table_with_sizes_and_validity(compile_, network, home):
    status, out, _ = compile_("--list")
    assert status == 0
    assert "no engines" in out
    with fake_gpu(generation=10):
        compile_(network, *TENSORRT)
        compile_(network, "--backend", "openvino", "--precision", "fp32", "--frames", 1)
    with fake_gpu(generation=11):
        compile_(network, *TENSORRT)
        tensorrt_10 = next(e for e in listed(compile_) if e["fault"].startswith("of tensorrt 10"))
        Path(tensorrt_10["file"]).write_bytes(Path(tensorrt_10["file"]).read_bytes()[:-5])
        status, out, err = compile_("--list")
    assert (status, err) == (0, [])
    lines = out.splitlines()
    assert sum("tensorrt fp16 1x96x64" in line and "valid" in line for line in lines) == 1
    assert sum("damaged: 5 of" in line for line in lines) == 1
    (row,) = [line for line in lines if "openvino fp32 1x96x64" in line]
    assert re.search(r"100\.00%\s+valid", row)
    assert f"3 engines, {sum(p.stat().st_size for p in home.glob('*.engine')) / 1e6:.1f} MB" in out
    with fake_gpu(faults=Faults(no_driver=True)):
        status, out, _ = compile_("--list")
    assert "tensorrt cannot run: no NVIDIA driver" in out
    assert [e["name"] for e in listed(compile_, "another")] == []


def test_clear_empties_the_cache(compile_, network, make_network, home):
    other = make_network("other.onnx", name="other")
    for path in (network, other):
        compile_(path, "--backend", "openvino", "--frames", 1)
    assert len(listed(compile_)) == 2
    status, out, err = compile_("--clear", "other")
    assert (status, err) == (0, [])
    assert "1 engine removed" in out
    assert [e["name"] for e in listed(compile_)] == ["tiny"]
    kernels = home / "kernels" / "kernels-0123456789abcdef.engine"
    kernels.parent.mkdir()
    kernels.write_bytes(bytes(200_000))
    status, out, err = compile_("--list")
    assert "and 0.2 MB of kernels that resize and paint on a GPU" in out
    status, out, err = compile_("--clear")
    assert "1 engine removed" in out
    assert [p for p in home.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "which network"),
        (["--list", "--clear"], "one at a time"),
        (["NET", "--json"], "--json goes with --list"),
        (["NET", "--workspace", "64"], "--workspace goes with --backend tensorrt"),
        (["NET", "--backend", "openvino", "--ampere-plus"], "--ampere-plus goes with"),
        (["NET", *TENSORRT, "--optimisation-level", "6"], "from 0 to 5"),
        (["NET", *TENSORRT, "--precision", "bf16"], "precision bf16: TensorRT runs"),
        (["NET", "--out", "x.engine"], "goes with --backend tensorrt"),
        (["NET", *TENSORRT, "--out", "x.onnx"], "only FILE.engine"),
        (["NET", *TENSORRT, "--out", "no/folder/x.engine"], "cannot write this file"),
        (["NET", *TENSORRT, "--timing-cache", "no/folder/x"], "cannot write this file"),
        (["NET", *TENSORRT, "--precision", "int8"], "--int8 FOLDER-OF-PICTURES"),
        (["NET", *TENSORRT, "--size", "100x64"], "multiples of 32"),
        (["NET", *TENSORRT, "--batch", "0"], "--batch"),
    ],
)
def test_what_cannot_be_is_one_line(compile_, network, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with fake_gpu() as gpu:
        status, _, err = compile_(*(network if a == "NET" else a for a in arguments))
    assert status in (1, 2)
    (line,) = err
    assert words in line
    assert gpu.builds == []


def test_without_a_gpu_there_is_one_line(compile_, network):
    with fake_gpu(faults=Faults(no_driver=True)):
        status, _, err = compile_(network, *TENSORRT)
    assert status == 1
    (line,) = err
    assert "no NVIDIA driver" in line


def test_progress_is_plain_lines_where_there_is_no_terminal(network, capfd):
    with fake_gpu():
        assert compiling.main([str(a) for a in (network, *TENSORRT)]) == 0
    lines = capfd.readouterr().err.splitlines()
    shares = [
        int(re.fullmatch(r"rtseg-compile: building tiny: (\d+) % \(.+\)", s)[1]) for s in lines
    ]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 100
    assert len(shares) <= 12


def test_a_cache_that_cannot_be_written_is_one_warning(compile_, network, home, tmp_path):
    home.parent.mkdir()
    home.write_text("a file where the folder should be")
    out_file = tmp_path / "road.engine"
    with fake_gpu() as gpu:
        status, _, err = compile_(network, *TENSORRT, "--out", out_file)
    assert status == 0
    assert len(err) == 1
    assert "cannot write the engine cache" in err[0]
    assert len(gpu.builds) == 1
    assert json.loads((tmp_path / "road.engine.json").read_text())["facts"]["parity"] == 1


COMMAND = """
import sys
from conftest import tiny_spec, write_tiny_network
from doubles import Faults, fake_gpu
from rtseg.cli import compile
generation, seconds, *sys.argv[1:] = sys.argv[1:]
with fake_gpu(generation=int(generation), faults=Faults(build_seconds=float(seconds))):
    sys.exit(compile.main())
"""


def started(network, generation):
    """A command whose build takes a minute; comes back when it is building."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(generation), "60", network, *map(str, TENSORRT)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert "building tiny" in process.stderr.readline()
    return process


def test_ctrl_c_ends_the_command_with_130(network, home):
    process = started(network, 10)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, err = process.communicate(timeout=50)
    assert process.returncode == 130
    assert time.monotonic() - start < 30  # at the end of a step, which takes 7.5 s
    assert "Traceback" not in err
    assert EngineCache(home).entries() == []


def test_on_8_6_a_second_ctrl_c_leaves_the_build(network, home):
    process = started(network, 8)
    time.sleep(1)  # from here on TensorRT is at work
    process.send_signal(signal.SIGINT)
    assert "cannot break off a build" in process.stderr.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, err = process.communicate(timeout=50)
    assert process.returncode == 130
    assert time.monotonic() - start < 10
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "files", "built"),
    [
        ([], {"road.onnx": False, "road.fp16.onnx": True}, "fp16"),
        (["--precision", "fp32"], {"road.onnx": False}, "fp32"),
        (["--half"], {"road.fp16.onnx": True}, "fp16"),
        (["--out", "x.engine"], {"road.onnx": False, "road.fp16.onnx": True}, "fp16"),
    ],
    ids=["default", "fp32", "half", "engine"],
)
def test_of_a_checkpoint_the_files_are_made_that_the_engine_needs(
    compile_, tmp_path, monkeypatch, arguments, files, built
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rtseg.cli.compile_export.require_extra", lambda *_: None)
    made = {}

    def export(model, spec, path, *, half, full_size):
        made[path.name] = half
        write_tiny_network(path, dataclasses.replace(spec, precision="fp16" if half else "fp32"))

    exporter = ModuleType("rtseg.engine.export")  # the real one takes torch, and its time
    exporter.load_checkpoint = lambda path: (None, tiny_spec())
    exporter.export = export
    monkeypatch.setitem(sys.modules, "rtseg.engine.export", exporter)
    with fake_gpu() as gpu:
        status, out, err = compile_(tmp_path / "road.safetensors", *TENSORRT, *arguments)
    assert (status, err) == (0, [])
    assert made == files
    assert f"road 96x64: tensorrt {built}" in out
    assert len(gpu.builds) == 1
