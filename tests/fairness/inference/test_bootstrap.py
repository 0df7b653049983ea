"""The bootstrap of the cube against the bootstrap of the rows, fairlearn's, and its own promises."""

from __future__ import annotations

import time

import numpy as np
import pytest
from fairlearn import metrics as fairlearn

from audit.errors import DataError
from audit.fairness import Cube
from audit.fairness.inference import bootstrap


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    group = rng.choice(3, 600, p=[0.2, 0.3, 0.5])
    true = (rng.random(600) < 0.5).astype(int)
    predicted = (rng.random(600) < np.array([0.3, 0.4, 0.6])[group]).astype(int)
    return true, predicted, group


def draws(cube, replicates, seed=0):
    return np.concatenate([c for _, c in bootstrap._draws(cube, np.random.default_rng(seed), replicates)], axis=1)


def test_cells_have_the_moments_of_resampled_rows(rows):
    cube = Cube.count(*rows)
    drawn = draws(cube, 20_000).reshape(20_000, -1)
    n, share = 600, cube.counts.ravel() / 600
    assert (drawn.sum(1) == n).all()
    covariance = n * (np.diag(share) - np.outer(share, share))
    assert drawn.mean(0) == pytest.approx(n * share, abs=5 * np.sqrt(n * 0.25 / 20_000))
    assert np.abs(np.cov(drawn.T) - covariance).max() < 5 * covariance.max() * np.sqrt(2 / 20_000)


def test_quantiles_are_those_of_resampled_rows(rows):
    _, predicted, group = rows
    rng, replicates = np.random.default_rng(1), 4000
    plain = np.empty((replicates, 3))
    for i in range(replicates):
        at = rng.integers(0, 600, 600)
        plain[i] = np.bincount(group[at], predicted[at], 3) / np.bincount(group[at], minlength=3)
    ours = bootstrap.resample(Cube.count(*rows), ["selection_rate"], replicates=replicates)["selection_rate"]
    spread = plain.std(0)
    # a quantile of 4000 normal draws at 2.5 % has a standard error of 0.042 of their spread; four of the difference's
    for side, tail in enumerate((0.025, 0.975)):
        assert np.all(np.abs(ours.rates[side] - np.quantile(plain, tail, axis=0)) < 4 * 0.06 * spread)
        apart, ratio = np.ptp(plain, axis=1), plain.min(1) / plain.max(1)
        assert ours.difference[side] == pytest.approx(np.quantile(apart, tail), abs=0.24 * apart.std())
        assert ours.ratio[side] == pytest.approx(np.quantile(ratio, tail), abs=0.24 * ratio.std())


def test_quantiles_agree_with_fairlearns_bootstrap(rows):
    true, predicted, group = (column[:150] for column in rows)
    frame = fairlearn.MetricFrame(
        metrics=fairlearn.selection_rate,
        y_true=true,
        y_pred=predicted,
        sensitive_features=group,
        n_boot=60,
        ci_quantiles=[0.25, 0.5, 0.75],
        random_state=0,
    )
    cube = Cube.count(true, predicted, group)
    half = bootstrap.resample(cube, ["selection_rate"], level=0.5)["selection_rate"]
    spread = np.sqrt([e.value * (1 - e.value) / e.n for e in cube.rate("selection_rate").values()])
    # a quartile of 60 normal draws has a standard error of 0.175 of their spread
    for side, peer in ((0, 0), (1, 2)):
        assert np.all(np.abs(half.rates[side] - frame.by_group_ci[peer].to_numpy()) < 4 * 0.175 * spread)
        assert half.difference[side] == pytest.approx(frame.difference_ci()[peer], abs=4 * 0.175 * spread.max() * 1.5)


def test_a_group_missing_from_resamples_widens_its_interval():
    group = np.r_[np.zeros(400, int), 1, 1]
    answer = np.r_[np.tile([0, 1], 200), 0, 1]
    found = bootstrap.resample(Cube.count(answer, answer, group), ["selection_rate"])["selection_rate"]
    # two rows of 402 are missing from 13 % of the resamples
    assert (found.rates[0][1], found.rates[1][1]) == (0.0, 1.0)
    assert found.difference[1] >= 0.5
    assert 0.4 < found.rates[0][0] < 0.5 < found.rates[1][0] < 0.6


