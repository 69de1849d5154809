"""``rtseg-eval --ray`` without a Ray: what is told before one is started, and what a worker does."""

import contextlib
import importlib.util
import json
import os
import pickle
import signal
import socket
import sys
import threading
import time
import types
from dataclasses import replace
from pathlib import Path

import pytest
from evaluated import noisy, road_folder, run_eval

import rtseg
from rtseg.engine import find_network
from rtseg.errors import BackendError, InputError, UsageError
from rtseg.evaluation import ray_cluster
from rtseg.evaluation.ray_cluster import joined
from rtseg.evaluation.ray_runner import Attempts, shared_out
from rtseg.evaluation.ray_worker import LINES, SAMPLES, EngineActor, EnginePlan, raise_error
from rtseg.evaluation.samples import PixelSample
from rtseg.evaluation.scored_classes import identity
from rtseg.evaluation.scoring import Work


@pytest.fixture
def evaluate(capfd, tiny_network, tmp_path):
    """Run the command on two frames; gives status, error lines and the output folder."""
    road_folder(tmp_path / "data", 2)

    def run(*arguments):
        out = tmp_path / "out"
        return *run_eval(capfd, tiny_network, tmp_path / "data", "--out", out, *arguments), out

    return run


def test_without_ray_its_extra_is_named(evaluate, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "ray" else find(name, *rest),
    )
    status, lines, out = evaluate("--ray")
    assert status == 2
    assert lines == ["rtseg-eval: error: --ray needs ray: pip install 'rtseg[ray]'"]
    assert not out.exists()


@pytest.fixture
def installed(monkeypatch):
    """Ray is not needed to tell that an address is wrong."""
    monkeypatch.setattr(ray_cluster, "require_extra", lambda *names: None)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--ray", "ray://head:10001"], 2, "give HOST:PORT"),
        (["--ray", "head"], 2, "give HOST:PORT"),
        (["--ray", "head:99999"], 2, "give HOST:PORT"),
        (["--ray", "auto"], 1, "no Ray runs on this machine: ray start --head"),
        (["--ray", "no-such-host.invalid:6379"], 1, "no cluster can be reached there"),
        (["--ray", "--measure"], 2, "leave out --ray"),
        (["--ray", "--devices", "CPU,CUDA:0"], 2, "all engines are of one kind"),
    ],
)
def test_what_cannot_be_joined_is_said_in_a_line(
    evaluate, installed, monkeypatch, tmp_path, arguments, status, words
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    found, lines, out = evaluate(*arguments)
    assert found == status
    assert len(lines) == 1
    assert words in lines[0]
    assert not out.exists()


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.6\r\n", b"", None])
def test_an_address_where_something_else_answers(evaluate, installed, monkeypatch, greeting):
    monkeypatch.setattr(ray_cluster, "_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            connection, _ = server.accept()
            with connection:
                if greeting is None:
                    time.sleep(1)
                else:
                    connection.sendall(greeting)
                    with contextlib.suppress(OSError):
                        connection.recv(100)

        thread = threading.Thread(target=answer)
        thread.start()
        status, lines, _ = evaluate("--ray", f"127.0.0.1:{port}")
        thread.join()
    assert status == 1
    assert len(lines) == 1
    assert f"--ray 127.0.0.1:{port}: " in lines[0]
    assert ("is not Ray" if greeting is not None else "timed out") in lines[0]
    status, lines, _ = evaluate("--ray", f"127.0.0.1:{port}")
    assert status == 1
    assert "refused" in lines[0]


def test_a_cluster_of_other_versions_is_said_by_them(monkeypatch):
    """In Ray's own words of its version 2.60."""

    def init(**options):
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.61.0\n    Python: 3.12.1\n"
            "This process on node 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
        )

    context = types.SimpleNamespace()
    data = types.ModuleType("ray.data")
    data.DataContext = types.SimpleNamespace(get_current=lambda: context)
    ray = types.ModuleType("ray")
    ray.data, ray.init, ray.is_initialized = data, init, lambda: False
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    monkeypatch.setattr(ray_cluster, "check_address", lambda address: None)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(BackendError) as caught, joined("10.0.0.1:6379"):
        pass
    assert str(caught.value) == (
        "--ray 10.0.0.1:6379: the cluster has Ray 2.61.0, Python 3.12.1, this process Ray 2.60.0, "
        "Python 3.11.7: they have to be the same"
    )
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def plan(tiny_network):
    with rtseg.load(tiny_network) as engine:
        return EnginePlan(
            network=str(tiny_network), sha256=find_network(tiny_network).sha256,
            backend=engine.backend, precision=None, in_force=engine.precision,
            versions=engine.versions, size=None, batch=1, probability=False, folder=str(Path.cwd()),
            needs=(str(tiny_network),), cpus=10**6,
        )  # fmt: skip


def record_of(plan, begin=lambda first: 1):
    """What an engine makes of a frame."""
    work = Work((96, 64), 2, identity(("background", "road")))
    actor = EngineActor(plan, work, begin)
    group = pickle.dumps([PixelSample(7, "a", "a", noisy(0))])
    (line,) = actor({SAMPLES: [group]})[LINES]
    values = json.loads(line)
    raise_error(values)
    return values


def test_an_engine_is_the_one_that_was_planned(plan):
    assert record_of(plan)["status"] == "written"
    assert record_of(plan)["index"] == 7


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"rtseg": "0.0.1"}, UsageError, "this process 0.0.1"),
        ({"sha256": "0"}, InputError, "another network"),
        ({"in_force": "int4"}, BackendError, "that of this process int4: .* say --precision"),
        ({"versions": {"openvino": "1999.1"}}, BackendError, "this process openvino 1999.1"),
        ({"needs": ("no/such/folder",)}, InputError, "/no/such/folder: .* same path on every node"),
        ({"network": "/no/such.onnx", "needs": ()}, UsageError, "no such network file"),
        ({"folder": "/no/such", "needs": ("road",)}, InputError, "cannot find /no/such/road"),
    ],
)
def test_a_node_that_is_different_is_said_by_its_name(plan, change, kind, words):
    with pytest.raises(kind, match=f"^{os.uname().nodename}: .*{words}"):
        record_of(replace(plan, **change))


