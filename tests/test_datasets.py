"""Datasets in folders, as recipes declare them."""

import re
import subprocess
import sys

import numpy as np
import pytest
from dataset_files import (
    OWN_CLASSES,
    OWN_COLOURS,
    noise,
    own_folder,
    stripes,
    write,
    write_colours,
)

from rtseg.data.camvid import CamVid
from rtseg.data.labels import (
    CAMVID11,
    CAMVID32,
    CAMVID32_LEGEND,
    CAMVID32_TO_11,
    ROAD,
    VOID,
    ClassTable,
)
from rtseg.data.source import open_source
from rtseg.errors import InputError, UsageError

OWN = ClassTable(("the road", "grass", "sky"), tuple(map(tuple, OWN_COLOURS[1:].tolist())))


def says(*parts):
    return re.compile(".*".join(re.escape(str(part)) for part in parts))


def opened(classes=OWN, **declared):
    return open_source(declared, classes, where="data.val[3]")


def names(source):
    return [source.name(i) for i in range(len(source))]


# Folders of one's own


def test_a_folder_of_ones_own_gives_frames_and_masks(tmp_path):
    own_folder(tmp_path, ("b", "a"))
    source = opened(kind="folder", folder=str(tmp_path), split="all")
    assert names(source) == [str(tmp_path / "images" / f"{s}.png") for s in "ab"]
    frame, mask = source.read(1, chance=5)
    np.testing.assert_array_equal(frame, noise(0))
    assert mask.dtype == np.uint8
    # Void is the file's index 0; the classes are counted without it.
    np.testing.assert_array_equal(mask, np.array([VOID, 0, 1, 2])[stripes(4)])
    assert source.classes is OWN


@pytest.mark.parametrize("ending", ["", "_L", "_mask"])
@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"])
def test_pictures_and_masks_may_be_named_in_several_ways(tmp_path, suffix, ending):
    (tmp_path / "label_colors.txt").write_text(OWN_CLASSES)
    write(tmp_path / "images" / f"a.b{suffix}", noise(0))
    write(tmp_path / "masks" / f"a.b{ending}.png", stripes(4))
    (tmp_path / "images" / ".hidden.png").write_bytes(b"")
    (tmp_path / "images" / "readme.md").write_bytes(b"")
    source = opened(kind="folder", folder=tmp_path, split="all")
    assert len(source) == 1
    assert source.read(0)[1][0].tolist() == np.array([VOID, 0, 1, 2])[stripes(4)][0].tolist()


def test_folders_for_the_splits(tmp_path):
    own_folder(tmp_path, parts=("train", "val"))
    by_split = {
        s: names(opened(kind="folder", folder=str(tmp_path), split=s))
        for s in ("train", "val", "all")
    }
    assert all("/val/" in name for name in by_split["val"])
    assert by_split["train"] + by_split["val"] == by_split["all"]
    with pytest.raises(UsageError, match=says("data.val[3].split", "'test'", "train, val, all")):
        opened(kind="folder", folder=str(tmp_path), split="test")
    with pytest.raises(UsageError, match=says("data.val[3].seed", "folders for train, val itself")):
        opened(kind="folder", folder=str(tmp_path), split="val", seed=1)


def test_random_splits_of_a_folder(tmp_path):
    own_folder(tmp_path, [f"f{i}" for i in range(10)])
    common = {"kind": "folder", "folder": str(tmp_path)}
    every = set(names(opened(**common, split="all")))
    train, val = (set(names(opened(**common, split=s))) for s in ("train", "val"))
    assert (len(train), len(val)) == (9, 1)
    assert train | val == every
    by_fold = [set(names(opened(**common, split="val", folds=3, fold=f, seed=4))) for f in range(3)]
    assert set.union(*by_fold) == every
    assert sum(map(len, by_fold)) == 10


