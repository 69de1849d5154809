"""Whole pictures over a device: the same frames as on the host, to the bit, through the live loop."""

import itertools

import cv2
import numpy as np
import pytest
from footage import picture, write_folder, write_video
from picture_runs import SCRIPTS, HostPictures, Kept, play, run, same, write_source

from rtseg.engine import load
from rtseg.errors import BackendError
from rtseg.video.overlay import Painter
from rtseg.video.pipeline import LiveLoop
from rtseg.video.sources import open_source


@pytest.fixture(scope="module")
def engine(tiny_network):
    with load(tiny_network, backend="openvino") as engine:
        yield engine


@pytest.fixture
def paths(engine, monkeypatch):
    """Give the engine a device; returns the paths that it was asked for."""
    made = []

    def pictures(width, height):
        made.append(HostPictures(engine, width, height))
        return made[-1]

    monkeypatch.setattr(engine, "pictures", pictures)
    return made


OPTIONS = [{}, {"opacity": 0.0}, {"contours": True}, {"paint": ["background", "road"]}]


@pytest.fixture
def source(request, tmp_path):
    return write_source(request.param, tmp_path)


@pytest.mark.parametrize(
    ("source", "options"),
    [*itertools.product(["folder", "video"], OPTIONS), ("demo", {})],
    indirect=["source"],
)
def test_frames_are_those_of_the_host(engine, monkeypatch, source, options):
    expected, reference = run(engine, source, limit=12, **options)
    made = []
    monkeypatch.setattr(
        engine, "pictures", lambda *size: made.append(HostPictures(engine, *size)) or made[-1]
    )
    found, report = run(engine, source, limit=12, **options)
    same(found, expected)
    (path,) = made
    assert path.closed
    assert path.submitted == 12
    assert not path.copied, "every picture lies where the device reads it"
    assert report.processed.count == 12
    if source == "demo":
        assert report.scored == reference.scored == 12
        np.testing.assert_array_equal(report.matrix.counts, reference.matrix.counts)


def test_the_host_shrinks_only_until_it_knows_of_the_device(engine, paths, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 60)
    _, report = run(engine, video)
    # The capture is a few frames ahead when the first is submitted.
    assert report.stages["resize"].count <= 5
    assert report.stages["infer"].count == 60
    assert len(paths[0].given) <= engine.depth + 8, "the places are used again"


def test_pictures_of_another_size_get_a_path_of_their_own(engine, paths, tmp_path):
    folder = write_folder(tmp_path / "pictures", 24)
    sizes = [(192, 128), (96, 64), (192, 128), (300, 200)]
    for index in range(24):
        cv2.imwrite(str(folder / f"{index}.png"), picture(index, *sizes[index // 6]))
    found, _ = run(engine, folder)
    assert [path.shape[1::-1] for path in paths] == sizes
    assert all(path.closed and path.submitted == 6 for path in paths)
    engine.pictures = lambda width, height: None
    same(found, run(engine, folder)[0])


def test_where_the_device_takes_only_some_sizes_the_host_does_the_others(
    engine, monkeypatch, tmp_path
):
    folder = write_folder(tmp_path / "pictures", 18)
    for index in range(6, 12):
        cv2.imwrite(str(folder / f"{index}.png"), picture(index, 96, 64))
    expected, _ = run(engine, folder)
    monkeypatch.setattr(
        engine,
        "pictures",
        lambda width, height: HostPictures(engine, width, height) if width == 192 else None,
    )
    same(run(engine, folder)[0], expected)


@pytest.mark.parametrize("script", SCRIPTS, ids=["-".join(map(str, s)) or "none" for s in SCRIPTS])
def test_keys_do_the_same_at_the_same_frame(engine, monkeypatch, tmp_path, script):
    monkeypatch.setattr("rtseg.video.report.Readout.lines", lambda *a: ["text"])
    monkeypatch.setattr("rtseg.video.report.Readout.latest", ["text"])
    folder = write_folder(tmp_path / "pictures", 14)
    expected, expected_kept = play(engine, folder, script, tmp_path)
    made = []
    monkeypatch.setattr(
        engine, "pictures", lambda *size: made.append(HostPictures(engine, *size)) or made[-1]
    )
    shown, kept = play(engine, folder, script, tmp_path)
    assert not made[0].copied
    same(kept, expected_kept)
    assert len(shown) == len(expected)
    for index, (one, other) in enumerate(zip(shown, expected, strict=True)):
        np.testing.assert_array_equal(one, other, f"shown {index}")


def test_a_device_that_fails_ends_the_run_with_its_error(engine, paths, monkeypatch, tmp_path):
    def fail(self, picture, mask):
        if self.submitted > 6:
            self.flying.popleft()
            raise BackendError("the GPU failed on a picture: unspecified launch failure")
        HostPictures_collect(self, picture, mask)

    HostPictures_collect = HostPictures.collect  # noqa: N806  the method that is replaced
    monkeypatch.setattr(HostPictures, "collect", fail)
    kept = Kept()
    painter = Painter(engine.spec.classes, engine.spec.palette)
    source = open_source(str(write_folder(tmp_path / "pictures", 20)))
    loop = LiveLoop(engine, source, painter, sinks=[kept], hud=False)
    with pytest.raises(BackendError, match="unspecified launch failure"):
        loop.run()
    assert 0 < len(kept.pictures) < 7
    assert paths[0].closed
    assert engine.pending == 0
