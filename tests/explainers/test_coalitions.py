"""Designs: distinct pairs, whole low layers, and a larger one that begins with the smaller."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.explainers import coalitions
from audit.explainers.coalitions import Plan, design, least, pairs_in_all


@settings(max_examples=40, deadline=None)
@given(players=st.integers(2, 18), extra=st.integers(0, 300), seed=st.integers(0, 2**31), order=st.sampled_from([1, 2]))
def test_designs_hold_distinct_pairs_and_whole_low_layers(players, extra, seed, order):
    evaluations = least(players, order) + extra
    keep = design(Plan(players, evaluations, seed, order))
    assert len(keep) == min(evaluations // 2, pairs_in_all(players))
    both = {row.tobytes() for row in np.concatenate([keep, ~keep])}
    assert len(both) == 2 * len(keep)
    assert not {bytes(players), bytes([1] * players)} & both
    size = np.minimum(keep.sum(1), (~keep).sum(1))
    for s in range(1, min(order, players // 2) + 1):
        assert (size == s).sum() == comb(players, s) // (2 if 2 * s == players else 1)


@pytest.mark.parametrize("shuffled", [2**20, 8])
def test_a_larger_design_begins_with_the_smaller_one(monkeypatch, shuffled):
    monkeypatch.setattr(coalitions, "SHUFFLED", shuffled)
    draw = design.__wrapped__
    small, large = draw(Plan(11, 300, 5)), draw(Plan(11, 1200, 5))
    assert (large[: len(small)] == small).all()
    assert (draw(Plan(11, 300, 6)) != small).any()


def test_every_player_is_drawn_equally_often():
    share = np.mean([design.__wrapped__(Plan(30, 400, seed))[30:] for seed in range(40)], axis=(0, 1))
    # layers of up to half the players: their mean size over 30 players, the same for each
    np.testing.assert_allclose(share, share.mean(), atol=0.03)


def test_too_few_evaluations_are_refused():
    with pytest.raises(ValueError, match=r"^evaluations: Expected at least 30 for 14 players, found 29"):
        design(Plan(14, 29, 0))