def test_a_class_file_elsewhere(tmp_path):
    own_folder(tmp_path / "data")
    (tmp_path / "data" / "classes.txt").rename(tmp_path / "mine.txt")
    common = {"kind": "folder", "folder": str(tmp_path / "data"), "split": "all"}
    with pytest.raises(UsageError, match=says(tmp_path / "data", "no classes.txt")):
        opened(**common)
    expected = np.array([VOID, 0, 1, 2])[stripes(4)]
    for place in (str(tmp_path / "mine.txt"), "../mine.txt"):  # a path, or one within the folder
        np.testing.assert_array_equal(opened(**common, classes_file=place).read(0)[1], expected)


def test_what_is_missing_or_damaged_is_named(tmp_path):
    own_folder(tmp_path)
    common = {"kind": "folder", "folder": str(tmp_path), "split": "all"}
    source = opened(**common)
    (tmp_path / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=says(tmp_path / "images" / "a.png", "not a readable")):
        source.read(0)
    mask = write_colours(tmp_path / "masks" / "b.png", stripes(4, 20, 30), OWN_COLOURS)
    with pytest.raises(InputError, match=says(mask, "30x20", "b.png", "60x40")):
        source.read(1)
    mask.unlink()
    told = says("data.val[3]: ", tmp_path / "images" / "b.png", "no mask", "rtseg-data check")
    with pytest.raises(InputError, match=told):
        opened(**common)
    write(tmp_path / "masks" / "b.png", stripes(4))
    write(tmp_path / "images" / "b.jpg", noise(9))
    with pytest.raises(InputError, match=says("b.png", "namesake")):
        opened(**common)
    with pytest.raises(InputError, match=says("data.val[3]: ", "nowhere: no such folder")):
        opened(kind="folder", folder=str(tmp_path / "nowhere"), split="all", classes_file="road")
    with pytest.raises(InputError, match=says(tmp_path, "not laid out as kitti-road is")):
        opened(ROAD, kind="kitti-road", folder=str(tmp_path), split="all")


# Merging


def test_names_are_merged_without_regard_to_case_and_the_rest_is_background(tmp_path):
    own_folder(tmp_path)
    target = ClassTable(("Background", "The Road"), ((0, 0, 0), (1, 1, 1)))
    source = opened(target, kind="folder", folder=str(tmp_path), split="all")
    np.testing.assert_array_equal(source.read(0)[1], np.array([VOID, 1, 0, 0])[stripes(4)])


def test_ones_own_merges(tmp_path):
    own_folder(tmp_path)
    common = {"kind": "folder", "folder": str(tmp_path), "split": "all"}
    merge = {"The Road": "road", "sky": "void", "Void": "background"}
    source = opened(ROAD, **common, merge=merge)
    np.testing.assert_array_equal(source.read(0)[1], np.array([0, 1, 0, VOID])[stripes(4)])
    with pytest.raises(UsageError, match=says("data.val[3].merge.street", "Void, the road, grass")):
        opened(ROAD, **common, merge={"street": "road"})
    with pytest.raises(UsageError, match=says("data.val[3].merge.grass", "'lawn'", "background")):
        opened(ROAD, **common, merge={"grass": "lawn", "the road": "road"})


def test_a_source_that_lacks_a_class_is_refused_unless_it_is_said(tmp_path):
    own_folder(tmp_path)
    common = {"kind": "folder", "folder": str(tmp_path), "split": "all"}
    told = says("data.val[3]: ", "no road, only the road, grass, sky", "partial: true")
    with pytest.raises(UsageError, match=told):
        opened(ROAD, **common)
    mask = opened(ROAD, **common, partial=True).read(0)[1]
    assert set(np.unique(mask)) == {0, VOID}


def test_a_source_may_lack_the_background(tmp_path):
    own_folder(tmp_path)
    (tmp_path / "classes.txt").write_text("0 0 0 void\n10 20 30 road\n")
    write(tmp_path / "masks" / "a.png", stripes(2))
    source = opened(ROAD, kind="folder", folder=str(tmp_path), split="all")
    np.testing.assert_array_equal(source.read(0)[1], np.array([VOID, 1])[stripes(2)])


# CamVid, KITTI


@pytest.fixture
def camvid(tmp_path):
    """One picture in train, one in val, with all 11 classes and void."""
    for seed, part in enumerate(("train", "val")):
        write(tmp_path / part / "0001.png", noise(seed))
        write(tmp_path / f"{part}annot" / "0001.png", stripes(12))
    return tmp_path


