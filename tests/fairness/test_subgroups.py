"""Subgroup search: counts against enumeration, findings against planted truth, and silence where there is nothing."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from audit.errors import DataError
from audit.fairness.subgroups import counting, search
from audit.fairness.subgroups.coding import coded
from audit.fairness.subgroups.counting import Losses, worst
from audit.fairness.subgroups.folding import membership


def attributes(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Six attributes that say nothing: numbers, even and skewed categories, one with missing values."""
    age = np.round(rng.gamma(8, 5, n))
    age[rng.random(n) < 0.05] = np.nan
    return {
        "age": age,
        "income": rng.normal(size=n),
        "site": rng.choice(list("abcde"), n).astype(object),
        "plan": rng.choice(["w", "x", "y", "z"], n, p=[0.7, 0.2, 0.08, 0.02]).astype(object),
        "sex": rng.choice(["F", "M"], n).astype(object),
        "children": rng.integers(0, 4, n),
    }


def frame(columns: dict[str, np.ndarray]) -> dict[str, pd.Series]:
    return {name: pd.Series(values) for name, values in columns.items()}


@pytest.mark.parametrize(("cells", "real"), [(counting.CELLS, False), (60, True)])
def test_every_conjunction_is_counted_as_enumeration_counts_it(cells, real, monkeypatch):
    monkeypatch.setattr(counting, "GAIN", -np.inf)
    rng = np.random.default_rng(0)
    n, least = 400, 12
    columns = attributes(n, rng)
    if cells == 60:  # the path of many values: categories crossed one after the other, a number last
        columns = {name: columns[name] for name in ("age", "site", "plan", "sex")}
        monkeypatch.setattr(counting, "TRIM", 0.0)
    monkeypatch.setattr(counting, "CELLS", cells)
    found, _ = coded(frame(columns), least, 5)
    losses = Losses(rng.gamma(1, 1, n) if real else (rng.random(n) < 0.2).astype(float))
    pool = worst(found, losses, 3, least, -np.inf, 10**6)
    truth, large = {}, 0
    for size in (1, 2, 3):
        for chosen in combinations(range(len(found)), size):
            for conditions in product(*(found[c].conditions for c in chosen)):
                one = tuple((c, x.first, x.last) for c, x in zip(chosen, conditions, strict=True))
                parts = membership(found, [(x,) for x in one])
                mask = parts.all(0)
                parents = [np.delete(parts, i, 0).all(0).sum() for i in range(size)] if size > 1 else []
                trims = all(mask.sum() <= (1 - counting.TRIM) * p for p in parents)
                enough = least <= mask.sum() <= n - least
                large += enough
                if enough and trims:
                    truth[one] = float(losses.score(mask.sum(), losses.values[mask].sum()))
    assert dict(zip(pool.slices, pool.score, strict=True)) == pytest.approx(truth, abs=1e-9)
    assert pool.looked == large


def test_the_score_is_right_in_the_tail_of_small_slices():
    values = np.zeros(5000)
    values[:150] = 1
    losses = Losses(values)
    for rows in (40, 200, 1000):
        for chance in (1e-2, 1e-4):
            k = int(stats.hypergeom.isf(chance, 5000, 150, rows)) + 1
            mid = stats.hypergeom.sf(k, 5000, 150, rows) + stats.hypergeom.pmf(k, 5000, 150, rows) / 2
            assert 0.25 < stats.norm.sf(losses.score(rows, k)) / mid < 4


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda c: c["plan"] == "z", {"plan = z"}),
        (lambda c: (c["site"] == "b") & (c["plan"] == "y"), {"site = b", "plan = y"}),
        (
            lambda c: (c["site"] == "b") & (c["sex"] == "F") & (c["children"] <= 1),
            {"site = b", "sex = F", "children <= 1"},
        ),
        (lambda c: np.isnan(c["age"]) & (c["sex"] == "F"), {"age = missing", "sex = F"}),
    ],
)
def test_a_planted_subgroup_is_found_in_words_and_its_size_is_not_flattered(rule, words):
    rng = np.random.default_rng(1)
    n = 40_000
    columns = attributes(n, rng)
    planted = rule(columns)
    found = search(rng.random(n) < np.where(planted, 0.25, 0.1), columns, seed=3)
    first = found.confirmed[0]
    assert set(first.words.split(" and ")) == words
    np.testing.assert_array_equal(found.rows(first), planted)
    assert first.difference.low < 0.15 < first.difference.high
    assert first.difference.low > 0
    assert first.rows == planted.sum()
    assert len(found.confirmed) == 1
    assert first.explained == pytest.approx(first.excess / (found.rate * found.held_out))


def test_what_chose_a_subgroup_flatters_it_and_what_confirms_it_does_not():
    held_out, chosen = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        columns = attributes(4000, rng)
        planted = (columns["site"] == "b") & (columns["plan"] == "x")
        for one in search(rng.random(4000) < np.where(planted, 0.3, 0.1), columns, seed=seed).candidates[:5]:
            held_out.append(one.difference.value)
            chosen.append(one.discovered)
    assert np.mean(chosen) > np.mean(held_out) + 0.03


