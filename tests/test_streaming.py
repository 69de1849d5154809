"""Streaming mIoU on schedules worked out by hand, and against a clock that ticks."""

import time

import numpy as np
import pytest
from conftest import tiny_spec
from hypothesis import given
from hypothesis import strategies as st

from rtseg.data.drive import Drive, DriveClass
from rtseg.data.labels import CAMVID11, ROAD
from rtseg.engine import load
from rtseg.engine.base import Engine
from rtseg.errors import InputError, UsageError
from rtseg.evaluation.masked_video import dataset_video, drive_video, step_of
from rtseg.evaluation.streaming import (
    FrameTime,
    FrameTimer,
    Schedule,
    StreamingMiou,
    arrivals,
    schedule,
    score,
)

PERIOD = 20_000_000  # 50 FPS, whole nanoseconds
FPS = 50
SAME = np.arange(256, dtype=np.uint8)


def engine_only(*periods):
    """Frames of which only the engine takes time, in periods."""
    return [FrameTime(0, round(p * PERIOD), 0) for p in periods]


def test_without_latency_every_frame_has_its_own_mask():
    run = schedule(engine_only(*[0] * 5), FPS)
    assert run.taken == (0, 1, 2, 3, 4)
    assert run.finished == tuple(k * PERIOD for k in range(5))
    assert run.newest() == [0, 1, 2, 3, 4]


def test_a_latency_of_one_period_is_one_frame_late_and_drops_none():
    run = schedule(engine_only(*[1] * 5), FPS)
    assert (run.taken, run.dropped) == ((0, 1, 2, 3, 4), 0)
    assert run.newest() == [None, 0, 1, 2, 3]


def test_a_nanosecond_more_than_a_period_is_two_frames_late():
    times = [FrameTime(0, PERIOD + 1, 0)] * 4
    # 0 is done just after frame 1 has come, which is then taken a nanosecond late.
    assert schedule(times, FPS).newest() == [None, None, 0, 1]


def test_a_latency_of_two_and_a_half_periods():
    # In periods: 0 from 0 to 2.5; then 2, the newest, to 5; then 5 to 7.5; then 7 to 10; then 10.
    run = schedule(engine_only(*[2.5] * 12), FPS)
    assert run.taken == (0, 2, 5, 7, 10, 11)
    assert [at / PERIOD for at in run.finished] == [2.5, 5, 7.5, 10, 12.5, 15]
    assert run.newest() == [None, None, None, 0, 0, 2, 2, 2, 5, 5, 7, 7]
    assert run.dropped == 6


def test_latencies_that_vary():
    # In periods: 0 from 0 to 0.5; 1 from 1 to 4.2, while 2 and 3 are overtaken by 4; 4 from 4.2 to
    # 4.7; 5 from 5 to 6.1; 6 from 6.1 to 6.2.
    run = schedule(engine_only(0.5, 3.2, 9, 9, 0.5, 1.1, 0.1), FPS)
    assert run.taken == (0, 1, 4, 5, 6)
    assert [at / PERIOD for at in run.finished] == pytest.approx([0.5, 4.2, 4.7, 6.1, 6.2])
    assert run.newest() == [None, 0, 0, 0, 0, 4, 4]


