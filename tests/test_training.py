"""Recipes, losses, samples, and one training from end to end."""

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")
pytest.importorskip("albumentations", reason="training needs albumentations (extra train)")
yaml = pytest.importorskip("yaml", reason="training needs PyYAML (extra train)")
from safetensors.torch import load_file, save_file  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from rtseg.data.camvid import CamVid  # noqa: E402
from rtseg.data.drive import HELD_OUT_FRAMES  # noqa: E402
from rtseg.data.labels import CAMVID11, CAMVID11_VOID, ROAD, VOID  # noqa: E402
from rtseg.engine.export import load_checkpoint  # noqa: E402
from rtseg.errors import UsageError  # noqa: E402
from rtseg.models import MobileNetV2, build  # noqa: E402
from rtseg.training import fit as fitting  # noqa: E402
from rtseg.training.__main__ import main  # noqa: E402
from rtseg.training.losses import dice_loss, segmentation_loss  # noqa: E402
from rtseg.training.recipe import Recipe  # noqa: E402
from rtseg.training.samples import TrainingSamples  # noqa: E402

# Losses


@st.composite
def logits_and_targets(draw):
    classes, seed = draw(st.integers(2, 5)), draw(st.integers(0, 1 << 30))
    rng = np.random.default_rng(seed)
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    logits = rng.normal(0, 3, (shape[0], classes, *shape[1:]))
    target = rng.integers(0, classes, shape)
    target[rng.random(shape) < draw(st.sampled_from([0, 0.3, 0.9]))] = VOID
    target[0, 0, 0] = 0  # at least one pixel is known
    return logits, target


@given(logits_and_targets())
def test_cross_entropy_is_the_mean_over_known_pixels(pair):
    logits, target = pair
    terms = []
    for n, y, x in np.argwhere(target != VOID):
        scores = logits[n, :, y, x]
        terms.append(math.log(np.exp(scores).sum()) - scores[target[n, y, x]])
    loss = segmentation_loss(torch.from_numpy(logits), torch.from_numpy(target), 0.0)
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-4, abs=1e-6)


