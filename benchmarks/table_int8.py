"""The table of INT8: what it costs and what it saves, beside other quantisers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.int8 import MOST_LOST
from benchmarks.result_words import read, sized, source

_LABELS = {"fp32": "FP32", "int8": "INT8, published (NNCF)"}


def int8(folder: Path) -> list[str]:
    """Give the table of ``int8.json``: each network in each arithmetic."""
    result = read(folder, "int8")
    figures, settings = result["figures"], result["settings"]
    lines = [
        "| network | arithmetic | CamVid val mIoU | lost | ms a frame | times the default |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in figures["networks"].items():
        told = settings["networks"][name]
        default = values["accuracy"]["default"]["miou"]
        for kind, spread in values["ms"].items():
            label = _LABELS.get(kind, f"INT8, {kind}")
            if kind == "default":
                label = f"{told['default'].upper()}, the default"
            miou = values["accuracy"][kind]["miou"]
            lost = "" if kind == "default" else f"{round(default - miou, 4) + 0.0:.4f}"
            lines.append(
                f"| `{name}` {sized(told['size'])} | {label} | {miou:.4f} | {lost} | "
                f"{spread['median']:.2f} | {_speed(values, kind)} |"
            )
    quiet = figures["quiet"]
    paying = [f"`{name}`" for name, values in figures["networks"].items() if values["pays"]]
    note = (
        f"On OpenVINO, {settings['rounds']} rounds in turns, {quiet['quiet_rounds']} of them quiet. "
        f"“Lost” and “times” are against the default. INT8 pays, by losing at most {MOST_LOST} and "
        f"being faster in three rounds of four, for {', '.join(paying) or 'none'}."
    )
    versions = result["versions"]
    return [*lines, "", note, "", f"{source(result)} NNCF {versions['nncf']}."]


def _speed(values: dict[str, Any], kind: str) -> str:
    """How many times as fast as the default."""
    if kind == "default":
        return "1"
    if kind == "fp32":
        return f"{values['ms']['default']['median'] / values['ms']['fp32']['median']:.2f}"
    own = values if kind == "int8" else values["beside"][kind]
    return f"{own['speed_up']['default']['of_medians']:.2f}"
