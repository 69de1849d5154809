"""Augmentation declared in recipes: what it does to pictures and masks, and what it refuses."""

import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("albumentations", reason="augmentation needs the extra train")
yaml = pytest.importorskip("yaml", reason="recipes need the extra train")

from rtseg.data.labels import CAMVID11, VOID  # noqa: E402
from rtseg.errors import UsageError  # noqa: E402
from rtseg.training.augmentation import build_augmentation  # noqa: E402

RECIPE = """
- RandomResizedCrop: {size: [48, 96], scale: [0.3, 1.0], ratio: [0.9, 3.6]}
- HorizontalFlip: {p: 0.5}
- Affine: {rotate: [-20, 20], p: 0.5}
- OneOf: {p: 0.5, transforms: [{GaussianBlur: {blur_limit: [3, 5]}}, {MotionBlur: {}}]}
- RandomBrightnessContrast
- GaussNoise: {p: 0.3}
"""


def build(text, **options):
    return build_augmentation(yaml.safe_load(text), **options)


@pytest.fixture(scope="module")
def augment():
    return build(RECIPE)


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (90, 160, 3), np.uint8)
    mask = rng.integers(0, 4, (9, 16), np.uint8).repeat(10, 0).repeat(10, 1)
    return frame, mask


def fingerprint(result):
    return hashlib.sha256(b"".join(array.tobytes() for array in result)).hexdigest()


