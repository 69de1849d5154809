"""COCO's and CVAT's annotations; pictures that their EXIF orientation turns."""

import json
import struct

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
    compress,
    fails,
    labelme,
    mask_of,
    picture,
    shape,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data.convert.orientation import exif_orientation
from rtseg.data.labels import read_legend

__all__ = ["fails"]


def coco(path, annotations, images=None, categories=None):
    content = {
        "images": images or [{"id": 7, "file_name": "day/a.png", "width": W, "height": H}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 9, "iscrowd": 0, **annotation}
            for i, annotation in enumerate(annotations)
        ],
        "categories": categories or [{"id": 9, "name": "road"}, {"id": 3, "name": "car"}],
    }
    path.write_text(json.dumps(content))
    return path


def flat(pairs):
    return [value for pair in pairs for value in pair]


def column_runs(mask):
    values = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], values, [1 - values[-1]]))))
    return np.diff(np.concatenate(([0], edges))).tolist()


def test_coco_polygons_and_run_lengths(tmp_path):
    picture(tmp_path / "in/day/a.png")
    crowd = np.zeros((H, W), bool)
    crowd[2:5, 30:38] = True
    packed = np.zeros((H, W), bool)
    packed[10:14, 25:39:2] = True
    runs = {"size": [H, W], "counts": column_runs(crowd)}
    compressed = {"size": [H, W], "counts": compress(column_runs(packed))}
    parts = [flat(SQUARE), flat([[1, 1], [4, 1], [4, 4], [1, 4]])]
    file = coco(
        tmp_path / "i.json",
        [
            {"segmentation": [flat(ROAD)]},
            {"segmentation": parts, "category_id": 3},
            {"segmentation": runs, "iscrowd": 1, "category_id": 3},
            {"segmentation": compressed, "iscrowd": 1},
        ],
    )
    out = tmp_path / "out"
    assert command("coco", file, "--images", tmp_path / "in", "--out", out) == 0
    assert read_legend(out / "classes.txt").names == ("background", "car", "road")
    truth = np.zeros((H, W), np.uint8)
    truth[15:] = 2
    truth[5:8, 10:20] = truth[1:4, 1:4] = 1
    truth[crowd] = 1
    truth[packed] = 2
    np.testing.assert_array_equal(mask_of(out, "day-a"), truth)


def test_parts_of_one_coco_shape_unite_where_they_overlap(tmp_path):
    picture(tmp_path / "day/a.png")
    file = coco(tmp_path / "i.json", [{"segmentation": [flat(ROAD), flat(ROAD)]}])
    assert command("coco", file, "--images", tmp_path, "--out", tmp_path / "out") == 0
    assert (mask_of(tmp_path / "out", "day-a") == 2).sum() == 15 * W


def test_a_picture_without_annotations_is_background(tmp_path, capfd):
    picture(tmp_path / "day/a.png")
    out = tmp_path / "out"
    assert command("coco", coco(tmp_path / "i.json", []), "--images", tmp_path, "--out", out) == 0
    assert not mask_of(out, "day-a").any()
    assert "1 pictures without a shape" in capfd.readouterr().out


BAD_COCO = {
    "box only": ({"segmentation": []}, "no segmentation"),
    "two points": ({"segmentation": [[1, 2, 3, 4]]}, "a polygon with 2 points"),
    "odd": ({"segmentation": [[1, 2, 3, 4, 5]]}, "not lists of x, y"),
    "category": ({"segmentation": [flat(ROAD)], "category_id": 4}, "no category 4"),
    "image": ({"segmentation": [flat(ROAD)], "image_id": 8}, "there is no image 8"),
    "runs": ({"segmentation": {"size": [H, W], "counts": [3]}}, "do not add up"),
    "run size": ({"segmentation": {"size": [W, H], "counts": [3]}}, "for 30x40 pixels"),
    "no runs": ({"segmentation": {}}, "not as the format wants it"),
}


