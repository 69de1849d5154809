"""LabelMe's polygons become folders of pictures and masks; their classes."""

import base64
import math

import cv2
import numpy as np
import pytest
from annotated import (
    ROAD,
    SQUARE,
    H,
    W,
    centres,
    command,
    fails,
    labelme,
    mask_of,
    picture,
    shape,
)

from rtseg.data.convert import Bad, choose_classes, convert, read_labelme
from rtseg.data.convert.classes import colours
from rtseg.data.labels import VOID, read_legend
from rtseg.data.masks import LegendMasks
from rtseg.errors import InputError

__all__ = ["fails"]


def test_a_folder_comes_back_as_it_was_drawn(tmp_path, capfd):
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/day/b.jpg", 20, 10)
    labelme(tmp_path / "in/a.json", [shape("road", ROAD), shape("car", SQUARE)])
    labelme(
        tmp_path / "in/day/b.json",
        [shape("road", [[0, 5], [20, 5], [20, 10], [0, 10]])],
        "b.jpg",
        imageWidth=20,
        imageHeight=10,
    )
    out = tmp_path / "out"
    assert command("labelme", tmp_path / "in", "--out", out) == 0
    told = capfd.readouterr().out
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*")) == [
        "classes.txt",
        "images/a.png",
        "images/day-b.jpg",
        "masks/a.png",
        "masks/day-b.png",
    ]
    legend = read_legend(out / "classes.txt")
    assert legend.names == ("background", "car", "road")
    truth = np.zeros((H, W), np.uint8)
    truth[15:] = 2
    truth[5:8, 10:20] = 1
    np.testing.assert_array_equal(mask_of(out), truth)
    # The reader of such folders agrees, and so does each picture.
    np.testing.assert_array_equal(LegendMasks(legend).read(out / "masks/a.png"), truth)
    assert mask_of(out, "day-b").tolist() == [[0] * 20] * 5 + [[2] * 20] * 5
    for source, copy in (("in/a.png", "a.png"), ("in/day/b.jpg", "day-b.jpg")):
        assert (tmp_path / source).read_bytes() == (out / "images" / copy).read_bytes()
    assert "2 pictures\n" in told
    share = (truth == 2).sum() + 100
    assert f"2 road             2 shapes {share / (H * W + 200):8.2%}" in told


def test_later_shapes_cover_earlier_ones(tmp_path):
    picture(tmp_path / "in/a.png")
    labelme(tmp_path / "in/a.json", [shape("b", ROAD), shape("a", [[0, 20], [9, 20], [9, 30]])])
    assert command("labelme", tmp_path / "in", "--out", tmp_path / "out") == 0
    mask = mask_of(tmp_path / "out")
    assert (mask[28, 8], mask[29, 20], mask[0, 0]) == (1, 2, 0)


def test_every_shape_of_labelmes(tmp_path, capfd):
    pixels = np.zeros((3, 4), np.uint8)
    pixels[1, 1:] = 255
    png = base64.b64encode(cv2.imencode(".png", pixels)[1]).decode()
    picture(tmp_path / "in/a.png")
    shapes = [
        shape("box", [[9, 4], [1, 2]], "rectangle"),
        shape("turned", [[20, 1.9], [24.1, 6], [20, 10.1], [15.9, 6]], "oriented_rectangle"),
        shape("disc", [[8, 20], [8, 25]], "circle"),
        shape("line", [[20, 15], [30, 15]], "line"),
        shape("lines", [[20, 22], [30, 22], [30, 28]], "linestrip"),
        shape("mask", [[33, 2], [36, 4]], "mask", mask=png),
        shape("point", [[3, 3]], "point"),
    ]
    labelme(tmp_path / "in/a.json", shapes)
    out = tmp_path / "out"
    assert command("labelme", tmp_path / "in", "--out", out, "--line-width", 2) == 0
    mask = mask_of(out)
    names = read_legend(out / "classes.txt").names
    assert names == ("background", "box", "disc", "line", "lines", "mask", "turned")
    x, y = centres()
    assert (mask == 1).nonzero()[0].tolist() == [2] * 8 + [3] * 8
    np.testing.assert_array_equal(mask == 2, (x - 8) ** 2 + (y - 20) ** 2 <= 25)
    np.testing.assert_array_equal(np.flatnonzero(mask[14] == 3), np.arange(19, 31))
    assert (mask == 4)[21:23, 20:30].all()
    assert (mask == 4)[22:28, 29:31].all()
    assert np.argwhere(mask == 5).tolist() == [[3, 34], [3, 35], [3, 36]]
    np.testing.assert_array_equal(mask == 6, abs(x - 20) + abs(y - 6) < 4.1)
    assert "1 points or tags, which have no area, ignored" in capfd.readouterr().out


