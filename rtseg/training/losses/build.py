"""Losses by name, as a recipe declares them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from rtseg.errors import UsageError
from rtseg.training.losses.lovasz import LovaszSoftmax
from rtseg.training.losses.overlap import Dice, FocalTversky, Tversky
from rtseg.training.losses.pixelwise import CrossEntropy, Focal, OhemCrossEntropy
from rtseg.training.losses.total import LossSum, Term
from rtseg.training.losses.weights import enet_weights, median_frequency_weights

FROM_FREQUENCIES: dict[str, Callable[[Sequence[float]], list[float]]] = {
    "median-frequency": median_frequency_weights,
    "enet": enet_weights,
}
"""Weights of classes that follow from the classes' frequencies, by name."""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


@dataclass(frozen=True)
class _Kind:
    """What an option's value has to be."""

    words: str
    fits: Callable[[Any], bool]


_FROM_0 = _Kind("a number from 0 up", lambda v: _is_number(v) and v >= 0)
_ABOVE_0 = _Kind("a number above 0", lambda v: _is_number(v) and v > 0)
_WEIGHTS = _Kind(
    f"none, {', '.join(FROM_FREQUENCIES)} or a list of numbers from 0 up, not all 0",
    lambda v: (
        v in (None, "none", *FROM_FREQUENCIES)
        if not isinstance(v, Sequence) or isinstance(v, str)
        else all(map(_FROM_0.fits, v)) and any(v)
    ),
)

LOSSES: dict[str, tuple[Callable[..., nn.Module], dict[str, _Kind]]] = {
    "cross-entropy": (
        CrossEntropy,
        {
            "weights": _WEIGHTS,
            "label_smoothing": _Kind(
                "a number from 0 to below 1", lambda v: _is_number(v) and 0 <= v < 1
            ),
        },
    ),
    "ohem": (
        OhemCrossEntropy,
        {
            "threshold": _Kind("a number above 0, to 1", lambda v: _is_number(v) and 0 < v <= 1),
            "min_kept": _Kind("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1),
        },
    ),
    "focal": (Focal, {"gamma": _FROM_0, "weights": _WEIGHTS}),
    "dice": (Dice, {"smooth": _ABOVE_0}),
    "tversky": (Tversky, {"alpha": _FROM_0, "beta": _FROM_0, "smooth": _ABOVE_0}),
    "focal-tversky": (
        FocalTversky,
        {
            "alpha": _FROM_0,
            "beta": _FROM_0,
            "gamma": _Kind("a number from 1 to 3", lambda v: _is_number(v) and 1 <= v <= 3),
            "smooth": _ABOVE_0,
        },
    ),
    "lovasz": (
        LovaszSoftmax,
        {"stride": _Kind("a whole number from 1 up", lambda v: type(v) is int and v >= 1)},
    ),
}
"""A loss's class and the options that a recipe can give it, by the loss's name."""


def _name(entry: Any, where: str, taken: Sequence[str]) -> str:
    """Return the name of one declared loss, checked."""
    if not isinstance(entry, Mapping):
        raise UsageError(f"{where}: not a mapping, like {{name: cross-entropy}}")
    if "name" not in entry:
        raise UsageError(f"{where}.name: missing: one of {', '.join(LOSSES)}")
    name = entry["name"]
    if not isinstance(name, str) or name not in LOSSES:
        raise UsageError(f"{where}.name: {name!r} is not one of {', '.join(LOSSES)}")
    if name in taken:
        raise UsageError(f"{where}.name: {name!r} is declared twice: give it once")
    return name


def _term(
    name: str,
    entry: Mapping[str, Any],
    classes: int,
    frequencies: Sequence[float] | None,
    where: str,
) -> tuple[Term, bool]:
    """Return one declared loss, and whether it needs frequencies."""
    make, kinds = LOSSES[name]
    kinds = {"factor": _FROM_0, **kinds}
    options = {key: value for key, value in entry.items() if key != "name"}
    for key, value in options.items():
        if key not in kinds:
            raise UsageError(f"{where}.{key}: unknown key: one of name, {', '.join(kinds)}")
        if not kinds[key].fits(value):
            raise UsageError(f"{where}.{key}: {value!r} is not {kinds[key].words}")
    factor = float(options.pop("factor", 1.0))

    weights = options.get("weights")
    if weights == "none":
        options["weights"] = None
    elif isinstance(weights, str):
        if frequencies is None:
            return Term(name, factor, None), True
        options["weights"] = FROM_FREQUENCIES[weights](frequencies)
    elif weights is not None and len(weights) != classes:
        raise UsageError(f"{where}.weights: {len(weights)} numbers for {classes} classes")
    return Term(name, factor, make(**options)), isinstance(weights, str) and weights != "none"


def build_loss(
    declared: Sequence[Mapping[str, Any]],
    classes: int,
    frequencies: Sequence[float] | None,
    *,
    where: str = "model.loss",
) -> LossSum:
    """Build the loss that a recipe declares: a list of mappings with a ``name`` and options.

    ``frequencies`` are the ``classes`` shares of the known pixels of the training set; only the
    weights ``median-frequency`` and ``enet`` use them (:mod:`rtseg.training.losses.weights` says
    what a class without a pixel gets). Without them a declaration can still be checked:
    ``needs_frequencies`` says whether the sum must be built again, with them, before it is called.
    ``UsageError`` names the key of ``where`` that is unknown or has a wrong value; ``ValueError``
    for frequencies that are no shares of ``classes``.
    """
    if frequencies is not None and len(frequencies) != classes:
        raise ValueError(f"{len(frequencies)} frequencies for {classes} classes")
    if not isinstance(declared, (list, tuple)) or not declared:
        raise UsageError(f"{where}: not a list of losses, like [{{name: cross-entropy}}]")
    terms: list[Term] = []
    needs = False
    for number, entry in enumerate(declared):
        place = f"{where}[{number}]"
        name = _name(entry, place, [term.name for term in terms])
        term, needs_them = _term(name, entry, classes, frequencies, place)
        terms.append(term)
        needs = needs or needs_them
    if not any(term.factor for term in terms):
        raise UsageError(f"{where}: every factor is 0: nothing would be trained")
    return LossSum(terms, needs)
