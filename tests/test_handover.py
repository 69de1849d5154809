"""Handing over between threads: order, bounds, the newest, and ends."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.video.handover import Closed, Handover


def take_all(handover, out, pause=0.0):
    try:
        while True:
            out.append(handover.take())
            if pause:
                time.sleep(pause)
    except Closed:
        pass


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 300), capacity=st.integers(1, 5))
def test_everything_arrives_once_and_in_order(count, capacity):
    handover, out = Handover(capacity), []
    reader = threading.Thread(target=take_all, args=(handover, out))
    reader.start()
    for item in range(count):
        assert handover.put(item) is None
    handover.close()
    reader.join(30)
    assert not reader.is_alive()
    assert out == list(range(count))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 300), capacity=st.integers(1, 3), slow=st.booleans())
def test_of_the_newest_none_is_lost_sight_of(count, capacity, slow):
    handover, out, displaced = Handover(capacity, newest=True), [], []
    reader = threading.Thread(target=take_all, args=(handover, out, 0.0005 * slow))
    reader.start()
    for item in range(count):
        gone = handover.put(item)
        if gone is not None:
            displaced.append(gone)
    handover.close()
    reader.join(30)
    assert not reader.is_alive()
    assert sorted(out + displaced) == list(range(count))
    assert out == sorted(out)
    assert displaced == sorted(displaced)
    assert out[-1] == count - 1


@settings(max_examples=30, deadline=None)
@given(writers=st.integers(1, 4), readers=st.integers(1, 4), capacity=st.integers(1, 4))
def test_many_threads_lose_nothing_and_nobody_hangs(writers, readers, capacity):
    handover, outs = Handover(capacity), [[] for _ in range(readers)]
    reading = [threading.Thread(target=take_all, args=(handover, out)) for out in outs]
    writing = [
        threading.Thread(target=lambda w=w: [handover.put((w, i)) for i in range(50)])
        for w in range(writers)
    ]
    for thread in reading + writing:
        thread.start()
    for thread in writing:
        thread.join(30)
    handover.close()
    for thread in reading:
        thread.join(30)
    assert not any(thread.is_alive() for thread in reading + writing)
    everything = [item for out in outs for item in out]
    assert sorted(everything) == [(w, i) for w in range(writers) for i in range(50)]
    for out in outs:  # the items of one writer keep their order
        for w in range(writers):
            mine = [i for writer, i in out if writer == w]
            assert mine == sorted(mine)


def test_closing_wakes_whoever_waits():
    full, empty = Handover(1), Handover(1)
    full.put(1)
    ends = []

    def wait(call):
        try:
            call()
        except Closed:
            ends.append("closed")

    threads = [
        threading.Thread(target=wait, args=(lambda: full.put(2),)),
        threading.Thread(target=wait, args=(empty.take,)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    full.close()
    empty.close()
    for thread in threads:
        thread.join(30)
    assert ends == ["closed", "closed"]
    assert full.take() == 1
    with pytest.raises(Closed):
        full.put(3)


def test_an_error_comes_once_after_the_items_before_it():
    handover = Handover(3)
    handover.put("a")
    handover.put("b")
    handover.close(ValueError("broken"))
    handover.close(ValueError("later"))
    assert handover.take() == "a"
    assert handover.take() == "b"
    with pytest.raises(ValueError, match="broken"):
        handover.take()
    with pytest.raises(Closed):
        handover.take()


def test_taking_does_not_wait_longer_than_asked():
    handover = Handover(1)
    assert handover.take(0) is None
    assert handover.take(0.01) is None
