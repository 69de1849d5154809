"""The processes of rtseg-bench: what they answer, how they die, that none is left."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bench_doubles import Double, Teller

from rtseg.errors import BackendError, InputError, UsageError
from rtseg.evaluation.bench_result import row
from rtseg.evaluation.contest import Contest
from rtseg.evaluation.frames import Frames
from rtseg.evaluation.workers import Worker


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Two made-up frames in the place of rendered ones, all road."""
    folder = tmp_path_factory.mktemp("drive")
    np.save(folder / "frames.npy", np.zeros((2, 64, 96, 3), np.uint8))
    np.save(folder / "masks.npy", np.full((2, 64, 96), 3, np.uint8))
    return Frames("drive", folder)


@pytest.fixture
def teller(tmp_path):
    worker = Worker(Teller, tmp_path / "out")
    yield worker
    worker.end(now=True)


def test_a_worker_answers_tells_and_warns(teller, caplog) -> None:
    assert teller.ask("pid") == teller.pid != os.getpid()
    told = []
    assert teller.ask("build", on_progress=lambda *what: told.append(what)) == "built"
    assert told == [("compiling", 1, 2)]
    with caplog.at_level(logging.INFO, "rtseg"):
        teller.ask("warn")
    assert [record.getMessage() for record in caplog.records] == ["a warning"]


@pytest.mark.parametrize("error", [UsageError("no"), InputError("bad"), BackendError("off")])
def test_errors_of_ours_come_back_as_they_were(teller, error) -> None:
    with pytest.raises(type(error), match=str(error)):
        teller.ask("fail", error)
    assert teller.ask("pid")  # it goes on


def test_other_errors_are_the_backends(teller) -> None:
    with pytest.raises(BackendError, match="RuntimeError: CUDA error in two lines"):
        teller.ask("fail", RuntimeError("CUDA error\nin two lines"))


def test_a_death_is_told_with_the_last_words(tmp_path, capfd) -> None:
    worker = Worker(Teller, tmp_path / "out")
    with pytest.raises(BackendError, match="ended with status 3: terminate called"):
        worker.ask("print_and_exit", "a line\nterminate called", 3)
    worker.end()
    assert capfd.readouterr() == ("", "")


def test_a_kill_is_told(tmp_path) -> None:
    worker = Worker(Teller, tmp_path / "out")
    os.kill(worker.ask("pid"), signal.SIGKILL)
    with pytest.raises(BackendError, match="SIGKILL, as when memory runs out"):
        worker.ask("pid")
    with pytest.raises(BackendError, match="SIGKILL"):
        worker.ask("pid")
    worker.end()


def test_the_end_is_the_end(tmp_path) -> None:
    for now in (False, True):
        worker = Worker(Teller, tmp_path / "out")
        pid = worker.ask("pid")
        worker.end(now=now)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# A contest


def test_everybody_takes_turns_and_a_crash_costs_one_row(drive, tmp_path, caplog) -> None:
    doubles = [
        Double("sound", seconds=0.001),
        Double("killed", die_at=40),
        Double("lost", fail_at=40),
        Double("other", depth=2),
        Double("sound", seconds=0.001),
    ]
    said = []
    contest = Contest(doubles, drive, tmp_path, said.append)
    contest.run(3, 5)
    assert [entry.twice for entry in contest.entries] == [False] * 4 + [True]
    failed = {e.contender.network: e.failed for e in contest.entries[:4] if e.failed}
    assert failed.keys() == {"killed", "lost"}
    assert "SIGKILL" in failed["killed"]
    assert failed["lost"] == "the device is lost"
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    for entry in (*contest.running, contest.idle):
        assert [turn.frames for turn in entry.turns] == [5] * 3
    orders = [
        [text.split(": ")[1].split()[0] for text in said if text.startswith(f"round {n} ")]
        for n in range(4)
    ]
    assert orders[0][0] == "sound"
    assert len({tuple(order) for order in orders[2:]}) == 2  # no round starts as the last did
    found = row(contest.running[0])
    assert found["latency_ms"]["p50"] >= 1.0
    assert found["accuracy"]["miou"] == 0.0  # all of it is road, the double sees none
    assert found["latency_ms"]["count"] == 15
    assert contest.idle.facts["size"] == [96, 64]


# Ctrl-C, and the command's own death


def _children(pid: int) -> set[int]:
    """The processes whose parent is ``pid``."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def _wait(what, seconds=120):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
@pytest.mark.parametrize(
    ("how", "when"),
    [
        (signal.SIGINT, "first worker"),
        (signal.SIGTERM, "first worker"),
        (signal.SIGINT, "turns"),
        (signal.SIGKILL, "turns"),
    ],
)
def test_no_process_is_left(tiny_network, how, when, tmp_path) -> None:
    """Whether it is a Ctrl-C, which a terminal sends to all of them, or the command is killed."""
    command = [sys.executable, "-m", "rtseg.cli.bench", str(tiny_network), "--rounds", "100000",
               "--frames", "50", "--limit", "1"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)}, text=True,
    )  # fmt: skip
    # Beside the workers there is multiprocessing's resource tracker.
    enough = 2 if when == "first worker" else 3
    try:
        children = _wait(lambda: len(c := _children(process.pid)) >= enough and c)
        if how == signal.SIGINT:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    _wait(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    assert out == ""
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[how]
    # Of a command that is killed a worker that was just being born misses its orders, and says so.
    if how != signal.SIGKILL:
        assert err == ""
        assert list(tmp_path.iterdir()) == []
