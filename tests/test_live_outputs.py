"""What ``rtseg-live`` promises of outputs that cannot be written, or would overwrite something."""

import subprocess
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from footage import frames_of, write_folder, write_video
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


def test_outputs_that_cannot_be_written_are_said_before_anything_is_compiled(
    live, tmp_path, monkeypatch
):
    import rtseg.engine

    def load(*arguments, **options):
        raise AssertionError("compiled")

    monkeypatch.setattr(rtseg.engine, "load", load)
    folder = write_folder(tmp_path / "pictures", 2)
    file = tmp_path / "file"
    file.touch()
    missing = tmp_path / "missing"
    one_line(live(folder, "--record", missing / "x.mp4"), FAILURE, "x.mp4", "No such file")
    one_line(live(folder, "--stats", missing / "x.json"), FAILURE, "x.json", "No such file")
    one_line(live(folder, "--sheet", missing / "x.png"), FAILURE, "x.png", "No such file")
    one_line(live(folder, "--masks", file), FAILURE, file)
    one_line(live(folder, "--masks", file / "below"), FAILURE, "below")
    one_line(live(folder, "--stats", tmp_path), FAILURE, "folder")
    one_line(live(folder, "--stats", "/dev/null"), USAGE, "not a plain file")


@pytest.mark.parametrize("pattern", ["", "*.png", "0.png"])
def test_the_sources_own_files_are_not_overwritten(live, tmp_path, pattern):
    folder = write_folder(tmp_path / "pictures", 2)
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    source = folder / pattern if pattern else folder
    one_line(live(source, "--masks", folder), USAGE, "own pictures")
    one_line(live(source, "--sheet", folder / "0.png"), USAGE, "reads")
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before


def test_the_sources_own_video_and_network_are_not_overwritten(live, clip, tiny_network, tmp_path):
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    one_line(live(clip, "--record", link), USAGE, "reads")
    one_line(live(f"file://{clip}", "--stats", clip), USAGE, "reads")
    one_line(live(clip, "--stats", tiny_network), USAGE, "reads")
    one_line(
        live(clip, "--sheet", tmp_path / "a.png", "--stats", tmp_path / "a.png"), USAGE, "share"
    )


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from rtseg.cli.live import main
sys.exit(main(sys.argv[2:]))
"""


def run_limited(tiny_network, limit, *arguments):
    """Run where files may not grow beyond ``limit`` bytes: a disk that fills up."""
    command = [
        sys.executable, "-c", LIMITED, str(limit), "--headless", "--network", str(tiny_network),
        *map(str, arguments),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_recording_on_a_disk_that_fills_up_plays_up_to_there(tiny_network, tmp_path, suffix):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(7):
        noise = rng.integers(0, 255, (90, 160, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), noise)
    record = tmp_path / "out" / f"o.{suffix}"
    record.parent.mkdir()
    result = run_limited(
        tiny_network, 1_500_000, folder, "--loop", "--limit", 900, "--record", record
    )
    one_line(result, FAILURE, record, "File too large", "plays")
    assert 10 < len(frames_of(record)) < 900
    assert list(record.parent.iterdir()) == [record]


@pytest.mark.slow
def test_masks_and_stats_on_a_full_disk_are_one_line(tiny_network, tmp_path):
    folder = write_folder(tmp_path / "pictures", 3)
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.integers(0, 255, (64, 96, 3), np.uint8), 4, 0).repeat(4, 1)
    cv2.imwrite(str(folder / "2.png"), noise)
    cache = ["--backend", "onnxruntime"] if find_spec("onnxruntime") else []
    result = run_limited(tiny_network, 900, folder, "--masks", tmp_path / "m", *cache)
    one_line(result, FAILURE, "2.png", "File too large")
    assert {f.name for f in (tmp_path / "m").iterdir()} == {"0.png", "1.png"}
    result = run_limited(tiny_network, 900, folder, "--stats", tmp_path / "s.json", *cache)
    one_line(result, FAILURE, "s.json", "File too large")
    assert not list(tmp_path.glob("*s.json*"))
