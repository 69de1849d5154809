"""The order of samples: mixed by weight, the same whoever asks, every picture in its turn."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the train extra")

from rtseg.training.chance import chance
from rtseg.training.mixture import Draw, Mixture, shares


def mixture(lengths, weights, samples, seed=0, epoch=0, **ranks) -> Mixture:
    return Mixture(lengths, weights, samples, seed, lambda: epoch, **ranks)


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    st.integers(0, 1000),
)
def test_shares_are_whole_add_up_and_are_within_one_of_the_exact(weights, total):
    parts = shares(weights, total)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) < 1 + 1e-6


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 10)), min_size=1, max_size=4),
    st.integers(1, 60),
    st.integers(0, 2**31),
    st.integers(1, 4),
)
def test_ranks_share_an_epoch_without_overlap(sources, samples, seed, ranks):
    lengths, weights = zip(*sources, strict=True)
    whole = mixture(lengths, weights, samples, seed).draws()
    parts = [
        list(mixture(lengths, weights, samples, seed, rank=r, ranks=ranks)) for r in range(ranks)
    ]
    assert [
        d for i in range(samples) for d in parts[i % ranks][i // ranks : i // ranks + 1]
    ] == whole
    for r, part in enumerate(parts):
        assert len(part) == len(mixture(lengths, weights, samples, seed, rank=r, ranks=ranks))


@given(st.integers(1, 20), st.integers(1, 50), st.integers(1, 8))
def test_every_picture_is_shown_before_one_is_shown_again(length, samples, epochs):
    shown = Counter(
        draw.picture for e in range(epochs) for draw in mixture([length], [1], samples, epoch=e)
    )
    counts = [shown[i] for i in range(length)]
    assert max(counts) - min(counts) <= 1


def test_the_same_seed_and_epoch_give_the_same_draws_and_others_give_others():
    draws = mixture([9, 5], [2, 1], 30, seed=3, epoch=4).draws()
    assert draws == mixture([9, 5], [2, 1], 30, seed=3, epoch=4).draws()
    assert draws != mixture([9, 5], [2, 1], 30, seed=4, epoch=4).draws()
    assert draws != mixture([9, 5], [2, 1], 30, seed=3, epoch=5).draws()
    assert len({draw.chance for draw in draws}) == len(draws)
    assert Counter(draw.source for draw in draws) == {0: 20, 1: 10}


def test_an_epochs_samples_of_a_source_have_their_upper_bits_in_common():
    # The rendered drive draws an epoch's frames from the few drives that these bits name.
    draws = mixture([9, 5], [1, 1], 28, epoch=1).draws()
    high = {(draw.source, draw.chance >> 20) for draw in draws}
    assert len(high) == 2
    assert high.isdisjoint(
        (d.source, d.chance >> 20) for d in mixture([9, 5], [1, 1], 28, epoch=2).draws()
    )


def test_the_epoch_is_asked_when_the_draws_begin():
    epoch = 0
    order = Mixture([8], [1], 8, 0, lambda: epoch)
    first = list(order)
    epoch = 1
    assert list(order) != first
    assert isinstance(first[0], Draw)


@given(st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4))
def test_chance_is_63_bits_and_knows_its_names_apart(names):
    number = chance(*names)
    assert 0 <= number < 2**63
    assert number == chance(*names)
    assert number != chance(*names, 0)


def test_chance_is_the_same_on_every_machine():
    assert chance(1, "epoch", 2) == 3762098861478968201
    assert chance(1) != chance("1")
