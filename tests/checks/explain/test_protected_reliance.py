"""Models that read nothing but a protected attribute, or all but it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.checks.explain.protected_reliance import ProtectedReliance, _dealt
from tests.checks.explain.known_models import Linear, numbers, people, subject

SMALL = {"rows": 60, "evaluations": 16, "background": 30, "shuffles": 20, "resamples": 200}


def test_a_model_that_ignores_the_attribute():
    rng = np.random.default_rng(0)
    found = ProtectedReliance(**SMALL).run(subject(Linear([2.0, -1.0, 0.0, 0.0])), people(300, 0.4, rng), rng).estimates
    assert found["reliance@sex"].value == pytest.approx(0, abs=1e-6)
    assert found["answers_changed@sex"].value == 0
    assert 0 < found["answers_changed@sex"].high < 0.02
    assert found["accuracy_change@sex"].value == 0


def test_a_model_that_reads_nothing_else():
    rng = np.random.default_rng(0)
    data = people(1000, 0.3, rng)
    found = ProtectedReliance(**SMALL).run(subject(Linear([0.0, 0.0, 2.0, -2.0])), data, rng).estimates
    assert found["reliance@sex"].value == pytest.approx(1, abs=1e-6)
    # a row is dealt the other sex with probability 2 p (1 - p); the label is the sex, so accuracy falls by as much
    women = float(data.labels.double().mean())
    changes = 2 * women * (1 - women)
    assert found["answers_changed@sex"].value == pytest.approx(changes, abs=0.01)
    assert found["answers_changed@sex"].low <= changes <= found["answers_changed@sex"].high
    assert found["accuracy_change@sex"].value == pytest.approx(-found["answers_changed@sex"].value)


def test_the_share_and_the_effect_by_hand():
    """Linear: the value of a feature is its weight times its distance from the background's mean."""
    rng = np.random.default_rng(0)
    data = people(400, 0.5, rng)
    everything = {**SMALL, "rows": 400, "background": 400}
    found = ProtectedReliance(**everything).run(subject(Linear([1.0, 0.5, 0.8, 0.0])), data, rng)
    x = data.inputs.numpy()
    values = np.abs((x - x.mean(0)) * [1.0, 0.5, 0.8, 0.0]).mean(0)
    assert found.estimates["reliance@sex"].value == pytest.approx(values[2] / values.sum(), rel=1e-3)
    effect = {row[1]: row[2].value for row in found.tables[1].rows}
    women = x[:, 2].mean()
    assert effect["F"] == pytest.approx(0.8 * (1 - women), rel=1e-3)
    assert effect["M"] == pytest.approx(-0.8 * women, rel=1e-3)


def test_one_hot_columns_move_together_and_the_rest_stays():
    rng = np.random.default_rng(0)
    data = people(200, 0.5, rng)
    dealt = _dealt(data, [2, 3], rng)
    assert torch.equal(dealt[:, :2], data.inputs[:, :2])
    assert torch.equal(dealt[:, 2] + dealt[:, 3], torch.ones(200))
    assert dealt[:, 2].sum() == data.inputs[:, 2].sum()
    assert not torch.equal(dealt, data.inputs)


def test_several_attributes_are_also_shuffled_together():
    rng = np.random.default_rng(0)
    data = people(100, 0.5, rng)
    groups = {**data.groups, "x0": np.array(["low"] * 50 + ["high"] * 50, dtype=object)}
    both = type(data)(**{**data.__dict__, "groups": groups})
    found = ProtectedReliance(**SMALL).run(subject(Linear([1.0, 0.0, 1.0, 0.0])), both, rng).estimates
    assert found["reliance@all together"].value == pytest.approx(1, abs=1e-6)
    assert found["reliance@all together"].value == pytest.approx(
        found["reliance@x0"].value + found["reliance@sex"].value, abs=1e-6
    )


def test_a_model_that_reads_nothing_has_no_reliance():
    rng = np.random.default_rng(0)
    found = ProtectedReliance(**SMALL).run(subject(Linear([0.0] * 4)), people(100, 0.5, rng), rng)
    assert found.estimates["reliance@sex"].value is None
    assert found.estimates["answers_changed@sex"].value == 0


def test_it_is_skipped_where_there_is_nothing_to_rely_on():
    rng = np.random.default_rng(0)
    model = subject(Linear([1.0, 1.0]))
    assert "no protected attribute" in ProtectedReliance().skip_reason(model, numbers(rng.normal(size=(9, 2))))
    data = people(9, 0.5, rng)
    outside = type(data)(**{**data.__dict__, "groups": {"club": data.groups["club"]}})
    assert "club" in ProtectedReliance().skip_reason(model, outside)


def test_every_value_given_to_everyone():
    """Linear, the sex counts for 0.8: whoever is nearer than that to the line, on the right side, has a value that flips."""
    rng = np.random.default_rng(0)
    data = people(500, 0.4, rng)
    found = ProtectedReliance(**SMALL).run(subject(Linear([1.0, 0.0, 0.8, 0.0])), data, rng)
    x0 = data.inputs[:, 0].numpy()
    flips = ((x0 > 0) != (x0 + 0.8 > 0)).mean()
    assert found.estimates["flips@sex"].value == pytest.approx(flips)
    assert found.estimates["flips@sex"].value >= found.estimates["answers_changed@sex"].value
    assert found.estimates["scores_moved@sex"].value == 1
    assert found.tables[0].rows[0][-1] <= 0.05


def test_where_no_score_moves_it_is_not_used():
    rng = np.random.default_rng(0)
    # weights that answer 1 for both sexes alike, too large for rounding to hide in
    found = ProtectedReliance(**SMALL).run(subject(Linear([1e4, 1.0, 0.7, 0.7])), people(300, 0.4, rng), rng)
    assert found.estimates["scores_moved@sex"].value == 0
    assert found.estimates["flips@sex"].value == 0
    assert found.tables[0].rows[0][-1] == 1


def test_many_combinations_are_not_tried():
    rng = np.random.default_rng(0)
    data = people(200, 0.5, rng)
    groups = {**data.groups, "x0": data.inputs[:, 0].numpy().astype(object)}
    both = type(data)(**{**data.__dict__, "groups": groups})
    found = ProtectedReliance(**SMALL).run(subject(Linear([1.0, 0.0, 1.0, 0.0])), both, rng).estimates
    assert "combinations" in found["flips@all together"].reason
    assert found["flips@x0"].value > 0.1


def test_a_number_of_many_values_is_cut_at_its_quartiles():
    rng = np.random.default_rng(0)
    data = numbers(rng.normal(size=(200, 2)), rng.integers(0, 2, 200))
    age = data.inputs[:, 0].numpy()
    data = replace(data, groups={"x0": age.astype(object)})
    found = ProtectedReliance(rows=100, evaluations=16, shuffles=2).run(subject(Linear([1.0, 1.0])), data, rng)
    rows = found.tables[1].rows
    assert len(rows) == 4 and rows[0][1].startswith("(-inf, ")
    means = [row[2].value for row in rows]
    assert means == sorted(means)  # the model likes the attribute