def test_what_kills_its_engine_again_and_again_ends_the_run(plan):
    attempts = Attempts()
    for _ in range(5):
        assert record_of(plan, attempts.begin)["index"] == 7
    with pytest.raises(BackendError, match=r"a and the 0 frames after it: .* died 5 times"):
        record_of(plan, attempts.begin)


@pytest.mark.parametrize(
    ("nodes", "engines", "gpus", "cpus", "count"),
    [
        ([{"CPU": 2.0}], 1, 0, 2, 1),
        ([{"CPU": 2.0}], 2, 0, 1, 2),
        ([{"CPU": 4.0}, {"CPU": 64.0}], 1, 0, 4, 17),
        ([{"CPU": 5.0}, {"CPU": 4.0}], 2, 0, 2, 4),
        ([{"memory": 1.0}, {"CPU": 8.0}], 2, 0, 4, 2),  # a head without CPUs
        ([{"CPU": 16.0, "GPU": 4.0}] * 3, 4, 1.0, 4, 12),
        ([{"CPU": 16.0}, {"CPU": 16.0, "GPU": 1.0}], 1, 1.0, 16, 1),
        ([{"CPU": 16.0, "GPU": 1.0}], 3, 0.3333, 5, 3),
    ],
)
def test_nodes_are_shared_out_among_engines(nodes, engines, gpus, cpus, count):
    assert shared_out(nodes, engines, gpus) == (cpus, count)


@pytest.mark.parametrize(("engines", "gpus"), [(3, 0.0), (1, 1.0)])
def test_nodes_that_are_too_small(engines, gpus):
    with pytest.raises(BackendError, match=r"none of the 1 nodes has the .* see --devices"):
        shared_out([{"CPU": 2.0}], engines, gpus)
