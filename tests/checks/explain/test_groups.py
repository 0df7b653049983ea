"""Groups that are judged alike and groups that are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from audit.checks.explain.groups import Groups
from tests.checks.explain.known_models import Linear, numbers, subject

SMALL = {"each": 40, "evaluations": 32, "background": 8, "permutations": 199, "resamples": 30}
WEIGHTS = [2.0, 1.0, 1.0, 1.0, 0.5]


def two_groups(rng: np.random.Generator, spread: list[float], shift: float = 0.0, n: int = 300):
    """Five features; in group "b" their deviations are as given."""
    second = rng.random(n) < 0.3
    inputs = rng.normal(size=(n, 5)) * np.where(second[:, None], spread, 1.0) + shift * second[:, None]
    return replace(numbers(inputs), groups={"club": np.where(second, "b", "a").astype(object)})


def p_values(found) -> tuple[float, float]:
    (line,) = (row for row in found.tables[0].rows if row[0] == "b")
    return line[4], line[6]


def test_groups_that_are_judged_by_other_features():
    rng = np.random.default_rng(0)
    data = two_groups(rng, [0.05, 0.2, 1.0, 2.0, 6.0])
    found = Groups(**SMALL).run(subject(Linear(WEIGHTS)), data, rng)
    assert found.estimates["same_features@club=b"].value < 0
    assert found.estimates["same_features@club=b"].high < 0.5
    assert p_values(found)[1] <= 0.05
    strongest = {row[0]: row[-1] for row in found.tables[0].rows}
    assert strongest["a"].startswith("x0") and strongest["b"].startswith("x4")


def test_a_difference_in_faithfulness_is_found():
    """Ten times the spread is ten times the log-odds there is to explain."""
    rng = np.random.default_rng(0)
    found = Groups(**SMALL).run(subject(Linear(WEIGHTS)), two_groups(rng, [10.0] * 5), rng)
    assert found.headline == ("faithfulness_difference@club=b",)
    assert found.estimates["faithfulness_difference@club=b"].low > 0
    assert p_values(found)[0] <= 0.01
    # the same features count, however much
    assert found.estimates["same_features@club=b"].value == pytest.approx(1, abs=0.4)


def test_groups_that_are_alike_are_seldom_told_apart():
    alarms = np.zeros(2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = Groups(**SMALL).run(subject(Linear(WEIGHTS)), two_groups(rng, [1.0] * 5), rng)
        alarms += np.array(p_values(found)) <= 0.05
    assert (alarms <= stats.binom.ppf(0.997, 20, 0.05)).all()


def test_a_linear_model_is_explained_without_doubt():
    rng = np.random.default_rng(0)
    found = Groups(**SMALL).run(subject(Linear(WEIGHTS)), two_groups(rng, [1.0] * 5), rng).estimates
    for group in ("a", "b"):
        assert found[f"half_width@club={group}"].value == pytest.approx(0, abs=1e-6)
        assert found[f"repeatability@club={group}"].value == pytest.approx(1)
        assert found[f"faithfulness@club={group}"].low > 0


def test_texts_are_compared_in_quality_only(words):
    known, data = words
    data = replace(data.take([0, 1, 2, 3, 4, 6] * 10), groups={"club": np.array(["a", "b"] * 30, dtype=object)})
    found = Groups(**SMALL).run(known, data, np.random.default_rng(0))
    assert found.estimates["faithfulness@club=a"].value is not None
    assert not any(name.startswith("same_features") for name in found.estimates)
    assert "Words differ" in found.notes[-1]


def test_it_is_skipped_where_there_is_nobody_to_compare():
    rng = np.random.default_rng(0)
    model = subject(Linear(WEIGHTS))
    assert "no protected attribute" in Groups().skip_reason(model, numbers(rng.normal(size=(9, 5))))
    assert "two groups" in Groups().skip_reason(model, two_groups(rng, [1.0] * 5, n=12))


def test_equal_seeds_give_equal_figures():
    data = two_groups(np.random.default_rng(0), [1.0] * 5)
    model = subject(Linear(WEIGHTS))
    state = torch.get_rng_state()
    first, second = (Groups(**SMALL).run(model, data, np.random.default_rng(5)) for _ in range(2))
    assert first == second
    assert torch.equal(state, torch.get_rng_state())


def test_many_groups_that_are_alike_make_no_headline_by_chance():
    """The largest of five differences is shown: one in twenty may miss 0, not one in five."""
    check = Groups(each=20, evaluations=32, background=4, permutations=1, resamples=2, random=2)
    missed = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        clubs = np.array(list("abcdef"), dtype=object)[rng.integers(0, 6, 240)]
        data = replace(numbers(rng.normal(size=(240, 5))), groups={"club": clubs})
        found = check.run(subject(Linear(WEIGHTS)), data, rng)
        shown = found.estimates[found.headline[0]]
        assert shown.method == "Newcombe 95 %, 5 together"
        missed += shown.low > 0 or shown.high < 0
    assert missed <= stats.binom.ppf(0.99, 24, 0.05)