def test_nothing_is_confirmed_where_nothing_is():
    false = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        columns = attributes(1500, rng)
        false += bool(search(rng.random(1500) < 0.1, columns, seed=seed, draws=199).confirmed)
    # 5 % a run: more than 6 of 40 would happen once in 300 times
    assert false <= 6


def test_a_larger_spread_is_not_a_larger_loss():
    false = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        columns = attributes(1500, rng)
        loss = rng.normal(size=1500) * np.where(columns["plan"] == "x", 10, 1)
        false += bool(search(loss, columns, seed=seed, draws=199).confirmed)
    assert false <= 5


def test_a_real_loss_is_found_with_its_size():
    rng = np.random.default_rng(0)
    columns = attributes(20_000, rng)
    planted = (columns["site"] == "b") & (columns["sex"] == "F")
    found = search(rng.gamma(1, 1, 20_000) + 0.5 * planted, columns)
    assert set(found.confirmed[0].words.split(" and ")) == {"site = b", "sex = F"}
    assert found.confirmed[0].difference.low < 0.5 < found.confirmed[0].difference.high
    assert found.detectable(0.1) is None


def test_a_weaker_effect_is_found_beside_one_that_can_be_said_in_hundreds_of_ways():
    rng = np.random.default_rng(2)
    n = 40_000
    columns = attributes(n, rng) | {f"noise{i}": rng.normal(size=n) for i in range(4)}
    strong, weak = columns["income"] > 0, (columns["site"] == "b") & (columns["plan"] == "y")
    found = search(rng.random(n) < 0.05 + 0.25 * strong + 0.15 * weak, columns)
    masks = [found.rows(one) for one in found.confirmed]
    for planted in (columns["income"] > np.quantile(columns["income"], 0.6), weak):
        assert max((m & planted).sum() / (m | planted).sum() for m in masks) > 0.6
    assert len(masks) <= 8
    assert not any("noise" in one.words for one in found.confirmed)


def test_the_same_rows_in_other_words_are_one_subgroup():
    rng = np.random.default_rng(0)
    columns = attributes(10_000, rng)
    columns["branch"] = np.where(columns["site"] == "b", "B", columns["site"])
    found = search(rng.random(10_000) < np.where(columns["site"] == "b", 0.3, 0.1), columns)
    assert len(found.confirmed) == 1
    assert found.confirmed[0].folded >= 1


def test_what_cannot_be_searched_is_left_out_by_name_and_many_values_do_no_harm():
    rng = np.random.default_rng(0)
    n = 6000
    columns = attributes(n, rng) | {
        "row": np.arange(n),
        "name": np.array([f"person {i}" for i in range(n)], dtype=object),
        "constant": np.full(n, "x", dtype=object),
        "street": rng.zipf(1.3, n).clip(max=4000).astype(str).astype(object),
        "town": rng.zipf(1.2, n).clip(max=4000).astype(str).astype(object),
    }
    planted = columns["street"] == "1"
    found = search(rng.random(n) < np.where(planted, 0.3, 0.1), columns)
    assert found.left_out.keys() == {"row", "name", "constant"}
    assert found.confirmed[0].words == "street = 1"


def test_the_same_seed_gives_the_same_bits_and_another_parts_the_rows_elsewhere():
    rng = np.random.default_rng(0)
    columns = attributes(3000, rng)
    loss = rng.random(3000) < 0.1 + 0.1 * (columns["site"] == "b")
    assert search(loss, columns, seed=1).candidates == search(loss, columns, seed=1).candidates
    assert search(loss, columns, seed=1).candidates != search(loss, columns, seed=2).candidates


def test_rows_restrict_the_search_as_dropping_the_others_would():
    rng = np.random.default_rng(0)
    columns = attributes(3000, rng)
    loss, some = rng.random(3000) < 0.2, rng.random(3000) < 0.5
    kept = {name: values[some] for name, values in columns.items()}
    assert search(loss, columns, rows=some).candidates == search(loss[some], kept).candidates


def test_what_would_have_been_found_shrinks_with_the_subgroup_s_size():
    rng = np.random.default_rng(0)
    found = search(rng.random(20_000) < 0.1, attributes(20_000, rng))
    small, large = found.detectable(0.01), found.detectable(0.2)
    assert small > 2 * large > 0
    assert found.detectable(0.001) is None


@pytest.mark.parametrize("loss", [np.zeros(500), np.ones(500)])
def test_losses_that_are_all_the_same_have_no_worst_subgroup(loss):
    found = search(loss, attributes(500, np.random.default_rng(0)))
    assert found.candidates == found.confirmed == ()


def test_refusals_name_the_argument():
    columns = {"sex": np.array(["F", "M"] * 50, dtype=object)}
    loss = np.zeros(100)
    for kwargs, word in (
        ({"depth": 4}, "depth"),
        ({"bins": 1}, "bins"),
        ({"held_out": 1.0}, "held_out"),
        ({"rows": np.zeros(100)}, "rows"),
        ({"rows": np.zeros(100, dtype=bool)}, "outcome"),
    ):
        with pytest.raises(DataError, match=word):
            search(loss, columns, **kwargs)
    with pytest.raises(DataError, match="sex"):
        search(loss[:50], columns)
    with pytest.raises(DataError, match="outcome"):
        search(np.full(100, np.nan), columns)
