"""Figures of answers, against counts by hand, enumeration and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from audit.fairness.attributes import Levels
from audit.mitigation.measuring import Answers, alone, calibration_gap, changes, difference, difference_change
from audit.mitigation.remedy import Aim, Definition


def answers(groups, labels, predicted, confidence=0.75):
    """Binary answers with one confidence."""
    margin = np.log(confidence / (1 - confidence)) * (2 * np.asarray(predicted) - 1)
    scores = np.stack([np.zeros(len(margin)), margin], 1)
    names = tuple(f"g{i}" for i in range(max(groups) + 1))
    return Answers(scores, np.asarray(labels), Levels(np.asarray(groups), names))


def rows(table):
    """(group, label, prediction, count) -> columns."""
    return np.repeat(np.array([row[:3] for row in table]), [row[3] for row in table], axis=0).T


def test_differences_by_hand():
    # selection 50/100 and 30/100; of the deserving 40/50 and 20/40; of the others 10/50 and 10/60
    table = [
        (0, 1, 1, 40), (0, 1, 0, 10), (0, 0, 1, 10), (0, 0, 0, 40),
        (1, 1, 1, 20), (1, 1, 0, 20), (1, 0, 1, 10), (1, 0, 0, 50),
    ]  # fmt: skip
    cube = answers(*rows(table)).cube(1)
    found = {definition: difference(cube, definition) for definition in Definition}
    assert found[Definition.DEMOGRAPHIC_PARITY].value == pytest.approx(0.2)
    assert found[Definition.EQUAL_OPPORTUNITY].value == pytest.approx(0.3)
    assert found[Definition.EQUALISED_ODDS].value == pytest.approx(0.3)
    # two rates at once need more room than one
    assert found[Definition.EQUALISED_ODDS].high > found[Definition.EQUAL_OPPORTUNITY].high
    # the other class as the favourable one: 40/50 of g0 and 50/60 of g1
    assert difference(answers(*rows(table)).cube(0), Definition.EQUAL_OPPORTUNITY).value == pytest.approx(50 / 60 - 0.8)


def test_rows_of_no_group_count_for_accuracy_only():
    found = answers([0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [1, 0, 0, 0, 1])
    out = Answers(found.scores, found.labels, Levels(np.array([0, 0, 1, 1, -1]), ("a", "b")))
    assert out.cube(1).counts.sum() == 4
    assert alone(out, Aim("x", "demographic_parity", 1), np.random.default_rng(0))["accuracy"].n == 5


def test_an_undefined_difference_stays_undefined():
    out = answers([0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0])
    found = difference(out.cube(1), Definition.EQUAL_OPPORTUNITY)
    assert found.value is None and found.reason
    aim = Aim("x", "equal_opportunity", 1)
    assert difference_change(out, out, aim).value is None
    assert changes(out, out, aim)["accuracy_change"].value == 0


@pytest.mark.parametrize("definition", list(Definition))
def test_the_change_is_the_difference_of_the_differences(definition):
    rng = np.random.default_rng(1)
    groups, labels = rng.integers(0, 3, 1800), rng.integers(0, 2, 1800)
    old, new = (answers(groups, labels, (rng.random(1800) < p).astype(int)) for p in (0.3 + 0.2 * groups, 0.5))
    aim = Aim("x", definition, 1)
    found = difference_change(old, new, aim)
    assert found.value == pytest.approx(
        difference(new.cube(1), definition).value - difference(old.cube(1), definition).value
    )
    assert found.low <= found.value <= found.high < 0


def test_the_calibration_gap_is_that_of_the_worst_group():
    # said 75 % of g0, of which 75 % are; said 75 % of g1, of which 25 % are
    groups = np.repeat([0, 1], 100)
    labels = np.concatenate([np.repeat([1, 0], [75, 25]), np.repeat([1, 0], [25, 75])])
    found = calibration_gap(answers(groups, labels, np.ones(200, dtype=int)), 1)
    assert found.value == pytest.approx(0.5) and found.n == 100
    assert 0.3 < found.low < 0.5 < found.high < 0.7
    fine = calibration_gap(answers(groups[:100], labels[:100], np.ones(100, dtype=int)), 1)
    assert fine.value == pytest.approx(0) and fine.low == 0