def test_an_embedded_picture_serves_where_none_lies_beside(tmp_path):
    content = picture(suffix=".jpg")
    data = base64.b64encode(content).decode()
    labelme(tmp_path / "in/a.json", [shape("road", ROAD)], "gone.png", imageData=data)
    assert command("labelme", tmp_path / "in", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out/images/a.jpg").read_bytes() == content
    assert (mask_of(tmp_path / "out") == 1).sum() == 15 * W


def test_the_path_of_a_picture_may_lead_elsewhere_or_be_windows(tmp_path):
    picture(tmp_path / "photos/x.png")
    labelme(tmp_path / "in/a.json", [shape("road", ROAD)], "..\\photos\\x.png")
    picture(tmp_path / "in/y.png")
    labelme(tmp_path / "in/b.json", [shape("road", ROAD)], "C:\\Users\\me\\y.png")
    assert command("labelme", tmp_path / "in", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out/images/a.png").is_file()
    assert (tmp_path / "out/images/b.png").is_file()


BAD_LABELME = {
    "two points": ([shape("x", [[0, 0], [1, 1]])], {}, "a polygon with 2 points"),
    "no points": ([{"label": "x"}], {}, "points"),
    "text": ([shape("x", [["a", 0], [1, 1], [2, 2]])], {}, "'a' is no coordinate"),
    "nan": ([shape("x", [[math.nan, 0], [1, 1], [2, 2]])], {}, "'nan' is no coordinate"),
    "far": ([shape("x", [[1e300, 0], [1, 1], [2, 2]])], {}, "no coordinate"),
    "kind": ([shape("x", [[0, 0]], "spline")], {}, "unknown shape_type 'spline'"),
    "label": ([shape(None, SQUARE)], {}, "the label 'None' cannot"),
    "lines": ([shape("a\nb", SQUARE)], {}, "cannot be the name"),
    "no shape": (["x"], {}, "shape 2: not as the format wants it"),
    "circle": ([shape("x", [[1, 1], [1, 1]], "circle")], {}, "without a radius"),
    "mask": ([shape("x", [[1, 1], [2, 2]], "mask", mask="AAAA")], {}, "not a PNG"),
    "size": ([], {"imageWidth": W + 1}, "was drawn on 41x30 pixels"),
    "absurd size": ([], {"imageWidth": "wide"}, "'wide' is no coordinate"),
    "picture": ([], {"imagePath": "b.png"}, "its picture b.png is missing, and none is embedded"),
    "path": ([], {"imagePath": None}, "no imagePath"),
    "embedded": ([], {"imagePath": "b", "imageData": "?"}, "imageData is not in Base64"),
    "embedded junk": ([], {"imagePath": "b", "imageData": "AAAA"}, "none that is read"),
}


@pytest.mark.parametrize("name", BAD_LABELME)
def test_what_is_broken_is_named_or_skipped(tmp_path, fails, capfd, name):
    shapes, others, told = BAD_LABELME[name]
    picture(tmp_path / "in/a.png")
    labelme(tmp_path / "in/bad.json", [shape("y", SQUARE), *shapes], **others)
    labelme(tmp_path / "in/good.json", [shape("road", ROAD)])
    line = fails("labelme", tmp_path / "in")
    assert "bad.json" in line
    assert told in line
    out = tmp_path / "out"
    assert command("labelme", tmp_path / "in", "--out", out, "--skip-bad") == 0
    printed = capfd.readouterr().out
    assert f"skipped: {line.removeprefix('rtseg-data: error: ')}\n" in printed
    assert "1 pictures; 1 skipped" in printed
    assert [p.name for p in (out / "images").iterdir()] == ["good.png"]
    assert [p.name for p in (out / "masks").iterdir()] == ["good.png"]


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, "\xff", '{"shapes": 1}', ""])
def test_files_that_are_no_annotations(tmp_path, fails, content):
    path = tmp_path / "in/bad.json"
    path.parent.mkdir()
    path.write_text(content, encoding="latin-1")
    assert "bad.json: " in fails("labelme", path.parent)
    assert "bad.json: " in fails("coco", path, "--images", tmp_path)
    assert "bad.json: " in fails("cvat", path, "--images", tmp_path)


