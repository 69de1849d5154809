"""Which samples an epoch sees: sources mixed by weight, every process told the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from torch.utils.data import Sampler

from rtseg.training.chance import chance


class Draw(NamedTuple):
    """One sample: which source, which of its pictures, and what its chance is."""

    source: int
    picture: int
    chance: int


def shares(weights: Sequence[float], total: int) -> list[int]:
    """Split ``total`` samples by ``weights``, to the largest remainders; the parts sum to it."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [int(x) for x in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: parts[i] - exact[i])
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


class Mixture(Sampler[Draw]):
    """The draws of an epoch, in order, for one rank of several.

    Source ``k`` has ``lengths[k]`` pictures and gives its share of the epoch by ``weights[k]``. It
    goes through all its pictures before it shows one again, over the ends of epochs too: a share
    smaller than the source shows other pictures in the next epoch. Everything follows from ``seed``
    and the epoch, nothing from what was drawn before. ``epoch()`` is asked whenever the draws are
    begun: a trainer that resumes begins them before it would have said which epoch it is.

    Ranks take turns, so that the ``n``-th batches of all ranks are together the ``n``-th batch of a
    single process with as many times the batch size.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        weights: Sequence[float],
        samples: int,
        seed: int,
        epoch: Callable[[], int],
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._lengths = list(lengths)
        self._parts = shares(weights, samples)
        self._seed = seed
        self._rank = rank
        self._ranks = ranks
        self._samples = samples
        self._epoch = epoch

    def __len__(self) -> int:
        return len(range(self._rank, self._samples, self._ranks))

    def _order(self, source: int, turn: int) -> list[int]:
        order = list(range(self._lengths[source]))
        random.Random(chance(self._seed, "order", source, turn)).shuffle(order)
        return order

    def draws(self) -> list[Draw]:
        """Return the epoch's draws, of all ranks."""
        draws = []
        epoch = self._epoch()
        for source, (length, part) in enumerate(zip(self._lengths, self._parts, strict=True)):
            first = epoch * part
            turn, order = -1, []
            # A source's chance has the epoch above its low 20 bits and the sample in them: see
            # rtseg.data.dataset for what the rendered drive makes of that.
            high = chance(self._seed, "epoch", epoch, source) >> 20 << 20
            for position in range(first, first + part):
                if position // length != turn:
                    turn = position // length
                    order = self._order(source, turn)
                low = chance(self._seed, "sample", epoch, source, position) & 0xFFFFF
                draws.append(Draw(source, order[position % length], high | low))
        random.Random(chance(self._seed, "mix", epoch)).shuffle(draws)
        return draws

    def __iter__(self) -> Iterator[Draw]:
        return iter(self.draws()[self._rank :: self._ranks])
