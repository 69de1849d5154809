"""The result as it grows, and the processes that measure: restarted, or ended when time is over."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.gpu_plan import ROOT
from rtseg.errors import BackendError

NAME = "gpu"
MARGIN = 20.0
"""Seconds kept for writing the report, and for a process that does not end."""


class Measurement:
    """The result as it grows: written whole after every part that comes in."""

    def __init__(
        self,
        options: argparse.Namespace,
        given: list[str],
        planned: list[dict[str, Any]],
        kind: str,
    ) -> None:
        from benchmarks import gpu_device

        self.options, self.given, self.planned, self.kind = options, given, planned, kind
        self.samples: dict[str, Any] = {"ceilings": {}, "costs": {}, "cells": []}
        gpu = gpu_device.facts() if kind == "gpu" or options.device == "auto" else {}
        self.run = {
            "run": options.label or "",
            "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "kind": kind,
            "gpu": gpu,
            "machine": measuring.machine(),
            "versions": {**measuring.versions(), **gpu_device.packages()},
        }

    def take(self, part: dict[str, Any]) -> None:
        """Add what the worker reported, and save."""
        if "say" in part:
            say(part["say"])
            return
        for key in ("ceilings", "costs"):
            self.samples[key].update(part.get(key, {}))
        if "cell" in part:
            for contender in part["cell"]["contenders"].values():
                contender["run"] = self.run["run"]
            kept = self.cell(part["cell"]["key"])
            if kept is None:
                self.samples["cells"].append(part["cell"])
            else:
                kept.clear()
                kept.update(part["cell"])
            if part["cell"]["doing"]:
                doing, who = part["cell"]["doing"]
                say(f"{part['cell']['key']}: {who}: {doing}")
        self.save()

    def cell(self, key: str) -> dict[str, Any] | None:
        """The cell of this key, as far as it is known."""
        found: dict[str, Any] | None = next(
            (cell for cell in self.samples["cells"] if cell["key"] == key), None
        )
        return found

    def save(self) -> Path:
        """Write the JSON as it is now; ``OutputError`` where that cannot be done."""
        return save(
            self.options.out, self.options.label, self.given, [self.run], self.planned, self.samples
        )


def save(
    out: Path,
    label: str | None,
    given: list[str],
    runs: list[dict[str, Any]],
    planned: list[dict[str, Any]],
    samples: dict[str, Any],
) -> Path:
    """Write a result, with its figures derived anew."""
    from benchmarks.gpu_figures import derive

    return measuring.write_result(
        out, NAME, given, of=label, samples=samples, figures=derive(samples, planned),
        settings={"runs": runs, "planned": planned},
    )  # fmt: skip


def say(text: str) -> None:
    """Tell the one who watches a terminal what is going on."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:150]}", end="", file=sys.stderr, flush=True)


def plan_of(measurement: Measurement, folder: Path, deadline: float) -> dict[str, Any]:
    """Return what a worker is told; ``folder`` holds the rendered frames. Times are Unix times."""
    options = measurement.options
    return {
        "kind": measurement.kind,
        "cells": measurement.planned,
        "excluded": {},
        "ceilings": True,
        "deadline": deadline - MARGIN * (0.7 if options.quick else 1.0),
        "rendered": str(folder / "rendered.npz"),
        "references": str(options.out.resolve() / "gpu-references"),
        "camvid": str(options.camvid.resolve()) if options.camvid else None,
        "cache": str(options.cache.resolve()) if options.cache else None,
        "quick": options.quick,
        "rounds": options.rounds,
        "seconds": options.seconds,
    }


def supervise(
    measurement: Measurement, plan: dict[str, Any], folder: Path, deadline: float
) -> None:
    """Run workers until all is measured or the time is over; one that dies is followed by another.

    ``BackendError`` if they die without having begun on anything.
    """
    while plan["cells"] and time.time() < plan["deadline"]:
        status, said = _work(measurement, plan, folder, deadline)
        if status in (0, None):
            return
        go_on_without(measurement.samples, plan, status, said)


def go_on_without(samples: dict[str, Any], plan: dict[str, Any], status: int, said: str) -> None:
    """Change a plan after a process's death: who was at it takes no further part in that cell.

    A cell in which all have been tried is left as it is.
    """
    ended = f"the process ended with {f'signal {-status}' if status < 0 else f'status {status}'}: {said}"
    at = next((c for c in samples["cells"] if not c["finished"]), None)
    if at is None:
        if not plan["ceilings"] or samples["ceilings"]:
            raise BackendError(ended)
        plan["ceilings"] = False
        samples["ceilings"] = {"missing": [ended]}
        return
    plan["ceilings"] = False
    doing, who = at["doing"] or ("", None)
    before = plan["excluded"].get(at["key"], {})
    now = {n: {"failed": c["failed"]} for n, c in at["contenders"].items() if "failed" in c}
    if who is not None:
        now.setdefault(who, {"failed": f"{doing}: {ended}"})
    plan["excluded"][at["key"]] = now
    left = [c["key"] for c in plan["cells"]].index(at["key"])
    if len(now) <= len(before):  # nobody is at fault: it would end so again
        at["finished"] = True
        left += 1
    plan["cells"] = plan["cells"][left:]


def _work(
    measurement: Measurement, plan: dict[str, Any], folder: Path, deadline: float
) -> tuple[int | None, str]:
    """Run one worker; returns its exit status (None if its time was over) and its last words."""
    reading, writing = os.pipe()
    log = folder / "worker.log"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
        filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}  # fmt: skip
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_worker", str(writing)],
            stdin=subprocess.PIPE, stdout=output, stderr=output, pass_fds=(writing,),
            env=environment,
        )  # fmt: skip
    os.close(writing)
    over = threading.Event()

    def end() -> None:
        over.set()
        worker.kill()

    timer = threading.Timer(max(0.1, deadline - 0.5 * MARGIN - time.time()), end)
    timer.start()
    try:
        assert worker.stdin is not None
        with worker.stdin as stdin:
            stdin.write(json.dumps(plan).encode())
        for part in _parts(reading):
            measurement.take(part)
        status = worker.wait()
    finally:
        timer.cancel()
        worker.kill()
        worker.wait()
    lines = [" ".join(text.split()) for text in log.read_text(errors="replace").splitlines()]
    said = next((text for text in reversed(lines) if text), "it said nothing")[:300]
    return None if over.is_set() else status, said


def _parts(descriptor: int) -> Iterator[dict[str, Any]]:
    with os.fdopen(descriptor, encoding="utf-8") as pipe:
        for line in pipe:
            try:
                yield json.loads(line)
            except ValueError:  # cut off in the middle, by the end of the process
                return
