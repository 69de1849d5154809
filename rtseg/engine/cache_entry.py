"""An entry of the engine cache, read for people: what it is, and whether it is of use here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtseg import __version__

LONGEST_HEAD = 1 << 16

LEAST = 0.99
"""The share of pixels that must agree with the reference; an engine below it is not to be trusted."""

Facts = dict[str, str | float]

Here = Mapping[str, Mapping[str, str] | str]
"""What this machine has, by backend: those facts of a key that must be equal, or why it is not here."""

_NAMES = {
    "version": "{backend} {value}",
    "device": "another device: {value}",
    "compute_capability": "compute capability {value}",
    "system": "another system: {value}",
    "capabilities": "other capabilities: {value}",
}


@dataclass(frozen=True)
class Entry:
    """What the head of an entry says, and ``damaged``, what is wrong with the file (or empty).

    ``size`` is the file's, in bytes. ``key`` is all that makes the engine another one, ``facts`` what
    is known of it besides.
    """

    path: Path
    name: str
    size: int
    key: dict[str, str] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    damaged: str = ""

    @property
    def backend(self) -> str:
        """The backend's name; empty when the head cannot be read."""
        return self.key.get("backend", "")

    @property
    def precision(self) -> str:
        """The precision that was asked for; ``default`` is the backend's own choice."""
        return self.key.get("precision", "")

    @property
    def shape(self) -> str:
        """``1x512x256``: batch, width, height."""
        return self.key.get("size", "")

    def fault(self, here: Here) -> str:
        """Why it is of no use on this machine; empty when it is."""
        if self.damaged:
            return f"damaged: {self.damaged}"
        if self.key.get("rtseg") != __version__:
            return f"of rtseg {self.key.get('rtseg', '?')}"
        facts = here.get(self.backend, f"{self.backend} is not here")
        if isinstance(facts, str):
            return facts
        if difference := self.difference(facts):
            return f"of {difference}"
        return refusal(self.facts)

    def difference(self, facts: Mapping[str, str]) -> str:
        """In which of these facts of its key it is another; empty when in none."""
        for name, value in facts.items():
            other = self.key.get(name)
            if other != value:
                form = _NAMES.get(name, f"another {name}: {{value}}")
                return form.format(backend=self.backend, value=other or "unknown")
        return ""

    def as_dict(self, here: Here) -> dict[str, Any]:
        """The entry as plain JSON values; ``valid`` and ``fault`` are for this machine."""
        fault = self.fault(here)
        return {
            "file": str(self.path),
            "name": self.name,
            "backend": self.backend,
            "precision": self.precision,
            "shape": self.shape,
            "bytes": self.size,
            "valid": not fault,
            "fault": fault,
            "key": self.key,
            "facts": self.facts,
        }


def refusal(facts: Mapping[str, str | float]) -> str:
    """Why an engine with these facts in its sidecar is not to be trusted; empty if it is."""
    share, least = facts.get("parity"), facts.get("parity_least", LEAST)
    bad = facts.get("logits_not_finite", 0)
    if bad:
        return f"{bad} of its logits are NaN or infinite in FP16"
    if isinstance(share, float) and isinstance(least, float) and not share >= least:
        return (
            f"only {share:.2%} of the pixels agree with {facts.get('parity_reference')}, "
            f"{least:.0%} are needed"
        )
    return ""


def digest(key: Mapping[str, str]) -> str:
    """What stands for a key in the name of its file."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def read_entry(path: Path, *, whole: bool = True) -> Entry | None:
    """Read an entry and check it, its payload too if ``whole``; None if it has gone meanwhile."""
    name, _, named = path.stem.rpartition("-")
    try:
        with path.open("rb") as file:
            line = file.readline(LONGEST_HEAD)
            hashed = hashlib.file_digest(file, "sha256").hexdigest() if whole else None
            size = path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        return Entry(path, name, 0, damaged=f"it cannot be read: {error.strerror}")
    try:
        head = json.loads(line)
        key = {str(k): str(v) for k, v in head["key"].items()}
        facts = dict(head.get("facts", {}))
        told, length = head["sha256"], head.get("size")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return Entry(path, name, size, damaged="its head cannot be read")
    payload = size - len(line)
    if isinstance(length, int) and payload < length:
        damaged = f"{length - payload} of {length} bytes are missing"
    elif hashed not in (told, None):
        damaged = "its SHA-256 is another"
    elif digest(key) != named:
        damaged = "it is not the engine that its name says"
    else:
        damaged = ""
    return Entry(path, name, size, key, facts, damaged)
