"""Picture and mask files: every way of writing a mask, and files that are damaged."""

import re
import struct

import cv2
import numpy as np
import pytest
from dataset_files import (
    OWN_COLOURS,
    noise,
    stripes,
    write,
    write_colours,
    write_png,
)
from hypothesis import given
from hypothesis import strategies as st

from rtseg.data.kitti_road import read_kitti_road_truth
from rtseg.data.labels import CAMVID32_LEGEND, VOID, Legend
from rtseg.data.masks import KittiRoadMasks, LegendMasks, UnknownLabelError
from rtseg.data.pictures import read_picture
from rtseg.errors import InputError

OWN = Legend(("Void", "the road", "grass", "sky"), tuple(map(tuple, OWN_COLOURS.tolist())))


def says(*parts):
    return re.compile(".*".join(re.escape(str(part)) for part in parts))


# Indices


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", [0, 3], ids=["grey", "palette"])
def test_indices_of_any_bit_depth_are_what_is_written(tmp_path, kind, bits):
    indices = stripes(min(1 << bits, 4), 5, 13)
    palette = [(255, 0, 0), (0, 0, 255), (9, 9, 9), (0, 255, 0)][: 1 << bits]
    path = write_png(tmp_path / "m.png", indices, kind=kind, bits=bits, palette=palette)
    assert cv2.imread(str(path)) is not None  # a valid file
    mask = LegendMasks(OWN).read(path)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, indices)


def test_a_palette_with_a_colour_twice_is_read_by_its_indices(tmp_path):
    indices = stripes(4)
    path = write_png(tmp_path / "m.png", indices, kind=3, bits=8, palette=[(7, 7, 7)] * 4)
    np.testing.assert_array_equal(LegendMasks(OWN).read(path), indices)


def test_palettes_that_pillow_writes(tmp_path):
    Image = pytest.importorskip("PIL.Image", reason="Pillow comes with the train extra")  # noqa: N806
    indices = np.random.default_rng(0).integers(0, 4, (33, 47), dtype=np.uint8)
    indices[0] = VOID
    picture = Image.fromarray(indices, "L").convert("L")
    picture = Image.frombytes("P", (47, 33), picture.tobytes())
    picture.putpalette([v for i in range(256) for v in (i * 37 % 256, i * 91 % 256, i)])
    for options in ({}, {"optimize": True}):
        picture.save(tmp_path / "m.png", **options)
        theirs = np.asarray(Image.open(tmp_path / "m.png"))
        mask = LegendMasks(OWN).read(tmp_path / "m.png")
        np.testing.assert_array_equal(mask, theirs)
        np.testing.assert_array_equal(mask, indices)


@pytest.mark.parametrize("entries", [0, 1, 4, 5])
def test_a_palette_that_is_cut_off_in_the_middle_of_a_colour(tmp_path, entries):
    palette = np.arange(entries, dtype=np.uint8)
    path = write_png(tmp_path / "m.png", stripes(4), kind=3, bits=8, palette=palette)
    np.testing.assert_array_equal(LegendMasks(OWN).read(path), stripes(4))


def test_sixteen_bits_are_taken_where_eight_would_do(tmp_path):
    path = write(tmp_path / "m.png", stripes(4).astype(np.uint16))
    np.testing.assert_array_equal(LegendMasks(OWN).read(path), stripes(4))
    write(path, np.full((4, 4), 300, np.uint16))
    with pytest.raises(InputError, match=says(path, "index 300")):
        LegendMasks(OWN).read(path)


def test_an_index_outside_of_the_table_is_named_with_its_pixels(tmp_path):
    indices = stripes(3).copy()
    indices[0, :5] = 4
    indices[1, :2] = VOID
    path = write(tmp_path / "m.png", indices)
    with pytest.raises(UnknownLabelError, match=says(path, "index 4 (5 pixels)", "0 to 3")):
        LegendMasks(OWN).read(path)
    mask = LegendMasks(OWN, unknown="void").read(path)
    assert (mask[0, :5] == VOID).all()
    np.testing.assert_array_equal(mask[1:], indices[1:])


def test_indices_in_three_equal_channels_are_read_when_told_so(tmp_path):
    path = write(tmp_path / "m.png", cv2.merge([stripes(4)] * 3))
    np.testing.assert_array_equal(LegendMasks(OWN, "indices").read(path), stripes(4))
    write_colours(path, stripes(4), OWN_COLOURS)
    with pytest.raises(InputError, match=says(path, "coloured")):
        LegendMasks(OWN, "indices").read(path)


# Colours


@given(
    seed=st.integers(0, 1 << 30),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    count=st.integers(1, 32),
)
def test_colours_are_looked_up_one_by_one(tmp_path_factory, seed, height, width, count):
    chosen = np.random.default_rng(seed).integers(0, count, (height, width))
    path = tmp_path_factory.getbasetemp() / "hypothesis.png"
    write_colours(path, chosen, CAMVID32_LEGEND.colours)
    np.testing.assert_array_equal(LegendMasks(CAMVID32_LEGEND).read(path), chosen)


