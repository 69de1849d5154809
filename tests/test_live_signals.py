"""Ctrl-C and its kin: everything is closed properly, whenever they come."""

import json
import signal
import subprocess
import sys
import time

import pytest
from footage import bar, count_before_damage, frames_of, read_bar, write_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def start(tiny_network):
    """Start ``rtseg-live``; processes that are left are killed."""
    processes = []

    def run(*arguments):
        command = [
            sys.executable, "-m", "rtseg.cli.live", "--headless", "--network", str(tiny_network),
            *map(str, arguments),
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_closes_every_file(start, tmp_path, number, status):
    folder = write_folder(tmp_path / "pictures", 8)
    masks, record = tmp_path / "m", tmp_path / "o.mp4"
    process = start(
        folder, "--loop", "--masks", masks, "--record", record, "--stats", tmp_path / "s.json",
        "--opacity", 0, "--no-hud",
    )  # fmt: skip
    wait_for(lambda: masks.is_dir() and len(list(masks.iterdir())) > 30)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, "")
    values = json.loads((tmp_path / "s.json").read_text())
    assert values["interrupted"]
    bars = [read_bar(frame[..., 0] > 127) for frame in frames_of(record)]
    assert bars == [bar(i % 8) for i in range(values["frames"])]
    assert len(list(masks.iterdir())) == values["frames"]
    assert not list(tmp_path.glob(".*"))


READY = """
import sys
from rtseg.cli.live import main
print("ready", flush=True)
sys.exit(main())
"""


def test_ctrl_c_while_starting_up_is_quiet_at_any_moment(tiny_network, tmp_path):
    folder = write_folder(tmp_path / "pictures", 3)
    command = [
        sys.executable, "-c", READY, str(folder), "--loop", "--headless",
        "--network", str(tiny_network),
    ]  # fmt: skip
    for milliseconds in (10, 100, 200, 300, 450):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "")


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_killed_recording_plays_up_to_its_last_second(start, tmp_path, suffix):
    folder = write_folder(tmp_path / "pictures", 8)
    masks = tmp_path / "m"
    process = start(folder, "--loop", "--masks", masks, "--record", tmp_path / f"o.{suffix}")
    wait_for(lambda: masks.is_dir() and len(list(masks.iterdir())) > 120)
    process.kill()
    process.communicate()
    (part,) = tmp_path.glob(".*.part")
    count = count_before_damage(part.rename(tmp_path / "rest.mp4"))
    # The encoder looks forty frames ahead, and a fragment is a second: ten frames of a folder.
    assert count >= 50


def test_ctrl_c_does_not_wait_for_a_stream_that_is_silent(start):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        process = start(f"http://127.0.0.1:{server.getsockname()[1]}/silent")
        connection, _ = server.accept()
        with connection:
            time.sleep(0.3)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
            assert (process.returncode, err) == (130, "")
            assert time.monotonic() - began < 8, "OpenCV's own timeout is ten seconds"
