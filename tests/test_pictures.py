"""Pictures of a training and of its data: sheets, the animation, the preview."""

import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need the extra train")
pytest.importorskip("albumentations", reason="augmentation needs the extra train")

from PIL import Image

from rtseg.cli.data import main
from rtseg.data.labels import CAMVID11, ROAD, VOID, ClassTable
from rtseg.errors import InputError, OutputError, UsageError
from rtseg.training.animation import write_animation
from rtseg.training.pictures import write_pictures
from rtseg.training.preview import write_preview

WRONG = (255, 70, 0)
TWO = ClassTable(("grass", "road"), ((0, 200, 0), (200, 0, 200)))


def sample(height=80, width=160):
    """A grey frame, and a truth whose lower half is class 1, with void in the upper left."""
    frame = np.full((height, width, 3), 100, np.uint8)
    truth = np.zeros((height, width), np.uint8)
    truth[height // 2 :] = 1
    truth[: height // 4, : width // 4] = VOID
    return frame, truth


def sheet(path, *samples, table=TWO, **options):
    """Write a sheet of (frame, truth, mask) and return it as RGB."""
    write_pictures(*zip(*samples, strict=True), table, path, **options)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def of_colour(picture, colour):
    return (picture == colour).all(2)


def test_wrong_pixels_are_marked_and_no_others(tmp_path):
    frame, truth = sample()
    good = np.where(truth == VOID, 1, truth).astype(np.uint8)  # void is never wrong
    bad = good.copy()
    bad[-20:, -40:] = 0  # a sixteenth of the picture
    right = of_colour(sheet(tmp_path / "a.png", (frame, truth, good)), WRONG)
    wrong = of_colour(sheet(tmp_path / "b.png", (frame, truth, bad)), WRONG)
    # The legend's swatch is in both; panels are 320 wide.
    assert (wrong ^ right).sum() == 320 * 160 / 16
    rows, columns = np.nonzero(wrong ^ right)
    assert columns.max() - columns.min() == 79
    assert rows.max() - rows.min() == 39


def test_what_is_predicted_where_there_is_no_truth_is_no_error(tmp_path):
    frame, truth = sample()
    mask = np.where(truth == VOID, 0, truth).astype(np.uint8)
    with_void = sheet(tmp_path / "a.png", (frame, truth, mask))
    without = sheet(tmp_path / "b.png", (frame, mask, mask))
    rows = np.nonzero((with_void != without).any(2))[0]
    # Only the void's own quarter of the panels: the share below, 0 %, is the same.
    assert 30 < rows.max() - rows.min() < 42


def test_truth_and_prediction_have_their_colours_side_by_side(tmp_path):
    frame, truth = sample()
    mask = 1 - np.where(truth == VOID, 0, truth).astype(np.uint8)
    picture = sheet(tmp_path / "a.png", (frame, truth, mask))
    # A class has 60 % of its colour over 40 % of the picture's grey of 100.
    grass, road = (np.array(colour) * 0.6 + 40 for colour in TWO.colours)
    panels = [np.argwhere(of_colour(picture, c.astype(np.uint8))) for c in (grass, road)]
    for places, truths, masks in zip(panels, ("upper", "lower"), ("lower", "upper"), strict=True):
        middle = (panels[0][:, 0].min() + panels[0][:, 0].max()) / 2
        for left, where in ((True, truths), (False, masks)):
            rows = places[(places[:, 1] < 664) == left][:, 0]
            assert len(rows) > 10_000
            assert ((rows < middle) == (where == "upper")).all()


def test_background_is_left_as_it_is(tmp_path):
    frame, truth = sample()
    picture = sheet(tmp_path / "a.png", (frame, truth, truth * 0), table=ROAD)
    assert of_colour(picture, (100, 100, 100)).sum() > 2 * 320 * 160  # picture and prediction


def test_sheets_of_a_run_have_one_size(tmp_path):
    frame, truth = sample()
    small = cv2.resize(truth, (32, 16), interpolation=cv2.INTER_NEAREST)
    first = sheet(tmp_path / "a.png", (frame, truth, truth * 0), caption="epoch 1")
    last = sheet(tmp_path / "b.png", (frame, truth, small), caption="epoch 100, a long caption")
    assert first.shape == last.shape
    assert (first != last).any()


def test_frames_of_different_shapes_and_many_classes_fit_on_a_sheet(tmp_path):
    names = tuple(f"a class with a very long name {i}" for i in range(32))
    table = ClassTable(names, tuple((i, 8 * i, 0) for i in range(32)))
    samples = [(*sample(height, width), np.zeros((9, 16), np.uint8)) for height, width in
               ((90, 320), (480, 100), (7, 9))]  # fmt: skip
    picture = sheet(tmp_path / "a.png", *samples, table=table, caption="x" * 500)
    assert picture.shape[1] == sheet(tmp_path / "b.png", samples[0]).shape[1]
    with pytest.raises(ValueError, match="at least one"):
        write_pictures([], [], [], table, tmp_path / "c.png")


def test_a_sheet_is_written_whole_or_not_at_all(tmp_path):
    frame, truth = sample()
    with pytest.raises(OutputError, match="cannot write this file"):
        write_pictures([frame], [truth], [truth], TWO, tmp_path / "none" / "a.png")
    sheet(tmp_path / "a.png", (frame, truth, truth))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def stills(folder, count, size=(120, 60)):
    paths = []
    for i in range(count):
        paths.append(folder / f"epoch-{i:04d}.png")
        picture = np.full((size[1], size[0], 3), 255, np.uint8)
        picture[10:30, i % 60 : i % 60 + 20] = (0, 0, 200)
        cv2.imwrite(str(paths[-1]), picture)
    return paths


def frames_of(path):
    with Image.open(path) as image:
        durations, frames = [], []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
        return frames, durations, image.info.get("loop")


@pytest.mark.parametrize("name", ["learning.gif", "learning.webp"])
def test_an_animation_shows_the_stills_in_order_for_ever(tmp_path, name):
    paths = stills(tmp_path, 5)
    write_animation(paths, tmp_path / name, fps=4)
    frames, durations, loop = frames_of(tmp_path / name)
    assert len(frames) == 5
    for path, frame in zip(paths, frames, strict=True):
        truth = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        assert np.abs(frame.astype(int) - truth).mean() < 3
    assert durations == [250] * 4 + [2500]
    assert loop == 0


def test_a_resumed_run_may_have_stills_of_other_sizes_and_broken_ones(tmp_path, caplog):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    paths = stills(old, 2, (300, 60)) + stills(new, 3, (200, 100))
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    write_animation(paths, tmp_path / "learning.gif", fps=2)
    frames, _, _ = frames_of(tmp_path / "learning.gif")
    assert [frame.shape for frame in frames] == [(100, 200, 3)] * 4
    assert "left out of the animation" in caplog.text


def test_many_stills_are_thinned_out_evenly_to_the_last(tmp_path):
    paths = stills(tmp_path, 100, (80, 40))
    write_animation(paths, tmp_path / "learning.gif", fps=10)
    frames, _, _ = frames_of(tmp_path / "learning.gif")
    assert len(frames) == 80
    last = cv2.cvtColor(cv2.imread(str(paths[-1])), cv2.COLOR_BGR2RGB)
    assert np.abs(frames[-1].astype(int) - last).mean() < 3


def test_an_animation_of_nothing_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="no pictures"):
        write_animation([], tmp_path / "learning.gif", fps=2)
    with pytest.raises(UsageError, match=r"\.gif or \.webp"):
        write_animation(stills(tmp_path, 2), tmp_path / "learning.mp4", fps=2)
    with pytest.raises(UsageError, match="above 0"):
        write_animation(stills(tmp_path, 2), tmp_path / "learning.gif", fps=0)


class Source:
    """Three labelled pictures of different sizes."""

    classes = CAMVID11

    def __init__(self, count=3):
        self.count = count

    def __len__(self):
        return self.count

    def name(self, index):
        return f"folder/picture-{index}.png"

    def read(self, index, chance=0):
        mask = np.zeros((60, 80 + 20 * index), np.uint8)
        mask[30:] = 3  # road
        mask[:6] = VOID
        if index == 1:
            mask[30:36] = 8  # car
        return np.full((*mask.shape, 3), 90, np.uint8), mask


def test_a_preview_counts_classes_and_writes_its_pictures(tmp_path):
    out = tmp_path / "deep" / "look"
    crop = [{"RandomResizedCrop": {"size": [32, 64]}}]
    found = write_preview(Source(), out, count=2, augmentation=crop)
    assert {file.name for file in out.iterdir()} == {
        "samples.png", "frequencies.png", "augmented.png",
    }  # fmt: skip
    assert all(cv2.imread(file) is not None for file in found["files"])
    assert (found["pictures"], found["counted"]) == (3, 3)
    assert found["no_class"] == pytest.approx(0.1)
    classes = found["classes"]
    assert classes["Sky"] == pytest.approx({"pixels": 0.4, "pictures": 1})
    assert classes["Car"] == pytest.approx({"pixels": 0.1 / 3, "pictures": 1 / 3})
    assert classes["Road"] == pytest.approx({"pixels": 0.5 - 0.1 / 3, "pictures": 1})
    assert classes["Tree"] == {"pixels": 0, "pictures": 0}
    assert sum(c["pixels"] for c in classes.values()) + found["no_class"] == pytest.approx(1)


def test_a_preview_follows_from_its_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_preview(Source(40), tmp_path / name, count=1, seed=seed)
    a, b, c = ((tmp_path / name / "samples.png").read_bytes() for name in "abc")
    assert a == b != c


def test_a_preview_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="no pictures"):
        write_preview(Source(0), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make this folder"):
        write_preview(Source(), tmp_path / "file")


def show(*arguments):
    """Run ``rtseg-data show``; returns the exit status."""
    return main(["show", *map(str, arguments)])


@pytest.fixture
def dataset(tmp_path):
    """CamVid's SegNet split, tiny."""
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        (tmp_path / f"{part}annot").mkdir()
        for i in range(2):
            mask = np.full((36, 48), 3, np.uint8)
            mask[:12] = 11
            cv2.imwrite(str(tmp_path / part / f"{i}.png"), np.full((36, 48, 3), 80, np.uint8))
            cv2.imwrite(str(tmp_path / f"{part}annot" / f"{i}.png"), mask)
    return tmp_path


RECIPE = """
data:
  classes: road
  train: [{kind: camvid, folder: x, split: train}]
  augmentation: [{RandomResizedCrop: {size: [32, 64]}}]
"""


def test_the_command_shows_a_dataset(dataset, tmp_path, capsys):
    out = tmp_path / "look"
    assert show(dataset, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "camvid, 2 pictures, 11 classes" in printed
    assert "not in the 2 counted pictures: Sky, Building" in printed
    assert {file.name for file in out.iterdir()} == {"samples.png", "frequencies.png"}


def test_the_command_takes_classes_and_augmentation_from_a_recipe(dataset, tmp_path, capsys):
    recipe, out = tmp_path / "mine.yaml", tmp_path / "look"
    recipe.write_text(RECIPE)
    assert show(dataset, "--out", out, "--recipe", recipe, "--split", "val") == 0
    assert "camvid, 2 pictures, 2 classes" in capsys.readouterr().out
    assert (out / "augmented.png").is_file()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("a: [", "not YAML"),
        ("model: {}", "data.classes is missing"),
        ("data: {classes: boats}", "boats: no such class table"),
        (RECIPE.replace("size:", "sizes:"), "RandomResizedCrop.sizes: no such argument"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(dataset, tmp_path, capsys, recipe, message):
    (tmp_path / "mine.yaml").write_text(recipe)
    assert show(dataset, "--out", tmp_path / "look", "--recipe", tmp_path / "mine.yaml") == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_command_needs_the_extra(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert show(dataset, "--out", tmp_path / "look") == 2
    assert "pip install 'rtseg[train]'" in capsys.readouterr().err


def test_real_pictures_are_shown(shared, tmp_path):
    folder = shared / "data" / "camvid"
    if not folder.is_dir():
        pytest.skip("no CamVid")
    out = tmp_path / "look"
    assert show(folder, "--out", out, "--split", "val", "--count", 2) == 0
    picture = cv2.imread(str(out / "samples.png"))
    assert picture.std() > 30
