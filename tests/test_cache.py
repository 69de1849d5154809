"""The cache of compiled engines: what is stored once is compiled once, and damage is only slow."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rtseg
from rtseg.engine.cache import EngineCache, cache_folder

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