def test_what_is_undefined_stays_undefined():
    cube = Cube.count([0, 0, 1, 1], [0, 1, 0, 1], ["a", "a", "b", "b"])
    found = bootstrap.resample(cube, ["true_positive_rate"], replicates=50)["true_positive_rate"]
    assert np.isnan(found.rates[0][0]) and not np.isnan(found.rates[0][1])
    assert np.isnan(found.difference).all()


def test_weights_have_their_own_path_with_the_right_variance():
    rng = np.random.default_rng(2)
    answer, weights = rng.integers(0, 2, 500), rng.choice([0.5, 3.0], 500)
    cube = Cube.count(answer, answer, np.zeros(500, int), weights)
    drawn = draws(cube, 20_000)[:, 0]
    assert drawn.mean(0) == pytest.approx(cube.counts[0].ravel(), rel=0.02)
    assert drawn.var(0)[[0, 3]] == pytest.approx(cube.squares[0].ravel()[[0, 3]], rel=0.06)
    assert "Poisson" in cube.rate("selection_rate", "bootstrap")[0].method


def test_rows_of_one_weight_are_rows_whatever_it_is():
    rng = np.random.default_rng(5)
    answer, groups = rng.integers(0, 2, 300), rng.integers(0, 3, 300)
    one, ten = (Cube.count(answer, answer, groups, np.full(300, w)).rate("base_rate", "bootstrap") for w in (1.0, 0.1))
    for group, e in one.items():
        assert ten[group].method == e.method
        assert (ten[group].low, ten[group].high) == pytest.approx((e.low, e.high), abs=1e-9)


def test_clusters_have_their_own_path_with_the_right_covariance():
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(200), 5)
    answer = np.repeat(rng.integers(0, 2, 200), 5)
    cube = Cube.count(answer, answer, np.zeros(1000, int), clusters=person)
    drawn = draws(cube, 20_000)[:, 0]
    assert drawn.var(0)[[0, 3]] == pytest.approx(np.diag(cube.moments[0])[[0, 3]], rel=0.06)
    low, high = bootstrap.resample(cube, ["selection_rate"])["selection_rate"].rates
    # one answer a person: the spread of 200 answers, not of 1000
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(200), rel=0.1)
    assert "cluster" in cube.rate("selection_rate", "bootstrap")[0].method


def test_blocks_of_groups_do_not_change_the_distribution(monkeypatch):
    rng = np.random.default_rng(4)
    group, answer = rng.integers(0, 12, 1200), rng.integers(0, 2, 1200)
    cube = Cube.count(answer, answer, group)
    whole = bootstrap.resample(cube, ["selection_rate"])["selection_rate"]
    monkeypatch.setattr(bootstrap, "BLOCK", 2000 * 4 * 5)
    blocks = bootstrap.resample(cube, ["selection_rate"])["selection_rate"]
    assert blocks.rates[0] == pytest.approx(whole.rates[0], abs=0.02)
    assert blocks.difference == pytest.approx(whole.difference, abs=0.02)


def test_the_same_seed_gives_the_same_bits(rows):
    cube = Cube.count(*rows)
    one, two, other = (cube.rate("f1", "bootstrap", seed=seed) for seed in (5, 5, 6))
    assert one == two != other


def test_two_thousand_resamples_of_fifty_groups_cost_half_a_second():
    rng = np.random.default_rng(5)
    group = rng.integers(0, 50, 100_000)
    cube = Cube.count(rng.integers(0, 2, 100_000), rng.integers(0, 2, 100_000), group)
    start = time.process_time()
    found = bootstrap.resample(cube)
    assert time.process_time() - start < 0.5
    assert len(found) >= 14


def test_an_unknown_rate_is_refused():
    with pytest.raises(DataError, match="name of a rate"):
        bootstrap.resample(Cube.count([0, 1], [0, 1], ["a", "b"]), ["selektion_rate"])
