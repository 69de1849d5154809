"""The timing cache: how fast each tactic was on this GPU, so that a later build need not time it."""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import Any

from rtseg.engine.cache import store as stored
from rtseg.engine.tensorrt.options import Gpu
from rtseg.errors import one_line

log = logging.getLogger("rtseg")


def timing_file(folder: Path, version: str, gpu: Gpu) -> Path:
    """The file for all builds of one TensorRT version on one kind of GPU."""
    device = re.sub(r"[^\w.]+", "-", gpu.name).strip("-")
    return folder / f"tensorrt-{version}-{device}.timing"


def attach(config: Any, path: Path | None) -> None:
    """Give a build the timings of this file; one that is of no use here is said, and left out."""
    known = b""
    if path is not None:
        try:
            known = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            log.warning("%s: the timing cache cannot be read: %s", path, error.strerror)
    if known and not _set(config, known):
        log.warning("%s: this timing cache is damaged or of another TensorRT or GPU: ignored", path)
        known = b""
    if not known and not _set(config, b""):
        log.debug("this build has no timing cache")


def _set(config: Any, content: bytes) -> bool:
    made = _parsed(config, content)
    # Timings of another GPU would mislead: not ignore_mismatch.
    return made is not None and bool(config.set_timing_cache(made, False))


def _parsed(config: Any, content: bytes) -> Any | None:
    try:
        return config.create_timing_cache(content)
    except (TypeError, RuntimeError, ValueError) as error:
        log.debug("TensorRT does not take a timing cache: %s", one_line(error))
        return None


def store(config: Any, path: Path | None) -> None:
    """Write a build's timings, with what another build has written meanwhile, whole or not at all."""
    timings = config.get_timing_cache()
    if path is None or timings is None:
        return
    with contextlib.suppress(OSError):
        other = _parsed(config, path.read_bytes())
        if other is not None:
            timings.combine(other, False)
    content = timings.serialize()
    if content is None:
        return
    if (hindrance := stored(path, bytes(content))) is not None:
        # The engine cache beside it says the same, once.
        log.debug("%s: the timing cache cannot be written: %s", path, hindrance.strerror)
