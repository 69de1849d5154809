"""What an engine is built with, and for which GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rtseg.errors import UsageError

PRECISIONS = ("fp16", "fp32", "int8")

_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """The GPU that an engine is for.

    ``name`` as the driver says it, ``compute_capability`` (major, minor), ``driver`` the CUDA
    version that the driver supports (13000 for 13.0), ``uuid`` what tells this GPU from another of
    the same kind: its PCI address where the driver's binding gives no more.
    """

    name: str
    compute_capability: tuple[int, int]
    driver: int
    uuid: str


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is built with.

    ``precision`` is the arithmetic: ``fp16`` (of an FP16 network file), ``fp32`` (TF32 is off: who
    can do with its 10 bits has FP16, at twice the speed) or ``int8`` (of a file of QuantizeLinear
    and DequantizeLinear). ``batch`` frames are taken at once. ``workspace_bytes`` limits what a
    layer may use beside its tensors (None: what the GPU has). ``optimisation_level`` is 0 to 5
    (None: TensorRT's own, 3): higher builds longer. ``version_compatible`` engines also run on later
    TensorRT versions, ``ampere_plus`` ones on every GPU from Ampere on; both cost speed.
    ``timing_cache`` is the file of tactic timings (None: the one in the engine cache).
    """

    precision: str = "fp16"
    batch: int = 1
    workspace_bytes: int | None = None
    optimisation_level: int | None = None
    version_compatible: bool = False
    ampere_plus: bool = False
    timing_cache: Path | None = None

    def check(self) -> None:
        """``UsageError`` says which of these values cannot be."""
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"precision {self.precision}: TensorRT runs {', '.join(PRECISIONS[:-1])} "
                f"or {PRECISIONS[-1]}"
            )
        if self.batch < 1:
            raise UsageError(f"batch {self.batch}: at least 1")
        if self.workspace_bytes is not None and self.workspace_bytes < _MEBIBYTE:
            raise UsageError(f"a workspace of {self.workspace_bytes} bytes: at least 1 MiB")
        if self.optimisation_level is not None and not 0 <= self.optimisation_level <= 5:
            raise UsageError(f"optimisation level {self.optimisation_level}: from 0 to 5")

    def facts(self) -> dict[str, str]:
        """Those of these values that make one engine another: part of its key in the cache."""
        facts = {"precision": self.precision}
        if self.workspace_bytes is not None:
            facts["workspace"] = str(self.workspace_bytes)
        if self.optimisation_level is not None:
            facts["optimisation"] = str(self.optimisation_level)
        if self.version_compatible:
            facts["compatible"] = "versions"
        if self.ampere_plus:
            facts["hardware"] = "ampere+"
        return facts