def test_the_segnet_split_as_a_source(camvid):
    source = opened(CAMVID11, kind="camvid", folder=str(camvid), split="val")
    same = CamVid(camvid, "val")
    for data in (source, same):
        assert data.classes is CAMVID11
        assert names(data) == [str(camvid / "val" / "0001.png")]
        frame, mask = data.read(0, 99)
        np.testing.assert_array_equal(frame, noise(1))
        np.testing.assert_array_equal(mask, np.array([*range(11), VOID])[stripes(12)])
        np.testing.assert_array_equal(mask, data[0][1])
    source = opened(
        ROAD, kind="camvid", folder=str(camvid), split="train", merge={"Pavement": "road"}
    )
    road = [1 if name in ("Road", "Pavement") else 0 for name in CAMVID11.names]
    np.testing.assert_array_equal(source.read(0)[1], np.array([*road, VOID])[stripes(12)])
    with pytest.raises(UsageError, match=says("data.val[3].split", "train, val, test")):
        opened(CAMVID11, kind="camvid", folder=str(camvid), split="all")
    with pytest.raises(InputError, match=says("data.val[3]: ", camvid / "test", "no such folder")):
        opened(CAMVID11, kind="camvid", folder=str(camvid), split="test")


LAYOUTS_OF_CAMVID32 = {
    "its own": ("701_StillsRaw_full", "LabeledApproved_full", "_L"),
    "unpacked": (
        "701_StillsRaw_full/701_StillsRaw_full",
        "LabeledApproved_full/LabeledApproved_full",
        "_L",
    ),
    "flat": ("images", "labels", "_P"),
    "by folders": ("train", "train_labels", "_L"),
}


@pytest.mark.parametrize("layout", LAYOUTS_OF_CAMVID32)
def test_camvids_own_labels(tmp_path, layout):
    pictures, masks, ending = LAYOUTS_OF_CAMVID32[layout]
    labels = stripes(32, 16, 64)
    write(tmp_path / pictures / "0001TP.png", noise(0, 16, 64))
    write_colours(tmp_path / masks / f"0001TP{ending}.png", labels, CAMVID32_LEGEND.colours)
    common = {"kind": "camvid32", "folder": str(tmp_path), "split": "all"}
    legend = CAMVID32_LEGEND.names
    for classes, to in (
        (CAMVID32, {name: name for name in CAMVID32.names}),
        (CAMVID11, CAMVID32_TO_11),
    ):
        mask = opened(classes, **common).read(0)[1]
        expected = [VOID if n == "Void" else classes.names.index(to[n]) for n in legend]
        np.testing.assert_array_equal(mask, np.array(expected)[labels])
    # Lane markings are road, as in the 11 classes.
    road = {"Road", "LaneMkgsDriv", "LaneMkgsNonDriv"}
    expected = [VOID if n == "Void" else int(n in road) for n in legend]
    np.testing.assert_array_equal(opened(ROAD, **common).read(0)[1], np.array(expected)[labels])


def test_kitti_road_takes_the_road_and_leaves_the_lanes(tmp_path):
    root = tmp_path / "training"
    truth = np.zeros((40, 60, 3), np.uint8)  # BGR
    truth[10:, :, 2] = 255
    truth[20:, :, 0] = 255
    for name in ("um_000000", "umm_000001", "uu_000002"):
        category, number = name.split("_")
        write(root / "image_2" / f"{name}.png", noise(0))
        write(root / "gt_image_2" / f"{category}_road_{number}.png", truth)
        write(root / "gt_image_2" / f"{category}_lane_{number}.png", truth[::-1].copy())
    source = opened(ROAD, kind="kitti-road", folder=str(tmp_path), split="all")
    assert len(source) == 3
    expected = np.repeat([VOID, 0, 1], [10, 10, 20])[:, None].repeat(60, 1)
    np.testing.assert_array_equal(source.read(2)[1], expected)
    folds = [
        names(opened(ROAD, kind="kitti-road", folder=str(root), split="val", folds=3, fold=f))
        for f in range(3)
    ]
    assert sorted(name for fold in folds for name in fold) == names(source)
    with pytest.raises(UsageError, match=says("no Sky", "partial: true")):
        opened(CAMVID11, kind="kitti-road", folder=str(tmp_path), split="all")


