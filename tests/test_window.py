"""Keys: with a window that is played, and with a real one under Xvfb."""

import ctypes
import itertools
import os
import shutil
import struct
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from footage import bar, frames_of, picture, read_bar, write_folder, write_video

from rtseg.engine import load
from rtseg.video.controls import Controls
from rtseg.video.overlay import Painter
from rtseg.video.pipeline import LiveLoop
from rtseg.video.sources import open_source
from rtseg.video.window import KEYS


class PlayedWindow:
    """A window whose keys are pressed by a script: commands, or None for none, one a look."""

    def __init__(self, commands):
        self._commands = iter(commands)
        self.shown = []

    def show(self, image, *, own_size=True):
        self.shown.append(image.copy())

    def command(self, wait_ms=0):
        if wait_ms:
            time.sleep(0.001)
        return next(self._commands, None)


@pytest.fixture(scope="module")
def engine(tiny_network):
    with load(tiny_network) as engine:
        yield engine


@pytest.fixture
def play(engine, tmp_path):
    """Run a folder of pictures through the loop, with scripted keys."""
    pictures = write_folder(tmp_path / "pictures", 12)

    def run(commands, *, hud=False, opacity=0.5, realtime=False, fps=None):
        window = PlayedWindow(commands)
        said = []
        (tmp_path / "out").mkdir(exist_ok=True)
        controls = Controls(window, folder=tmp_path / "out", fps=10, hud=hud, say=said.append)
        painter = Painter(engine.spec.classes, engine.spec.palette, opacity=opacity)
        source = open_source(str(pictures), realtime=realtime, fps=fps)
        loop = LiveLoop(engine, source, painter, controls=controls, hud=hud)
        return window, loop.run(), said, tmp_path / "out"

    return run


def painted(index, opacity):
    image = picture(index).astype(float)
    road = image[..., 0] > 127
    image[road] = (1 - opacity) * image[road] + opacity * np.array([90, 200, 0])
    return image


def looks_like(image, expected):
    return np.abs(image - expected).max() <= 1


def test_quitting_ends_after_the_frame_on_the_screen(play):
    window, report, *_ = play([None, None, "quit"])
    assert report.processed.count == len(window.shown) == 3
    assert not report.interrupted


def test_without_keys_every_frame_is_shown(play):
    window, report, *_ = play([])
    assert report.displayed.count == 12
    assert all(looks_like(image, painted(i, 0.5)) for i, image in enumerate(window.shown))


def test_a_pause_holds_the_frame_and_its_time_is_not_counted(play):
    pause = itertools.chain(["pause"], itertools.repeat(None, 300), ["pause"])
    window, report, *_ = play(pause)
    assert len(window.shown) == 12
    # 300 looks at the keys took 0.3 s at the least.
    assert report.processed.seconds < 0.3 + 0.2
    assert report.stages["capture_to_display"].count < 12


def test_a_step_shows_one_frame_and_stays_paused(play):
    commands = ["pause", None, "step", None, None, "step", None, "quit"]
    window, report, *_ = play(commands)
    assert [read_bar(image[..., 1] > 100) for image in window.shown] == [bar(i) for i in range(3)]
    assert report.processed.count == 3


def test_a_step_does_not_get_stuck_where_frames_are_rare(play):
    stepping = ["step", *[None] * 3] * 3 + ["quit"]
    _, report, *_ = play(stepping, realtime=True, fps=5)
    assert 1 <= report.processed.count <= 12


def test_keys_change_the_picture_at_once_in_a_pause_too(play):
    window, *_ = play(["pause", "overlay", "overlay", "more", "more", "less", "quit"])
    expected = [painted(0, o) for o in (0.5, 0.0, 0.5, 0.55, 0.6, 0.55)]
    assert len(window.shown) == len(expected)
    assert all(map(looks_like, window.shown, expected))


def test_contours_and_text_can_be_switched(play):
    window, *_ = play(["pause", "contours", "contours", "hud", "hud", "quit"], hud=False)
    plain, outlined, again, text, without = window.shown
    assert not np.array_equal(plain, outlined)
    assert not np.array_equal(plain, text)
    np.testing.assert_array_equal(plain, again)
    np.testing.assert_array_equal(plain, without)


def test_opacity_stays_between_nothing_and_all(play):
    window, *_ = play(["pause", *["more"] * 30, "quit"])
    assert looks_like(window.shown[-1], painted(0, 1.0))
    window, *_ = play(["pause", *["less"] * 30, "quit"])
    assert looks_like(window.shown[-1], painted(0, 0.0))


def test_snapshots_show_what_the_screen_shows_and_do_not_overwrite_each_other(play):
    window, _, said, out = play(["pause", "snapshot", None, None, None, "snapshot", "quit"])
    files = sorted(out.glob("*.png"))
    assert len(files) == len(said) == 2
    for file in files:
        np.testing.assert_array_equal(cv2.imread(str(file)), window.shown[-1])


