"""What ``rtseg-live`` promises of input that is wrong: one clear line, and the right exit status."""

import json
import re
import struct
from fractions import Fraction
from importlib.util import find_spec

import av
import cv2
import numpy as np
import pytest
from footage import frames_of, picture, write_folder, write_video
from live_command import FAILURE, USAGE, one_line, run_live


@pytest.fixture
def live(tiny_network, capfd):
    """Run ``rtseg-live`` headless; gives the status and the lines of the error output."""

    def run(*arguments, network=tiny_network, window=False):
        return run_live(capfd, network, *arguments, window=window)

    return run


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 60)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--opacity", "2"], "0 to 1"),
        (["--opacity", "much"], "much"),
        (["--limit", "0"], "from 1"),
        (["--start", "-1"], "from 0"),
        (["--size", "512"], "512x256"),
        (["--paint", "sky"], "background, road"),
        (["--size", "97x64"], "96x64"),
        (["--backend", "foo"], "openvino"),
        (["--precision", "fp99"], "bf16"),
        (["--mode", "fast"], "latency"),
        (["--camera", "0", "demo"], "not both"),
        (["--camera", "front"], "front"),
        (["--no-such-option"], "no-such-option"),
        (["demo", "--realtime", "--loop"], "--loop"),
        (["demo", "--capture-size", "1x1"], "demo"),
        (["demo", "--record", "clip.avi"], ".mp4"),
        (["demo", "--sheet", "sheet.jpg"], ".png"),
        (["demo", "--record", "-x.mp4"], "--record"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(live, arguments, words):
    one_line(live(*arguments), USAGE, words)


def test_options_that_mean_nothing_for_the_source_are_refused(live, tmp_path, clip):
    folder = write_folder(tmp_path / "pictures", 2)
    one_line(live(clip, "--capture-size", "64x48"), USAGE, "--capture-size", "video file")
    one_line(live(clip, "--capture-fps", "5"), USAGE, "--capture-fps")
    one_line(live(clip, "--seed", "5"), USAGE, "--seed", "demo")
    one_line(live(folder, "--capture-size", "64x48"), USAGE, "--capture-size")
    one_line(live(folder, "--seed", "0"), USAGE, "--seed")


def test_a_source_that_is_not_there_is_one_line(live, tmp_path):
    one_line(live(tmp_path / "nothing.mp4"), FAILURE, "no such file")
    one_line(live(tmp_path / "*.png"), FAILURE, "no file matches")
    one_line(live(tmp_path), FAILURE, "no pictures")
    one_line(live("--camera", "9"), FAILURE, "camera 9", "no such camera")
    one_line(live("/dev/null"), USAGE, "/dev/null")
    one_line(live("v4l2src ! appsink"), FAILURE, "GStreamer")
    one_line(live("http://127.0.0.1:9/x.mp4"), FAILURE, "cannot open this stream")
    one_line(live("nonsense://x"), FAILURE, "cannot open this stream")


def test_a_file_that_is_no_video_is_one_line(live, tmp_path):
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("no video")
    one_line(live(empty), FAILURE, "empty")
    one_line(live(text), FAILURE, "text.mp4", "no video")
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    one_line(live(sound), FAILURE, "sound.mp4", "no video")


def test_a_video_without_its_index_is_one_line(live, tmp_path, clip):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:-3000])  # its moov box lies at the end
    one_line(live(cut), FAILURE, "cut.mp4", "cut short")


@pytest.mark.parametrize(
    ("suffix", "movflags"),
    [("mp4", "faststart"), ("mp4", "frag_keyframe+empty_moov"), ("mkv", None), ("avi", None)],
)
def test_of_a_video_cut_in_its_middle_the_frames_before_the_cut_come(
    live, tmp_path, suffix, movflags
):
    options = {} if movflags is None else {"movflags": movflags}
    whole = write_video(tmp_path / f"whole.{suffix}", 60, **options)
    assert live(whole) == (0, [])
    cut = tmp_path / f"cut.{suffix}"
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    stats = tmp_path / "s.json"
    one_line(live(cut, "--record", tmp_path / "o.mp4", "--stats", stats), FAILURE, cut, "cut short")
    done = json.loads(stats.read_text())["frames"]
    assert 20 <= done < 60
    assert len(frames_of(tmp_path / "o.mp4")) == done


