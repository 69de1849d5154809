"""``rtseg-eval --ray``: the same result from engines in other processes, and what can go wrong there."""

import contextlib
import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from evaluated import lasting, result_of, road_folder, run_eval
from footage import write_video

from rtseg.evaluation import ray_cluster
from rtseg.evaluation.ray_cluster import joined

PATIENCE_S = 120

FRAMES = 40


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray is not installed: pip install 'rtseg[ray]'",
    ),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc"),
]


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this machine with two CPUs, shared by the tests; gives the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))  # or Ray makes one in the user's home
        patch.setattr(ray_cluster, "usable_cores", lambda: 2)
        with joined(None) as ray:
            yield ray


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty frames, of which one has no mask and one is damaged."""
    root = tmp_path_factory.mktemp("data")
    road_folder(root, FRAMES)
    (root / "masks" / "f13.png").unlink()
    damaged = root / "images" / "f21.png"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    return root


@pytest.fixture
def evaluate(capfd, tiny_network, tmp_path):
    def run(source, name, *arguments):
        out = tmp_path / name
        status, lines = run_eval(capfd, tiny_network, source, "--out", out, *arguments)
        return status, lines, out

    return run


def wait_for(found):
    """Wait until a function finds something."""
    end = time.monotonic() + PATIENCE_S
    while not (result := found()):
        assert time.monotonic() < end, "nothing has happened"
        time.sleep(0.01)
    return result


def lines_of(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


class Trap:
    """A picture whose reader waits: a pipe in the file's place, until it is set free."""

    def __init__(self, path):
        self.path = path
        self._aside = path.with_suffix(".aside")
        self._end = None

    def set(self):
        self.path.rename(self._aside)
        os.mkfifo(self.path)

    def wait(self):
        """Wait until a process has begun to read; returns its number."""
        self._end = wait_for(self._opened)
        return wait_for(self._reader)

    def _opened(self):
        with contextlib.suppress(OSError):  # nobody reads yet
            if self.path.is_fifo():
                return os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        return None

    def _reader(self):
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if link.readlink() == self.path and link.parts[2] != str(os.getpid()):
                    return int(link.parts[2])
        return None

    def free(self):
        """Put the file back: who reads it from now on finds it whole."""
        if self._aside.exists():
            self._aside.replace(self.path)

    def close(self):
        """Let go of who waits."""
        if self._end is not None:
            os.close(self._end)


def test_two_workers_give_the_result_of_one_process(cluster, evaluate, data):
    status, said, one = evaluate(data, "one", "--boundary", "--masks", "--painted")
    assert status == 0
    arguments = ("--boundary", "--masks", "--painted", "--ray", "--devices", "CPU,CPU")
    status, lines, two = evaluate(data, "two", *arguments)
    assert (status, lines) == (0, said)
    assert "2 of 40 frames skipped (1 no mask, 1 unreadable)" in lines[0]
    assert lasting(two) == lasting(one)
    for folder in ("masks", "painted"):
        names = sorted(path.name for path in (one / folder).iterdir())
        assert len(names) == 38
        for name in names:
            assert (two / folder / name).read_bytes() == (one / folder / name).read_bytes()
    assert (two / "frames.csv").read_bytes() == (one / "frames.csv").read_bytes()


