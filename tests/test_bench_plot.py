"""The plot of ``rtseg-bench``: all points, no label over another, the front, a PNG."""

import itertools

import cv2
import numpy as np
import pytest
from test_bench_compare import made

from rtseg.errors import OutputError
from rtseg.evaluation.bench_result import front

pytest.importorskip("matplotlib")

from rtseg.cli.bench_plot import draw, write_plot


def result(count, *, crowd=1.0, without=0, spread=10.0):
    rng = np.random.default_rng(count)
    names = [f"network-{i}" for i in range(count)]
    found = made({name: 10 * spread ** (crowd * rng.random()) for name in names})
    for i, row in enumerate(found["rows"]):
        row["accuracy"]["miou"] = None if i < without else 0.9 + 0.05 * crowd * rng.random()
    found["front"] = front(found["rows"])
    return found


@pytest.mark.parametrize("crowd", [1.0, 0.05, 0.0])
@pytest.mark.parametrize("spread", [2.0, 30.0])
def test_no_label_covers_another_or_a_point(crowd, spread) -> None:
    found = result(8, crowd=crowd, spread=spread)
    figure = draw(found)
    figure.canvas.draw()
    (axes,) = figure.axes
    assert len(axes.texts) == 8
    boxes = [text.get_window_extent() for text in axes.texts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
        for row in found["rows"]:
            point = row["fps"]["median"], row["accuracy"]["miou"]
            assert not box.contains(*axes.transData.transform(point))
    assert axes.get_xscale() == ("log" if crowd == 1 and spread == 30 else "linear")


@pytest.mark.parametrize("without", [2, 8])
def test_engines_without_a_score_stand_on_a_strip_of_their_own(without, tmp_path) -> None:
    found = result(8, without=without)
    figure = draw(found)
    figure.canvas.draw()
    assert len(figure.axes) == (2 if without < 8 else 1)
    strip = figure.axes[0]
    assert len(strip.texts) == without
    inside = strip.get_window_extent()
    for text in strip.texts:
        box = text.get_window_extent()
        assert inside.x0 - 1 <= box.x0 < box.x1 <= figure.bbox.x1
    write_plot(found, tmp_path / "plot.png")
    assert cv2.imread(str(tmp_path / "plot.png")).shape[1] == 1300


def test_bars_are_the_intervals_and_the_line_is_the_front() -> None:
    found = result(5)
    axes = draw(found).axes[0]
    drawn = [tuple(line.get_xdata()) for line in axes.lines]
    for row in found["rows"]:
        assert tuple(row["fps"]["interval"]) in drawn
    best = [r for name in found["front"] for r in found["rows"] if name.startswith(r["network"])]
    assert tuple(row["fps"]["median"] for row in best) in drawn


def test_a_plot_that_cannot_be_written_is_told(tmp_path) -> None:
    with pytest.raises(OutputError, match=r"plot\.png"):
        write_plot(result(2), tmp_path / "no" / "plot.png")
