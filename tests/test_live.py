"""What ``rtseg-live`` promises of a run that goes well."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from footage import (
    HEIGHT,
    WIDTH,
    bar,
    frames_of,
    picture,
    rate_of,
    read_bar,
    true_mask,
    write_folder,
    write_video,
)

from rtseg.cli.live import main


@pytest.fixture
def live(tiny_network, capfd):
    """Run ``rtseg-live`` headless on the tests' network; gives status, output and error output."""

    def run(*arguments):
        status = main(["--headless", "--network", str(tiny_network), *map(str, arguments)])
        out, err = capfd.readouterr()
        return status, out, err

    return run


def read_mask(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("mode", ["throughput", "latency"])
def test_masks_of_a_folder_are_exact_and_named_after_its_pictures(live, tmp_path, mode):
    folder = write_folder(tmp_path / "pictures", 12)
    assert live(folder, "--masks", tmp_path / "masks", "--mode", mode)[0] == 0
    assert {f.name for f in (tmp_path / "masks").iterdir()} == {f"{i}.png" for i in range(12)}
    for index in range(12):
        mask = read_mask(tmp_path / "masks" / f"{index}.png")
        np.testing.assert_array_equal(mask, true_mask(index))


def test_every_frame_of_a_video_comes_once_and_in_order(live, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 60)
    stats = tmp_path / "stats.json"
    status, out, err = live(video, "--masks", tmp_path / "masks", "--stats", stats)
    assert (status, err) == (0, "")
    assert "60 frames" in out
    files = sorted((tmp_path / "masks").iterdir())
    assert [f.name for f in files] == [f"{i:06d}.png" for i in range(60)]
    assert [read_bar(read_mask(f)) for f in files] == [bar(i) for i in range(60)]
    values = json.loads(stats.read_text())
    assert (values["frames"], values["dropped"], values["failure"]) == (60, 0, None)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_recording_has_every_frame_painted_where_the_road_is(live, tmp_path, suffix):
    folder = write_folder(tmp_path / "pictures", 20)
    record = tmp_path / f"out.{suffix}"
    assert live(folder, "--record", record, "--no-hud", "--capture-fps", 20)[0] == 0
    frames = frames_of(record)
    assert len(frames) == 20
    for index, frame in enumerate(frames):
        expected = picture(index).astype(float)
        road = true_mask(index) > 0
        expected[road] = 0.55 * expected[road] + 0.45 * np.array([90, 200, 0])
        # Away from the edge, where 4:2:0 mixes colours, compression leaves a few levels.
        inner = np.abs(np.arange(WIDTH) - bar(index)) > 8
        assert np.abs(frame[:, inner] - expected[:, inner]).mean() < 4
    assert rate_of(record) == pytest.approx(20)
    assert not list(tmp_path.glob(".*")), "nothing is left beside the recording"


def test_the_limit_and_the_start_are_exact(live, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 30)
    status, out, _ = live(video, "--start", 7, "--limit", 11, "--masks", tmp_path / "m")
    assert status == 0
    assert "11 frames" in out
    assert sorted(f.stem for f in (tmp_path / "m").iterdir()) == [f"{i:06d}" for i in range(7, 18)]
    assert read_bar(read_mask(tmp_path / "m" / "000007.png")) == bar(7)


def test_damage_behind_the_limit_is_none_of_the_runs_business(live, tmp_path):
    folder = write_folder(tmp_path / "pictures", 6)
    (folder / "3.png").write_bytes(b"no picture")
    status, out, err = live(folder, "--limit", 3)
    assert (status, err) == (0, "")
    assert "3 frames" in out


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_a_loop_begins_again_with_the_first_frame(live, tmp_path, kind):
    source = (
        write_folder(tmp_path / "pictures", 5)
        if kind == "folder"
        else write_video(tmp_path / "clip.mp4", 5)
    )
    record = tmp_path / "out.mp4"
    arguments = ("--opacity", 0, "--no-hud", "--record", record)
    assert live(source, "--loop", "--limit", 13, *arguments)[0] == 0
    assert [read_bar(f[..., 0] > 127) for f in frames_of(record)] == [bar(i % 5) for i in range(13)]


def test_several_outputs_at_once_agree(live, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 15)
    status, _, err = live(
        video, "--record", tmp_path / "o.mp4", "--masks", tmp_path / "m",
        "--sheet", tmp_path / "sheet.png", "--stats", tmp_path / "s.json", "--quiet",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert len(frames_of(tmp_path / "o.mp4")) == 15
    assert len(list((tmp_path / "m").iterdir())) == 15
    assert json.loads((tmp_path / "s.json").read_text())["frames"] == 15
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None


def test_stats_are_complete_and_agree_with_themselves(live, tmp_path):
    folder = write_folder(tmp_path / "pictures", 25)
    live(folder, "--stats", tmp_path / "s.json", "--masks", tmp_path / "m")
    values = json.loads((tmp_path / "s.json").read_text())
    assert set(values["stages"]) == {
        "decode", "resize", "infer", "paint", "hud", "write", "capture_to_display",
    }  # fmt: skip
    for stage in values["stages"].values():
        assert stage["count"] == 25
        assert 0 <= stage["p50_ms"] <= stage["p95_ms"] <= stage["p99_ms"] <= stage["max_ms"]
        assert stage["mean_ms"] <= stage["max_ms"]
    assert values["processed_fps"] == pytest.approx(24 / values["seconds"], rel=1e-2)
    assert values["displayed_fps"] is None
    assert values["source"]["frames"] == 25
    assert values["engine"]["size"] == [96, 64]
    assert values["engine"]["classes"] == ["background", "road"]
    assert {"rtseg", "python", "numpy", "opencv", "openvino"} <= set(values["versions"])
    assert values["start_to_first_frame_s"] > 0


def test_without_outputs_nothing_is_said_of_writing(live, tmp_path):
    _, out, _ = live(write_folder(tmp_path / "pictures", 3))
    assert "infer" in out
    assert "write" not in out


def test_the_table_does_not_break_a_long_name(live, tmp_path):
    folder = write_folder(tmp_path / ("long " * 20) / "[bold]päth[/]", 2)
    status, out, err = live(folder)
    assert (status, err) == (0, "")
    assert str(folder) in out.splitlines()


def test_the_demo_is_scored(live, tmp_path):
    status, out, _ = live(
        "demo", "--limit", 5, "--capture-size", "97x65", "--record", tmp_path / "o.mp4"
    )
    assert status == 0
    assert "mIoU" in out
    assert frames_of(tmp_path / "o.mp4")[0].shape == (64, 96, 3)


def test_realtime_keeps_the_pace_and_loses_frames_as_a_camera_would(live, tmp_path, monkeypatch):
    from rtseg.video.overlay import Painter

    video = write_video(tmp_path / "clip.mp4", 40, fps=50)
    paint = Painter.paint
    monkeypatch.setattr(Painter, "paint", lambda *a: (__import__("time").sleep(0.05), paint(*a))[1])
    live(video, "--realtime", "--stats", tmp_path / "s.json")
    values = json.loads((tmp_path / "s.json").read_text())
    assert values["source"]["live"]
    assert values["dropped"] > 5
    # The last frame may be on its way when the file ends, or be dropped for a later one.
    assert values["frames"] + values["dropped"] in (39, 40)


@pytest.mark.parametrize(
    "size", [(16, 16), (17, 33), (3, 5), pytest.param((3840, 2160), marks=pytest.mark.slow)]
)
def test_pictures_of_any_size_go_into_every_output(live, tmp_path, size):
    folder = write_folder(tmp_path / "pictures", 2, *size)
    record = tmp_path / "o.mp4"
    status, _, err = live(folder, "--record", record, "--masks", tmp_path / "m", "--contours")
    assert (status, err) == (0, "")
    width, height = size
    assert frames_of(record)[0].shape == (height // 2 * 2, width // 2 * 2, 3)
    assert read_mask(tmp_path / "m" / "0.png").shape == (height, width)


def test_mixed_sizes_are_scaled_in_a_recording_and_that_is_said_once(live, tmp_path):
    folder = write_folder(tmp_path / "pictures", 3)
    for index, size in ((3, (100, 80)), (4, (300, 50)), (5, (WIDTH, HEIGHT))):
        cv2.imwrite(str(folder / f"{index}.png"), picture(index, *size))
    status, _, err = live(folder, "--record", tmp_path / "o.mp4", "--masks", tmp_path / "m")
    assert status == 0
    assert err.count("\n") == 1
    assert "scaled" in err
    assert {f.shape for f in frames_of(tmp_path / "o.mp4")} == {(HEIGHT, WIDTH, 3)}
    assert read_mask(tmp_path / "m" / "4.png").shape == (50, 300)


@pytest.mark.parametrize(
    "name", ["with space.mp4", "straße-道路.mp4", "-dash.mp4", "[1].mp4", "a%20b.mp4"]
)
def test_names_of_any_kind_are_taken(live, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4", 3).rename(tmp_path / name)
    out = f"--record={name}.out.mp4"
    assert live(out, "--", name)[0] == 0
    assert len(frames_of(tmp_path / f"{name}.out.mp4")) == 3
    if not name.startswith("-"):
        assert live("file://" + str(tmp_path / name).replace("%", "%25"))[0] == 0


def test_the_password_of_a_stream_is_not_shown(live, tmp_path):
    status, out, err = live("rtsp://me:geheim@127.0.0.1:9/x")
    assert status == 1
    assert "geheim" not in out + err
    assert "me:***@" in err


def script(tiny_network, *arguments):
    return [
        sys.executable, "-m", "rtseg.cli.live", "--headless", "--network", str(tiny_network),
        *map(str, arguments),
    ]  # fmt: skip


@pytest.mark.slow
def test_it_runs_where_torch_and_its_kin_cannot_be_imported(tiny_network, tmp_path):
    folder = write_folder(tmp_path / "pictures", 3)
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "albumentations", "onnx", "onnxruntime"):
            raise ImportError(name + " is refused")
sys.meta_path.insert(0, Refuse())
from rtseg.cli.live import main
status = main(sys.argv[1:])
heavy = {"torch", "albumentations", "onnx", "matplotlib", "scipy"} & set(sys.modules)
assert not heavy, heavy
sys.exit(status)
"""
    command = [
        sys.executable, "-c", code, str(folder), "--headless", "--network", str(tiny_network),
        "--record", str(tmp_path / "o.mp4"), "--stats", str(tmp_path / "s.json"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(frames_of(tmp_path / "o.mp4")) == 3


@pytest.mark.slow
def test_a_reader_who_goes_away_and_closed_streams_are_no_failure(tiny_network, tmp_path):
    folder = write_folder(tmp_path / "pictures", 3)
    command = script(tiny_network, folder)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0
    quoted = " ".join(f"'{word}'" for word in command)
    for closed in (">&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            f"{quoted} {closed}", shell=True, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