def test_a_killed_worker_s_frames_are_done_again(cluster, evaluate, data, tmp_path, monkeypatch):
    from rtseg.cli import eval_ray

    _, _, one = evaluate(data, "one")
    trap = Trap(data / "images" / "f00.png")
    real = eval_ray.ray_runner

    def trapped(*arguments):
        trap.set()  # after the folder was listed
        return real(*arguments)

    monkeypatch.setattr(eval_ray, "ray_runner", trapped)
    out, cores, errors = tmp_path / "two", {}, []

    def watch():
        for pid in engines():
            with contextlib.suppress(OSError):  # gone since
                cores[pid] = os.sched_getaffinity(pid)

    def kill():
        try:
            caught = trap.wait()
            # While one engine waits in the trap the other does its own frames.
            wait_for(lambda: watch() or lines_of(out / "records.jsonl") >= FRAMES // 2)
            assert caught in cores
            trap.free()
            os.kill(caught, signal.SIGKILL)
        except BaseException as error:
            errors.append(error)
            trap.free()
        finally:
            trap.close()

    thread = threading.Thread(target=kill)
    thread.start()
    status, _, two = evaluate(data, "two", "--ray", "--devices", "CPU,CPU")
    thread.join()
    assert not errors
    assert status == 0
    assert lasting(two) == lasting(one)
    assert lines_of(two / "records.jsonl") == FRAMES
    if len(os.sched_getaffinity(0)) > 1:
        # The one that was started in the dead one's place may have been seen, too.
        assert len({frozenset(own) for own in cores.values()}) >= 2
        assert all(len(own) == 1 for own in cores.values())


def engines():
    """The processes of engines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"EngineActor" in path.read_bytes() and path.read_bytes().startswith(b"ray::"):
                found.append(int(path.parts[2]))
    return found


def test_frames_that_have_records_are_not_sent(cluster, evaluate, data):
    _, _, one = evaluate(data, "one")
    _, _, two = evaluate(data, "two", "--limit", 30)
    status, _, two = evaluate(data, "two", "--ray")
    assert status == 0
    # Thirty are there, of which the two that were skipped are tried again.
    assert result_of(two)["speed"]["frames"] == 12
    assert lasting(two) == lasting(one)


def test_a_video_is_decoded_on_the_cluster(cluster, evaluate, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 50)
    arguments = ("--masks", "--painted")
    _, _, one = evaluate(video, "one", *arguments)
    _, _, two = evaluate(video, "two", *arguments, "--limit", 10)
    status, lines, two = evaluate(video, "two", *arguments, "--ray", "--devices", "CPU,CPU")
    assert (status, lines) == (0, [])
    assert result_of(two)["speed"]["frames"] == 40
    assert lasting(two) == lasting(one)
    for mask in (one / "masks").iterdir():
        assert (two / "masks" / mask.name).read_bytes() == mask.read_bytes()
    assert (two / "painted.mp4").exists()


TRAPPED = """
import os, sys
from pathlib import Path
from rtseg.cli import eval as command, eval_ray
real = eval_ray.ray_runner
def trapped(*arguments):
    picture = Path(sys.argv.pop(1))
    picture.rename(picture.with_suffix(".aside"))
    os.mkfifo(picture)
    return real(*arguments)
eval_ray.ray_runner = trapped
sys.exit(command.main())
"""


def test_ctrl_c_ends_the_run_and_its_ray(cluster, evaluate, data, tiny_network, tmp_path):
    """In a terminal all processes get it."""
    _, _, one = evaluate(data, "one")
    out, trap = tmp_path / "two", Trap(data / "images" / "f39.png")
    plain = [str(tiny_network), str(data), "--out", str(out), "--no-report", "--quiet"]
    script = TRAPPED.replace("sys.argv.pop(1)", repr(str(trap.path)))
    process = subprocess.Popen(
        [sys.executable, "-c", script, *plain, "--ray", "--devices", "CPU,CPU"],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        trap.wait()
        wait_for(lambda: lines_of(out / "records.jsonl") >= FRAMES // 2)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        trap.free()
        trap.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, err
    assert len(err.splitlines()) == 1, err
    assert "of 40 frames: the same command goes on" in err
    wait_for(lambda: not left(process.pid))
    status, _, out = evaluate(data, "two")
    assert status == 0
    assert lasting(out) == lasting(one)


def left(session):
    """The processes that a session still has, but for the dead whom nobody has asked after."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, owner = path.read_text().rpartition(")")[2].split()[:4]
            if int(owner) == session and state != "Z":
                found.append(path)
    return found


def test_a_cluster_is_joined_by_its_address(cluster, evaluate, data, tiny_network, tmp_path):
    """From a folder of the command's own, which its relative paths start from."""
    _, _, one = evaluate(data, "one")
    (tmp_path / "link").symlink_to(data)
    address = cluster.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "rtseg.cli.eval", str(tiny_network), "link", "--out", "two"]
    process = subprocess.run(
        [*command, "--no-report", "--quiet", "--ray", address],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert len(process.stderr.splitlines()) == 1, process.stderr
    assert "2 of 40 frames skipped" in process.stderr
    first, second = lasting(one), lasting(tmp_path / "two")
    assert second["scores"] == first["scores"]
    assert second["confusion"] == first["confusion"]
    # Names of files are said as they were given.
    assert [s["reason"] for s in second["skipped"]] == [s["reason"] for s in first["skipped"]]
    assert "link/images/f13.png" in second["skipped"][0]["detail"]
    assert cluster.is_initialized()
