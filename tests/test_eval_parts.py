"""The parts of ``rtseg-eval``: which classes are scored, how pixels are counted, the runner."""

import pickle
import threading
import time
from dataclasses import dataclass, field

import hypothesis.strategies as st
import numpy as np
import pytest
from evaluated import noisy, road_folder
from hypothesis import given

import rtseg
from rtseg.data.camvid import CAMVID11_LEGEND
from rtseg.data.labels import CAMVID11, CAMVID32_LEGEND, ROAD, VOID, ClassTable, Legend
from rtseg.data.masks import KittiRoadMasks
from rtseg.engine.machine import usable_cores
from rtseg.errors import BackendError, UsageError
from rtseg.evaluation import ConfusionMatrix
from rtseg.evaluation.byte_counts import count_bytes
from rtseg.evaluation.labelled import open_labelled
from rtseg.evaluation.running import LocalRunner
from rtseg.evaluation.samples import PixelSample
from rtseg.evaluation.scored_classes import identity, scored_classes
from rtseg.evaluation.scoring import Work, count_pixels
from rtseg.evaluation.speed import NullEngine


def table(*names):
    return ClassTable(names, tuple((i, i, i) for i in range(len(names))))


def legend(*names):
    return Legend(names, tuple((i, i, i) for i in range(len(names))))


def meaning(chosen, lookup, names):
    """What each of ``names`` counts as, void being None."""
    return [
        None if index == VOID else chosen.classes.names[index]
        for index in lookup[: len(names)].tolist()
    ]


def test_a_street_network_is_scored_on_kitti_road_as_road_and_the_rest():
    chosen = scored_classes(CAMVID11, KittiRoadMasks.legend, "kitti-road")
    assert chosen.classes.names == ("background", "road")
    expected = ["road" if name == "Road" else "background" for name in CAMVID11.names]
    assert meaning(chosen, chosen.mask, CAMVID11.names) == expected
    assert meaning(chosen, chosen.truth, ("background", "road")) == ["background", "road"]
    assert chosen.truth[VOID] == VOID


def test_a_road_network_is_scored_on_camvid_as_road_and_the_rest():
    chosen = scored_classes(ROAD, CAMVID11_LEGEND, "camvid")
    assert chosen.classes == ROAD
    assert meaning(chosen, chosen.mask, ROAD.names) == list(ROAD.names)
    expected = ["road" if name == "Road" else "background" for name in CAMVID11.names]
    assert meaning(chosen, chosen.truth, CAMVID11_LEGEND.names) == [*expected, None]


def test_camvid_s_32_labels_go_their_usual_way_to_11_and_to_road():
    chosen = scored_classes(CAMVID11, CAMVID32_LEGEND, "camvid32")
    assert chosen.classes == CAMVID11
    found = dict(
        zip(
            CAMVID32_LEGEND.names, meaning(chosen, chosen.truth, CAMVID32_LEGEND.names), strict=True
        )
    )
    assert found["LaneMkgsDriv"] == "Road"
    assert found["Truck_Bus"] == "Car"
    assert found["Void"] is None
    road = scored_classes(ROAD, CAMVID32_LEGEND, "camvid32")
    assert road.truth[CAMVID32_LEGEND.names.index("LaneMkgsDriv")] == 1


def test_the_drive_s_bonnet_is_background_where_there_is_one():
    assert scored_classes(ROAD, CAMVID11_LEGEND, "drive").truth[11] == 0
    assert scored_classes(CAMVID11, CAMVID11_LEGEND, "drive").truth[11] == VOID


def test_without_a_background_the_rest_is_never_right_and_never_asked_for():
    network, masks = table("road", "sky", "tree"), legend("ROAD", "void", "water", "sky")
    chosen = scored_classes(network, masks, "folder")
    assert chosen.classes.names == ("ROAD", "sky", "other classes")
    assert meaning(chosen, chosen.mask, network.names) == ["ROAD", "sky", "other classes"]
    assert meaning(chosen, chosen.truth, masks.names) == ["ROAD", None, None, "sky"]
    assert "the network's tree count as other classes" in chosen.note
    assert "pixels of water are not" in chosen.note


