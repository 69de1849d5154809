"""Engines for tests of rtseg-bench: that sleep, die, or fail; and a worker that is no process.

They are sent to processes of their own, so they are made by classes of a module.
"""

import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from rtseg.engine.base import Engine
from rtseg.errors import BackendError
from rtseg.evaluation.contender import Contender
from rtseg.spec import Spec

CLASSES = ("background", "road")
PALETTE = ((0, 0, 0), (0, 200, 90))


class DoubleEngine(Engine):
    """Sleeps for ``seconds`` on each frame, and calls ``at`` with how many there have been."""

    backend = "double"

    def __init__(self, name="double", *, seconds=0.0, depth=1, batch=1, stride=1, at=None):
        spec = Spec(name, 96, 64, CLASSES, PALETTE, mask_stride=stride)
        super().__init__(
            spec, precision="fp32", device="none", depth=depth, mode="throughput", built=True,
            versions={"double": "1.2-build"}, batch=batch,
        )  # fmt: skip
        self._seconds = seconds
        self._at = at
        self._count = 0
        self._mask = np.zeros(self._mask_shape, np.uint8)

    def _start(self, slot, frame):
        pass

    def _finish(self, slot):
        self._count += 1
        if self._at is not None:
            self._at(self._count)
        if self._seconds:
            time.sleep(self._seconds)
        return self._mask


@dataclass(frozen=True)
class Double(Contender):
    """Loads a :class:`DoubleEngine`; ``backend`` may be a GPU's."""

    seconds: float = 0.0
    depth: int = 1
    stride: int = 1
    die_at: int = 0
    fail_at: int = 0

    def load(self, on_progress):
        engine = DoubleEngine(
            self.network, seconds=self.seconds, depth=self.depth, batch=self.batch,
            stride=self.stride, at=self._at,
        )  # fmt: skip
        if self.backend:
            engine.backend = self.backend
        return engine

    def _at(self, count):
        if count == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if count == self.fail_at:
            raise BackendError("the device is lost")

    def sha256(self):
        return None

    def reference(self, engine):
        return None

    def describe(self):
        return {
            "network": self.network, "backend": self.backend, "precision": None, "size": None,
            "batch": self.batch, "mode": self.mode,
        }  # fmt: skip


class BareSleep:
    """A loop that sleeps and does nothing else."""

    def __init__(self, progress):
        pass

    def turn(self, count):
        took = []
        for _ in range(count):
            start = time.perf_counter_ns()
            time.sleep(0.005)
            took.append((time.perf_counter_ns() - start) / 1e6)
        return took


class Teller:
    """Answers, tells progress, warns, raises, prints and ends, as it is asked."""

    def __init__(self, progress):
        self._progress = progress

    def pid(self):
        return os.getpid()

    def build(self):
        self._progress("compiling", 1, 2)
        return "built"

    def warn(self):
        import logging

        logging.getLogger("rtseg").warning("a warning")
        logging.getLogger("rtseg").info("nobody's business")

    def fail(self, error):
        raise error

    def print_and_exit(self, words, status):
        print(words, flush=True)
        os._exit(status)

    def sleep(self):
        time.sleep(600)


class InProcess:
    """What a ``Worker`` does, in this process: for doubles that another would not have."""

    def __init__(self, make, output):
        self._made = make(lambda *told: None)

    def ask(self, method, *arguments, on_progress=None):
        return getattr(self._made, method)(*arguments)

    def end(self, *, now=False):
        self._made.close()
