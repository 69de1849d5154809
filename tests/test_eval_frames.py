"""Which frames ``rtseg-eval`` takes and in which order, and which it skips and says so."""

import json

import numpy as np
import pytest
from dataset_files import own_folder, write
from evaluated import lasting, result_of, road_folder, run_eval


@pytest.fixture
def evaluate(capfd, tiny_network, tmp_path):
    """Run the command with the tests' network; gives status, error lines and the output folder."""

    def run(source, *arguments, network=tiny_network, out=None):
        out = out or tmp_path / "out"
        status, lines = run_eval(capfd, network, source, "--out", out, *arguments)
        return status, lines, out

    return run


def damaged_folder(root):
    """A folder with two frames that can be scored, and one of everything that cannot."""
    road_folder(root, 7)
    (root / "masks" / "f01.png").unlink()
    write(root / "masks" / "f02.png", np.zeros((10, 10), np.uint8))
    picture = root / "images" / "f03.png"
    picture.write_bytes(picture.read_bytes()[:-100])
    (root / "masks" / "f04.png").write_bytes(b"no PNG at all")
    write(root / "masks" / "f05.png", np.full((64, 96), 77, np.uint8))
    write(root / "masks" / "lonely.png", np.zeros((64, 96), np.uint8))
    return root


def test_what_cannot_be_scored_is_listed_counted_and_said(evaluate, tmp_path):
    data = damaged_folder(tmp_path / "data")
    status, lines, out = evaluate(data)
    assert status == 0
    assert len(lines) == 1
    assert "warning: 6 of 8 frames skipped (2 unreadable, 1 no mask, " in lines[0]
    result = result_of(out)
    assert result["counts"] == {
        "frames": 8, "scored": 2, "written": 0, "skipped": 6,
        "reasons": {
            "unreadable": 2, "no mask": 1, "no picture": 1, "size": 1, "unknown label": 1,
        },
    }  # fmt: skip
    assert {row["name"]: row["reason"] for row in result["skipped"]} == {
        "f01.png": "no mask", "f02.png": "size", "f03.png": "unreadable", "f04.png": "unreadable",
        "f05.png": "unknown label", "lonely.png": "no picture",
    }  # fmt: skip
    details = {row["name"]: row["detail"] for row in result["skipped"]}
    assert "10x10" in details["f02.png"]
    assert "96x64" in details["f02.png"]
    assert "index 77" in details["f05.png"]
    assert all("\n" not in detail for detail in details.values())
    status, lines, _ = evaluate(data, "--strict")
    assert status == 1
    assert len(lines) == 1


def test_a_skipped_frame_is_tried_again_by_the_same_command(evaluate, tmp_path):
    pairs = road_folder(tmp_path / "data", 3)
    mask = tmp_path / "data" / "masks" / "f01.png"
    content = mask.read_bytes()
    mask.write_bytes(content[:50])
    _, _, out = evaluate(tmp_path / "data")
    assert result_of(out)["counts"]["skipped"] == 1
    mask.write_bytes(content)
    status, lines, out = evaluate(tmp_path / "data")
    assert (status, lines) == (0, [])
    result = result_of(out)
    assert result["counts"]["scored"] == 3
    assert result["speed"]["frames"] == 1
    assert sum(map(sum, result["confusion"])) == sum((t != 255).sum() for t, _ in pairs)


def test_nothing_that_can_be_scored_is_an_error(evaluate, tmp_path):
    road_folder(tmp_path / "data", 2)
    for mask in (tmp_path / "data" / "masks").iterdir():
        mask.write_bytes(b"")
    status, lines, out = evaluate(tmp_path / "data")
    assert status == 1
    assert len(lines) == 1
    assert "none of the 2 frames could be evaluated" in lines[0]
    assert result_of(out)["scores"]["miou"] is None


def test_limit_takes_the_first_and_a_larger_one_goes_on(evaluate, tmp_path):
    pairs = road_folder(tmp_path / "data", 6)
    _, _, out = evaluate(tmp_path / "data", "--limit", 2)
    first = result_of(out)
    assert [frame["name"] for frame in first["frames"]] == ["f00.png", "f01.png"]
    assert sum(map(sum, first["confusion"])) == sum((t != 255).sum() for t, _ in pairs[:2])
    _, _, out = evaluate(tmp_path / "data")
    assert result_of(out)["speed"]["frames"] == 4
    evaluate(tmp_path / "data", out=tmp_path / "whole")
    assert lasting(out) == lasting(tmp_path / "whole")
    _, _, out = evaluate(tmp_path / "data", "--limit", 2)
    assert result_of(out)["confusion"] == first["confusion"]


def test_devices_and_batches_change_nothing(evaluate, tmp_path):
    road_folder(tmp_path / "data", 11, 150, 110)
    _, _, one = evaluate(tmp_path / "data", "--boundary", out=tmp_path / "one")
    arguments = ("--boundary", "--devices", "CPU,cpu")
    status, lines, two = evaluate(tmp_path / "data", *arguments, out=tmp_path / "two")
    assert (status, lines) == (0, [])
    assert lasting(one) == lasting(two)
    assert result_of(two)["engine"]["devices"] == ["CPU", "cpu"]
    arguments = ("--boundary", "--devices", "CPU,CPU", "--batch", 3)
    status, lines, batches = evaluate(tmp_path / "data", *arguments, out=tmp_path / "batches")
    assert (status, lines) == (0, [])
    assert result_of(batches)["engine"]["batch"] == 3
    assert result_of(batches)["confusion"] == result_of(one)["confusion"]
    assert result_of(batches)["frames"] == result_of(one)["frames"]


def test_records_are_in_the_order_of_the_frames(evaluate, tmp_path):
    road_folder(tmp_path / "data", 9)
    _, _, out = evaluate(tmp_path / "data", "--devices", "CPU,CPU")
    lines = (out / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(9))


def test_splits_are_those_of_folders(evaluate, tmp_path):
    own_folder(tmp_path / "data", ("a", "b"), parts=("train", "val"))
    text = (tmp_path / "data" / "classes.txt").read_text()
    (tmp_path / "data" / "classes.txt").write_text(text.replace("the road", "Road"))
    _, _, out = evaluate(tmp_path / "data")
    assert result_of(out)["dataset"]["split"] == "val"
    assert result_of(out)["counts"]["frames"] == 2
    _, _, out = evaluate(tmp_path / "data", "--split", "all", "--masks", out=tmp_path / "all")
    names = [frame["name"] for frame in result_of(out)["frames"]]
    assert names == [f"{part}/images/{stem}.png" for part in ("train", "val") for stem in "ab"]
    masks = sorted(path.relative_to(out / "masks") for path in (out / "masks").rglob("*.png"))
    assert [str(path) for path in masks] == names


def test_the_rendered_drive_needs_no_files(evaluate):
    status, lines, out = evaluate("drive", "--limit", 1)
    assert (status, lines) == (0, [])
    result = result_of(out)
    assert result["dataset"]["kind"] == "drive"
    assert result["frames"][0]["name"] == "drive 0/37"
    assert sum(map(sum, result["confusion"])) == 960 * 540  # the bonnet is background
