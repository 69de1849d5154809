"""Samples through the engines of a Ray cluster, as a Ray Data pipeline.

The pipeline maps groups of samples to their records: descriptions of a few hundred bytes a frame go
out, a few hundred come back, and pictures are read where the engines are. Groups come back in any
order; results are reduced in the samples' order (:mod:`rtseg.evaluation.reducing`).
"""

from __future__ import annotations

import functools
import json
import pickle
import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from rtseg.errors import BackendError, one_line
from rtseg.evaluation.ray_cluster import joined, nodes
from rtseg.evaluation.ray_worker import (
    LINES,
    READING,
    SAMPLES,
    EngineActor,
    EnginePlan,
    Reading,
    ended,
    raise_error,
    read_groups,
)
from rtseg.evaluation.records import Record
from rtseg.evaluation.samples import Sample
from rtseg.evaluation.scoring import Work

_GROUP = 64  # frames: a killed engine's are done again, and an engine runs empty after them
_GROUPS = 10_000  # at most, since the pipeline keeps an eye on each
_PATIENCE_S = 0.2
_ENDING_S = 10.0


@dataclass(frozen=True)
class RayPlan:
    """Where the engines run.

    ``address`` is a cluster's, ``auto``, or None for one that is started in this process.
    ``engines`` is how many share a node, and ``gpus`` how many GPUs each of them takes, 0 for the
    CPU.
    """

    engine: EnginePlan
    address: str | None = None
    engines: int = 1
    gpus: float = 0.0


class RayRunner:
    """Runs samples through the engines of a Ray cluster, one a worker process.

    With ``reading`` and ``done`` its samples, all but those of the indices that are done, are what
    is run, in place of those that :meth:`run` is given: a video is decoded on the cluster, once, and
    its pictures travel to the engines. ``stopped`` is asked several times a second; once it says
    true the records end.
    """

    def __init__(
        self,
        plan: RayPlan,
        stopped: Callable[[], bool] = lambda: False,
        reading: Reading | None = None,
        done: Set[int] = frozenset(),
    ) -> None:
        self._plan = plan
        self._stopped = stopped
        self._reading = reading
        self._done = done

    def run(self, samples: Iterable[Sample], work: Work) -> Generator[Record, None, None]:
        """Yield the record of every sample, as groups of them are done.

        A killed worker is started anew and its group done again, up to five times.

        ``BackendError`` where there is no such cluster, or its engines fail; ``UsageError`` and
        ``InputError`` where a node has another rtseg, network or dataset; ``OutputError`` where a
        worker cannot write a file.
        """
        waiting = list(samples) if self._reading is None else []
        if not waiting and self._reading is None:
            return
        with ExitStack() as stack:
            ray = stack.enter_context(joined(self._plan.address))
            attempts = ray.remote(num_cpus=0)(Attempts).remote()
            stack.callback(ray.kill, attempts)
            begin = functools.partial(_begin, attempts)
            following = _Following(self._pipeline(ray, waiting, work, begin))
            stack.callback(following.stop)
            missing = {sample.index for sample in waiting}
            for line in following.lines(self._stopped):
                values = json.loads(line)
                raise_error(values)
                if self._reading is not None and ended(values, self._reading):
                    continue
                record = Record.of(values)
                missing.discard(record.index)
                yield record
            if missing and not self._stopped():
                raise BackendError(f"Ray: {len(missing)} frames have not come back: start it again")

    def _pipeline(
        self, ray: Any, samples: Sequence[Sample], work: Work, begin: Callable[[int], int]
    ) -> Any:
        """Return the records' lines as a ``ray.data.Dataset``, of which nothing has run yet."""
        cpus, count = shared_out(nodes(ray), self._plan.engines, self._plan.gpus)
        ray.data.DataContext.get_current().target_max_block_size = 1  # every group on its own
        if self._reading is not None:
            pickled = pickle.dumps((self._reading, set(self._done)))
            data = ray.data.from_items([{READING: pickled}], override_num_blocks=1)
            # It has no CPU of its own: the engines have them all.
            data = data.map_batches(read_groups, batch_size=1, batch_format="numpy", num_cpus=0)
        else:
            groups = _groups(samples, count, self._plan.engine.batch)
            count = min(count, len(groups))
            data = ray.data.from_items(groups, override_num_blocks=len(groups))
        plan = replace(self._plan.engine, cpus=cpus, run=uuid.uuid4().hex)
        return data.map_batches(
            EngineActor,
            fn_constructor_kwargs={"plan": plan, "work": work, "begin": begin},
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=cpus,
            num_gpus=self._plan.gpus or None,
        )