def test_damaged_pictures_are_named(tmp_path, fails):
    path = picture(tmp_path / "in/a.jpg")
    path.write_bytes(path.read_bytes()[:-500])
    labelme(tmp_path / "in/a.json", [shape("road", ROAD)], "a.jpg")
    assert "a.jpg: not a readable picture: the file is cut short" in fails(
        "labelme", tmp_path / "in"
    )


def test_if_all_is_bad_nothing_is_written(tmp_path, fails):
    labelme(tmp_path / "in/a.json", [shape("road", ROAD)])
    assert "there is nothing to convert" in fails("labelme", tmp_path / "in", "--skip-bad")
    picture(tmp_path / "in/a.png", 8, 8)
    assert "nothing was converted: " in fails("labelme", tmp_path / "in", "--skip-bad")
    assert "no JSON files" in fails("labelme", picture(tmp_path / "x/y.png").parent)
    assert "no such folder" in fails("labelme", tmp_path / "none")


def test_an_existing_folder_is_refused(tmp_path, capfd):
    picture(tmp_path / "in/a.png")
    labelme(tmp_path / "in/a.json", [shape("road", ROAD)])
    (tmp_path / "out").mkdir()
    assert command("labelme", tmp_path / "in", "--out", tmp_path / "out") == 1
    assert "exists already" in capfd.readouterr().err
    (tmp_path / "new.partial").mkdir()
    assert command("labelme", tmp_path / "in", "--out", tmp_path / "new") == 1
    assert "new.partial: left by a run" in capfd.readouterr().err
    assert command("labelme", tmp_path / "in", "--out", tmp_path / "in/a.png/new") == 1
    assert "cannot write" in capfd.readouterr().err


