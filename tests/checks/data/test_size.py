"""Rows, distinct rows, effective rows."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from audit.checks.data.size import Size, distinct_per_class
from audit.datasets import Dataset
from audit.subject import Subject

RNG = np.random.default_rng(0)


def test_closed_forms(table: Callable[..., Dataset], subject: Subject) -> None:
    # class a: 30 distinct rows, one of them five times more; class b: 10 distinct rows
    x = [*range(30), *[0] * 5, *range(100, 110)]
    test = table(pd.DataFrame({"x": np.array(x, dtype=float), "y": [0] * 35 + [1] * 10}))
    data = replace(test, train=test)
    found = {name: e.value for name, e in Size().run(subject, data, RNG).estimates.items()}
    assert found["rows@test"] == found["rows@train"] == 45
    assert found["distinct_rows@test"] == 40
    assert found["smallest_class@test"] == 10
    assert found["effective_rows@test"] == pytest.approx(4 / (1 / 30 + 1 / 10))
    assert found["rows_per_parameter"] == 45 / 12
    low, high = binomtest(15, 30).proportion_ci(0.95, method="wilson")
    assert found["resolution@test"] == pytest.approx((high - low) / 2)


def test_effective_rows_reproduce_the_variance_they_stand_for() -> None:
    # var of the mean of K class means, unit variance within: sum(1/d) / K**2, which n effective rows give as 1/n
    d = np.array([40, 10])
    rng = np.random.default_rng(1)
    draws = np.mean([rng.normal(size=(20_000, n)).mean(axis=1) for n in d], axis=0)
    assert 1 / draws.var() == pytest.approx(4 / (1 / d).sum(), rel=0.05)


def test_an_empty_class_leaves_it_undefined(table: Callable[..., Dataset], subject: Subject) -> None:
    data = table(pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0, 0, 0]}))
    found = Size().run(subject, data, RNG).estimates
    assert distinct_per_class(data).tolist() == [3, 0]
    for name in ("effective_rows@test", "resolution@test"):
        assert found[name].value is None and found[name].reason == "1 of 2 classes have no rows"
    assert found["rows_per_parameter"].reason == "no training data was given"
