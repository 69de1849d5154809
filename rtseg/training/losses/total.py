"""The loss of a training: a weighted sum of named terms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor, nn
from torch.nn import functional as F

from rtseg.errors import UsageError


class Loss(Protocol):
    """A term: a scalar from what the network says and what is true."""

    def __call__(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of (N, C, H, W) log-softmax and (N, H, W) int64 classes or VOID.

        VOID pixels are left out; a batch that is all void gives 0 and gradients of 0.
        """


@dataclass(frozen=True)
class Term:
    """A named loss and its factor; ``loss`` is None while it lacks the classes' frequencies."""

    name: str
    factor: float
    loss: nn.Module | None


class LossSum(nn.Module):
    """The sum of factor × term.

    ``needs_frequencies`` says whether a term weighs classes by how frequent they are. Made without
    these, such a sum can be looked at but not called.
    """

    def __init__(self, terms: Iterable[Term], needs_frequencies: bool = False) -> None:
        super().__init__()
        terms = list(terms)
        self.needs_frequencies = needs_frequencies
        self._factors = {term.name: term.factor for term in terms}
        self._lacking = [term.name for term in terms if term.loss is None]
        self.terms = nn.ModuleDict(
            {term.name: term.loss for term in terms if term.loss is not None}
        )

    def forward(self, logits: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total, a float32 scalar, and the terms by name, detached, before their factor.

        ``logits`` (N, C, h, w) of any floating dtype, ``target`` (N, H, W) int64 of class indices
        or VOID. Smaller logits are upsampled bilinearly, as the deployed graph does it. All is
        computed in float32, under autocast as well. ``UsageError`` where frequencies are lacking.
        """
        if self._lacking:
            raise UsageError(
                f"the loss {self._lacking[0]!r} weighs classes by their frequencies, which are not "
                "known: give weights as a list of numbers"
            )
        # The plain memory format: a softmax over channels that lie together takes much longer.
        logits = logits.float().contiguous()
        if logits.shape[-2:] != target.shape[-2:]:
            size = (target.shape[-2], target.shape[-1])
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        log_probabilities = logits.log_softmax(1)
        total = log_probabilities.new_zeros(())
        parts = {}
        for name, module in self.terms.items():
            part = cast(Loss, module)(log_probabilities, target)
            parts[name] = part.detach()
            total = total + self._factors[name] * part
        return total, parts
