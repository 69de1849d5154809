"""Which backend ``rtseg.load`` takes when it is asked for none, and what it says of it."""

import importlib.util
import logging
import subprocess
import sys

import numpy as np
import pytest
from conftest import tiny_spec, write_tiny_network

import rtseg
from rtseg.cli import live
from rtseg.engine import BACKENDS
from rtseg.engine.cache import EngineCache
from rtseg.errors import BackendError, UsageError

pytest.importorskip("onnxruntime", reason="the double of TensorRT computes with ONNX Runtime")

from doubles import Faults, ParserFault, fake_gpu

from rtseg.engine.tensorrt import driver


@pytest.fixture
def network(tmp_path):
    write_tiny_network(tmp_path / "tiny.fp16.onnx", tiny_spec(precision="fp16"))
    return write_tiny_network(tmp_path / "tiny.onnx", tiny_spec())


@pytest.fixture
def load(network, tmp_path):
    def load(**options):
        return rtseg.load(network, cache=EngineCache(tmp_path / "cache"), **options)

    return load


@pytest.fixture
def hidden(monkeypatch):
    """Make modules look as if they were not installed."""
    found = importlib.util.find_spec

    def hide(*names):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *a: None if name in names else found(name, *a)
        )

    hide("tensorrt", "pycuda", "torch_tensorrt")
    return hide


