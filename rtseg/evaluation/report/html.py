"""The report's page: what is in it, put into the template, and written."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtseg import __version__
from rtseg.atomic import write_atomically
from rtseg.errors import require_extra
from rtseg.evaluation.confusion import ConfusionMatrix
from rtseg.evaluation.report import charts, contents, numbers
from rtseg.evaluation.report.findings import findings, quantiles
from rtseg.evaluation.report.pictures import ReportPicture, embed, views

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_FRAMES = 2000
"""The list of frames, and that of skipped ones, hold no more; the CSV and JSON hold all."""

_HERE = Path(__file__).resolve().parent
_VIEWS = ("picture", "truth", "prediction", "errors")
_BACKENDS = {
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
    "torch-tensorrt": "Torch-TensorRT",
}
_SPACES = {"perspective": "perspective (the camera’s picture)", "bev": "bird’s-eye view"}
_CATEGORIES = {
    "um_road": "UM, marked road",
    "umm_road": "UMM, several marked lanes",
    "uu_road": "UU, unmarked road",
    "urban_road": "URBAN, all three",
    "um_lane": "UM, own lane",
}
_KEYS = {
    "network": ("name", "sha256", "classes", "size"),
    "engine": ("backend", "precision", "device", "batch", "frames_in_flight"),
    "dataset": ("split", "folder", "note"),
    "counts": ("frames", "scored", "written", "skipped"),
    "scores": (
        "miou", "pixel_accuracy", "mean_accuracy", "mean_dice", "frequency_weighted_iou",
        "boundary_f1",
    ),
    "speed": ("seconds", "frames", "fps", "engine_fps", "efficiency"),
}  # fmt: skip
"""What the template reads of each part of the result; what a result lacks is None."""


def require_report() -> None:
    """Check that a report can be written; ``UsageError`` names what has to be installed."""
    require_extra("the HTML report", "report", "jinja2", "matplotlib")


def write_report(
    path: Path,
    result: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    pictures: Sequence[ReportPicture],
) -> None:
    """Write an evaluation as one HTML file that needs nothing beside it.

    Pictures and charts are inside, nothing is loaded from a network, and no script is needed to
    read it. The same arguments give the same bytes. Most reports stay below 5 MB.

    Args:
        path: The file to write, whole or not at all.
        result: What ``result.json`` holds.
        records: The records that ``result`` was reduced from, one a frame; the histograms of the
            classes' IoU and the precision–recall curve come from them.
        pictures: The frames to show, each kind in the order in which it is to be seen. A frame
            among the worst is not shown again among the best.

    Raises:
        UsageError: Jinja2 or Matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    require_report()
    page = _environment().get_template("page.html.j2").render(_values(result, records, pictures))
    # A file's name may hold bytes that are no text.
    write_atomically(path, page.encode("utf-8", "backslashreplace"))


def _whole(part: Mapping[str, Any] | None, keys: Sequence[str]) -> dict[str, Any]:
    return {**dict.fromkeys(keys), **(part or {})}