def test_frames_behind_damage_are_played_and_the_damage_is_said(live, tmp_path):
    rng = np.random.default_rng(0)
    video = tmp_path / "noisy.mp4"
    with av.open(str(video), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        stream.options = {"g": "10", "preset": "ultrafast"}
        for _ in range(60):
            image = rng.integers(0, 255, (128, 192, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = rng.integers(0, 255, 20_000, np.uint8).tobytes()
    video.write_bytes(content)
    status, lines = live(video, "--stats", tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["frames"] > 40
    assert (status, len(lines)) in ((0, 0), (1, 1))


def test_a_clip_cut_out_without_encoding_anew_is_whole(live, tmp_path, clip):
    out = tmp_path / "cut-out.mp4"
    with av.open(str(clip)) as source, av.open(str(out), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [p for p in source.demux(video=0) if p.size]
        hidden = packets[19].dts
        for packet in packets:
            packet.pts -= hidden
            packet.dts -= hidden
            packet.stream = stream
            container.mux(packet)
    assert live(out) == (0, [])


def test_a_start_beyond_the_end_is_one_line(live, tmp_path, clip):
    one_line(live(clip, "--start", "60"), FAILURE, "--start 60", "60 frames")
    one_line(live(clip, "--start", "1000"), FAILURE, "--start 1000", "60 frames")
    folder = write_folder(tmp_path / "pictures", 3)
    one_line(live(folder, "--start", "3"), FAILURE, "--start 3", "3 pictures")


def test_pictures_of_every_depth_are_taken(live, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    colour = picture(3)
    cv2.imwrite(str(folder / "0.png"), colour)
    cv2.imwrite(str(folder / "1.png"), cv2.cvtColor(colour, cv2.COLOR_BGR2BGRA))
    cv2.imwrite(str(folder / "2.png"), colour[..., 0])
    cv2.imwrite(str(folder / "3.png"), colour.astype(np.uint16) << 8)
    cv2.imwrite(str(folder / "4.png"), colour[..., 0].astype(np.uint16) << 8)
    cv2.imwrite(str(folder / "5.jpg"), colour, [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert live(folder, "--masks", tmp_path / "m") == (0, [])
    masks = [cv2.imread(str(f), -1) for f in sorted((tmp_path / "m").iterdir())]
    assert len(masks) == 6
    for mask in masks:
        assert np.mean(mask == masks[0]) > 0.97


def test_pictures_that_cannot_be_read_are_named_and_the_others_come(live, tmp_path):
    folder = write_folder(tmp_path / "pictures", 8)
    (folder / "2.png").write_bytes(b"no picture")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:150])
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8))
    (folder / "4.jpg").write_bytes(jpeg[1].tobytes()[:2000])
    (folder / "4.png").unlink()
    status, lines = live(folder, "--masks", tmp_path / "m")
    assert status == FAILURE
    assert [re.search(r"(\d\.\w+): not a picture", line)[1] for line in lines] == [
        "2.png", "3.png", "4.jpg",
    ]  # fmt: skip
    assert {f.stem for f in (tmp_path / "m").iterdir()} == set("01567")


def test_a_folder_of_which_nothing_can_be_read_is_one_line(live, tmp_path):
    for name in ("1.png", "2.png", "3.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    one_line(live(tmp_path), FAILURE, "none of its 3 pictures")
    one_line(live(tmp_path / "1.png"), FAILURE, "1.png", "not a picture")


def test_a_network_that_is_none_is_one_line(live, tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("no network")
    one_line(live("demo", network="missing.onnx"), USAGE, "missing.onnx")
    one_line(live("demo", network="no-such-name"), USAGE, "no-such-name")
    one_line(live("demo", network=text), FAILURE, "text.onnx")
    one_line(live("demo", network=tmp_path), USAGE, tmp_path)


def test_a_backend_that_is_not_installed_names_its_extra(live, monkeypatch):
    import importlib.util

    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name)
    )
    one_line(live("demo", "--backend", "onnxruntime"), USAGE, "rtseg[onnxruntime]")


def test_a_window_without_a_display_is_one_line(live, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    one_line(live("demo", window=True), FAILURE, "--headless")
    monkeypatch.setenv("DISPLAY", ":987")
    one_line(live("demo", window=True), FAILURE, ":987", "--headless")


def test_an_opencv_without_windows_says_how_to_mend_it(live, monkeypatch):
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                NONE\n")
    one_line(live("demo", window=True), FAILURE, "opencv-python-headless", "--headless")


def test_a_rotated_video_is_shown_upright(live, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 3)
    content = bytearray(video.read_bytes())
    track = content.index(b"tkhd")
    matrix = content.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), track)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    content[matrix : matrix + 36] = turned
    video.write_bytes(content)
    assert live(video, "--masks", tmp_path / "m") == (0, [])
    mask = cv2.imread(str(tmp_path / "m" / "000000.png"), -1)
    assert mask.shape == (192, 128)
    assert mask[:8].all()
    assert not mask[40:].any()


def test_a_video_of_one_frame_has_no_rate_and_is_no_failure(live, tmp_path):
    video = write_video(tmp_path / "one.mp4", 1, fps=Fraction(30000, 1001))
    assert live(video, "--stats", tmp_path / "s.json", "--record", tmp_path / "o.mp4") == (0, [])
    values = json.loads((tmp_path / "s.json").read_text())
    assert (values["frames"], values["processed_fps"]) == (1, None)
    assert len(frames_of(tmp_path / "o.mp4")) == 1
