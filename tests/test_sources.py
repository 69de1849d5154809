"""Where frames come from: streams that come and go, KITTI's layouts, containers that are cut."""

import threading
import time
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from footage import bar, picture, read_bar, write_folder, write_video

import rtseg
from rtseg.errors import InputError
from rtseg.video import streams
from rtseg.video.capturing import Capturing
from rtseg.video.container import drop_half_fragment, is_cut_short, shown_frames
from rtseg.video.frame import LiveFrame
from rtseg.video.images import pictures_of
from rtseg.video.sources import open_source, without_password


def bars(camera, count=None):
    """The bars of a camera's pictures."""
    found = []
    for image in camera:
        found.append(read_bar(image[..., 0] > 127))
        if len(found) == count:
            break
    return found


@pytest.fixture
def serve():
    """Serve with a handler on the loopback; gives the address."""
    servers = []

    def start(handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class MotionJPEG(BaseHTTPRequestHandler):
    """A camera on the network: multipart JPEG, ``per_connection`` frames, then it hangs up."""

    per_connection = 30
    period = 0.02
    refuse_after = 99
    connections = 0
    index = 0

    def do_GET(self):
        type(self).connections += 1
        if self.connections > self.refuse_after:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for _ in range(self.per_connection):
                content = cv2.imencode(".jpg", picture(type(self).index))[1].tobytes()
                self.wfile.write(
                    b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: "
                    + str(len(content)).encode() + b"\r\n\r\n" + content + b"\r\n"
                )  # fmt: skip
                type(self).index += 1
                time.sleep(self.period)
        except OSError:
            pass

    def log_message(self, *arguments):
        pass


def test_a_video_on_a_web_server_gives_every_frame(tmp_path, serve):
    write_video(tmp_path / "clip.mp4", 40, movflags="faststart")

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path)

        def log_message(self, *arguments):
            pass

    with rtseg.Camera(f"{serve(Files)}/clip.mp4") as camera:
        assert bars(camera) == [bar(i) for i in range(40)]


def test_of_a_stream_the_newest_frame_is_what_comes(serve):
    class Handler(MotionJPEG):
        per_connection = 10_000
        period = 0.01

    with rtseg.Camera(serve(Handler)) as camera:
        next(camera)
        before = Handler.index
        time.sleep(0.5)
        next(camera)  # was waiting
        (shown,) = bars(camera, 1)
        assert Handler.index - before > 10
        # At most what is in the decoder and in the socket lies between sending and showing.
        assert any(bar(Handler.index - late) == shown for late in range(20))


def test_a_stream_that_hangs_up_is_opened_again(serve, monkeypatch):
    monkeypatch.setattr(streams, "_FIRST_PAUSE_S", 0.02)

    class Handler(MotionJPEG):
        per_connection = 12

    source = open_source(serve(Handler))
    frame = LiveFrame(np.empty((2, 2, 3), np.uint8), np.empty((0, 0), np.uint8))
    for _ in range(30):
        assert source.read(frame)
    source.close()
    assert source.reconnects >= 1
    assert "connected again" in source.notes[0]


def test_a_stream_that_does_not_come_back_is_one_line(serve, monkeypatch):
    monkeypatch.setattr(streams, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(streams, "_PATIENCE_S", 0.3)

    class Handler(MotionJPEG):
        per_connection = 12
        refuse_after = 1

    with (
        rtseg.Camera(serve(Handler)) as camera,
        pytest.raises(InputError, match="did not come back"),
    ):
        bars(camera)


def test_a_read_that_waits_for_a_stream_comes_back_when_it_is_stopped(serve, monkeypatch):
    monkeypatch.setattr(streams, "_FIRST_PAUSE_S", 5.0)

    class Handler(MotionJPEG):
        per_connection = 12
        refuse_after = 1

    source = open_source(serve(Handler))
    frames = [
        LiveFrame(np.empty((2, 2, 3), np.uint8), np.empty((0, 0), np.uint8)) for _ in range(4)
    ]
    capturing = Capturing(source, frames)
    capturing.start()
    time.sleep(1.0)
    began = time.monotonic()
    capturing.stop()
    assert time.monotonic() - began < 2
    assert not capturing._thread.is_alive()


@pytest.mark.parametrize(
    "layout",
    ["image_02/data", "image_2", "image_0", "image_02", "training/image_2", "testing/image_2", ""],
)
def test_kitti_layouts_are_found(tmp_path, layout):
    write_folder(tmp_path / "drive" / layout, 3)
    assert len(pictures_of(tmp_path / "drive")) == 3


def test_pictures_come_in_the_natural_order_of_their_names(tmp_path):
    folder = write_folder(tmp_path / "pictures", 12)
    with rtseg.Camera(str(folder)) as camera:
        assert bars(camera) == [bar(i) for i in range(12)]


def test_a_kitti_road_picture_brings_its_truth(tmp_path):
    folder = write_folder(tmp_path / "training" / "image_2", 1)
    (folder / "0.png").rename(folder / "um_000000.png")
    truth = np.zeros((128, 192, 3), np.uint8)
    truth[64:, :, 2] = 255  # red: valid
    truth[64:, :96, 0] = 255  # blue: road
    (tmp_path / "training" / "gt_image_2").mkdir()
    cv2.imwrite(str(tmp_path / "training" / "gt_image_2" / "um_road_000000.png"), truth)
    source = open_source(str(tmp_path))
    frame = LiveFrame(np.empty((2, 2, 3), np.uint8), np.empty((0, 0), np.uint8))
    assert source.truth
    assert source.read(frame)
    assert frame.has_truth
    assert np.unique(frame.truth[:64]).tolist() == [255]
    assert np.unique(frame.truth[64:, :96]).tolist() == [1]
    assert np.unique(frame.truth[64:, 96:]).tolist() == [0]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "ts"])
def test_a_whole_file_is_not_called_cut(tmp_path, suffix):
    path = write_video(tmp_path / f"clip.{suffix}", 12)
    assert not is_cut_short(path)
    assert shown_frames(path) == 12
    path.write_bytes(path.read_bytes() + bytes(100) + b"what recorders append")
    assert not is_cut_short(path)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
def test_a_file_is_called_cut_wherever_it_is_cut(tmp_path, suffix):
    path = write_video(tmp_path / f"clip.{suffix}", 12)
    content = path.read_bytes()
    for size in range(400, len(content), 500):
        path.write_bytes(content[:size])
        boundary = suffix in ("mp4", "mov") and not is_cut_short(path)
        # Between two boxes an MP4 cannot know of the next.
        assert not boundary or content[size + 4 : size + 8] in (b"moov", b"mdat", b"free")


def test_a_fragment_that_is_not_whole_is_dropped(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 30, movflags="frag_keyframe+empty_moov")
    content = path.read_bytes()
    last = content.rindex(b"moof") - 4
    for size in (last + 4, last + 60, content.rindex(b"mdat") + 30):
        path.write_bytes(content[:size])
        drop_half_fragment(path)
        assert path.read_bytes() == content[:last]
        assert shown_frames(path) == 20


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("rtsp://me:secret@host/x", "rtsp://me:***@host/x"),
        ("rtsp://me:se@c:ret@host:554/x", "rtsp://me:***@host:554/x"),
        ("rtsp://host:554/x@y", "rtsp://host:554/x@y"),
        ("http://host/a:b", "http://host/a:b"),
        ("clip.mp4", "clip.mp4"),
    ],
)
def test_a_password_is_hidden_and_nothing_else(given, shown):
    assert without_password(given) == shown
