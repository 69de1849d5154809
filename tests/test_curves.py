"""A training's figures: the table of rows, the curves, the confusion matrix."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="curves need the extra train")

from rtseg.errors import InputError, OutputError
from rtseg.training.curves import (
    read_rows_csv,
    write_confusion,
    write_curves,
    write_rows_csv,
)


def rows(epochs=6, classes=("road", "sky"), every=2):
    """Rows of a training that validates every second epoch, and is best at epoch 4."""
    made = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "train_loss": 1 / epoch, "learning_rate": 0.001 * epoch}
        if epoch % every == 0:
            score = 0.7 - 0.05 * abs(epoch - 4)
            row |= {"val_loss": 2 / epoch, "val_miou": score, "val_pixel_accuracy": score + 0.2}
            row |= {f"val_iou/{name}": score - 0.01 * i for i, name in enumerate(classes)}
        made.append(row)
    return made


def drawn(path, write, *arguments):
    """Return the file that ``write`` makes, as an array, and check that it is a whole PNG."""
    cv2 = pytest.importorskip("cv2")
    write(*arguments)
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return picture


def curves(tmp_path, made):
    path = tmp_path / "curves.png"
    return drawn(path, write_curves, made, path, "a run")


NUMBERS = st.floats(allow_nan=False, width=64)
KEYS = st.sampled_from(["epoch", "train_loss", "val_miou", "val_iou/road, wet", 'val_iou/"x"'])


@given(made=st.lists(st.dictionaries(KEYS, NUMBERS, min_size=1), min_size=1, max_size=6))
def test_rows_come_back_from_csv_as_they_were(tmp_path_factory, made):
    path = tmp_path_factory.mktemp("rows") / "metrics.csv"
    write_rows_csv(made, path)
    assert read_rows_csv(path) == made
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == list(dict.fromkeys(key for row in made for key in row))
    assert all(len(line) == len(header) for line in lines)


def test_a_longer_table_takes_the_place_of_the_shorter_one(tmp_path):
    path = tmp_path / "metrics.csv"
    write_rows_csv(rows(1), path)
    write_rows_csv(rows(4), path)
    assert read_rows_csv(path) == rows(4)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"epoch,loss\n1,high\n", b"epoch\n1,2\n", b"\xff\xfe\n1\n"])
def test_a_table_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"metrics\.csv: not a table of numbers"):
        read_rows_csv(path)
    with pytest.raises(InputError, match="cannot read this file"):
        read_rows_csv(tmp_path / "none.csv")


def test_values_that_are_missing_and_values_that_are_no_numbers_look_alike(tmp_path):
    made = rows()
    with_nan = [{**dict.fromkeys(made[1], math.nan), **row} for row in made]
    np.testing.assert_array_equal(curves(tmp_path, made), curves(tmp_path, with_nan))


def test_every_figure_is_drawn(tmp_path):
    made = rows()
    before = curves(tmp_path, made)
    for key in ("train_loss", "val_loss", "val_miou", "val_iou/sky", "learning_rate"):
        made = [{**row, key: row[key] * 0.8} if key in row else row for row in made]
        after = curves(tmp_path, made)
        assert (before != after).any(), key
        before = after


def test_the_best_epoch_is_marked_where_the_miou_is_highest(tmp_path):
    # The star is the only thing of its colour (#E69F00) where two classes are drawn.
    def star(made):
        picture = curves(tmp_path, made)
        found = np.argwhere((np.abs(picture.astype(int) - (0, 0x9F, 0xE6)) < 3).all(2))
        assert len(found) > 30
        return found[found[:, 0] < picture.shape[0] // 2].mean(0)

    made = rows(8)
    later = [{**row, "val_miou": 0.9} if row["epoch"] == 6 else row for row in made]
    at_4, at_6 = star(made), star(later)
    last = [{**row, "val_miou": 0.9} if row["epoch"] == 8 else row for row in made]
    at_8 = star(last)
    # Equal steps to the right; the legend's star stays where it is.
    assert at_6[1] - at_4[1] == pytest.approx(at_8[1] - at_6[1], abs=4)
    assert at_6[1] - at_4[1] > 20


@pytest.mark.parametrize("classes", [1, 14, 32])
def test_any_number_of_classes(tmp_path, classes):
    names = [f"a long name of class {i}" for i in range(classes)]
    picture = curves(tmp_path, rows(classes=names))
    assert picture.shape == (960, 1440, 3)
    # Nothing runs over the edge.
    assert (picture[:, -3:] == 255).all()
    assert (picture[:3] == 255).all()


def test_a_single_row_and_rows_without_any_figure(tmp_path):
    curves(tmp_path, rows(1))
    curves(tmp_path, [{"epoch": 1}])
    with pytest.raises(ValueError, match="at least one row"):
        write_curves([], tmp_path / "none.png", "a run")


def test_pyplot_and_its_global_state_are_left_alone(tmp_path):
    import sys

    before = "matplotlib.pyplot" in sys.modules
    curves(tmp_path, rows())
    assert ("matplotlib.pyplot" in sys.modules) == before


def confusion(tmp_path, matrix, names):
    path = tmp_path / "confusion.png"
    return drawn(path, write_confusion, np.array(matrix, np.int64), names, path)


def test_rows_of_the_confusion_matrix_are_shares_of_their_class(tmp_path):
    names = ["road", "sky"]
    one = confusion(tmp_path, [[3, 1], [10**12, 10**12]], names)
    np.testing.assert_array_equal(one, confusion(tmp_path, [[300, 100], [7, 7]], names))
    turned = confusion(tmp_path, [[3, 7], [1, 7]], names)
    assert one.shape != turned.shape or (one != turned).any()


def test_a_class_without_pixels_has_an_empty_row(tmp_path):
    picture = confusion(tmp_path, [[5, 0], [0, 0]], ["road", "sky"])
    assert (picture == 0xEE).all(2).mean() > 0.1  # two of four cells


@pytest.mark.parametrize("classes", [2, 32])
def test_the_confusion_matrix_of_any_number_of_classes(tmp_path, classes):
    matrix = np.eye(classes, dtype=np.int64) * 900 + 10
    picture = confusion(tmp_path, matrix, [f"class {i}" for i in range(classes)])
    assert picture.shape[0] > 60 * classes**0.9
    with pytest.raises(ValueError, match="is not of shape"):
        write_confusion(matrix, ["road"], tmp_path / "confusion.png")


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path):
    path = tmp_path / "none" / "file"
    for write in (
        lambda: write_rows_csv(rows(), path),
        lambda: write_curves(rows(), path, "a run"),
        lambda: write_confusion(np.eye(2, dtype=np.int64), ["road", "sky"], path),
    ):
        with pytest.raises(OutputError, match="cannot write this file"):
            write()