@pytest.mark.parametrize("name", BAD_COCO)
def test_broken_coco_annotations_are_named(tmp_path, fails, name):
    annotation, told = BAD_COCO[name]
    picture(tmp_path / "day/a.png")
    line = fails("coco", coco(tmp_path / "i.json", [annotation]), "--images", tmp_path)
    assert "i.json: " in line
    assert "annotation 0" in line
    assert told in line


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/secret.png", "a\0b.png", "b.png", "..", ""]
)
def test_coco_pictures_are_those_below_the_folder(tmp_path, fails, name):
    picture(tmp_path / "secret.png")
    images = [{"id": 7, "file_name": name, "width": W, "height": H}]
    file = coco(tmp_path / "i.json", [], images)
    (tmp_path / "in").mkdir()
    fails("coco", file, "--images", tmp_path / "in")


def test_two_pictures_of_one_name_are_refused(tmp_path, fails):
    picture(tmp_path / "day/a.png")
    picture(tmp_path / "day-a.jpg")
    images = [
        {"id": 7, "file_name": "day/a.png", "width": W, "height": H},
        {"id": 8, "file_name": "day-a.jpg", "width": W, "height": H},
    ]
    line = fails("coco", coco(tmp_path / "i.json", [], images), "--images", tmp_path)
    assert "day-a.jpg and day/a.png would both be named day-a" in line


def cvat(path, shapes, labels="", name="a.png", prolog="", size=(W, H)):
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>{prolog}\n<annotations><version>1.1</version>'
        f"<meta><task><labels>{labels}</labels></task></meta>"
        f'<image id="0" name="{name}" width="{size[0]}" height="{size[1]}">{shapes}</image>'
        "</annotations>"
    )
    return path


def test_every_shape_of_cvats_in_its_order(tmp_path, capfd):
    picture(tmp_path / "a.png")
    labels = "".join(
        f"<label><name>{name}</name><color>#fff</color></label>"
        for name in ("road", "car", "disc", "lane")
    )
    labels += "<label><name>knee</name><parent>body</parent></label>"
    shapes = """
      <box label="car" xtl="10" ytl="14" xbr="20" ybr="17" z_order="2"/>
      <polygon label="road" points="0.00,15.00;40.00,15.00;40.00,30.00;0.00,30.00" z_order="1">
        <attribute name="wet">yes</attribute></polygon>
      <ellipse label="disc" cx="30" cy="8" rx="5" ry="3" rotation="90" z_order="0"/>
      <polyline label="lane" points="2,25;38,25" z_order="3"/>
      <mask label="disc" rle="1, 2, 3" left="2" top="1" width="3" height="2" z_order="0"/>
      <points label="car" points="1,1"/><tag label="car"/>"""
    file = cvat(tmp_path / "a.xml", shapes, labels)
    out = tmp_path / "out"
    arguments = ("--out", out, "--line-width", "2")
    assert command("cvat", file, "--images", tmp_path, *arguments) == 0
    assert read_legend(out / "classes.txt").names == ("background", "road", "car", "disc", "lane")
    x, y = centres()
    truth = np.zeros((H, W), np.uint8)
    truth[((x - 30) / 3) ** 2 + ((y - 8) / 5) ** 2 <= 1] = 3
    truth[1, 3:5] = 3
    truth[15:] = 1
    truth[14:17, 10:20] = 2
    distance = np.hypot(x - np.clip(x, 2, 38), y - 25)
    truth[distance <= 1] = 4
    np.testing.assert_array_equal(mask_of(out), truth)
    assert "2 points or tags" in capfd.readouterr().out