def _environment() -> Environment:
    """Make the templates' environment: all is escaped, and a name that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=numbers.percent,
        whole_percent=numbers.whole_percent,
        decimal=numbers.decimal,
        count=numbers.count,
        duration=numbers.duration,
        moment=numbers.moment,
        size=numbers.size,
        facts=numbers.facts,
    )
    return environment


def _values(
    result: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    pictures: Sequence[ReportPicture],
) -> dict[str, Any]:
    """Return what the template names."""
    from markupsafe import Markup

    rows = contents.class_rows(result, records)
    counts = contents.confusion_of(result)
    frames, frames_over = contents.frame_rows(result, records, MOST_FRAMES)
    own = [frame.get("miou") for frame in result.get("frames") or ()]
    mious = [float(miou) for miou in own if miou is not None]
    colours = contents.class_colours(result)
    skipped = list(result.get("skipped") or ())
    version = str(result.get("rtseg") or __version__)
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return {
        **{name: _whole(result.get(name), keys) for name, keys in _KEYS.items()},
        "backend": _BACKENDS.get(str((result.get("engine") or {}).get("backend"))),
        "version": version,
        "versions": {"rtseg": version, **(result.get("versions") or {})},
        "machine": result.get("machine"),
        "command": result.get("command"),
        "date": result.get("date"),
        "dataset_name": contents.dataset_name(result.get("dataset") or {}),
        "colours": colours,
        "rows": rows,
        "matrix": contents.matrix_rows(rows, counts) if rows else (),
        "matrix_over": max(0, len(rows) - contents.MOST_MATRIX),
        "findings": findings(rows, counts, mious, result),
        "quantiles": quantiles(mious),
        "frame_chart": _frame_chart(mious, result),
        "class_charts": [
            (row, charts.class_histogram(row.values, row.colour, f"IoU of {row.name}, by frame"))
            for row in rows
            if row.values
        ],
        "road": _road(result),
        "best_road": _headline(result),
        "road_chart": _road_chart(records),
        "shown": _shown(pictures, colours),
        "frames": frames,
        "frames_over": frames_over,
        "skipped": skipped[:MOST_FRAMES],
        "skipped_over": max(0, len(skipped) - MOST_FRAMES),
        "style": Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        # The browser runs this one script and no other, whatever names a page may hold.
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    }


def _frame_chart(mious: Sequence[float], result: Mapping[str, Any]) -> Any:
    if not mious:
        return None
    whole = (result.get("scores") or {}).get("miou")
    return charts.frame_histogram(mious, whole, "Histogram of the frames' own mIoU")


def _road(result: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, Mapping[str, Any]]]]]:
    """Return the spaces that were scored, each with its categories, by the names people know."""
    road = result.get("kitti_road") or {}
    return [
        (
            title,
            [(label, road[space][key]) for key, label in _CATEGORIES.items() if key in road[space]],
        )
        for space, title in _SPACES.items()
        if road.get(space)
    ]


def _headline(result: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the figure of KITTI road that its ranking goes by, and the space that it holds for."""
    road = result.get("kitti_road") or {}
    for space, title in (("bev", "bird’s-eye view, URBAN"), ("perspective", "perspective, URBAN")):
        if "urban_road" in (road.get(space) or {}):
            return title, road[space]["urban_road"]
    return None


def _road_chart(records: Sequence[Mapping[str, Any]]) -> Any:
    curves = [
        (title, *curve)
        for space, title in _SPACES.items()
        if (curve := contents.recall_curves(records, space)) is not None
    ]
    if not curves:
        return None
    return charts.recall_curves(curves, "Precision over recall of the road, by threshold")


def _shown(
    pictures: Sequence[ReportPicture], colours: Mapping[str, tuple[int, int, int]]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the frames to show: a heading, and what each frame's figure takes."""
    palette = list(colours.values())
    clear = [i for i, name in enumerate(colours) if contents.is_rest(name)]
    worst = [picture for picture in pictures if picture.kind == "worst"]
    names = {picture.name for picture in worst}
    best = [p for p in pictures if p.kind == "best" and p.name not in names]
    chosen = worst + best
    every = embed([view for picture in chosen for view in views(picture, palette, clear)])
    figures = [
        {
            "name": picture.name,
            "score": picture.score,
            "wrong": picture.wrong,
            "weakest": _weakest(picture, list(colours)),
            "views": list(zip(_VIEWS, every[4 * i : 4 * i + 4], strict=True)),
        }
        for i, picture in enumerate(chosen)
    ]
    if not best:
        return [("Frames, the worst first", figures)] if figures else []
    groups = [("Worst frames", figures[: len(worst)]), ("Best frames", figures[len(worst) :])]
    return [(title, group) for title, group in groups if group]


def _weakest(picture: ReportPicture, names: Sequence[str]) -> tuple[str, float] | None:
    """Return the class of the frame's truth with the lowest IoU; None where it has but one."""
    matrix = ConfusionMatrix(len(names))
    matrix.add(picture.truth, picture.mask)
    present = np.flatnonzero(matrix.counts.sum(1))
    if len(present) < 2:
        return None
    worst = int(present[np.argmin(matrix.iou[present])])
    return names[worst], float(matrix.iou[worst])
