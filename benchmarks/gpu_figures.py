"""What follows from the measurements: floors, the distance to them, ratios, and the figures aimed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpu_plan import EAGER, OURS

BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1}

AIMS = {
    "frame_to_mask_p50_ms": ("frame to mask, p50", "≤", 0.6, "ms"),
    "p99_to_p50": ("frame to mask, p99 / p50", "≤", 1.5, "×"),
    "masks_per_second": ("masks a second, frames in flight", "≥", 3000.0, "/s"),
    "times_torch_eager_fp32": ("times torch eager FP32, frame to mask", "≥", 8.0, "×"),
}
"""What is aimed at on an H200-class GPU, at 512×256 and batch 1."""


def floors(
    costs: Mapping[str, Any], ceilings: Mapping[str, Any], precision: str, batch: int
) -> dict[str, float | None]:
    """Return the least times of one run, ms; None where a cost or a ceiling is not known.

    ``bytes_ms``: frames in, masks out and the weights once, over the bandwidth; everything in between
    would have to stay on the chip. ``operations_ms``: all operations over the rate of a large product
    at this precision. ``floor_ms`` is the greater of the two: no version runs faster.
    ``layers_ms`` is no floor: the bytes if every convolution read and wrote memory.
    """
    size = BYTES.get(precision)
    bandwidth = ceilings.get("bytes_per_second")
    rate = ceilings.get("operations_per_second", {}).get(precision)
    known = "operations" in costs
    least = layers = operations = None
    if known and size and bandwidth:
        weights = costs["weights"] * size
        outside = batch * (costs["frame_bytes"] + costs["mask_bytes"])
        least = (outside + weights) / bandwidth * 1e3
        layers = (outside + weights + batch * costs["activations"] * size) / bandwidth * 1e3
    if known and rate:
        operations = batch * costs["operations"] / rate * 1e3
    both = [value for value in (least, operations) if value is not None]
    return {
        "bytes_ms": least,
        "operations_ms": operations,
        "floor_ms": max(both) if len(both) == 2 else None,
        "layers_ms": layers,
    }


def of_cell(
    cell: Mapping[str, Any], costs: Mapping[str, Any], ceilings: Mapping[str, Any]
) -> dict[str, Any]:
    """Derive a row for each contender of a cell that ran."""
    ran = {n: c for n, c in cell["contenders"].items() if "frame_to_mask_ms" in c}
    eager = ran.get(EAGER)
    rows = {}
    for name, found in ran.items():
        least = floors(costs, ceilings, found["precision"], cell["batch"])
        # Where the device shows no time of its own, all that is between frame and mask counts.
        by = "device_back_to_back_ms" if "device_back_to_back_ms" in found else "frame_to_mask_ms"
        engine_ms = found[by]["p50"]
        latency = found["frame_to_mask_ms"]
        row = {
            "floors": least,
            "engine_ms": engine_ms,
            "engine_ms_by": by,
            "times_the_floor": engine_ms / least["floor_ms"] if least["floor_ms"] else None,
            "times_the_layers": engine_ms / least["layers_ms"] if least["layers_ms"] else None,
            "p99_to_p50": latency["p99"] / latency["p50"],
        }
        if eager is not None:
            row["times_torch_eager_fp32"] = eager["frame_to_mask_ms"]["p50"] / latency["p50"]
            if "masks_per_second" in found and "masks_per_second" in eager:
                row["times_its_throughput"] = found["masks_per_second"] / eager["masks_per_second"]
            row["same_run"] = found.get("run") == eager.get("run")
        rows[name] = row
    return rows


def aims(cells: Sequence[Mapping[str, Any]], rows: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Hold the TensorRT FP16 engines of the most important cells to :data:`AIMS`.

    What was not measured is there with None, and ``reached`` is None then.
    """
    found = []
    for cell in cells:
        if cell["level"] != 0:
            continue
        contender = cell["contenders"].get(OURS, {})
        row = rows.get(cell["key"], {}).get(OURS, {})
        measured = {
            "frame_to_mask_p50_ms": contender.get("frame_to_mask_ms", {}).get("p50"),
            "p99_to_p50": row.get("p99_to_p50"),
            "masks_per_second": contender.get("masks_per_second"),
            "times_torch_eager_fp32": row.get("times_torch_eager_fp32"),
        }
        for key, (what, sign, aim, unit) in AIMS.items():
            value = measured[key]
            reached = None if value is None else (value <= aim if sign == "≤" else value >= aim)
            found.append(
                {
                    "cell": cell["key"], "figure": key, "what": what, "sign": sign, "aim": aim,
                    "unit": unit, "measured": value, "reached": reached,
                }
            )  # fmt: skip
    return found


def not_measured(
    planned: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """List what is missing and why: whole cells, contenders, and their accuracy."""
    begun = {cell["key"]: cell for cell in cells}
    found = []
    for plan in planned:
        cell = begun.get(plan["key"])
        if cell is None:
            found.append({"cell": plan["key"], "contender": None, "why": "the time was over"})
            continue
        for name in plan["takes_part"]:
            why = _why(cell["contenders"].get(name, {}))
            if why is not None:
                found.append({"cell": plan["key"], "contender": name, "why": why})
    return found


def _why(contender: Mapping[str, Any]) -> str | None:
    """Why something of a contender is missing, or None."""
    told = contender.get("not_measured") or contender.get("failed")
    if told is not None:
        return str(told)
    if "frame_to_mask_ms" not in contender:
        return "the time was over"
    parity = contender.get("parity", {"missing": "the time was over"})
    if "missing" in parity:
        return f"its parity: {parity['missing']}"
    return None if "accuracy" in contender else "its mIoU: the time was over"


def derive(samples: Mapping[str, Any], planned: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Derive all figures from ``cells``, ``costs`` and ``ceilings``."""
    cells, ceilings = samples["cells"], samples["ceilings"]
    rows = {
        cell["key"]: of_cell(cell, samples["costs"].get(cell["key"], {}), ceilings)
        for cell in cells
    }
    return {
        "aims": aims(cells, rows),
        "rows": rows,
        "not_measured": not_measured(planned, cells),
    }