def test_preparing_delays_a_frame_and_not_the_engine():
    # 0 is ready at 0.5 and done at 1.5; 1 is ready at 1.5 and done at 2.5.
    run = schedule([FrameTime(PERIOD // 2, PERIOD, 0)] * 3, FPS)
    assert [at / PERIOD for at in run.finished] == [1.5, 2.5, 3.5]


def test_finishing_keeps_the_loop_from_the_next_frame():
    # 0: mask at 0.25, out at 1.5. Frame 1 came at 1, when the loop was at it: taken at 1.5. Its mask
    # is there at 1.75, when nothing new has come, and out at 3. Then 3, which has just come.
    run = schedule([FrameTime(0, PERIOD // 4, 5 * PERIOD // 4)] * 4, FPS)
    assert run.taken == (0, 1, 3)
    assert [at / PERIOD for at in run.finished] == [1.5, 3, 4.5]


def test_the_next_frame_runs_while_the_last_is_finished():
    # 0: mask at 1.5, then 1 is submitted, 0 out at 2. Mask of 1 at 3: 3 is submitted, 1 out at 3.5.
    run = schedule([FrameTime(0, 3 * PERIOD // 2, PERIOD // 2)] * 4, FPS)
    assert run.taken == (0, 1, 3)
    assert [at / PERIOD for at in run.finished] == [2, 3.5, 5]


def test_two_in_flight_need_a_frame_that_comes_while_the_loop_finishes():
    # 0 from 0 to 2, when 2 is submitted; 0 is out at 2.5: nothing new. 2 is there at 4: 4 submitted, 2
    # out at 4.5. As with a depth of 1: 3 came while the loop waited for 2, and was not looked at.
    times = [FrameTime(0, 2 * PERIOD, PERIOD // 2)] * 6
    assert schedule(times, FPS, depth=2).taken == (0, 2, 4, 5)
    # 0 from 0 to 3, when 3 is submitted; 0 is out at 4, when 4 has come and fits beside 3; 3 is there
    # at 6, when 6 is submitted, and out at 7; 4 is there at 7 and out at 8; 6 is there at 9.
    times = [FrameTime(0, 3 * PERIOD, PERIOD)] * 7
    assert schedule(times, FPS).taken == (0, 3, 6)
    run = schedule(times, FPS, depth=2)
    assert run.taken == (0, 3, 4, 6)
    assert [at / PERIOD for at in run.finished] == [4, 7, 8, 10]


def test_a_depth_of_none_is_refused():
    with pytest.raises(ValueError, match="depth"):
        schedule(engine_only(1), FPS, depth=0)


def test_no_frames_are_no_run():
    assert schedule([], FPS) == Schedule((), (), ())


def test_arrivals_do_not_drift():
    assert arrivals(4, 30) == [0, 33333333, 66666667, 100000000]
    assert arrivals(108001, 30)[-1] == 3600 * 10**9


def ticking(times, period, depth):
    """The loop of the live pipeline, instruction by instruction, on a clock that ticks.

    Returns (taken, finished, what is newest at each arrival). Times are ticks, a frame comes each
    ``period``.
    """
    count = len(times)
    waiting, preparing = [], None  # the capture thread
    slot = None  # what is handed over
    flying = []
    state, until, current = "feed", 0, None
    taken, finished, newest = [], [], []
    out = None
    last_seen = -1
    for now in range(10**6):
        if now % period == 0 and now // period < count:
            waiting.append(now // period)
        # The capture thread, as far as it comes.
        while True:
            if preparing is None and waiting:
                frame = waiting.pop(0)
                preparing = (frame, now + times[frame].prepare)
            if preparing is None or preparing[1] > now:
                break
            slot, preparing = preparing[0], None
        # The loop, as far as it comes.
        while True:
            if state == "feed":
                if slot is not None and len(flying) < depth:
                    last_seen = slot
                    flying.append((slot, now + times[slot].infer))
                    slot = None
                elif flying:
                    state, current = "collect", flying[0]
                else:
                    break
            elif state == "collect":
                if current[1] > now:
                    break
                flying.pop(0)
                state = "feed again"
            elif state == "feed again":
                if slot is not None and len(flying) < depth:
                    last_seen = slot
                    flying.append((slot, now + times[slot].infer))
                    slot = None
                else:
                    state, until = "finish", now + times[current[0]].finish
            elif state == "finish":
                if until > now:
                    break
                taken.append(current[0])
                finished.append(now)
                out = current[0]
                state = "feed"
        if now % period == 0 and now // period < count:
            newest.append(out)
        if last_seen == count - 1 and not flying and state == "feed" and len(newest) == count:
            return taken, finished, newest
    raise AssertionError("the clock ran out")


@st.composite
def frame_times(draw):
    spans = st.one_of(st.just(0), st.integers(0, 30))
    one = st.builds(FrameTime, st.one_of(st.just(0), st.integers(0, 12)), spans, spans)
    return draw(st.lists(one, min_size=1, max_size=12))


@given(frame_times(), st.sampled_from([5, 8, 10]), st.integers(1, 3))
def test_the_schedule_is_that_of_a_clock_that_ticks(times, period, depth):
    run = schedule(times, 1e9 / period, depth=depth)
    taken, finished, newest = ticking(times, period, depth)
    assert list(run.taken) == taken
    assert list(run.finished) == finished
    assert run.newest() == newest


@given(frame_times(), st.integers(1, 3))
def test_order_and_causality_hold_whatever_the_times(times, depth):
    run = schedule(times, 1e8, depth=depth)
    assert list(run.taken) == sorted(set(run.taken))
    assert list(run.finished) == sorted(run.finished)
    assert run.taken[-1] == len(times) - 1, "the last frame is never overtaken"
    for frame, done in zip(run.taken, run.finished, strict=True):
        assert done >= run.arrivals[frame] + times[frame].total
    for index, shown in enumerate(run.newest()):
        assert shown is None or shown <= index


def test_a_frame_without_a_mask_is_a_miss_of_all_its_pixels():
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    found = StreamingMiou(2)
    found.add(truth, None)
    found.add(truth, np.array([[0, 0, 1, 0]], np.uint8))
    # Class 0: 2 right, 2 missed, 1 false: 2/5. Class 1: 1 right, 2 + 1 missed: 1/4.
    assert found.iou == pytest.approx([2 / 5, 1 / 4])
    assert found.miou == pytest.approx((2 / 5 + 1 / 4) / 2)
    assert (found.frames, found.unserved) == (2, 1)


def test_void_is_not_scored_in_frames_without_a_mask_either():
    found = StreamingMiou(2)
    found.add(np.full((2, 2), 255, np.uint8), None)
    assert np.isnan(found.miou)
    with pytest.raises(ValueError, match="above 1"):
        found.add(np.full((2, 2), 2, np.uint8), None)


def moving_bar(count):
    """Truths of 1 × 10 pixels: road is a bar of 4 pixels that moves 1 a frame."""
    truths = np.zeros((count, 1, 10), np.uint8)
    for k in range(count):
        truths[k, 0, k : k + 4] = 1
    return list(truths)


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        # d frames late, of 4 road pixels 4 - d are right, d missed and d false.
        (0, (1 + 1) / 2),
        (1, (3 / 5 + 5 / 7) / 2),
    ],
)
def test_a_perfect_network_that_is_late_loses_what_has_moved(late, expected):
    truths = moving_bar(6)
    run = schedule(engine_only(*[late] * 6), FPS)
    found = StreamingMiou(2)
    score(run, truths, truths, found, SAME, first=late)
    assert found.miou == pytest.approx(expected)
    assert (found.frames, found.unserved) == (6 - late, 0)


def test_from_the_first_frame_on_the_wait_counts():
    truths = moving_bar(6)
    found = StreamingMiou(2)
    score(schedule(engine_only(*[1] * 6), FPS), truths, truths, found, SAME)
    # Road: 5 frames with 3 right, 1 missed, 1 false; one with 4 missed. Background alike, of 6.
    assert found.iou == pytest.approx([25 / (5 * 7 + 6), 15 / (5 * 5 + 4)])
    assert found.unserved == 1


def test_masks_are_stretched_and_translated_for_their_truths():
    small, truth = np.array([[7, 3]], np.uint8), np.array([[1, 1, 0, 0]] * 2, np.uint8)
    table = np.zeros(256, np.uint8)
    table[7] = 1
    found = StreamingMiou(2)
    score(Schedule((0,), (0,), (0,)), [small], [truth], found, table)
    assert found.miou == 1


class Sleeper(Engine):
    """Takes at least five milliseconds, and sees road where blue is high."""

    backend = "sleeper"

    def __init__(self):
        super().__init__(
            tiny_spec(), precision="none", device="none", depth=1, mode="latency", built=False,
            versions={},
        )  # fmt: skip

    def _start(self, slot, frame):
        self._mask = (frame[..., 0] > 127).astype(np.uint8)

    def _finish(self, slot):
        time.sleep(0.005)
        return self._mask


def test_a_sleep_of_five_milliseconds_is_in_the_engines_time():
    timer = FrameTimer(Sleeper(), 192, 128)
    picture = np.zeros((128, 192, 3), np.uint8)
    picture[:, :96] = 255
    times, mask = timer.take(picture)
    assert times.infer >= 5_000_000
    assert min(times) >= 0
    assert times.total == sum(times)
    assert (mask.shape, mask.mean()) == ((64, 96), 0.5)


def test_the_masks_of_the_timer_are_the_engines(tiny_network):
    picture = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    with load(tiny_network, mode="latency") as engine:
        timer = FrameTimer(engine, 96, 64)
        masks = [timer.take(p)[1] for p in (picture, 255 - picture, picture)]
    np.testing.assert_array_equal(masks[0], picture[..., 0] > 127)
    np.testing.assert_array_equal(masks[1], picture[..., 0] <= 127)
    np.testing.assert_array_equal(masks[2], masks[0])


def test_a_drive_is_the_same_scene_at_any_rate_and_its_bonnet_is_not_scored():
    slow, fast = (drive_video(ROAD, 4, fps, n, (96, 64)) for fps, n in ((30, 3), (60, 5)))
    for k in range(3):
        np.testing.assert_array_equal(slow.pictures[k], fast.pictures[2 * k])
        np.testing.assert_array_equal(slow.truths[k], fast.truths[2 * k])
    mask = Drive(96, 64, fps=30, seed=4).frame(300)[1]
    np.testing.assert_array_equal(slow.truths[0] == 1, mask == DriveClass.ROAD)
    np.testing.assert_array_equal(slow.truths[0] == 255, mask == DriveClass.VOID)
    streets = drive_video(CAMVID11, 4, 30, 1, (96, 64)).truths[0]
    np.testing.assert_array_equal(streets[mask < 11], mask[mask < 11])


class Images:
    """A dataset of three frames, of which one may have another size."""

    classes = ROAD

    def __init__(self, *heights):
        self._heights = heights

    def __len__(self):
        return len(self._heights)

    def name(self, index):
        return f"{index}.png"

    def read(self, index, chance=0):
        height = self._heights[index]
        return np.zeros((height, 8, 3), np.uint8), np.full((height, 8), index, np.uint8)


def test_a_dataset_is_a_video_in_its_own_order():
    video = dataset_video(Images(4, 4, 4), "three", 10, 2)
    assert [truth[0, 0] for truth in video.truths] == [0, 1]
    assert video.fps == 10
    with pytest.raises(InputError, match=r"2\.png: 8x6, the first is 8x4"):
        dataset_video(Images(4, 4, 6), "three", 10, 9)
    with pytest.raises(InputError, match="1 frames"):
        dataset_video(Images(4), "one", 10, 9)


def test_videos_are_played_at_whole_parts_of_their_rate():
    assert [step_of(60, fps) for fps in (60, 30, 10)] == [1, 2, 6]
    assert step_of(29.97, 9.99) == 3
    for fps in (25, 120, 45):
        with pytest.raises(UsageError, match="60, 30, 20"):
            step_of(60, fps)