def test_no_class_in_common_is_refused():
    with pytest.raises(UsageError, match="no class in common"):
        scored_classes(table("background", "road"), legend("background", "cat"), "folder")


names = st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=6, unique=True)


@given(names, names, st.booleans(), st.booleans())
def test_every_class_counts_as_itself_or_as_the_rest(ours, theirs, we_rest, they_rest):
    network = table(*(["background"] if we_rest else []), *ours)
    masks = legend(*(["Background"] if they_rest else []), *theirs, "void")
    try:
        chosen = scored_classes(network, masks, "folder")
    except UsageError:
        assert not set(ours) & set(theirs)
        return
    kinds = meaning(chosen, chosen.mask, network.names)
    truths = meaning(chosen, chosen.truth, masks.names)
    assert None not in kinds
    assert truths[-1] is None
    for name, kind in zip(masks.names[:-1], truths, strict=False):
        if kind is None:  # the note says so, and no other class could have taken it
            assert f"{name}" in chosen.note.partition("pixels of")[2]
            assert name not in ours
            assert "background" not in network.names
    by_name = {name.lower() for name in chosen.classes.names}
    for name, kind in [
        *zip(network.names, kinds, strict=True),
        *zip(masks.names, truths, strict=True),
    ]:
        if name.lower() in by_name:  # what is scored counts as itself, on both sides
            assert kind is not None
            assert kind.lower() == name.lower()


@given(
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_pixels_are_counted_as_by_the_confusion_matrix(classes, seed, shape):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, shape, dtype=np.uint8)
    truth[random.random(shape) < 0.2] = VOID
    prediction = random.integers(0, classes, shape, dtype=np.uint8)
    matrix = ConfusionMatrix(classes)
    matrix.add(truth, prediction)
    counts = count_pixels(truth, prediction, classes)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, matrix.counts)


@given(st.integers(0, 2**32 - 1), st.integers(0, 200), st.integers(1, 70))
def test_bytes_are_counted_where_they_are_asked_for(seed, size, exact):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, size, dtype=np.uint8)
    where = random.random(size) < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rtseg.evaluation.byte_counts._EXACT", exact)
        counts, some = count_bytes(pixels), count_bytes(pixels, where)
    np.testing.assert_array_equal(counts, np.bincount(pixels, minlength=256))
    np.testing.assert_array_equal(some, np.bincount(pixels[where], minlength=256))


@pytest.mark.parametrize("classes", [2, 40])
def test_a_class_that_is_none_is_no_count(classes):
    truth = np.zeros((4, 4), np.uint8)
    prediction = np.full((4, 4), classes, np.uint8)
    with pytest.raises((BackendError, ValueError), match=r"class|index"):
        count_pixels(truth, prediction, classes)


@pytest.fixture
def work(tiny_network):
    return Work(size=(96, 64), classes=2, to_classes=identity(("background", "road")))


def endless(taken):
    """Samples without end; ``taken`` counts those that were asked for."""
    picture = noisy(0)
    while True:
        taken.append(len(taken))
        yield PixelSample(taken[-1], str(taken[-1]), str(taken[-1]), picture)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_runner_takes_no_more_than_it_needs_and_stops_when_closed(tiny_network, work, batch):
    before = threading.active_count()
    taken = []
    with rtseg.load(tiny_network, batch=batch) as engine:
        records = LocalRunner([engine]).run(endless(taken), work)
        found = [next(records).index for _ in range(50)]
        records.close()
        assert engine.pending == 0
    assert found == list(range(50))
    assert len(taken) < 50 + 8 * engine.depth * batch + 30
    assert threading.active_count() <= before + 1  # OpenVINO's own


class FailingEngine(NullEngine):
    """An engine that fails on its tenth frame."""

    def _finish(self, slot):
        self.count = getattr(self, "count", 0) + 1
        if self.count == 10:
            raise BackendError("the device is gone")
        return super()._finish(slot)


class SlowEngine(NullEngine):
    """An engine that takes a while for a frame."""

    def _finish(self, slot):
        time.sleep(0.005)
        return super()._finish(slot)


@dataclass(frozen=True, eq=False)
class SlowWork(Work):
    """Reading that takes a while, and how many threads were at it together."""

    reading: list = field(default_factory=list)
    together: list = field(default_factory=list)
    takes: float = 0.005

    def load(self, sample):
        self.reading.append(sample)
        self.together.append(len(self.reading))
        time.sleep(self.takes)
        self.reading.pop()
        return super().load(sample)


