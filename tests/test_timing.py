"""Percentiles in fixed memory, and rates that leave out what should be."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.video.pace import Pace
from rtseg.video.timing import Durations, Rate


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(1e3, 1e12).map(int), min_size=1, max_size=300),
    st.sampled_from([0, 1, 50, 90, 95, 99, 99.9, 100]),
)
def test_percentiles_are_right_within_one_per_cent(times, share):
    durations = Durations()
    for nanoseconds in times:
        durations.add(nanoseconds)
    expected = np.percentile(times, share, method="inverted_cdf") / 1e6
    assert durations.percentile(share) == pytest.approx(expected, rel=0.01)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=100))
def test_a_summary_agrees_with_itself_whatever_the_times(times):
    durations = Durations()
    for nanoseconds in times:
        durations.add(nanoseconds)
    found = durations.summary()
    assert found["count"] == len(times)
    assert found["max_ms"] == pytest.approx(max(times) / 1e6, abs=1e-4)
    assert found["mean_ms"] == pytest.approx(sum(times) / len(times) / 1e6, abs=1e-4)
    assert found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] <= found["max_ms"]


def test_without_times_there_is_nothing_to_tell():
    assert math.isnan(Durations().percentile(50))
    assert Durations().summary() == {"count": 0}


def test_a_rate_counts_the_gaps_between_events():
    rate = Rate()
    assert math.isnan(rate.per_second)
    rate.tick(5_000_000_000)
    assert math.isnan(rate.per_second)
    for i in range(1, 11):
        rate.tick(5_000_000_000 + i * 20_000_000)
    assert rate.per_second == pytest.approx(50)
    assert rate.seconds == pytest.approx(0.2)


@given(st.integers(1, 20), st.integers(1, 10**12))
def test_a_pause_is_no_part_of_a_rate(before, pause):
    rate, paused = Rate(), Rate()
    for i in range(before):
        rate.tick(i * 1000)
        paused.tick(i * 1000)
    paused.leave_out(pause)
    for i in range(before, before + 5):
        rate.tick(i * 1000)
        paused.tick(i * 1000 + pause)
    assert paused.per_second == rate.per_second


def test_a_pace_does_not_lose_the_beat_and_does_not_run_ahead():
    pace = Pace(100)
    began = time.monotonic()
    pace.wait()
    time.sleep(0.1)
    for _ in range(20):
        pace.wait()
    assert time.monotonic() - began >= 0.199


def test_a_pace_that_is_stopped_lets_its_waiter_go():
    pace = Pace(0.001)
    pace.wait()
    pace.stop()
    pace.wait()  # would take a quarter of an hour
