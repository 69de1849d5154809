"""``rtseg-eval`` that is stopped, killed, or asked for something else the second time."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from evaluated import lasting, result_of, road_folder, run_eval

from rtseg.errors import InputError
from rtseg.evaluation.records import Record, RecordFile

FRAMES = 24

SLOW = """
import sys, time
from rtseg.cli import eval as command
from rtseg.evaluation.samples import FileSample
read = FileSample.read
def slowly(self, truths):
    time.sleep(0.05)
    return read(self, truths)
FileSample.read = slowly
sys.exit(command.main())
"""


@pytest.fixture
def arguments(tiny_network, tmp_path):
    road_folder(tmp_path / "data", FRAMES)
    return [str(tiny_network), str(tmp_path / "data"), "--boundary", "--masks", "--painted"]


def start(arguments, out):
    """Start the command as a process whose frames take a while, and wait for some records."""
    command = [sys.executable, "-c", SLOW, *arguments, "--out", str(out), "--no-report"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    records = out / "records.jsonl"
    end = time.monotonic() + 60
    while not records.exists() or records.read_bytes().count(b"\n") < 4:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)
    return process


def whole(capfd, arguments, tmp_path):
    out = tmp_path / "whole"
    assert run_eval(capfd, *arguments, "--out", out) == (0, [])
    return lasting(out)


def test_a_killed_run_goes_on_and_ends_the_same(capfd, arguments, tmp_path):
    out = tmp_path / "out"
    process = start(arguments, out)
    process.kill()
    process.communicate()
    assert not (out / "result.json").exists()
    with (out / "records.jsonl").open("ab") as file:
        file.write(b'{"index": 23, "name": "f23.p')
    assert run_eval(capfd, *arguments, "--out", out) == (0, [])
    assert lasting(out) == whole(capfd, arguments, tmp_path)
    assert 0 < result_of(out)["speed"]["frames"] <= FRAMES - 4
    assert sum(1 for _ in (out / "records.jsonl").open()) == FRAMES
    for folder, suffix in (("masks", "png"), ("painted", "jpg")):
        names = sorted(path.name for path in (out / folder).iterdir() if path.name[0] != ".")
        assert names == [f"f{i:02d}.{suffix}" for i in range(FRAMES)]
        for name in names:
            theirs = (tmp_path / "whole" / folder / name).read_bytes()
            assert (out / folder / name).read_bytes() == theirs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on(capfd, arguments, tmp_path, number):
    out = tmp_path / "out"
    process = start(arguments, out)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert len(err.splitlines()) == 1
    assert f"of {FRAMES} frames: the same command goes on" in err
    assert run_eval(capfd, *arguments, "--out", out) == (0, [])
    assert lasting(out) == whole(capfd, arguments, tmp_path)


def test_a_run_that_is_done_has_nothing_to_do(capfd, arguments, tmp_path):
    out = tmp_path / "out"
    assert run_eval(capfd, *arguments, "--out", out) == (0, [])
    first = lasting(out)
    records = (out / "records.jsonl").read_bytes()
    assert run_eval(capfd, *arguments, "--out", out) == (0, [])
    assert result_of(out)["speed"]["frames"] == 0
    assert result_of(out)["speed"]["fps"] is None
    assert lasting(out) == first
    assert (out / "records.jsonl").read_bytes() == records


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--size", "192x128"], ["size 96x64", "192x128"]),
        (["--batch", "2"], ["batch 1", "of 2"]),
        (["--boundary"], ["boundary off", "of on"]),
        (["--masks"], ["masks off"]),
        (["--precision", "fp32", "--backend", "onnxruntime"], ["backend openvino", "onnxruntime"]),
    ],
)
def test_other_settings_are_refused_by_name(capfd, tiny_network, tmp_path, more, words):
    if "onnxruntime" in more:
        pytest.importorskip("onnxruntime")
    road_folder(tmp_path / "data", 2)
    plain = [tiny_network, tmp_path / "data", "--out", tmp_path / "out"]
    assert run_eval(capfd, *plain) == (0, [])
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    status, lines = run_eval(capfd, *plain, *more)
    assert status == 2
    assert len(lines) == 1
    assert all(word in lines[0] for word in [*words, "--again"]), lines
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before
    assert run_eval(capfd, *plain, *more, "--again") == (0, [])
    assert result_of(tmp_path / "out")["speed"]["frames"] == 2


def test_again_takes_away_what_the_run_before_wrote(capfd, tiny_network, tmp_path):
    road_folder(tmp_path / "data", 3)
    plain = [tiny_network, tmp_path / "data", "--out", tmp_path / "out"]
    assert run_eval(capfd, *plain, "--masks") == (0, [])
    assert run_eval(capfd, *plain, "--masks", "--again", "--limit", 1) == (0, [])
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["f00.png"]


def test_a_dataset_that_has_changed_is_refused(capfd, tiny_network, tmp_path):
    road_folder(tmp_path / "data", 3)
    plain = [tiny_network, tmp_path / "data", "--out", tmp_path / "out"]
    run_eval(capfd, *plain)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder / "f00.png").rename(tmp_path / "data" / folder / "z.png")
    status, lines = run_eval(capfd, *plain)
    assert status == 2
    assert len(lines) == 1
    assert "its frame 0 is f01.png, and was f00.png before: --again" in lines[0]


def test_a_folder_that_is_no_evaluation_s_is_left_alone(capfd, tiny_network, tmp_path):
    """A dataset has a folder masks/, too."""
    road_folder(tmp_path / "data", 1)
    for again in ([], ["--again"]):
        status, lines = run_eval(
            capfd, tiny_network, tmp_path / "data", "--out", tmp_path / "data", "--masks", *again
        )
        assert status == 2
        assert len(lines) == 1
        assert "and no evaluation" in lines[0]
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [
        "classes.txt",
        "images",
        "masks",
    ]


def test_a_record_is_the_same_after_its_line():
    record = Record(
        3, "a\udcff\n.png", "scored", matrix=[(0, 1, 7)], boundary=[(1, 0.1 + 0.2)], miou=1 / 3
    )
    (line,) = record.line().splitlines()
    read = Record.of(json.loads(line))
    assert read.line() == record.line()
    assert read.miou == record.miou
    assert read.name == record.name


def test_a_damaged_records_file_is_said_by_line(tmp_path):
    path = tmp_path / "records.jsonl"
    good = Record(0, "a", "written").line()
    path.write_bytes(good + b"not JSON\n" + good)
    with pytest.raises(InputError, match=r"records.jsonl, line 2: .*--again"):
        RecordFile(path)
    for tail in (b"not JSON\n", b'{"a": 1}\n', b"[1]\n", good[:-1], b"\0" * 100):
        path.write_bytes(good + tail)
        file = RecordFile(path)
        file.append(Record(1, "b", "written"))
        file.close()
        assert path.read_bytes() == good + Record(1, "b", "written").line()


def test_the_last_record_of_a_frame_is_the_one_that_counts(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(
        Record(0, "a", "skipped", "size", "x").line() + Record(0, "a", "written").line()
    )
    assert RecordFile(path).found[0].status == "written"


def test_a_full_disk_is_one_line(capfd, tiny_network, tmp_path, monkeypatch):
    road_folder(tmp_path / "data", 3)

    def full(path, content):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    # The settings' own file is the first that is written.
    status, lines = run_eval(capfd, tiny_network, tmp_path / "data", "--out", tmp_path / "out")
    assert status == 1
    assert len(lines) == 1
    assert "No space left on device" in lines[0]


def test_masks_that_cannot_be_written_end_the_run(capfd, tiny_network, tmp_path):
    road_folder(tmp_path / "data", 30)
    out = tmp_path / "out"
    arguments = [tiny_network, tmp_path / "data", "--out", out, "--masks"]
    assert run_eval(capfd, *arguments, "--limit", 1) == (0, [])
    (out / "masks" / "f01.png").mkdir()
    status, lines = run_eval(capfd, *arguments)
    assert status == 1
    assert len(lines) == 1
    assert "f01.png: cannot write this file" in lines[0]
    (out / "masks" / "f01.png").rmdir()
    assert run_eval(capfd, *arguments) == (0, [])
    assert result_of(out)["counts"]["scored"] == 30
    assert np.isfinite(result_of(out)["scores"]["miou"])