@pytest.mark.skipif(usable_cores() < 2, reason="on one core there is one thread an engine")
@pytest.mark.parametrize(
    ("engine", "takes", "threads"), [(NullEngine, 0.005, usable_cores()), (SlowEngine, 0.0, 1)]
)
@pytest.mark.parametrize("batch", [1, 4])
def test_an_engine_that_waits_for_pictures_gets_more_readers(
    tiny_network, batch, engine, takes, threads
):
    spec = rtseg.engine.find_network(tiny_network).spec
    work = SlowWork((96, 64), 2, identity(("background", "road")), takes=takes)
    runner = LocalRunner([engine(spec, batch=batch)])
    records = runner.run(endless([]), work)
    found = [next(records).index for _ in range(32 * usable_cores() + 60)]
    records.close()
    assert found == list(range(len(found)))
    assert max(work.together) == threads
    work.together.clear()
    few = [PixelSample(i, str(i), str(i), noisy(0)) for i in range(2 * threads)]
    assert [record.index for record in runner.run(few, work)] == list(range(2 * threads))
    assert max(work.together) == threads  # from the beginning: it is as large as it has become


class RefusingEngine(NullEngine):
    """An engine that takes nine frames, and no tenth."""

    def _start(self, slot, frame):
        self.count = getattr(self, "count", 0) + 1
        if self.count == 10:
            raise BackendError("the device takes no more")


def test_masks_that_are_out_when_an_engine_fails_are_not_lost(tiny_network, work):
    spec = rtseg.engine.find_network(tiny_network).spec
    engine = RefusingEngine(spec)
    found = []
    with pytest.raises(BackendError, match="takes no more"):
        found.extend(record.index for record in LocalRunner([engine]).run(endless([]), work))
    assert found == list(range(len(found)))
    assert 10 - engine.depth <= len(found) < 10


@pytest.mark.parametrize("engines", [1, 2])
def test_an_engine_that_fails_ends_the_run(tiny_network, work, engines):
    spec = rtseg.engine.find_network(tiny_network).spec
    runner = LocalRunner([FailingEngine(spec) for _ in range(engines)])
    found = []
    with pytest.raises(BackendError, match="the device is gone"):
        found.extend(record.index for record in runner.run(endless([]), work))
    assert found == list(range(len(found)))
    assert len(found) >= 9


def test_a_source_that_fails_ends_the_run(tiny_network, work):
    def broken():
        yield from (PixelSample(i, "", "", noisy(0)) for i in range(5))
        raise BackendError("the camera is gone")

    spec = rtseg.engine.find_network(tiny_network).spec
    with pytest.raises(BackendError, match="the camera is gone"):
        list(LocalRunner([NullEngine(spec)]).run(broken(), work))


def test_samples_and_work_can_be_sent_to_another_machine(tmp_path, tiny_network):
    road_folder(tmp_path / "data", 3)
    dataset = open_labelled(tmp_path / "data", ROAD)
    work = Work((96, 64), 2, dataset.scored.mask, dataset.truths, boundary=True)
    sent_samples, sent_work = pickle.loads(pickle.dumps((dataset.samples, work)))
    with rtseg.load(tiny_network) as engine:
        here = [r.line() for r in LocalRunner([engine]).run(dataset.samples, work)]
        there = [r.line() for r in LocalRunner([engine]).run(sent_samples, sent_work)]
    assert here == there
    assert len(here) == 3


@pytest.mark.parametrize("device", ["CPU", "cpu"])
def test_an_engine_can_be_asked_for_by_device(tiny_network, device):
    with rtseg.load(tiny_network, device=device) as engine:
        assert engine.backend in ("openvino", "onnxruntime")


def test_a_device_and_a_backend_have_to_go_together(tiny_network):
    with pytest.raises(BackendError, match="device CUDA:0: OpenVINO runs on the CPU"):
        rtseg.load(tiny_network, device="CUDA:0", backend="openvino")
    with pytest.raises(UsageError, match="unknown device 'GPU7x'"):
        rtseg.load(tiny_network, device="GPU7x")
