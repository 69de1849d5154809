"""Results of several interpreters on one machine, joined: TensorRT in one, PyTorch in another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtseg.errors import InputError

_Merged = tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]


def merge(paths: Sequence[Path]) -> _Merged:
    """Join results; returns the runs, all planned cells and the samples.

    A contender that ran in several is taken from the first in which it did. The ceilings are the
    highest of each: the machine reached them. ``InputError`` for a file that is no such result, or of
    another GPU or processor than the first.
    """
    results = [_read(path) for path in paths]
    first = _where(results[0])
    runs: list[dict[str, Any]] = []
    planned: dict[str, dict[str, Any]] = {}
    cells: dict[str, dict[str, Any]] = {}
    costs: dict[str, Any] = {}
    ceilings: dict[str, Any] = {"operations_per_second": {}}
    for path, result in zip(paths, results, strict=True):
        if (where := _where(result)) != first:
            raise InputError(f"{path}: measured on {where}, not on {first} as {paths[0]}")
        samples = result["samples"]
        runs += [{**r, "run": r["run"] or path.stem} for r in result["settings"]["runs"]]
        for cell in result["settings"]["planned"]:
            planned.setdefault(cell["key"], cell)
        for key, counted in samples["costs"].items():
            if "missing" in costs.get(key, {"missing": ""}):
                costs[key] = counted
        _raise(ceilings, samples["ceilings"])
        for cell in samples["cells"]:
            _add(cells, cell, path.stem)
    order = list(planned)
    joined = sorted(cells.values(), key=lambda cell: order.index(cell["key"]))
    return runs, list(planned.values()), {"ceilings": ceilings, "costs": costs, "cells": joined}


def _read(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if result["benchmark"] != "gpu":
            raise ValueError("of another benchmark")
        _where(result)
    except OSError as error:
        raise InputError(f"{path}: cannot read this result: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: not a result of benchmarks.gpu: {error}") from error
    return result


def _where(result: dict[str, Any]) -> str:
    run = result["settings"]["runs"][0]
    return str(run["gpu"].get("name") or run["machine"]["processor"])


def _raise(ceilings: dict[str, Any], other: dict[str, Any]) -> None:
    if other.get("bytes_per_second", 0.0) > ceilings.get("bytes_per_second", 0.0):
        ceilings.update(
            bytes_per_second=other["bytes_per_second"], bytes_by=other.get("bytes_by", "")
        )
    for precision, rate in other.get("operations_per_second", {}).items():
        if rate > ceilings["operations_per_second"].get(precision, 0.0):
            ceilings["operations_per_second"][precision] = rate
            ceilings["operations_by"] = other.get("operations_by", "")


def _add(cells: dict[str, dict[str, Any]], cell: dict[str, Any], run: str) -> None:
    for contender in cell["contenders"].values():
        contender["run"] = contender.get("run") or run
    kept = cells.setdefault(cell["key"], cell)
    if kept is cell:
        return
    if kept["sha256"] != cell["sha256"]:
        raise InputError(f"{run}: measured another network file named {cell['name']}")
    for name, contender in cell["contenders"].items():
        if "frame_to_mask_ms" not in kept["contenders"].get(name, {}):
            kept["contenders"][name] = contender
    kept["rounds"] = min(kept["rounds"], cell["rounds"])
    kept["finished"] = kept["finished"] and cell["finished"]