def test_an_interrupt_leaves_nothing(tmp_path):
    picture(tmp_path / "in/a.png")
    labelme(tmp_path / "in/a.json", [shape("road", ROAD)])

    def stop(done):
        raise KeyboardInterrupt

    bad = Bad()
    annotations = read_labelme(tmp_path / "in", bad)
    classes = choose_classes(annotations.labels)
    with pytest.raises(KeyboardInterrupt):
        convert(annotations, tmp_path / "out", classes, bad, report=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_pictures_can_be_linked(tmp_path):
    source = picture(tmp_path / "in/a.png")
    labelme(tmp_path / "in/a.json", [shape("road", ROAD)])
    assert command("labelme", tmp_path / "in", "--out", tmp_path / "out", "--link") == 0
    assert (tmp_path / "out/images/a.png").samefile(source)
    labelme(tmp_path / "in/a.json", [shape("road", ROAD)], "soft.png")
    (tmp_path / "in/soft.png").symlink_to("a.png")
    assert command("labelme", tmp_path / "in", "--out", tmp_path / "out2", "--link") == 0
    assert not (tmp_path / "out2/images/a.png").is_symlink()
    assert (tmp_path / "out2/images/a.png").samefile(source)


@pytest.fixture
def two_labels(tmp_path):
    picture(tmp_path / "in/a.png")
    labelme(tmp_path / "in/a.json", [shape("Road", ROAD), shape("dog", SQUARE)])
    return tmp_path / "in"


def test_a_class_file_gives_order_and_colours(two_labels, tmp_path, fails, capfd):
    file, out = tmp_path / "classes.txt", tmp_path / "out"
    file.write_text("1 2 3 dog\n4 5 6 Background\n9 9 9 road\n")
    assert command("labelme", two_labels, "--out", out, "--classes", file) == 0
    mask = mask_of(out)
    assert (mask[20, 20], mask[6, 12], mask[0, 0]) == (2, 0, 1)
    assert read_legend(out / "classes.txt") == read_legend(file)
    file.write_text("4 5 6 background\n9 9 9 road\n")
    capfd.readouterr()
    out.rename(tmp_path / "first")
    line = fails("labelme", two_labels, "--classes", file)
    assert f"{two_labels / 'a.json'}: a.png: the label 'dog' is not in {file}" in line
    # It is the command that is wrong: no picture is passed over for it.
    assert fails("labelme", two_labels, "--classes", file, "--skip-bad") == line
    for others, value in (("background", 0), ("void", VOID)):
        out = tmp_path / others
        arguments = ("--classes", file, "--others", others, "--out", out)
        assert command("labelme", two_labels, *arguments) == 0
        assert mask_of(out)[6, 12] == value


def test_a_class_file_without_background(two_labels, tmp_path, fails):
    file = tmp_path / "classes.txt"
    file.write_text("1 2 3 dog\n9 9 9 road\n")
    line = fails("labelme", two_labels, "--classes", file, status=2)
    assert "has no class 'background': name one with --background" in line
    arguments = ("--classes", file, "--unlabelled", "void")
    assert command("labelme", two_labels, "--out", tmp_path / "o", *arguments) == 0
    assert np.unique(mask_of(tmp_path / "o")).tolist() == [0, 1, VOID]
    arguments = ("--classes", file, "--background", "DOG")
    assert command("labelme", two_labels, "--out", tmp_path / "p", *arguments) == 0
    assert np.unique(mask_of(tmp_path / "p")).tolist() == [0, 1]
    assert fails("labelme", two_labels, "--others", "void", status=2)
    assert "no such file" in fails("labelme", two_labels, "--classes", tmp_path / "none").lower()


def test_void_in_a_class_file_is_void(two_labels, tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("0 0 0 Void\n1 2 3 dog\n9 9 9 road\n")
    arguments = ("--classes", file, "--unlabelled", "void")
    assert command("labelme", two_labels, "--out", tmp_path / "o", *arguments) == 0
    assert np.unique(mask_of(tmp_path / "o")).tolist() == [1, 2, VOID]


def test_unlabelled_pixels_can_be_void(two_labels, tmp_path):
    out = tmp_path / "out"
    assert command("labelme", two_labels, "--out", out, "--unlabelled", "void") == 0
    assert read_legend(out / "classes.txt").names == ("dog", "Road")
    assert np.unique(mask_of(out)).tolist() == [0, 1, VOID]


def test_labels_that_mean_no_class_and_spellings_of_one(tmp_path):
    picture(tmp_path / "in/a.png")
    ignore = [[0, 0], [3, 0], [3, 3], [0, 3]]
    labelme(
        tmp_path / "in/a.json",
        [
            shape("road", ROAD),
            shape("ROAD ", SQUARE),
            shape("__ignore__", ignore),
            shape("_background_", [[39, 29], [40, 29], [40, 30], [39, 30]]),
        ],
    )
    out = tmp_path / "out"
    assert command("labelme", tmp_path / "in", "--out", out) == 0
    legend = read_legend(out / "classes.txt")
    assert [name.lower() for name in legend.names] == ["background", "road"]
    mask = mask_of(out)
    assert (mask[0, 0], mask[6, 12], mask[20, 20], mask[29, 39]) == (VOID, 1, 1, 0)


def test_colours_are_fixed_distinct_and_far_apart():
    stream = colours()
    first = [next(stream) for _ in range(300)]
    assert len({*first, (0, 0, 0)}) == 301
    rgb = np.array([(0, 0, 0), *first[:24]], np.float32)[None] / 255
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)[0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(25)
    assert apart.min() > 30
    assert first[0] == (0, 200, 90)


def test_too_many_classes():
    labels = [f"c{i}" for i in range(254)]
    assert len(choose_classes(labels, unlabelled="void").legend.names) == 254
    with pytest.raises(InputError, match="255 labels"):
        choose_classes(labels)
