"""The cache of compiled engines: what is stored once is compiled once, and damage is only slow."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import rtseg
from rtseg.engine.cache import KERNELS, EngineCache, cache_folder

KEY = {"backend": "openvino", "network": "abc"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache of this test's own."""
    folder = tmp_path / "cache-home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)


def warnings_in(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def entries(home):
    return sorted((home / "rtseg").iterdir())


def test_the_second_load_compiles_nothing(home, tiny_network, frames, caplog):
    with rtseg.load(tiny_network) as engine:
        assert engine.built
        masks = engine.infer(frames)
    with rtseg.load(tiny_network) as engine:
        assert not engine.built
        np.testing.assert_array_equal(engine.infer(frames), masks)
    np.testing.assert_array_equal(masks, frames[..., 0] > 127)
    assert len(entries(home)) == 1
    assert warnings_in(caplog) == []


@pytest.mark.parametrize(
    "other",
    [{"size": (128, 96)}, {"precision": "fp32"}, {"mode": "latency"}],
    ids=["size", "precision", "mode"],
)
def test_another_engine_has_an_entry_of_its_own(home, tiny_network, other):
    rtseg.load(tiny_network).close()
    with rtseg.load(tiny_network, **other) as engine:
        assert engine.built
    assert len(entries(home)) == 2
    for options in ({}, other):
        with rtseg.load(tiny_network, **options) as engine:
            assert not engine.built


def test_another_network_of_the_same_name_has_an_entry_of_its_own(home, make_network):
    path = make_network()
    rtseg.load(path).close()
    make_network(licence="another")
    with rtseg.load(path) as engine:
        assert engine.built


def bit_flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def of_another_key(content):
    return content.replace(b'"backend": "openvino"', b'"backend": "openvin0"', 1)


@pytest.mark.parametrize(
    "damage",
    [
        bit_flipped,
        of_another_key,
        lambda content: content[:-1],
        lambda content: content[: content.index(b"\n") + 1],
        lambda content: content[:20],
        lambda content: b"",
        lambda content: b"\xff\xfe\x00garbage\n" + content,
        lambda content: b"[" * 60_000 + b"\n" + content,
        lambda content: b"[1, 2]\n" + content.split(b"\n", 1)[1],
        lambda content: b"x" * 1_000_000,
    ],
    ids=[
        "bit flip",
        "another key",
        "last byte cut",
        "payload cut",
        "head cut",
        "empty",
        "garbage head",
        "nested head",
        "head of another kind",
        "no line",
    ],
)
def test_a_damaged_entry_is_built_anew_with_one_warning(home, tiny_network, frames, caplog, damage):
    rtseg.load(tiny_network).close()
    (entry,) = entries(home)
    whole = entry.read_bytes()
    assert damage(whole) != whole
    entry.write_bytes(damage(whole))
    with rtseg.load(tiny_network) as engine:
        assert engine.built
        np.testing.assert_array_equal(engine.infer(frames), frames[..., 0] > 127)
    (warning,) = warnings_in(caplog)
    assert str(entry) in warning
    assert "building it anew" in warning
    with rtseg.load(tiny_network) as engine:
        assert not engine.built
    assert len(warnings_in(caplog)) == 1


def test_an_intact_entry_that_the_backend_refuses_is_built_anew(home, tiny_network, frames):
    rtseg.load(tiny_network).close()
    (entry,) = entries(home)
    cache = EngineCache()
    # Stored under the engine's own key, sum and all, but no engine.
    head = json.loads(entry.read_bytes().split(b"\n", 1)[0])
    key = {name: value for name, value in head["key"].items() if name != "rtseg"}
    cache.write("tiny", key, b"no compiled network")
    assert cache.read("tiny", key) == b"no compiled network"
    with rtseg.load(tiny_network) as engine:
        assert engine.built
        np.testing.assert_array_equal(engine.infer(frames), frames[..., 0] > 127)
    with rtseg.load(tiny_network) as engine:
        assert not engine.built


@pytest.mark.parametrize("place", ["cache-home", "cache-home/rtseg"])
def test_a_cache_that_cannot_be_written_is_one_warning(
    home, tmp_path, tiny_network, frames, caplog, place
):
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("a file where the folder should be")
    with rtseg.load(tiny_network) as engine:
        assert engine.built
        np.testing.assert_array_equal(engine.infer(frames), frames[..., 0] > 127)
    (warning,) = warnings_in(caplog)
    assert str(home / "rtseg") in warning
    assert "cannot write the engine cache" in warning


def test_the_cache_is_under_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rtseg"


@pytest.mark.parametrize("value", [None, "", "relative/folder", "."])
def test_without_an_absolute_xdg_cache_home_it_is_under_home(monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    if value is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_folder() == Path(tmp_path) / ".cache" / "rtseg"


def test_what_is_written_is_read_under_its_own_key_only(tmp_path):
    cache = EngineCache(tmp_path / "deep" / "folder")
    assert cache.read("net", KEY) is None
    cache.write("net", KEY, b"payload\nwith a line")
    assert cache.read("net", KEY) == b"payload\nwith a line"
    assert cache.read("net", {**KEY, "network": "abd"}) is None
    assert cache.read("other", KEY) is None
    cache.write("net", KEY, b"newer")
    assert cache.read("net", KEY) == b"newer"
    assert len(list(cache.folder.iterdir())) == 1


WRITER = """
import sys
from pathlib import Path
from rtseg.engine.cache import EngineCache
cache = EngineCache(Path(sys.argv[1]))
payload = sys.argv[2].encode() * 200_000
sys.stdin.readline()
for _ in range(40):
    cache.write("net", {"k": "v"}, payload)
    found = cache.read("net", {"k": "v"})
    assert found in (b"a" * 200_000, b"b" * 200_000), found and found[:20]
"""


def test_two_processes_that_write_at_once_both_succeed(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), letter],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for letter in "ab"
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert errors == ["", ""]
    assert EngineCache(tmp_path).read("net", {"k": "v"})[:1] in (b"a", b"b")
    assert len(list(tmp_path.iterdir())) == 1


def test_facts_are_in_the_head_and_make_no_other_entry(tmp_path):
    cache = EngineCache(tmp_path)
    cache.write("net", KEY, b"payload", {"build_seconds": 1.5})
    cache.note({"parity": 0.999})
    payload, facts = cache.find("net", KEY)
    assert payload == b"payload"
    assert facts["build_seconds"] == 1.5
    assert facts["parity"] == 0.999
    assert facts["date"].startswith("20")
    assert len(list(tmp_path.iterdir())) == 1
    payload, head = cache.last()
    assert payload == b"payload"
    assert head["facts"] == facts
    assert head["size"] == 7


def test_facts_go_to_the_entry_that_was_used_last(tmp_path):
    EngineCache(tmp_path).note({"parity": 1})  # of no entry: nothing happens
    cache = EngineCache(tmp_path)
    cache.write("one", KEY, b"1")
    cache.write("two", KEY, b"2")
    cache.read("one", KEY)
    cache.note({"parity": 0.5})
    assert cache.find("one", KEY)[1]["parity"] == 0.5
    assert "parity" not in cache.find("two", KEY)[1]


def test_a_fresh_cache_reads_only_what_it_has_written(tmp_path):
    EngineCache(tmp_path).write("net", KEY, b"old")
    fresh = EngineCache(tmp_path, fresh=True)
    assert fresh.read("net", KEY) is None
    fresh.write("net", KEY, b"new")
    assert fresh.read("net", KEY) == b"new"
    assert EngineCache(tmp_path).read("net", KEY) == b"new"


HERE = {"openvino": {"version": "2", "device": "this"}, "tensorrt": "no GPU here"}


def test_entries_say_what_they_are_and_whether_they_are_of_use(tmp_path, monkeypatch):
    cache = EngineCache(tmp_path)
    key = {"backend": "openvino", "version": "2", "device": "this", "precision": "fp32"}
    keys = {
        "a": {**key, "size": "1x96x64"},
        "b": {**key, "version": "1"},
        "c": {**key, "device": "that"},
        "d": {**key, "backend": "tensorrt"},
        "f-g": key,
        "h": key,
    }
    for name, values in keys.items():
        cache.write(name, values, b"x" * 100)
    with monkeypatch.context() as patch:
        patch.setattr("rtseg.engine.cache.__version__", "0.0.1")
        cache.write("e", key, b"x")
    whole = cache.path("f-g", key)
    whole.write_bytes(whole.read_bytes()[:-30])
    cache.path("h", key).write_bytes(bit_flipped(cache.path("h", key).read_bytes()))
    (tmp_path / "i-0123456789abcdef.engine").write_bytes(b"garbage")
    cache.write("k", key, b"x", {"parity": 0.5, "parity_reference": "it"})
    (tmp_path / "not-ours.txt").write_text("hello")
    entries = cache.entries()
    assert [(e.name, e.fault(HERE)) for e in entries] == [
        ("a", ""),
        ("b", "of openvino 1"),
        ("c", "of another device: that"),
        ("d", "no GPU here"),
        ("e", "of rtseg 0.0.1"),
        ("f-g", "damaged: 30 of 100 bytes are missing"),
        ("h", "damaged: its SHA-256 is another"),
        ("i", "damaged: its head cannot be read"),
        ("k", "only 50.00% of the pixels agree with it, 99% are needed"),
    ]
    first = entries[0]
    assert (first.backend, first.precision, first.shape) == ("openvino", "fp32", "1x96x64")
    assert first.size == first.path.stat().st_size
    values = first.as_dict(HERE)
    assert json.loads(json.dumps(values)) == values
    assert values["valid"] is True
    assert [e.name for e in cache.entries("f-g")] == ["f-g"]


def test_an_entry_under_another_name_is_damaged(tmp_path):
    cache = EngineCache(tmp_path)
    cache.write("net", KEY, b"x")
    cache.path("net", KEY).rename(tmp_path / "net-0123456789abcdef.engine")
    assert "not the engine" in cache.entries()[0].damaged


def test_clear_takes_out_what_is_ours(tmp_path):
    cache = EngineCache(tmp_path)
    assert EngineCache(tmp_path / "nowhere").clear() == (0, 0)
    for name in ("one", "two"):
        cache.write(name, KEY, b"x" * 50)
    for name in (".one-0123.part", ".one-0123.lock", "tensorrt-10.0-GPU.timing", "mine.txt"):
        (tmp_path / name).write_text("x")
    sizes = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
    one = cache.path("one", KEY).name
    assert cache.clear("one") == (1, sizes[one] + 1)
    left = {cache.path("two", KEY).name, "tensorrt-10.0-GPU.timing", "mine.txt"}
    assert {p.name for p in tmp_path.iterdir()} == left
    assert cache.clear()[0] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_clear_takes_out_kernels_with_the_last_network_only(tmp_path):
    cache = EngineCache(tmp_path)
    cache.write("one", KEY, b"x")
    EngineCache(tmp_path / KERNELS).write("kernels", KEY, b"cubin")
    (kernels,) = cache.kernels()
    assert [e.path for e in cache.entries()] == [cache.path("one", KEY)]
    cache.clear("one")
    assert cache.kernels() == [kernels]
    size = kernels.stat().st_size
    assert cache.clear() == (0, size)
    assert cache.kernels() == []


def test_clear_leaves_the_lock_of_a_build_that_runs(tmp_path):
    cache = EngineCache(tmp_path)
    with cache.building("net", KEY):
        (lock,) = tmp_path.iterdir()
        cache.clear()
        assert lock.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_goes_with_a_later_write(tmp_path):
    cache = EngineCache(tmp_path)
    old = time.time() - 2 * 3600
    for name in (".net-x.part", ".net-x.lock"):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (old, old))
    (tmp_path / ".net-young.part").write_text("being written now")
    cache.write("net", KEY, b"x")
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {".net-young.part", cache.path("net", KEY).name}


