"""The process that measures: cell after cell, everything reported as soon as it is known.

It is a process of its own because an illegal access spoils the GPU for the process that made it, and
because a build cannot be broken off everywhere: ``benchmarks.gpu`` starts another without the
contender that was at fault, or ends this one when its time is over.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu_accuracy import References, Truth
from benchmarks.gpu_cell import CellRun
from benchmarks.gpu_contenders import reference
from benchmarks.gpu_costs import costs
from benchmarks.gpu_plan import Cell, map_checkout
from rtseg.engine import find_network
from rtseg.engine.cache import EngineCache, cache_folder
from rtseg.errors import one_line
from rtseg.spec import NetworkFile

Report = Callable[[dict[str, Any]], None]

SPOILED = 75
"""The exit status of a process whose GPU takes nothing more."""

_FATAL = (
    "illegal memory access", "illegal instruction", "misaligned address", "unspecified launch failure",
    "device-side assert", "context is destroyed", "hardware stack error", "uncorrectable ECC",
    "cudaErrorIllegal", "cudaErrorMisaligned", "cudaErrorLaunchFailure", "cudaErrorAssert",
)  # fmt: skip


class SpoiledError(Exception):
    """An error after which CUDA takes no call of this process."""


def is_fatal(error: BaseException) -> bool:
    """Whether CUDA takes no more calls of this process after such an error."""
    text = str(error).lower().replace("_", " ")
    return any(words.lower() in text for words in _FATAL)


def work(plan: dict[str, Any], report: Report) -> None:
    """Do what is left of a plan: ceilings, then cells, until ``plan["deadline"]`` (Unix time).

    ``report`` is given parts of the result: ``ceilings``, ``costs`` by cell, and cells as far as
    they are. ``SpoiledError`` after a contender that left the GPU unusable; it is in the cell's report.
    """
    # A cache apart: nobody else is to get an engine whose masks were not compared when it was built.
    cache = EngineCache(Path(plan["cache"]) if plan["cache"] else cache_folder() / "benchmark")
    truth = Truth(Path(plan["rendered"]), plan["camvid"])
    references = References(Path(plan["references"]), lambda cell: reference(cell, cache))
    if plan["ceilings"]:
        from benchmarks.gpu_ceilings import measure

        report({"ceilings": measure(plan["kind"], quick=plan["quick"])})
    pace: dict[str, float] = {}
    for values in plan["cells"]:
        cell = Cell.of(values)
        report({"costs": {cell.key: _costs(cell)}})
        run = CellRun(cell, plan, cache, truth, references, pace, is_fatal, report)
        try:
            run.measure()
        finally:
            run.close()
        if run.spoiled:
            raise SpoiledError


def _costs(cell: Cell) -> dict[str, Any]:
    network = find_network(cell.network)
    try:
        spec = network.spec.resized(*cell.size)
        return vars(costs(NetworkFile(network.path, spec, network.sha256)))
    except Exception as error:  # onnx is missing, or does not know a node: no floors then
        return {"missing": f"{type(error).__name__}: {one_line(error)}"}


def main() -> int:
    """Read the plan from standard input, work, and report JSON lines on the descriptor given."""
    map_checkout()
    plan = json.load(sys.stdin)
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as pipe:

        def report(part: dict[str, Any]) -> None:
            pipe.write(json.dumps(part) + "\n")
            pipe.flush()

        try:
            work(plan, report)
        except SpoiledError:
            # No ordinary end: what frees memory on a GPU in this state aborts or hangs.
            pipe.flush()
            sys.stderr.flush()
            os._exit(SPOILED)
        report({"done": time.time()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
