"""Strata against Berkeley's admissions, plain formulas, enumeration and data without a difference."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from audit.errors import DataError
from audit.fairness import Cube
from audit.fairness.strata.mantel_haenszel import Finding, Pair
from audit.fairness.strata.stratified import Strata

#: admitted and rejected men, then women, of the six largest departments in autumn 1973 (Bickel, Hammel and O'Connell,
#: Science 187 (1975); the figures are those of R's data set UCBAdmissions)
BERKELEY = {
    "A": ((512, 313), (89, 19)),
    "B": ((353, 207), (17, 8)),
    "C": ((120, 205), (202, 391)),
    "D": ((138, 279), (131, 244)),
    "E": ((53, 138), (94, 299)),
    "F": ((22, 351), (24, 317)),
}


def table(cells: dict[str, tuple[tuple[int, int], ...]]) -> Strata:
    """Stratum -> hits and misses of each group, through a cube."""
    rows = [
        (f"g{group}", stratum, answer)
        for stratum, groups in cells.items()
        for group, pair in enumerate(groups)
        for answer, number in zip((1, 0), pair, strict=True)
        for _ in range(number)
    ]
    frame = pd.DataFrame(rows, columns=["group", "control", "answer"])
    cube = Cube.count(frame["answer"], frame["answer"], frame[["group", "control"]], classes=[0, 1])
    return Strata.of(cube, "selection_rate", "group")


def drawn(rng: np.random.Generator, strata: int, rows: int, shift: float = 0.0) -> Pair:
    """Two groups of a few rows a stratum whose rates differ by `shift` in each, and stand unequally over the strata."""
    rate = rng.uniform(0.1, 0.8, strata)
    lean = rng.uniform(0.2, 0.8, strata)
    n = rng.binomial(rows, lean)
    m = rows - n
    a, c = rng.binomial(n, rate + shift), rng.binomial(m, rate)
    sides = [(part.sum() / max(size.sum(), 1), float(size.sum())) for part, size in ((a, n), (c, m))]
    return Pair("x", "y", a * 1.0, n * 1.0, sides[0], c * 1.0, m * 1.0, sides[1])


def test_berkeley_is_simpsons_paradox_as_published():
    strata = table(BERKELEY)
    men = strata.pair("g0", "g1")
    crude = men.crude()
    # 1198 of 2691 men and 557 of 1835 women
    assert crude.value == pytest.approx(1198 / 2691 - 557 / 1835)
    assert crude.low > 0.1
    odds = men.odds_ratio()
    # R 4: mantelhaen.test(UCBAdmissions, correct = FALSE)
    assert (odds.value, odds.low, odds.high) == pytest.approx((0.9046968, 0.7719074, 1.0603298), abs=1e-7)
    found = strata.association()
    assert (found.statistic, found.freedom, found.p) == pytest.approx((1.5246, 1, 0.2169), abs=1e-4)
    assert men.difference().value < 0
    assert men.finding() is Finding.FADES
    # without department A, where women were favoured, the others agree with one another
    assert men.homogeneity() < 0.01
    assert table({k: v for k, v in BERKELEY.items() if k != "A"}).pair("g0", "g1").homogeneity() > 0.1


def test_ten_times_berkeley_is_a_reversal_and_the_other_side_sees_the_mirror():
    tenfold = table({k: tuple((10 * y, 10 * n) for y, n in v) for k, v in BERKELEY.items()})
    assert tenfold.pair("g0", "g1").finding() is Finding.REVERSED
    one, other = tenfold.pair("g0", "g1").difference(), tenfold.pair("g1", "g0").difference()
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def test_one_stratum_gives_the_crude_difference_and_ratios():
    pair = table({"all": ((30, 20), (15, 45))}).pair("g0", "g1")
    assert pair.difference().value == pytest.approx(0.6 - 0.25)
    assert pair.ratio().value == pytest.approx(0.6 / 0.25)
    assert pair.odds_ratio().value == pytest.approx(30 * 45 / (20 * 15))
    # Woolf's variance is what Robins, Breslow and Greenland's becomes
    assert np.log(pair.odds_ratio().high / pair.odds_ratio().value) == pytest.approx(
        1.959964 * (1 / 30 + 1 / 20 + 1 / 15 + 1 / 45) ** 0.5, rel=1e-6
    )


def test_the_tests_equal_a_plain_reimplementation():
    cells = {"a": ((9, 12), (14, 20), (7, 7)), "b": ((20, 15), (11, 9), (30, 13)), "c": ((13, 30), (21, 18), (2, 9))}
    strata = table(cells)
    excess, covariance = np.zeros(3), np.zeros((3, 3))
    for groups in cells.values():
        hits, n = np.array([g[0] for g in groups]), np.array([sum(g) for g in groups])
        total, own = n.sum(), hits.sum()
        excess += hits - n * own / total
        covariance += own * (total - own) / (total**2 * (total - 1)) * (total * np.diag(n) - np.outer(n, n))
    expected = excess[:2] @ np.linalg.solve(covariance[:2, :2], excess[:2])
    found = strata.association()
    assert (found.statistic, found.freedom) == (pytest.approx(expected, rel=1e-9), 2)

    pair = strata.pair("g0", "g1")
    common = pair.odds_ratio().value
    value = drift = information = 0.0
    for (a, b), (c, d), _ in cells.values():
        support = np.arange(max(0, a + c - (c + d)), min(a + b, a + c) + 1)
        # the margins fixed, the root of the quadratic by search instead of by formula
        grid = np.linspace(support[0] + 1e-9, support[-1] - 1e-9, 2_000_001)
        odds = grid * (d - a + grid) / ((a + b - grid) * (a + c - grid))
        e = grid[np.abs(odds - common).argmin()]
        v = 1 / (1 / e + 1 / (a + b - e) + 1 / (a + c - e) + 1 / (d - a + e))
        value, drift, information = value + (a - e) ** 2 / v, drift + a - e, information + v
    assert pair.homogeneity() == pytest.approx(stats.chi2.sf(value - drift**2 / information, 2), rel=1e-4)


def test_small_strata_say_nothing_about_whether_they_agree():
    rng = np.random.default_rng(4)
    assert drawn(rng, 150, 3).homogeneity() is None
    # a small stratum beside large ones is left out
    large = {"a": ((30, 20), (15, 25)), "b": ((10, 30), (20, 30))}
    small = {**large, "c": ((1, 0), (0, 1))}
    assert table(small).pair("g0", "g1").homogeneity() == table(large).pair("g0", "g1").homogeneity()


def test_influence_is_the_derivative():
    cells = {"a": ((9, 12), (4, 20)), "b": ((20, 5), (11, 9)), "c": ((3, 30), (0, 0))}
    slope = table(cells).pair("g0", "g1").influence()
    names = list(cells)
    for stratum, side, hit in itertools.product(range(2), range(2), range(2)):
        more = {k: [list(g) for g in v] for k, v in cells.items()}
        values = []
        for step in (1e-4, -1e-4):
            numbers = np.array([more[k] for k in names], dtype=float)
            numbers[stratum, side, 1 - hit] += step
            a, n, c, m = (numbers[:, 0, 0], numbers[:, 0].sum(1), numbers[:, 1, 0], numbers[:, 1].sum(1))
            values.append(Pair("x", "y", a, n, (0.5, 1), c, m, (0.5, 1)).difference().value)
        assert slope[stratum, side, hit] == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-4)
    assert not slope[2].any()


def test_standardised_rates_are_those_of_a_common_population():
    strata = table({"a": ((8, 2), (30, 10)), "b": ((10, 30), (1, 9)), "c": ((5, 0), (0, 0))})
    rates = strata.standardised()
    # strata a and b hold 50 rows each; c has one group only and is left out
    assert rates["g0"].value == pytest.approx((0.8 + 0.25) / 2)
    assert rates["g1"].value == pytest.approx((0.75 + 0.1) / 2)
    pair = strata.pair("g0", "g1")
    assert (pair.left_out, pair.kept) == (1, pytest.approx(100 / 105))


@pytest.mark.parametrize("answer", [(5, 0), (0, 5)])
def test_without_hits_or_misses_the_interval_keeps_its_width(answer):
    pair = table({"a": (answer, answer), "b": (answer, answer)}).pair("g0", "g1")
    found = pair.difference()
    assert (found.value, found.low < -0.1, found.high > 0.1) == (0, True, True)
    assert pair.odds_ratio().value is None
    assert pair.homogeneity() is None


def test_a_group_without_hits_has_a_ratio_with_a_width():
    pair = table({"a": ((0, 20), (8, 12)), "b": ((0, 9), (3, 9))}).pair("g0", "g1")
    assert (pair.ratio().value, pair.ratio().low) == (0, 0)
    assert 0 < pair.ratio().high < 1
    assert "no hits" in table({"a": ((8, 12), (0, 20))}).pair("g0", "g1").ratio().reason


def test_groups_that_never_meet_cannot_be_compared():
    strata = table({"a": ((5, 5), (0, 0)), "b": ((0, 0), (5, 5))})
    pair = strata.pair("g0", "g1")
    assert "no stratum" in pair.difference().reason
    assert (pair.left_out, pair.kept) == (2, 0)
    assert strata.association() is None
    assert "every group" in strata.standardised()["g0"].reason


def test_weights_are_relative():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"group": rng.integers(0, 2, 400), "control": rng.integers(0, 5, 400)})
    answer, w = rng.integers(0, 2, 400), rng.random(400)
    one, ten, equal = (
        Strata.of(Cube.count(answer, answer, frame, weights=k), "selection_rate", "group").pair(0, 1).difference()
        for k in (w, 10 * w, None)
    )
    assert one.model_dump() == pytest.approx(ten.model_dump())
    assert one.n < equal.n == 400


def test_misuse_is_refused_by_name():
    cube = Cube.count([0, 1], [0, 1], {"sex": ["F", "M"], "age": [1, 2]})
    with pytest.raises(DataError, match=r"'sx'.*sex"):
        Strata.of(cube, "selection_rate", "sx")
    with pytest.raises(DataError, match="'N'"):
        Strata.of(cube, "selection_rate", "sex").pair("F", "N")
    with pytest.raises(DataError, match="strata, found clusters"):
        Strata.of(Cube.count([0, 1], [0, 1], {"sex": ["F", "M"], "age": [1, 2]}, clusters=[1, 1]), "accuracy", "sex")


@pytest.mark.parametrize(("strata", "rows"), [(4, 60), (150, 3)])
def test_intervals_hold_in_few_large_and_in_many_small_strata(strata, rows):
    rng = np.random.default_rng(strata)
    runs, held = 400, np.zeros(2)
    for _ in range(runs):
        difference, ratio = (pair := drawn(rng, strata, rows, 0.1)).difference(), drawn(rng, strata, rows).ratio()
        held += [difference.low <= 0.1 <= difference.high, ratio.low <= 1 <= ratio.high]
        assert pair.finding() is not Finding.REVERSED or pair.crude().high < 0
    # 95 % of 400 is 380; fewer than 366 has probability 0.001
    assert (held >= 366).all(), held


def test_no_difference_within_strata_is_called_one_only_as_often_as_promised():
    rng = np.random.default_rng(5)
    findings = [drawn(rng, 20, 30).finding() for _ in range(400)]
    alarms = sum(f in (Finding.REVERSED, Finding.APPEARS, Finding.STAYS) for f in findings)
    # 5 % of 400 is 20; more than 34 has probability 0.001
    assert alarms <= 34


def test_thousands_of_groups_and_strata_stay_small():
    rng = np.random.default_rng(0)
    n = 40_000
    frame = pd.DataFrame({"group": rng.integers(0, 3000, n), "control": rng.integers(0, 2000, n)})
    answer = (rng.random(n) < 0.3).astype(int)
    found = Strata.of(Cube.count(answer, answer, frame), "selection_rate", "group").association()
    assert found.freedom == 2999
    assert abs(found.statistic - found.freedom) < 4 * (2 * found.freedom) ** 0.5