def test_gives_channels_first_rgb_of_the_declared_size(sample):
    augment = build("- Resize: {height: 90, width: 160}")
    picture, mask = augment(*sample, 0)
    assert augment.size == (160, 90)
    assert picture.shape == (3, 90, 160)
    assert picture.dtype == mask.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert mask.flags.c_contiguous
    np.testing.assert_array_equal(picture, sample[0][..., ::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(mask, sample[1])


def test_leaves_the_callers_arrays_alone_and_gives_others(sample):
    frame, mask = sample
    before = frame.copy(), mask.copy()
    picture, target = build("- Resize: {height: 90, width: 160}")(frame, mask, 0)
    picture[:], target[:] = 0, 0
    np.testing.assert_array_equal(frame, before[0])
    np.testing.assert_array_equal(mask, before[1])


def test_follows_from_the_chance_alone(augment, sample):
    first = [fingerprint(augment(*sample, chance)) for chance in range(12)]
    again = [fingerprint(augment(*sample, chance)) for chance in reversed(range(12))]
    assert first == again[::-1]
    assert len(set(first)) == 12


def test_is_the_same_in_another_process_which_asks_nobody_for_a_newer_version(augment, sample):
    code = (
        "import hashlib, pickle, sys, urllib.request\n"
        "def asked(*_): raise SystemExit('asked')\n"
        "urllib.request.build_opener = asked\n"
        "augment, sample = pickle.loads(sys.stdin.buffer.read())\n"
        "augment(*sample, 99)\n"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in augment(*sample, 2**62 + 5))).hexdigest())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((augment, sample)),
        env={**environment, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().strip() == fingerprint(augment(*sample, 2**62 + 5))


def test_transforms_decide_independently_of_each_other():
    # Seeded alike, a flip and an inversion of the same p would always come together.
    augment = build(
        "[{Resize: {height: 4, width: 4}}, HorizontalFlip: {p: 0.5}, InvertImg: {p: 0.5}]"
    )
    frame = np.zeros((4, 4, 3), np.uint8)
    mask = np.zeros((4, 4), np.uint8)
    mask[:, 0] = 1
    counts = np.zeros((2, 2), int)
    for chance in range(400):
        picture, target = augment(frame, mask, chance)
        counts[int(target[0, 0] == 0), int(picture[0, 0, 0] == 255)] += 1
    assert counts.min() > 60  # 100 each; below 60 with a probability of 1e-6


def test_mask_moves_with_its_picture_and_keeps_its_values(sample):
    mask = sample[1]
    frame = np.repeat(mask[..., None] * 50, 3, 2)
    augment = build(
        "[{RandomResizedCrop: {size: [64, 64], interpolation: INTER_NEAREST_EXACT}},"
        " {HorizontalFlip: {p: 0.5}}, {Rotate: {limit: 40, interpolation: INTER_NEAREST, p: 1}}]"
    )
    for chance in range(8):
        picture, target = augment(frame, mask, chance)
        known = target != VOID
        assert set(np.unique(target[known])) <= {0, 1, 2, 3}
        assert np.mean(picture[0][known] == 50 * target[known]) > 0.99
        assert known.mean() < 1  # a turn uncovers corners


def lag(text):
    """By how many pixels, on the average, an edge in the mask lies beside the picture's."""
    mask = np.zeros((60, 80), np.uint8)
    mask[:, 37:] = 1
    frame = np.repeat(mask[..., None] * 255, 3, 2)
    augment = build(text)
    sums = np.zeros(2)
    for chance in range(200):
        picture, target = augment(frame, mask, chance)
        sums += picture[0].mean() / 255, target.mean()
    return (sums[0] - sums[1]) / 200 * target.shape[1]


def test_a_resized_mask_lies_where_its_picture_does():
    crop = "RandomResizedCrop: {size: [48, 96], scale: [0.5, 1.0], ratio: [1.0, 2.0]"
    assert abs(lag(f"- {crop}}}")) < 0.03
    assert lag(f"- {crop}, mask_interpolation: INTER_NEAREST}}") > 0.1  # what it is there against


def test_a_choice_of_crops_has_one_size():
    choice = "OneOf: {transforms: [{RandomResizedCrop: {size: [32, 64], p: 0.6}},"
    assert build(f"- {choice} {{Resize: {{height: 32, width: 64, p: 0.4}}}}], p: 1}}").size == (
        64,
        32,
    )
    with pytest.raises(UsageError, match="different sizes"):
        build(f"- {choice} {{Resize: {{height: 32, width: 64}}}}], p: 0.5}}")


@pytest.mark.parametrize(("more", "fill"), [("", VOID), (", fill_mask: 2", 2)])
def test_what_a_transform_uncovers_is_void_unless_the_recipe_says_otherwise(more, fill):
    augment = build(
        f"[{{Resize: {{height: 64, width: 64}}}}, {{Rotate: {{limit: [45, 45], p: 1{more}}}}}]"
    )
    _, target = augment(np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 7, np.uint8), 0)
    assert set(np.unique(target)) == {7, fill}
    assert target[0, 0] == fill


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- HorizontalFlp: {}", r"data.augmentation\[0\].HorizontalFlp: .*mean HorizontalFlip"),
        ("- os.system: {}", r"\[0\].os.system: no such transform"),
        ("- Lambda: {}", r"\[0\].Lambda: no such transform"),
        ("- ToTensorV2", r"\[0\].ToTensorV2: no such transform"),
        (
            "[HorizontalFlip, OneOf: {transforms: [{GaussianBlur: {blur_limt: 3}}]}]",
            r"^data.augmentation\[1\].OneOf.transforms\[0\].GaussianBlur.blur_limt: no such argument"
            ".*blur_limit",
        ),
        ("- RandomResizedCrop: {size: [9, 9], scale: [3, 1]}", r"Crop.scale: is \[3, 1\]: .*<= 1"),
        ("- RandomResizedCrop: {}", r"RandomResizedCrop.size: is missing"),
        ("- RandomResizedCrop: {size: 3}", "RandomResizedCrop.size: is 3: .*tuple"),
        ("- HorizontalFlip: {p: 2}", "HorizontalFlip.p: is 2"),
        ("- OneOf: {p: often, transforms: [HorizontalFlip]}", "OneOf.p: is 'often'"),
        ("- OneOf: {transforms: []}", "OneOf.transforms: is empty"),
        ("- OneOf: {p: 1}", "OneOf.transforms: is missing"),
        ("- SomeOf: {n: 3, transforms: [HorizontalFlip]}", r"SomeOf: `n` is greater"),
        ("- Resize: {height: 8, width: 8, interpolation: INTER_BEST}", "OpenCV has no INTER_BEST"),
        ("- HorizontalFlip: 3", "HorizontalFlip: its arguments are a mapping"),
        ("HorizontalFlip: {}", "data.augmentation: is a list"),
        ("- {HorizontalFlip: {}, VerticalFlip: {}}", r"\[0\]: is one transform"),
        ("- HorizontalFlip", "different sizes"),
        ("- RandomCrop: {height: 64, width: 64, p: 0.99}", "different sizes"),
        ("[{Resize: {height: 8, width: 16}}, {RandomRotate90: {p: 0.01}}]", "different sizes"),
        ("[{Resize: {height: 8, width: 8}}, Normalize]", "float32"),
        ("- RandomCrop: {height: 9000, width: 9000}", "cannot augment a picture"),
        ("- RareClassCrop: {size: [8, 8], candidates: 0}", "candidates: is 0"),
        ("- RareClassCrop: {size: [8, 8], classes: [tram]}", "classes: no class 'tram': one of Sky"),
        ("- RareClassCrop: {size: [8, 8], classes: [11]}", "classes: no class 11"),
    ],
)  # fmt: skip
def test_refuses_in_one_line_that_names_the_place(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        build(text, classes=CAMVID11)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 2


def test_refuses_a_picture_that_the_crop_does_not_fit_into():
    augment = build("- RandomCrop: {height: 300, width: 1200}")
    assert augment.size == (1200, 300)
    with pytest.raises(UsageError, match=r"cannot augment a picture of 160x90: .*exceeds"):
        augment(np.zeros((90, 160, 3), np.uint8), np.zeros((90, 160), np.uint8), 0)


def test_refuses_another_size_that_only_a_picture_of_its_own_shows():
    augment = build("- PadIfNeeded: {min_height: 1000, min_width: 1000}")
    with pytest.raises(UsageError, match="makes 1300x1000 of a picture of 1300x90, but 1000x1000"):
        augment(np.zeros((90, 1300, 3), np.uint8), np.zeros((90, 1300), np.uint8), 0)


def test_rare_class_crop_finds_what_a_plain_crop_mostly_misses():
    mask = np.zeros((120, 160), np.uint8)
    mask[100:110, 140:150] = 9  # Pedestrian
    frame = np.zeros((120, 160, 3), np.uint8)
    crop = "{size: [32, 32], scale: [0.1, 0.2]"

    def share(text):
        augment = build(text, classes=CAMVID11)
        return np.mean([(augment(frame, mask, chance)[1] == 9).any() for chance in range(60)])

    plain = share(f"- RandomResizedCrop: {crop}}}")
    assert plain < 0.3
    assert share(f"- RareClassCrop: {crop}, candidates: 20, classes: [pedestrian]}}") > 0.6
    assert share(f"- RareClassCrop: {crop}, candidates: 20}}") > 0.6  # the most even mix of classes


def test_rare_class_crop_without_the_class_is_a_plain_crop(sample):
    frame, mask = sample
    crop = "{size: [32, 32], scale: [0.1, 0.5]"
    rare = build(f"- RareClassCrop: {crop}, classes: [200]}}")
    # The first of equal candidates is taken, and it is drawn as the plain crop's only one.
    plain = build(f"- RandomResizedCrop: {crop}}}")
    assert fingerprint(rare(frame, mask, 3)) == fingerprint(plain(frame, mask, 3))