class Attempts:
    """How often each group has been begun: kept where no engine's death can reach it.

    Ray Data does the work of a dead process again for ever.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def begin(self, first: int) -> int:
        """Count an attempt at the group of this first sample; returns how many there are now."""
        self._counts[first] = self._counts.get(first, 0) + 1
        return self._counts[first]


def _begin(attempts: Any, first: int) -> int:
    """Ask the actor that counts, from within another."""
    import ray

    return int(ray.get(attempts.begin.remote(first)))


def _groups(samples: Sequence[Sample], engines: int, batch: int) -> list[dict[str, bytes]]:
    """Part samples into rows of the pipeline, some for every engine."""
    most = max(_GROUP, -(-len(samples) // _GROUPS))
    size = max(batch, min(most, -(-len(samples) // (4 * engines))))
    return [
        {SAMPLES: pickle.dumps(list(samples[i : i + size]))} for i in range(0, len(samples), size)
    ]


def shared_out(
    resources: Sequence[Mapping[str, float]], engines: int, gpus: float = 0.0
) -> tuple[int, int]:
    """Share the nodes of a cluster out among engines.

    Args:
        resources: ``CPU`` and ``GPU`` of each node.
        engines: How many the smallest node gets; larger ones have more of the same kind. Nodes that
            have fewer CPUs or GPUs than this takes get none.
        gpus: How many GPUs an engine takes.

    Returns:
        The CPUs of each engine, and how many engines there are.

    Raises:
        BackendError: no node is large enough.
    """
    need = round(gpus * engines, 2)
    fit = [r for r in resources if r.get("CPU", 0) >= engines and r.get("GPU", 0) >= need]
    if not fit:
        raise BackendError(
            f"Ray: none of the {len(resources)} nodes has the {engines} CPUs"
            f"{f' and {need:g} GPUs' if gpus else ''} that its engines need: see --devices"
        )
    cpus = int(min(node["CPU"] for node in fit) // engines)
    count = 0
    for node in fit:
        here = int(node["CPU"] // cpus)
        count += min(here, int(node["GPU"] / gpus + 0.01)) if gpus else here
    return cpus, count


class _Following(threading.Thread):
    """Takes a pipeline's output on a thread of its own, so that whoever waits can be stopped."""

    def __init__(self, data: Any) -> None:
        super().__init__(name="rtseg-ray", daemon=True)
        self._data = data
        self._queue: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._others = set(threading.enumerate())
        self.start()

    def run(self) -> None:
        options = {"batch_size": None, "batch_format": "numpy", "prefetch_batches": 0}
        batches: Any = None
        try:
            batches = iter(self._data.iter_batches(**options))
            for batch in batches:
                for lines in batch[LINES]:
                    self._queue.put(bytes(lines))
                if self._stopping.is_set():
                    break
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)
        finally:
            # Now, and not when it is collected: that would print what happens where Ray has gone.
            with suppress(BaseException):
                batches.close()

    def lines(self, stopped: Callable[[], bool]) -> Generator[bytes, None, None]:
        """Yield the lines until there are no more, or ``stopped`` says so."""
        while not stopped():
            try:
                found = self._queue.get(timeout=_PATIENCE_S)
            except queue.Empty:
                continue
            if found is None:
                return
            if isinstance(found, BaseException):
                raise _said(found) from found
            yield from found.splitlines()

    def stop(self) -> None:
        """End the pipeline and its threads: Ray ends a process that has one in a cluster gone by."""
        self._stopping.set()
        end = time.monotonic() + _ENDING_S
        while self.is_alive() and time.monotonic() < end:
            for thread in threading.enumerate():
                # There is no public way to it while a block is waited for.
                if type(thread).__name__ == "StreamingExecutor" and thread not in self._others:
                    with suppress(Exception):
                        thread.shutdown(force=True)  # type: ignore[attr-defined]
            self.join(_PATIENCE_S)


def _said(error: BaseException) -> BackendError:
    """Ray's own error, which has a traceback in its text, by the line that says what happened."""
    name = type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "No module named 'rtseg" in str(error):
        return BackendError(
            "Ray: a node of the cluster has no rtseg: install the same on all nodes"
        )
    if "ActorDied" in name or "ActorUnavailable" in name or "WorkerCrashed" in name:
        return BackendError(
            f"Ray: an engine's process died or could not be started: "
            f"{one_line(Exception(lines[0] if lines else name))}"
        )
    last = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
    return BackendError(f"Ray: {name}: {one_line(Exception(last))}")
