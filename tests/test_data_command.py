"""``rtseg-data`` through the command; ``check`` names every fault, and finds nothing else."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_files import OWN_COLOURS, noise, own_folder, stripes, write, write_colours

from rtseg.cli.data import main
from rtseg.data.duplicates import NEAR, Duplicates
from rtseg.data.labels import ROAD
from rtseg.data.source import open_source


@pytest.fixture
def command(capsys):
    """Run the command; gives status, lines of standard output, and standard error."""

    def run(*arguments):
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return run


def test_a_clean_folder_is_summed_up(tmp_path, command):
    own_folder(tmp_path, parts=("train", "val"))
    status, lines, err = command("check", tmp_path)
    assert (status, err) == (0, "")
    assert lines[0] == f"{tmp_path}: folder"
    assert lines[1] == "8 pictures with masks (4 train, 4 val)"
    assert lines[2] == "sizes: 60x40 (8)"
    assert re.fullmatch(r" +the road +33\.333% of the labelled pixels, in 8 masks", lines[3])
    assert lines[-2:] == ["void: 25.000% of all pixels", "nothing wrong found"]


def test_every_fault_is_a_line_and_the_status_is_1(tmp_path, command):
    train, val = tmp_path / "train", tmp_path / "val"
    own_folder(tmp_path, "abcdefgh", parts=("train", "val"))
    (train / "masks" / "a.png").unlink()
    (train / "images" / "b.png").unlink()
    write_colours(train / "masks" / "c.png", stripes(4, 20, 30), OWN_COLOURS)
    (train / "images" / "d.png").write_bytes(b"none")
    (train / "masks" / "e.png").write_bytes(b"none")
    write(train / "masks" / "f.png", np.full((40, 60, 3), 77, np.uint8))
    write(train / "masks" / "g.png", np.zeros((40, 60), np.uint8))
    write(val / "images" / "b.png", noise(7))  # train's h
    h = cv2.imencode(".jpg", noise(102), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]  # val's c
    (train / "images" / "h.png").unlink()
    (train / "images" / "h.jpg").write_bytes(h.tobytes())
    write(train / "images" / "h.bmp", noise(7))
    expected = {
        "no-mask": ["train/images/a.png"],
        "no-picture": ["train/masks/b.png"],
        "size": ["train/masks/c.png"],
        "unreadable": ["train/images/d.png", "train/masks/e.png"],
        "unknown-label": ["train/masks/f.png"],
        "empty": ["train/masks/g.png"],
        "duplicate": ["val/images/b.png"],
        "namesake": ["train/images/h.jpg"],
    }
    out = tmp_path / "found.json"
    status, lines, err = command("check", tmp_path, "--json", out)
    assert (status, err) == (1, "")
    values = json.loads(out.read_text())
    found = {}
    for finding in values["findings"]:
        found.setdefault(finding["what"], []).append(finding["file"])
        assert finding["message"] in lines
        assert finding["message"].startswith(finding["file"])
    assert found == {k: [str(tmp_path / f) for f in files] for k, files in expected.items()}
    assert f"{train / 'masks' / 'f.png'}: colour 77 77 77 (2400 pixels): not in" in "\n".join(lines)
    assert lines[-1].startswith("9 findings: 2 unreadable, ")
    # Without the BMP its namesake is in the dataset, and nearly the same as a picture of val.
    (train / "images" / "h.bmp").unlink()
    command("check", tmp_path, "--json", out)
    near = [f for f in json.loads(out.read_text())["findings"] if f["what"] == "near-duplicate"]
    assert [f["file"] for f in near] == [str(val / "images" / "c.png")]
    assert str(train / "images" / "h.jpg") in near[0]["message"]


def test_one_split_alone(tmp_path, command):
    own_folder(tmp_path, parts=("train", "val"))
    (tmp_path / "train" / "masks" / "a.png").unlink()
    assert command("check", tmp_path, "--split", "val")[0] == 0
    assert command("check", tmp_path, "--split", "train")[0] == 1
    status, _, err = command("check", tmp_path, "--split", "test")
    assert status == 2
    assert err == f"rtseg-data: error: --split test: {tmp_path} has only train, val\n"


def test_a_dataset_that_is_yet_to_be_split_is_compared_with_itself(tmp_path, command):
    own_folder(tmp_path / "flat")
    write(tmp_path / "flat" / "images" / "c.png", noise(0))
    status, lines, _ = command("check", tmp_path / "flat")
    assert status == 1
    images = tmp_path / "flat" / "images"
    assert lines[0] == f"{images / 'c.png'}: the same pixels as {images / 'a.png'}"
    # Within a part that is given it does no harm.
    own_folder(tmp_path / "given", parts=("train", "val"))
    write(tmp_path / "given" / "train" / "images" / "c.png", noise(0))
    write(tmp_path / "given" / "train" / "images" / "d.png", cv2.add(noise(0), 1))
    assert command("check", tmp_path / "given")[0] == 0


def test_masks_of_nothing_but_background(tmp_path, command):
    own_folder(tmp_path, "ab")
    (tmp_path / "classes.txt").write_text("0 0 0 background\n10 20 30 road\n")
    write(tmp_path / "masks" / "a.png", np.zeros((40, 60), np.uint8))
    write(tmp_path / "masks" / "b.png", stripes(2))
    status, lines, _ = command("check", tmp_path)
    assert status == 1
    assert lines[0] == f"{tmp_path / 'masks' / 'a.png'}: nothing but background in this mask"
    assert lines[-1] == "1 finding: 1 empty"


def test_another_class_table_and_form(tmp_path, command):
    own_folder(tmp_path)
    (tmp_path / "classes.txt").rename(tmp_path / "mine.txt")
    status, _, err = command("check", tmp_path)
    assert status == 2
    assert "no classes.txt" in err
    assert command("check", tmp_path, "--classes", tmp_path / "mine.txt")[0] == 0
    status, lines, _ = command(
        "check", tmp_path, "--classes", "road", "--masks", "indices", "--kind", "folder"
    )
    assert status == 1
    assert "a coloured mask" in lines[0]


def test_kittis_lanes_are_not_missed_pictures(tmp_path, command):
    truth = np.full((40, 60, 3), 255, np.uint8)
    write(tmp_path / "training" / "image_2" / "um_000000.png", noise(0))
    for what in ("road", "lane"):
        write(tmp_path / "training" / "gt_image_2" / f"um_{what}_000000.png", truth)
    assert command("check", tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("folders", "kind"),
    [
        (("train", "trainannot", "valannot"), "camvid"),
        (("701_StillsRaw_full", "LabeledApproved_full"), "camvid32"),
        (("images", "labels"), "camvid32"),
        (("train", "train_labels"), "camvid32"),
        (("training/image_2", "training/gt_image_2"), "kitti-road"),
        (("image_2", "gt_image_2"), "kitti-road"),
    ],
)
def test_the_kind_is_told_from_the_layout(tmp_path, command, folders, kind):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    status, lines, _ = command("check", tmp_path)
    assert lines[0] == f"{tmp_path}: {kind}"
    assert status == 0


def test_a_folder_that_is_laid_out_like_nothing_gets_the_kinds(tmp_path, command):
    status, _, err = command("check", tmp_path)
    assert status == 2
    assert len(err.splitlines()) == 1
    for part in (tmp_path, "--kind", "camvid (train/ beside", "kitti-road (", "folder (images/"):
        assert str(part) in err
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "masks").mkdir()
    status, _, err = command("check", tmp_path)
    assert status == 2
    assert "more than one" in err
    assert "kitti-road" not in err


def test_mistakes_on_the_command_line_are_one_line(tmp_path, command):
    for arguments, status, told in (
        ([], 2, "the following arguments are required: COMMAND"),
        (["check", tmp_path / "no"], 1, f"{tmp_path / 'no'}: no such folder"),
        (["check", tmp_path, "--kind", "camvid"], 1, "not laid out as camvid is"),
        (["check", tmp_path, "--json", tmp_path], 1, "it is a folder"),
        (
            ["check", tmp_path, "--kind", "camvid", "--classes", "road"],
            2,
            "--classes: camvid has its own",
        ),
    ):
        got, lines, err = command(*arguments)
        assert (got, lines) == (status, [])
        assert len(err.splitlines()) == 1
        assert told in err


def test_camvid_is_as_published(shared, command, tmp_path):
    out = tmp_path / "camvid.json"
    status, lines, _ = command("check", shared / "data" / "camvid", "--split=val", "--json", out)
    assert (status, lines[-1]) == (0, "nothing wrong found")
    values = json.loads(out.read_text())
    assert values["pictures"] == {"val": 101}
    assert values["sizes"] == {"480x360": 101}
    pixels = sum(row["pixels"] for row in values["classes"]) + values["void_pixels"]
    assert pixels == 101 * 480 * 360


# The other commands, and how they go together


def test_what_is_converted_passes_the_check_and_can_be_trained_on(tmp_path, command):
    for i in range(2):
        write(tmp_path / "drawn" / f"{i}.png", noise(i))
        shape = {"label": "road", "shape_type": "polygon", "group_id": None, "flags": {}}
        shape["points"] = [[0, 20], [60, 20], [60, 40], [0, 40]]
        drawn = {"imagePath": f"{i}.png", "imageHeight": 40, "imageWidth": 60, "imageData": None}
        (tmp_path / "drawn" / f"{i}.json").write_text(json.dumps({**drawn, "shapes": [shape]}))
    out = tmp_path / "own"
    status, _, err = command("convert", "labelme", tmp_path / "drawn", "--out", out)
    assert (status, err) == (0, "")
    status, lines, _ = command("check", out)
    assert (status, lines[-1]) == (0, "nothing wrong found")
    source = open_source({"kind": "folder", "folder": str(out), "split": "all"}, ROAD)
    assert len(source) == 2
    for i in range(2):
        frame, mask = source.read(i)
        np.testing.assert_array_equal(frame, noise(i))
        np.testing.assert_array_equal(mask, np.repeat([0, 1], 20)[:, None].repeat(60, 1))


def test_what_is_fetched_can_be_checked(tmp_path, command):
    own_folder(tmp_path / "own")
    archive = shutil.make_archive(str(tmp_path / "own"), "zip", tmp_path, "own")
    digest = hashlib.sha256(Path(archive).read_bytes()).hexdigest()
    out = tmp_path / "fetched"
    arguments = ["fetch", Path(archive).as_uri(), "--sha256", digest, "--out", out]
    status, lines, _ = command(*arguments)
    assert status == 0, lines
    (classes,) = out.rglob("classes.txt")
    status, lines, _ = command("check", classes.parent)
    assert (status, lines[-1]) == (0, "nothing wrong found")


def test_what_is_checked_can_be_looked_at(tmp_path, command):
    for extra in ("matplotlib", "albumentations", "yaml"):
        pytest.importorskip(extra, reason="rtseg-data show needs the train extra")
    own_folder(tmp_path / "own", parts=("train", "val"))
    out = tmp_path / "look"
    status, lines, err = command("show", tmp_path / "own", "--split", "val", "--out", out)
    assert (status, err) == (0, "")
    assert lines[0] == f"{tmp_path / 'own'}: folder, 4 pictures, 3 classes"
    for name in ("samples.png", "frequencies.png"):
        assert str(out / name) in lines
        assert cv2.imread(str(out / name)).std() > 1
    (tmp_path / "own" / "val" / "images" / "a.png").write_bytes(b"none")
    status, _, err = command("show", tmp_path / "own", "--split", "val", "--out", out)
    assert status == 1
    assert f"{tmp_path / 'own' / 'val' / 'images' / 'a.png'}: not a readable picture" in err


@pytest.mark.parametrize("name", ["fetch", "check", "show", "convert"])
def test_every_command_explains_itself(name, command):
    status, lines, _ = command(name, "--help")
    assert status == 0
    assert lines[0].startswith(f"usage: rtseg-data {name}")
    status, _, err = command(name, "--nonsense")
    assert status == 2
    assert err.splitlines()[-1].startswith(f"rtseg-data {name}: error: ")


# Duplicates


def test_near_duplicates_are_found_over_any_number_of_pictures():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (1200, 32, 32, 3), dtype=np.uint8)
    pictures[1100] = np.clip(pictures[3].astype(int) + rng.integers(-2, 3, (32, 32, 3)), 0, 255)
    pictures[1150] = pictures[600]
    found = Duplicates(within=True)
    for i, picture in enumerate(pictures):
        found.add(i, "all", picture)
    assert list(found.exact()) == [(1150, 600)]
    ((later, earlier, difference),) = found.near()
    assert (later, earlier) == (1100, 3)
    grey = [cv2.cvtColor(pictures[i], cv2.COLOR_BGR2GRAY).astype(float) for i in (later, earlier)]
    assert difference == pytest.approx(np.sqrt(np.mean((grey[0] - grey[1]) ** 2)), abs=0.05)
    assert 0 < difference < NEAR
