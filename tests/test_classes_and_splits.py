"""Class files, the tables that rtseg knows, and random splits."""

import re

import pytest
from dataset_files import (
    OWN_CLASSES,
    OWN_COLOURS,
)
from hypothesis import given
from hypothesis import strategies as st

from rtseg.data.labels import (
    CAMVID11,
    CAMVID32,
    CAMVID32_LEGEND,
    CAMVID32_TO_11,
    ROAD,
    ClassTable,
    class_table,
    read_class_table,
    read_legend,
)
from rtseg.data.splits import Split
from rtseg.errors import InputError, UsageError

OWN = ClassTable(("the road", "grass", "sky"), tuple(map(tuple, OWN_COLOURS[1:].tolist())))


def says(*parts):
    return re.compile(".*".join(re.escape(str(part)) for part in parts))


# Class files


def test_a_class_file_gives_its_classes_without_void(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\ufeff" + OWN_CLASSES, encoding="utf-8")
    assert read_class_table(path) == OWN == class_table(path)
    legend = read_legend(path)
    assert legend.names == ("Void", "the road", "grass", "sky")
    assert legend.void == (0,)
    assert legend.colours[1] == (10, 20, 30)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 2 3 road\nfoo\n", "line 2: 'foo': give R G B Name"),
        ("1 2 256 road\n", "line 1: 1 2 256: a colour has values up to 255"),
        ("1 2 3 road\n4 5 6 Road\n", "line 2: a second class named Road"),
        ("1 2 3 a\n\n1 2 3 b\n", "line 3: a second class of the colour 1 2 3"),
        ("0 0 0 Void\n", "no class in it"),
        ("".join(f"0 {i // 256} {i % 256} c{i}\n" for i in range(300)), "300 classes"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_bad_class_file_is_named_with_its_line(tmp_path, text, told):
    path = tmp_path / "classes.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=says(path, told)):
        read_class_table(path)


def test_tables_by_name():
    assert class_table("road") is ROAD
    assert class_table("CamVid11") is CAMVID11
    assert class_table("camvid32") is CAMVID32
    with pytest.raises(UsageError, match=says("rode", "camvid11, camvid32, road, or a file")):
        class_table("rode")


def test_camvids_labels_are_those_of_its_split_into_eleven():
    assert len(CAMVID32_LEGEND.names) == 32
    assert len(set(CAMVID32_LEGEND.colours)) == 32
    assert set(CAMVID32.names) == set(CAMVID32_LEGEND.names) - {"Void"} == set(CAMVID32_TO_11)
    assert set(CAMVID32_TO_11.values()) == set(CAMVID11.names)
    # SegNet kept the colours, but for the pavement's.
    colours = dict(zip(CAMVID32_LEGEND.names, CAMVID32_LEGEND.colours, strict=True))
    for name, colour in zip(CAMVID11.names, CAMVID11.colours, strict=True):
        if name != "Pavement":
            assert colours[{"Pole": "Column_Pole"}.get(name, name)] == colour


# Splits


@given(
    count=st.integers(2, 60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(),
    order=st.randoms(use_true_random=False),
)
def test_a_random_split_covers_all_and_overlaps_nowhere(count, fraction, seed, order):
    all_names = [f"frame{i}" for i in range(count)]
    shuffled = list(all_names)
    order.shuffle(shuffled)
    parts = {p: Split(p, fraction, seed).of(shuffled) for p in ("train", "val", "all")}
    assert sorted(parts["train"] + parts["val"]) == sorted(all_names) == parts["all"]
    assert not set(parts["train"]) & set(parts["val"])
    assert abs(len(parts["val"]) - count * fraction) <= 1
    assert parts["val"] == Split("val", fraction, seed).of(all_names)


@given(count=st.integers(2, 60), folds=st.integers(2, 10), seed=st.integers(0, 9))
def test_every_picture_is_for_validation_in_one_fold(count, folds, seed):
    all_names = [f"frame{i}" for i in range(count)]
    seen = []
    for fold in range(min(folds, count)):
        val = Split("val", seed=seed, folds=folds, fold=fold).of(all_names)
        train = Split("train", seed=seed, folds=folds, fold=fold).of(all_names)
        assert sorted(val + train) == sorted(all_names)
        assert count // folds <= len(val) <= count // folds + 1
        seen += val
    assert sorted(seen) == sorted(all_names)


def test_a_split_is_the_same_on_every_machine():
    # The lowest of: printf 7/um_000000 | sha256sum
    assert Split("val", 0.2, 7).of(f"um_{i:06}" for i in range(20)) == [
        "um_000003", "um_000005", "um_000009", "um_000015",
    ]  # fmt: skip


def test_too_few_pictures_to_split():
    with pytest.raises(InputError, match="too few"):
        Split("val").of(["one"])