@given(logits_and_targets())
def test_dice_is_its_plain_formula(pair):
    logits, target = pair
    known = target != VOID
    exp = np.exp(logits - logits.max(1, keepdims=True))
    probability = exp / exp.sum(1, keepdims=True)
    scores = []
    for c in range(logits.shape[1]):
        p, t = probability[:, c][known], (target == c)[known]
        scores.append((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    loss = dice_loss(torch.from_numpy(logits), torch.from_numpy(target))
    assert float(loss) == pytest.approx(1 - np.mean(scores), rel=1e-6)


def test_dice_on_a_worked_example():
    # Two classes, four pixels, one of them void; the probability of class 1 is 3/4, 1/2, 1/4.
    odds = torch.tensor([3.0, 1.0, 1 / 3, 5.0]).log().view(1, 1, 1, 4)
    logits = torch.cat([torch.zeros_like(odds), odds], 1)
    target = torch.tensor([[[1, 1, 0, VOID]]])
    # Class 0: overlap 3/4, sums 3/2 and 1; class 1: overlap 5/4, sums 3/2 and 2.
    expected = 1 - ((1.5 + 1) / (2.5 + 1) + (2.5 + 1) / (3.5 + 1)) / 2
    assert float(dice_loss(logits, target)) == pytest.approx(expected)


def test_the_loss_is_cross_entropy_plus_weighted_dice():
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    expected = F.cross_entropy(logits, target) + 0.7 * dice_loss(logits, target)
    torch.testing.assert_close(segmentation_loss(logits, target, 0.7), expected)


def test_a_perfect_answer_costs_nothing():
    target = torch.randint(0, 3, (1, 16, 16))
    logits = F.one_hot(target, 3).permute(0, 3, 1, 2) * 60.0
    assert float(segmentation_loss(logits, target, 1.0)) == pytest.approx(0, abs=1e-5)


def test_smaller_logits_are_upsampled_first():
    logits, target = torch.randn(1, 2, 4, 6), torch.randint(0, 2, (1, 8, 12))
    large = F.interpolate(logits, (8, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        segmentation_loss(logits, target, 0.5), segmentation_loss(large, target, 0.5)
    )


def test_void_pixels_move_no_weight():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    target = torch.randint(0, 3, (1, 4, 4))
    target[0, :2] = VOID
    segmentation_loss(logits, target, 1.0).backward()
    assert not logits.grad[:, :, :2].any()
    assert logits.grad[:, :, 2:].any()


# Recipes


RECIPE = {
    "architecture": "unet-mobilenetv2",
    "options": {"width": 0.35, "widths": [16, 16, 8, 8], "logits_stride": 2},
    "classes": ["background", "road"],
    "palette": [[0, 0, 0], [0, 200, 90]],
    "size": [96, 64],
    "epochs": 2,
    "batch": 2,
    "dice_weight": 0.5,
    "ema": 0.5,
}


@pytest.fixture
def recipe_file(tmp_path):
    """Write a recipe; a change of ``...`` leaves the key out."""

    def write(**changes):
        path = tmp_path / "recipe.yaml"
        values = {k: v for k, v in {**RECIPE, **changes}.items() if v is not ...}
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return str(path)

    return write


def test_a_recipe_is_read(recipe_file):
    recipe = Recipe.load(recipe_file(learning_rate=0.01))
    assert (recipe.architecture, recipe.size, recipe.epochs) == ("unet-mobilenetv2", [96, 64], 2)
    assert (recipe.learning_rate, recipe.options["width"]) == (0.01, 0.35)


def test_the_installed_recipe_is_found_by_its_name():
    recipe = Recipe.load("road-unet")
    assert recipe.classes == ["background", "road"]
    with torch.device("meta"):
        build(recipe.architecture, len(recipe.classes), **recipe.options)
    # Seeds below 100 are held out for validation.
    assert recipe.data["drive_seeds"][0] >= 100
    assert max(seed for seed, _ in HELD_OUT_FRAMES) < 100


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epocs": 3}, "unknown key 'epocs'"),
        ({"architecture": ...}, "key 'architecture' is missing"),
        ({"classes": ...}, "key 'classes' is missing"),
        ({"palette": ...}, "key 'palette' is missing"),
        ({"size": ...}, "key 'size' is missing"),
        ({"epochs": ...}, "key 'epochs' is missing"),
        ({"architecture": 5}, "key 'architecture'"),
        ({"classes": "road"}, "key 'classes'"),
        ({"classes": ["road"]}, "key 'classes'"),
        ({"classes": ["road", "road"]}, "key 'classes'"),
        ({"palette": [[0, 0, 0]]}, "key 'palette'"),
        ({"palette": [[0, 0, 0], [0, 256, 0]]}, "key 'palette'"),
        ({"palette": [[0, 0, 0], "green"]}, "key 'palette'"),
        ({"size": [96]}, "key 'size'"),
        ({"size": [0, 64]}, "key 'size'"),
        ({"size": "96x64"}, "key 'size'"),
        ({"epochs": 0}, "key 'epochs'"),
        ({"epochs": "many"}, "key 'epochs'"),
        ({"batch": 1.5}, "key 'batch'"),
        ({"options": [1]}, "key 'options'"),
        ({"data": None}, "key 'data'"),
        ({"seed": "one"}, "key 'seed'"),
        ({"learning_rate": "fast"}, "key 'learning_rate'"),
        ({"learning_rate": float("nan")}, "key 'learning_rate'"),
        ({"weight_decay": -1}, "key 'weight_decay'"),
        ({"ema": 1.5}, "key 'ema'"),
    ],
)
def test_a_bad_recipe_names_the_file_and_the_key(recipe_file, changes, says):
    path = recipe_file(**changes)
    with pytest.raises(UsageError, match=says) as caught:
        Recipe.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"classes: [a, b", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"- a\n- b\n", "a recipe is a mapping"),
        (b"", "a recipe is a mapping"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, says):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says) as caught:
        Recipe.load(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no-such-recipe", "gone.yaml"])
def test_a_recipe_that_is_not_there_is_named(name):
    with pytest.raises(UsageError, match=f"{name}: no such recipe"):
        Recipe.load(name)


# Samples


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """Pictures of 96x72 with a grey road below a blue sky, and void in one corner."""
    folder = tmp_path_factory.mktemp("camvid")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        (folder / split).mkdir()
        (folder / f"{split}annot").mkdir()
        for i in range(count):
            frame = np.empty((72, 96, 3), np.uint8)
            mask = np.full((72, 96), CAMVID11.names.index("Sky"), np.uint8)
            horizon = 30 + 3 * i
            frame[:horizon], frame[horizon:] = (220, 150, 90), (90, 90, 90)
            mask[horizon:] = CAMVID11.names.index("Road")
            mask[:5, :5] = CAMVID11_VOID
            noise = rng.integers(-20, 20, frame.shape)
            cv2.imwrite(
                str(folder / split / f"{i}.png"), np.clip(frame + noise, 0, 255).astype(np.uint8)
            )
            cv2.imwrite(str(folder / f"{split}annot" / f"{i}.png"), mask)
    return folder


def samples_of(camvid, **options):
    return TrainingSamples(CamVid(camvid, "train", ROAD), ROAD, (96, 64), **options)


def test_samples_are_rgb_pictures_and_masks_of_the_recipes_size(camvid):
    samples = samples_of(camvid, camvid_repeats=3, drive_samples=2)
    assert len(samples) == 14
    torch.manual_seed(0)
    seen = set()
    for i in (*range(4), 11, 12, 13):
        picture, mask = samples[i]
        assert (tuple(picture.shape), picture.dtype) == ((3, 64, 96), torch.uint8)
        assert (tuple(mask.shape), mask.dtype) == ((64, 96), torch.int64)
        seen |= set(mask.unique().tolist())
    assert {0, 1} <= seen <= {0, 1, VOID}


def test_the_sky_of_a_sample_is_blue(camvid):
    # Of RGB the last; most augmentations leave the sky bluer than red.
    samples = samples_of(camvid)
    torch.manual_seed(0)
    bluer = []
    for i in range(24):
        picture, mask = samples[i % 4]
        sky = mask == 0
        if sky.any():
            red, _, blue = (float(channel[sky].float().mean()) for channel in picture)
            bluer.append(blue > red)
    assert np.mean(bluer) > 0.7


def test_samples_are_decided_by_torchs_seed(camvid):
    def draw(seed):
        torch.manual_seed(seed)
        samples = samples_of(camvid, drive_samples=1)
        return [samples[i] for i in (0, 1, 1, 4)]

    first, again, other = draw(7), draw(7), draw(8)
    for (a, mask_a), (b, mask_b) in zip(first, again, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(mask_a, mask_b)
    assert not torch.equal(first[0][0], other[0][0])
    assert not torch.equal(first[1][0], first[2][0])


# A whole training


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mobilenet.safetensors"
    torch.manual_seed(0)
    save_file(MobileNetV2(width=0.35).state_dict(), path)
    return path


@pytest.fixture
def train(camvid, encoder, tmp_path, monkeypatch, capsys):
    """Run the command; gives its status, what it printed, and the folder it wrote to."""
    monkeypatch.setattr(fitting, "HELD_OUT_FRAMES", ((0, 37),))

    def run(recipe, *more, camvid=camvid, encoder=encoder):
        out = tmp_path / "run"
        status = main(
            [recipe, "--camvid", str(camvid), "--encoder", str(encoder), "--out", str(out), *more]
        )
        return status, capsys.readouterr(), out

    return run


@pytest.mark.slow
def test_a_training_writes_a_checkpoint_that_can_be_loaded(train, recipe_file, encoder):
    status, printed, out = train(recipe_file(seed=3))
    assert status == 0
    assert printed.err == ""
    assert {p.name for p in out.iterdir()} == {
        "log.jsonl", "best.safetensors", "last.safetensors",
    }  # fmt: skip
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert 0 <= rows[-1]["camvid_val_miou"] <= 1
    assert len(rows[-1]["camvid_val_iou"]) == len(rows[-1]["drive_iou"]) == 2

    model, spec = load_checkpoint(out / "best.safetensors")
    assert (spec.width, spec.height) == (96, 64)
    assert spec.classes == ("background", "road")
    assert spec.palette == ((0, 0, 0), (0, 200, 90))
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, 64, 96))
    assert logits.shape == (1, 2, 32, 48)
    start = load_file(encoder)
    moved = [
        key
        for key, value in model.encoder.state_dict().items()
        if key.endswith("conv.0.0.weight") and not torch.equal(value, start[key])
    ]
    assert moved