def test_transparency_is_passed_over(tmp_path):
    bgra = np.dstack([OWN_COLOURS[stripes(4)][..., ::-1], np.full((40, 60), 7, np.uint8)])
    path = write(tmp_path / "m.png", np.ascontiguousarray(bgra))
    np.testing.assert_array_equal(LegendMasks(OWN).read(path), stripes(4))


def test_a_colour_outside_of_the_table_is_named_with_its_pixels(tmp_path):
    colours = OWN_COLOURS[stripes(4)].copy()
    colours[3, 2:9] = (1, 2, 3)
    colours[5, 0] = (255, 254, 253)
    path = write(tmp_path / "m.png", np.ascontiguousarray(colours[..., ::-1]))
    told = says(path, "colour 1 2 3 (7 pixels), colour 255 254 253 (1 pixels)", "not in")
    with pytest.raises(UnknownLabelError, match=told):
        LegendMasks(OWN).read(path)
    expected = stripes(4).copy()
    expected[3, 2:9] = expected[5, 0] = VOID
    np.testing.assert_array_equal(LegendMasks(OWN, unknown="void").read(path), expected)


def test_a_coloured_mask_that_was_packed_into_a_palette_is_not_taken_for_indices(tmp_path):
    order = np.array([3, 1, 0, 2])  # a packer's
    packed = np.argsort(order)[stripes(4)].astype(np.uint8)
    palette = OWN_COLOURS[order]
    path = write_png(tmp_path / "m.png", packed, kind=3, bits=8, palette=palette)
    with pytest.raises(InputError, match=says(path, "another order", "masks: colours")):
        LegendMasks(OWN).read(path)
    np.testing.assert_array_equal(LegendMasks(OWN, "colours").read(path), stripes(4))
    np.testing.assert_array_equal(LegendMasks(OWN, "indices").read(path), packed)


def test_a_palette_in_the_tables_own_order_says_one_thing(tmp_path):
    indices = stripes(4).copy()
    indices[0] = VOID
    palette = np.zeros((256, 3), np.uint8)
    palette[:4] = OWN_COLOURS
    path = write_png(tmp_path / "m.png", indices, kind=3, bits=8, palette=palette)
    np.testing.assert_array_equal(LegendMasks(OWN).read(path), indices)


# KITTI road


def test_kittis_truth_is_road_in_blue_where_red_is_valid(tmp_path):
    truth = np.zeros((2, 2, 3), np.uint8)  # BGR
    truth[0, 0] = (255, 0, 255)
    truth[0, 1] = (0, 0, 255)
    truth[1, 0] = (255, 0, 0)
    path = write(tmp_path / "gt_image_2" / "um_road_000000.png", truth)
    picture = write(tmp_path / "image_2" / "um_000000.png", noise(0, 2, 2))
    expected = [[1, 0], [VOID, VOID]]
    assert KittiRoadMasks().read(path).tolist() == expected
    assert read_kitti_road_truth(picture).tolist() == expected
    path.unlink()
    assert read_kitti_road_truth(picture) is None


# Damage


def encoded(suffix):
    return cv2.imencode(suffix, noise(0, 120, 160))[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_pictures_are_read_whole_or_named(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    content = encoded(suffix)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_picture(path), cv2.imread(str(path)))
    for length in (0, 3, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=says(path, "not a readable picture")):
            read_picture(path)


def test_a_damaged_png_is_named_and_leaves_standard_error_alone(tmp_path, capfd):
    content = bytearray(encoded(".png"))
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / "p.png"
    path.write_bytes(content)
    for read in (read_picture, LegendMasks(OWN).read):
        with pytest.raises(InputError, match=says(path, "damaged")):
            read(path)
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_cut_after_its_thumbnail_is_named(tmp_path):
    # The thumbnail in the EXIF has an end marker of its own.
    content = encoded(".jpg")
    exif = b"Exif\0\0" + encoded(".jpg")[:200] + b"\xff\xd9"
    content = content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:]
    path = tmp_path / "p.jpg"
    path.write_bytes(content)
    assert read_picture(path).shape == (120, 160, 3)
    path.write_bytes(content[:-400])
    with pytest.raises(InputError, match=says(path, "cut short")):
        read_picture(path)


def test_a_jpeg_is_turned_as_its_exif_says(tmp_path):
    content = encoded(".jpg")
    entry = struct.pack("<HHII", 0x0112, 3, 1, 6)  # orientation: turn right
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    exif = b"Exif\0\0" + tiff
    content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    path = tmp_path / "p.jpg"
    path.write_bytes(content)
    upright = cv2.imdecode(np.frombuffer(encoded(".jpg"), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_picture(path), np.rot90(upright, -1))


def test_a_mask_that_is_no_png_is_refused(tmp_path):
    path = write(tmp_path / "m.jpg", noise(0))
    with pytest.raises(InputError, match=says(path, "not a PNG")):
        LegendMasks(OWN).read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=says(tmp_path / "p.png", "No such file")):
        read_picture(tmp_path / "p.png")