def test_the_real_data_sets(shared):
    kitti = opened(ROAD, kind="kitti-road", folder=str(shared / "data" / "kitti_road"), split="all")
    for i in range(len(kitti)):
        frame, mask = kitti.read(i)
        assert frame.shape[:2] == mask.shape
        assert 0.1 < (mask == 1).sum() / (mask != VOID).sum() < 0.3
    camvid = opened(CAMVID11, kind="camvid", folder=str(shared / "data" / "camvid"), split="val")
    assert len(camvid) == 101
    frame, mask = camvid.read(7)
    assert frame.shape == (360, 480, 3)
    assert set(np.unique(mask)) <= {*range(11), VOID}


# What is declared


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({}, ".kind: missing: one of camvid, camvid32, kitti-road, folder, drive"),
        ({"kind": "kamvid"}, ".kind: 'kamvid': no such kind: one of camvid"),
        ({"kind": ["camvid"]}, ".kind: ['camvid']: no such kind"),
        ({"kind": "camvid", "spilt": 1}, ".spilt: unknown key: one of kind, folder, split"),
        ({"kind": "camvid", "folder": "x"}, ".split: missing: train, val or all"),
        ({"kind": "camvid", "split": "val"}, ".folder: missing"),
        ({"kind": "folder", "folder": 3}, ".folder: 3: give a path"),
        ({"kind": "folder", "val_fraction": 1.5}, ".val_fraction: 1.5: give a number above 0"),
        ({"kind": "folder", "val_fraction": True}, ".val_fraction: True: give a number"),
        ({"kind": "folder", "folds": 1}, ".folds: 1: give a whole number from 2"),
        ({"kind": "folder", "masks": "rgb"}, ".masks: 'rgb': give one of auto, indices, colours"),
        ({"kind": "folder", "partial": "yes"}, ".partial: 'yes': give true or false"),
        ({"kind": "folder", "merge": {"a": 1}}, ".merge: {'a': 1}: give a mapping"),
        ({"kind": "kitti-road", "unknown": "void"}, ".unknown: unknown key"),
        ({"kind": "drive"}, ".frames: missing"),
        ({"kind": "drive", "frames": 0}, ".frames: 0: give a whole number from 1"),
        ({"kind": "drive", "frames": 1, "seeds": [5, 5]}, ".seeds: [5, 5]: give two"),
        ({"kind": "drive", "frames": 1, "seeds": [99, 200]}, ".seeds: from 99: those below 100"),
        ({"kind": "drive", "frames": 1, "sizes": [[64, 9]]}, ".sizes: [[64, 9]]: give a list"),
        ({"kind": "drive", "split": "val"}, ".split: val: the held-out frames are not for"),
        ({"kind": "drive", "split": "all"}, ".split: 'all': train, or val"),
    ],
)
def test_a_key_that_does_not_fit_is_named(declared, told):
    with pytest.raises(UsageError, match=says("data.train[0]" + told)):
        open_source(declared, ROAD)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"fold": 0}, ".fold: folds is missing"),
        ({"folds": 3, "fold": 3}, ".fold: 3: below folds, 3"),
        ({"folds": 3, "val_fraction": 0.2}, ".val_fraction: folds is given too"),
        ({"split": "test"}, ".split: 'test': one of train, val, all"),
    ],
)
def test_splits_that_do_not_fit_are_named(tmp_path, declared, told):
    own_folder(tmp_path)
    with pytest.raises(UsageError, match=says("data.val[3]" + told)):
        opened(**{"kind": "folder", "folder": str(tmp_path), "split": "val", **declared})


def test_datasets_need_no_torch():
    script = (
        "import sys\n"
        "import rtseg.data.source, rtseg.data.check\n"
        "assert not {'torch', 'albumentations', 'lightning', 'yaml'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