@pytest.mark.slow
def test_a_training_is_decided_by_its_seed(train, recipe_file):
    def losses(seed):
        _, _, out = train(recipe_file(seed=seed, epochs=1))
        return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]

    assert losses(3) == pytest.approx(losses(3), abs=2e-3)
    assert losses(3) != pytest.approx(losses(4), abs=2e-3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "segnet"}, "unknown architecture 'segnet'"),
        ({"options": {"sparkle": 1}}, "'options' do not fit"),
        ({"options": {"logits_stride": 3}}, "logits_stride is 3"),
        ({"data": {"sparkle": 1}}, "'data' does not fit"),
        ({"batch": 5}, "'batch' is 5, but an epoch has 4 samples"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_one_line_with_status_2(
    train, recipe_file, changes, says
):
    status, printed, _ = train(recipe_file(**changes))
    assert status == 2
    assert says in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("content", [None, b"no tensors", "other"])
def test_encoder_weights_that_do_not_fit_are_one_line(train, recipe_file, tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content == "other":
        save_file({"features.0.0.weight": torch.zeros(1)}, path)
    elif content is not None:
        path.write_bytes(content)
    status, printed, _ = train(recipe_file(), encoder=path)
    assert status == 1
    assert f"{path}: not this encoder's weights" in printed.err
    assert printed.err.count("\n") == 1


def test_a_missing_data_set_is_one_line(train, recipe_file, tmp_path):
    status, printed, _ = train(recipe_file(), camvid=tmp_path / "gone")
    assert status == 1
    assert str(tmp_path / "gone") in printed.err
    assert printed.err.count("\n") == 1


def test_an_unknown_recipe_is_one_line_with_status_2(train):
    status, printed, _ = train("no-such-recipe")
    assert status == 2
    assert "no-such-recipe" in printed.err
    assert printed.err.count("\n") == 1