def test_a_full_disk_is_one_warning_and_leaves_nothing(tmp_path, caplog):
    resource = pytest.importorskip("resource")
    cache = EngineCache(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        cache.write("net", KEY, b"x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (warning,) = warnings_in(caplog)
    assert "cannot write the engine cache" in warning
    assert list(tmp_path.iterdir()) == []
    assert cache.stored() is None
    # The process that has built it has it still, and can tell what it is.
    assert cache.read("net", KEY) == b"x" * 1_000_000
    cache.note({"parity": 1.0})
    assert cache.last()[1]["facts"]["parity"] == 1.0
    assert EngineCache(tmp_path).read("net", KEY) is None


HOLDER = """
import sys, time
from pathlib import Path
from rtseg.engine.cache import EngineCache
with EngineCache(Path(sys.argv[1])).building("net", {"backend": "openvino", "network": "abc"}):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that is building."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("end", ["it is done", "it is killed"])
def test_a_build_waits_for_the_other_process(tmp_path, holder, caplog, end):
    caplog.set_level(logging.INFO, "rtseg")
    cache = EngineCache(tmp_path)
    ended = []

    def finish():
        time.sleep(0.4)
        ended.append(time.monotonic())
        if end == "it is done":
            holder.stdin.write("\n")
            holder.stdin.flush()
        else:
            holder.kill()

    thread = threading.Thread(target=finish)
    thread.start()
    with cache.building("other", KEY):
        assert not ended  # another engine is another lock
    with cache.building("net", KEY):
        assert time.monotonic() >= ended[0]
    thread.join()
    (record,) = caplog.records
    assert "another process builds the engine of net" in record.getMessage()
    assert record.news
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_lock_nobody_is_kept_out(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = EngineCache(tmp_path / "file")
    with cache.building("net", KEY), cache.building("net", KEY):
        pass
    assert caplog.records == []


def test_ctrl_c_ends_the_waiting(tmp_path, holder):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), EngineCache(tmp_path).building("net", KEY):
        pytest.fail("the lock was held by another process")
    timer.join()