ENTITIES = '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]>'
READS = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("prolog", [ENTITIES, READS, "<!DOCTYPE annotations>"])
def test_entities_are_refused(tmp_path, fails, prolog):
    picture(tmp_path / "a.png")
    file = cvat(tmp_path / "a.xml", "", prolog=prolog)
    assert "a.xml: has a DOCTYPE" in fails("cvat", file, "--images", tmp_path)


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ('<polygon label="r" points="1,1;2,2"/>', "a polygon with 2 points"),
        ('<polygon label="r" points="1,1;2,2;3"/>', "not pairs"),
        ('<polygon points="1,1;2,2;3,3"/>', "the label"),
        ('<box label="r" xtl="1"/>', "no coordinate"),
        ('<mask label="r" rle="1" left="0" top="0" width="2" height="2"/>', "do not add up"),
        ('<mask label="r" rle="" left="0" top="0" width="2" height="2"/>', "(mask)"),
        ('<ellipse label="r" cx="1" cy="1" rx="0" ry="1"/>', "without a radius"),
        ('<blob label="r"/>', "no shape of CVAT's"),
    ],
)
def test_broken_cvat_shapes_are_named(tmp_path, fails, shapes, told):
    picture(tmp_path / "a.png")
    line = fails("cvat", cvat(tmp_path / "a.xml", shapes), "--images", tmp_path)
    assert "a.xml: a.png: shape 1" in line
    assert told in line


def test_cvat_for_videos_is_told_apart(tmp_path, fails):
    file = tmp_path / "a.xml"
    file.write_text("<annotations><track id='0' label='car'/></annotations>")
    assert 'export it from CVAT as "CVAT for images 1.1"' in fails(
        "cvat", file, "--images", tmp_path
    )


def exif(orientation, order="<"):
    mark = b"II" if order == "<" else b"MM"
    other = struct.pack(f"{order}HHIHH", 0x0100, 3, 1, W, 0)
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    head = struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", 2)
    return mark + head + other + entry + bytes(4)


def photo(path, orientation, order="<"):
    """A JPEG of stored size W x H, with an EXIF orientation."""
    tiff = b"Exif\0\0" + exif(orientation, order)
    segment = b"\xff\xe1" + struct.pack(">H", len(tiff) + 2) + tiff
    stored = np.zeros((H, W, 3), np.uint8)
    stored[3:9, 2:18] = 255  # what is drawn around
    content = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content[:2] + segment + content[2:])
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_lie_on_the_picture_as_it_is_shown(tmp_path, orientation, order):
    """Whether the tool drew on the stored pixels or on the shown ones: the size tells."""
    path = photo(tmp_path / "in/a.jpg", orientation, order)
    assert exif_orientation(path.read_bytes()) == orientation
    shown = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    pairs = [[int(columns[0]), int(rows[0])], [int(columns[-1]) + 1, int(rows[-1]) + 1]]
    drawings = {"shown": (pairs, shown.shape)}
    if orientation >= 5:
        assert shown.shape == (W, H)
        drawings["stored"] = ([[2, 3], [18, 9]], (H, W))
    for name, (box_pairs, (height, width)) in drawings.items():
        labelme(
            tmp_path / "in/a.json",
            [shape("sign", box_pairs, "rectangle")],
            "a.jpg",
            imageWidth=width,
            imageHeight=height,
        )
        out = tmp_path / name
        assert command("labelme", tmp_path / "in", "--out", out) == 0
        np.testing.assert_array_equal(mask_of(out) > 0, shown)
        assert (out / "images/a.jpg").read_bytes() == path.read_bytes()


def test_a_swapped_size_without_exif_is_an_error(tmp_path, fails):
    picture(tmp_path / "in/a.png")
    labelme(tmp_path / "in/a.json", [], imageWidth=H, imageHeight=W)
    labelme(tmp_path / "in/b.json", [shape("road", ROAD)])
    assert "drawn on 30x40 pixels" in fails("labelme", tmp_path / "in")


def test_broken_exif_is_none():
    good = b"Exif\0\0" + exif(6)
    for length in range(len(good) - 4):
        assert exif_orientation(good[:length]) in (1, 6)
    assert exif_orientation(b"Exif\0\0" + exif(9)) == 1
    assert exif_orientation(b"Exif\0\0II*\0\xff\xff\xff\xff") == 1


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_any_bytes_have_an_orientation(content):
    assert 1 <= exif_orientation(b"Exif\0\0II" + content) <= 8