def test_the_record_key_records_from_here_to_there(play):
    _, _, said, out = play([None, None, "record", None, None, "record"], opacity=0)
    (file,) = out.iterdir()
    assert [read_bar(f[..., 0] > 127) for f in frames_of(file)] == [bar(i) for i in (2, 3, 4)]
    assert len(said) == 2


def test_a_recording_that_still_runs_is_closed_at_the_end(play):
    _, _, _, out = play([None, "record", None, "quit"], opacity=0)
    (file,) = out.iterdir()
    assert len(frames_of(file)) == 3


def test_a_folder_that_cannot_be_written_does_not_end_the_view(play, tmp_path):
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    (tmp_path / "out").mkdir()

    def gone():
        shutil.rmtree(tmp_path / "out")
        yield "snapshot"
        yield "record"

    _, report, said, _ = play(gone())
    assert report.processed.count == 12
    assert len(said) == 2
    assert all("cannot write" in line for line in said)


def test_every_key_has_a_command_that_is_known():
    assert set(KEYS.values()) == {
        "quit", "pause", "step", "overlay", "more", "less", "contours", "hud", "snapshot", "record",
    }  # fmt: skip


@pytest.fixture(scope="module")
def display():
    """A display of the tests' own."""
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"the real window needs {program}")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as numbers:
        number = numbers.readline().strip()
    if not number:
        pytest.skip("Xvfb does not start here")
    yield f":{number}"
    server.terminate()
    server.wait()


class RealWindow:
    """``rtseg-live`` on a display, and the keyboard in front of it."""

    def __init__(self, display, folder, *arguments):
        self._environment = {**os.environ, "DISPLAY": display}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rtseg.cli.live", *map(str, arguments)],
            cwd=folder, env=self._environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.id = self._do("search", "--sync", "--onlyvisible", "--name", "rtseg:").split()[0]

    def _do(self, *arguments):
        return subprocess.run(
            ["xdotool", *arguments],
            env=self._environment, check=True, capture_output=True, text=True, timeout=60,
        ).stdout  # fmt: skip

    def press(self, *keys):
        for key in keys:
            self._do("windowfocus", "--sync", self.id)
            self._do("key", "--window", self.id, key)
            time.sleep(0.25)

    def close(self):
        """Ask it to close, as a window manager does: xdotool cannot in all its versions."""
        xcb = ctypes.CDLL("libxcb.so.1")
        xcb.xcb_connect.restype = xcb.xcb_intern_atom_reply.restype = ctypes.c_void_p
        display = ctypes.c_void_p(xcb.xcb_connect(self._environment["DISPLAY"].encode(), None))

        def atom(name):
            asked = xcb.xcb_intern_atom(display, 0, len(name), name)
            reply = xcb.xcb_intern_atom_reply(display, asked, None)
            return ctypes.cast(reply, ctypes.POINTER(ctypes.c_uint32))[2]

        window = int(self.id)
        protocols, delete = atom(b"WM_PROTOCOLS"), atom(b"WM_DELETE_WINDOW")
        message = struct.pack("=BBHII5I", 33, 32, 0, window, protocols, delete, 0, 0, 0, 0)
        xcb.xcb_send_event(display, 0, window, 0, message)
        atom(b"WM_NAME")  # an answer: the server drops what it has not read of one who hangs up
        xcb.xcb_disconnect(display)

    def end(self):
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture
def real(display, tiny_network, tmp_path):
    windows = []
    out = tmp_path / "out"
    out.mkdir()

    def start(*arguments):
        window = RealWindow(display, out, "--network", tiny_network, *arguments)
        windows.append(window)
        return window

    yield start
    for window in windows:
        if window.process.poll() is None:
            window.process.kill()
            window.process.communicate()


@pytest.mark.slow
def test_keys_in_a_real_window(real, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 50, width=640, height=360)
    window = real(video, "--loop", "--realtime", "--no-hud", "--opacity", "1")
    window.press("space", "s", "o", "s", "o", "n", "space", "r", "r", "q")
    status, out, err = window.end()
    assert status == 0
    assert "FPS displayed" in out
    assert all(line.startswith("rtseg-live: ") for line in err.splitlines()), err
    painted, clean = sorted((tmp_path / "out").glob("*.png"))
    painted, clean = cv2.imread(str(painted)), cv2.imread(str(clean))
    road = clean[..., 0] > 127
    assert painted.shape == (360, 640, 3)
    np.testing.assert_allclose(painted[180, 2], (90, 200, 0), atol=1)
    assert (road == (painted[..., 1] > 150)).mean() > 0.98
    (recording,) = (tmp_path / "out").glob("*.mp4")
    assert frames_of(recording)


@pytest.mark.slow
def test_closing_a_real_window_quits(real, tmp_path):
    window = real(write_folder(tmp_path / "pictures", 5), "--loop", "--realtime")
    window.close()
    status, out, err = window.end()
    assert (status, err) == (0, "")
    assert "FPS" in out