@pytest.fixture(autouse=True)
def _no_torch_tensorrt(monkeypatch):
    """What this machine has of it does not matter here: its own tests are elsewhere."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "torch_tensorrt" else found(name, *a),
    )


def noise(count):
    return np.random.default_rng(0).integers(0, 256, (count, 64, 96, 3), dtype=np.uint8)


def choice(caplog):
    """The one record that says which engine was chosen."""
    (record,) = [r for r in caplog.records if r.getMessage().startswith("tiny 96x64: ")]
    assert "\n" not in record.getMessage()
    return record


def works(engine):
    frames = noise(4)
    np.testing.assert_array_equal(engine.infer(frames), frames[..., 0] > 127)
    engine.close()
    driver.shut_down()


# The best there is


def test_the_fastest_comes_first():
    assert BACKENDS == ("tensorrt", "torch-tensorrt", "openvino", "onnxruntime")


def test_a_gpu_with_tensorrt_is_taken(load, caplog):
    caplog.set_level(logging.INFO, "rtseg")
    with fake_gpu():
        engine = load()
        assert (engine.backend, engine.precision) == ("tensorrt", "fp16")
        works(engine)
    record = choice(caplog)
    assert record.getMessage() == "tiny 96x64: tensorrt fp16 on NVIDIA H200"
    assert (record.levelno, record.news) == (logging.INFO, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"faults": Faults(no_driver=True)}, "tensorrt: no NVIDIA driver"),
        ({"faults": Faults(no_device=True)}, "tensorrt: no NVIDIA GPU"),
        ({"faults": Faults(old_driver=True)}, "tensorrt: the NVIDIA driver is too old"),
    ],
    ids=["no driver", "no GPU", "old driver"],
)
def test_without_a_usable_gpu_the_cpu_is_taken_and_the_reason_said(load, caplog, options, says):
    caplog.set_level(logging.INFO, "rtseg")
    with fake_gpu(**options):
        engine = load()
        assert engine.backend == "openvino"
        works(engine)
    record = choice(caplog)
    assert record.getMessage().startswith(f"tiny 96x64: openvino {engine.precision} on ")
    assert says in record.getMessage()
    # The machine is as it is: that is no warning.
    assert (record.levelno, record.news) == (logging.INFO, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"faults": Faults(build_fails="no tactic for conv")}, "no tactic for conv"),
        ({"faults": Faults(parser=(ParserFault(2, "bad conv"),))}, "bad conv"),
        ({"faults": Faults(out_of_memory_after=1000)}, "memory"),
        ({"faults": Faults(enqueue_fails_at=1)}, "refused to run"),
    ],
    ids=["build", "parser", "memory", "run"],
)
def test_a_gpu_that_fails_leaves_the_cpu_with_a_warning(load, caplog, options, says):
    caplog.set_level(logging.INFO, "rtseg")
    with fake_gpu(**options):
        engine = load()
        assert engine.backend == "openvino"
        works(engine)
    assert says in choice(caplog).getMessage()
    assert choice(caplog).levelno == logging.WARNING


def test_an_engine_that_paints_otherwise_than_its_network_is_refused(load, caplog):
    caplog.set_level(logging.INFO, "rtseg")
    with fake_gpu(faults=Faults(flipped=0.05)):
        with load() as engine:
            assert engine.backend == "openvino"
        assert "only 94.99% of the pixels agree" in caplog.text
        with pytest.raises(
            BackendError, match=r"only 94.99% .* 99% are needed: use --precision fp32"
        ):
            load(backend="tensorrt")
    # It is remembered with the engine, which is not tried again before it is built anew.
    with fake_gpu(), pytest.raises(BackendError, match=r"only 94\.99%"):
        load(backend="tensorrt")


def test_an_engine_that_paints_as_its_network_keeps_the_figure(load, tmp_path):
    with fake_gpu():
        with load() as engine:
            assert engine.backend == "tensorrt"
        with load() as engine:
            assert not engine.built
    (entry,) = (e for e in EngineCache(tmp_path / "cache").entries() if e.backend == "tensorrt")
    assert entry.facts["parity"] == 1.0


def test_whatever_a_gpus_library_raises_leaves_the_cpu(load, caplog, monkeypatch):
    from rtseg.engine.tensorrt import builder

    def plan_for(*_, **__):
        raise TypeError("incompatible function arguments.\nThe following are supported")

    monkeypatch.setattr(builder, "plan_for", plan_for)
    with fake_gpu():
        engine = load()
        assert engine.backend == "openvino"
        works(engine)
        assert "tensorrt failed: TypeError: incompatible function" in choice(caplog).getMessage()
        with pytest.raises(BackendError, match="TypeError") as caught:
            load(backend="tensorrt")
        assert "\n" not in str(caught.value)


def test_a_machine_without_a_gpus_packages_says_it_quietly(load, caplog, hidden):
    caplog.set_level(logging.INFO, "rtseg")
    works(load())
    record = choice(caplog)
    assert "tensorrt: not installed" in record.getMessage()
    assert (record.levelno, record.news) == (logging.INFO, False)


def test_without_openvino_onnxruntime_is_taken(load, caplog, hidden):
    hidden("tensorrt", "torch_tensorrt", "openvino")
    caplog.set_level(logging.INFO, "rtseg")
    engine = load()
    assert engine.backend == "onnxruntime"
    works(engine)
    assert "openvino: not installed" in choice(caplog).getMessage()


def test_without_any_backend_the_base_install_is_named(load, hidden):
    hidden("tensorrt", "torch_tensorrt", "openvino", "onnxruntime")
    with pytest.raises(UsageError, match="pip install 'rtseg'"):
        load()


def test_a_precision_that_only_the_cpu_has_is_run_there(load, caplog):
    import openvino as ov

    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    caplog.set_level(logging.INFO, "rtseg")
    with fake_gpu():
        engine = load(precision="bf16")
        assert (engine.backend, engine.precision) == ("openvino", "bf16")
        works(engine)
    assert "precision bf16: TensorRT runs" in choice(caplog).getMessage()


def test_a_network_that_nothing_can_run_is_openvinos_error(tmp_path, network, hidden):
    path = tmp_path / "odd.onnx"
    path.write_bytes(network.read_bytes().replace(b"Squeeze", b"Squooze"))
    with pytest.raises(BackendError, match="OpenVINO cannot compile") as caught:
        rtseg.load(path)
    assert "\n" not in str(caught.value)


# One that was asked for


def test_a_backend_that_was_asked_for_is_taken_or_fails(load, caplog):
    caplog.set_level(logging.INFO, "rtseg")
    with fake_gpu():
        works(load(backend="openvino"))
        works(load(backend="tensorrt", precision="fp32"))
        assert not any(getattr(r, "news", False) for r in caplog.records)
    with fake_gpu(faults=Faults(no_driver=True)):
        with pytest.raises(BackendError, match="--backend tensorrt: no NVIDIA driver") as caught:
            load(backend="tensorrt")
        assert "\n" not in str(caught.value)
    with fake_gpu(), pytest.raises(BackendError, match="bf16: TensorRT runs fp16 or fp32 or int8"):
        load(backend="tensorrt", precision="bf16")
    with pytest.raises(BackendError, match="there is none of int8 beside it"):
        load(backend="openvino", precision="int8")


@pytest.mark.parametrize("name", ["tensorrt", "torch-tensorrt"])
def test_a_gpus_backend_that_is_not_installed_names_its_extra(load, hidden, name):
    with pytest.raises(
        UsageError, match=rf"{name} is not installed: pip install 'rtseg\[{name}\]'"
    ):
        load(backend=name)


def test_a_build_is_told_as_it_goes(load, caplog):
    heard = []
    with fake_gpu():
        works(load(on_progress=lambda *told: heard.append(told)))
        assert heard
        assert all(0 <= done <= whole for _, done, whole in heard)
        heard.clear()
        works(load(on_progress=lambda *told: heard.append(told)))
        assert heard == []  # from the cache
        caplog.set_level(logging.INFO, "rtseg")
        works(load(precision="fp32"))
    assert any(r.getMessage() == "tiny: Building Engine" for r in caplog.records)


# The commands


def run(capfd, command, *arguments):
    try:
        status = command.main([str(a) for a in arguments])
    except SystemExit as end:
        status = end.code
    driver.shut_down()
    out, err = capfd.readouterr()
    return status, out, err.splitlines()


def shown(network, *more):
    return (
        "demo",
        "--network",
        network,
        "--headless",
        "--limit",
        4,
        "--capture-size",
        "96x64",
        *more,
    )


def test_live_runs_on_the_gpu_and_says_so(capfd, network):
    with fake_gpu():
        status, out, err = run(capfd, live, *shown(network, "--backend", "tensorrt"))
        assert (status, err) == (0, [])
        status, out, err = run(capfd, live, *shown(network))
    assert (status, err) == (0, ["rtseg-live: tiny 96x64: tensorrt fp16 on NVIDIA H200"])
    assert "tensorrt" in out


def test_live_falls_back_in_one_line(capfd, network):
    with fake_gpu(faults=Faults(no_driver=True)):
        status, _, err = run(capfd, live, *shown(network))
        assert status == 0
        assert len(err) == 1
        assert "openvino" in err[0]
        assert "no NVIDIA driver" in err[0]
        status, _, err = run(capfd, live, *shown(network, "--quiet"))
        assert (status, err) == (0, [])


def test_live_says_nothing_new_where_there_is_no_gpus_package(capfd, network, hidden):
    status, _, err = run(capfd, live, *shown(network))
    assert (status, err) == (0, [])


def test_live_fails_in_one_line_where_the_backend_was_asked_for(capfd, network):
    with fake_gpu(faults=Faults(no_driver=True)):
        status, _, err = run(capfd, live, *shown(network, "--backend", "tensorrt"))
    assert (status, len(err)) == (1, 1)
    assert "error: --backend tensorrt: no NVIDIA driver" in err[0]


# What it costs a machine without a GPU


def test_choosing_imports_neither_torch_nor_pycuda(network):
    script = (
        "import sys, rtseg\n"
        f"rtseg.load({str(network)!r}).close()\n"
        "print([m for m in ('torch', 'tensorrt', 'pycuda', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if importlib.util.find_spec("pycuda") is not None:
        pytest.skip("this machine has pycuda")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
