"""Outputs: slow ones, failing ones, and pictures that nobody overwrites meanwhile."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from footage import WIDTH, bar, frames_of, picture, true_mask, write_folder

from rtseg.engine import load
from rtseg.errors import InputError, OutputError, UsageError
from rtseg.video.frame import LiveFrame
from rtseg.video.handover import Handover
from rtseg.video.overlay import Painter
from rtseg.video.pipeline import LiveLoop
from rtseg.video.sinks import MaskFolder, Recording, Sink
from rtseg.video.sources import Source, open_source
from rtseg.video.writing import Writing


class Footage(Source):
    """Frames without end, or ``count`` of them, and then a failure if there is one to come."""

    name, kind = "footage", "demo"

    def __init__(self, count=None, *, live=False, failure=None, period=0.0):
        super().__init__()
        self.count, self.live, self.failure, self.period = count, live, failure, period
        self.closed = False
        self._next = 0

    def read(self, frame):
        if self._next == self.count:
            if self.failure is not None:
                raise self.failure
            return False
        time.sleep(self.period)
        if frame.picture.shape[1] != WIDTH:
            frame.picture = picture(0)
        frame.picture[:] = picture(self._next)
        frame.captured = time.perf_counter_ns()
        self._next += 1
        return True

    def skip(self, count):
        self._next = count

    def close(self):
        self.closed = True


class Watching(Sink):
    """A slow sink that looks whether its picture stays as it is."""

    def __init__(self, pause=0.0, fail_at=None, fail_at_close=None):
        self.pause, self.fail_at, self.fail_at_close = pause, fail_at, fail_at_close
        self.indices, self.closed = [], 0
        self.disturbed = False

    def write(self, frame):
        if len(self.indices) == self.fail_at:
            raise OutputError("the sink is full")
        before, mask = frame.picture.copy(), frame.mask.copy()
        time.sleep(self.pause)
        self.disturbed |= not np.array_equal(before, frame.picture)
        self.disturbed |= not np.array_equal(mask, frame.mask)
        self.disturbed |= 2 * int(mask[0].sum()) != bar(frame.index)
        self.indices.append(frame.index)

    def close(self):
        self.closed += 1
        if self.fail_at_close is not None:
            raise self.fail_at_close


@pytest.fixture(scope="module", params=["throughput", "latency"])
def engine(request, tiny_network):
    with load(tiny_network, mode=request.param) as engine:
        yield engine


def loop_of(engine, source, *sinks, **options):
    painter = Painter(engine.spec.classes, engine.spec.palette, opacity=0)
    return LiveLoop(engine, source, painter, sinks=list(sinks), hud=False, **options)


def ended(before):
    """Whether no thread of the run is left."""
    return set(threading.enumerate()) <= before


@pytest.mark.parametrize("live", [False, True])
def test_a_picture_is_not_overwritten_while_it_is_written(engine, live):
    sink = Watching(pause=0.004)
    source = Footage(80, live=live, period=0.001)
    report = loop_of(engine, source, sink).run()
    assert not sink.disturbed
    assert sink.indices == sorted(set(sink.indices))
    assert len(sink.indices) == report.processed.count
    if live:
        assert report.dropped > 0
        # The last may be on its way when the source ends, or be dropped for a later one.
        assert 80 - report.dropped - report.processed.count in (0, 1)
    else:
        assert sink.indices == list(range(80))


def test_the_limit_is_exact_while_the_sinks_are_behind(engine):
    before = set(threading.enumerate())
    sink = Watching(pause=0.01)
    source = Footage(None)
    report = loop_of(engine, source, sink, limit=17).run()
    assert sink.indices == list(range(17))
    assert report.processed.count == 17
    assert source._next == 17, "no more is read than is asked for"
    assert source.closed
    assert sink.closed == 1
    assert ended(before)


def test_a_sink_that_fails_ends_the_run_and_closes_the_others(engine):
    before = set(threading.enumerate())
    failing, other = Watching(fail_at=5), Watching(pause=0.002)
    source = Footage(None)
    with pytest.raises(OutputError, match="full"):
        loop_of(engine, source, other, failing).run()
    assert (failing.closed, other.closed) == (1, 1)
    assert other.indices[:6] == list(range(6))
    assert source.closed
    assert ended(before)


def test_a_sink_that_fails_at_its_close_is_told_and_the_others_are_closed(engine):
    failing, other = Watching(fail_at_close=OutputError("no room to close")), Watching()
    with pytest.raises(OutputError, match="no room"):
        loop_of(engine, Footage(5), failing, other).run()
    assert other.closed == 1
    assert other.indices == list(range(5))


def test_frames_before_a_source_fails_are_done(engine):
    before = set(threading.enumerate())
    sink = Watching()
    with pytest.raises(InputError, match="unplugged"):
        loop_of(engine, Footage(9, failure=InputError("unplugged")), sink).run()
    assert sink.indices == list(range(9))
    assert sink.closed == 1
    assert ended(before)


def test_running_out_of_memory_is_one_line(engine):
    with pytest.raises(InputError, match="not enough memory"):
        loop_of(engine, Footage(3, failure=MemoryError())).run()


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_stopping_from_another_thread_ends_the_run(engine, pause):
    before = set(threading.enumerate())
    sink = Watching(pause=pause)
    loop = loop_of(engine, Footage(None), sink)
    threading.Timer(0.15, loop.stop).start()
    report = loop.run()
    assert report.interrupted
    assert sink.indices == list(range(report.processed.count))
    time.sleep(0.05)
    assert ended(before)


def test_an_engine_can_be_used_again_after_a_run_that_failed(engine):
    with pytest.raises(OutputError):
        loop_of(engine, Footage(None), Watching(fail_at=2)).run()
    assert engine.pending == 0
    sink = Watching()
    loop_of(engine, Footage(6), sink).run()
    assert sink.indices == list(range(6))


def frame_at(index, **changes):
    values = {
        "small": np.empty((64, 96, 3), np.uint8),
        "mask": true_mask(index)[::2, ::2].copy(),
        "picture": picture(index),
        "index": index,
        "captured": index * 40_000_000,
    }
    return LiveFrame(**{**values, **changes})


def test_sinks_that_are_added_get_the_frames_from_there_on():
    free = Handover(20)
    writing = Writing([], free)
    writing.start()
    sink = Watching()
    for index in range(12):
        if index == 3:
            writing.add(sink)
        if index == 8:
            writing.remove(sink)
        writing.put(frame_at(index))
    writing.close()
    assert sink.indices == [3, 4, 5, 6, 7]
    assert sink.closed == 1
    assert sorted(free.take(0).index for _ in range(12)) == list(range(12))


def test_an_added_sink_that_fails_is_named_and_left_out():
    writing = Writing([], Handover(20))
    writing.start()
    failing, other = Watching(fail_at=1), Watching()
    writing.add(failing)
    writing.add(other)
    for index in range(4):
        writing.put(frame_at(index))
    writing.remove(failing)
    writing.close()
    assert writing.notes == ["the sink is full"]
    assert (failing.closed, other.closed) == (1, 1)
    assert other.indices == [0, 1, 2, 3]


def test_a_recording_of_a_live_source_keeps_the_times_of_its_frames(tmp_path):
    import av

    path = tmp_path / "o.mp4"
    recording = Recording(path, None)
    times = [0, 40, 80, 500, 500, 540]
    for index, milliseconds in enumerate(times):
        recording.write(frame_at(index, captured=10**12 + milliseconds * 10**6))
    recording.close()
    recording.close()
    with av.open(str(path)) as container:
        found = [frame.time for frame in container.decode(video=0)]
    assert [time - found[0] for time in found] == pytest.approx([t / 1000 for t in times], abs=1e-3)


def test_a_recording_without_frames_leaves_nothing(tmp_path):
    Recording(tmp_path / "o.mp4", 25).close()
    assert not list(tmp_path.iterdir())


def test_a_recording_plays_in_browsers(tmp_path):
    import av

    path = tmp_path / "o.mp4"
    recording = Recording(path, 29.97)
    for index in range(5):
        recording.write(frame_at(index))
    recording.close()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(29.97, abs=0.01)
    assert len(frames_of(path)) == 5
    # A plain MP4: its index is a moov box, not a chain of fragments.
    assert path.read_bytes().count(b"moof") == 0


def test_a_recording_is_of_a_known_kind(tmp_path):
    for name in ("o.avi", "o", "o.mp4.txt"):
        with pytest.raises(UsageError, match=r"\.mp4"):
            Recording(tmp_path / name, 25)


def test_masks_of_the_same_name_do_not_overwrite_each_other(tmp_path):
    folder = MaskFolder(tmp_path / "m")
    for index, name in enumerate(["a", "a", "a-000003", "a", ""]):
        folder.write(frame_at(index, name=name))
    assert len(list((tmp_path / "m").iterdir())) == 5


def test_the_camera_gives_pictures_that_stay_until_the_next(tmp_path):
    import rtseg

    folder = write_folder(tmp_path / "pictures", 30)
    with rtseg.Camera(str(folder)) as camera:
        for index, image in enumerate(camera):
            time.sleep(0.002)
            np.testing.assert_array_equal(image, picture(index))
        assert index == 29
        with pytest.raises(StopIteration):
            next(camera)


def test_a_camera_that_is_closed_ends_its_thread(tmp_path):
    import rtseg

    before = set(threading.enumerate())
    with rtseg.Camera(str(write_folder(tmp_path / "pictures", 30))) as camera:
        next(camera)
    assert ended(before)


def test_a_source_that_was_never_read_is_closed(tmp_path):
    source = open_source(str(write_folder(tmp_path / "pictures", 1)))
    source.close()
    source.close()
    assert Path(tmp_path / "pictures").is_dir()
