"""Bounds where a part of the people told no sex."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from audit.checks.fairness.unknown import Unknown
from tests.checks.fairness.judged import people, regions, run


def test_missing_attributes_are_bounds_around_the_known_rows():
    measured = run(Unknown(), people(lean=2.5, gone=0.05))
    known, least, most = (
        measured.estimates[f"selection_rate_difference_{which}@sex"] for which in ("known", "at_least", "at_most")
    )
    assert 0 < least.value < known.value < most.value
    assert least.low > 0
    assert not any("@age" in name for name in measured.estimates)
    assert any("lack sex" in note for note in measured.notes)


def test_half_unknown_leaves_everything_open():
    measured = run(Unknown(), people(lean=1.0, gone=0.5))
    assert measured.estimates["selection_rate_difference_at_least@sex"].value == 0
    assert measured.estimates["selection_rate_difference_at_most@sex"].value > 0.6


def test_nothing_missing_is_skipped_with_the_reason():
    assert "sex, age" in Unknown().skip_reason(*people())


def test_who_lacks_it_is_not_denied_where_nothing_can_be_said():
    subject, data = people()
    for values, smallest in (([None] * len(data), 0), ([None] * 3 + ["a", "b"] * (len(data) // 2 - 1), 5)):
        column = np.array(values + ["a"] * (len(data) - len(values)), dtype=object)
        reason = Unknown().skip_reason(subject, replace(data, groups={"sex": column}, smallest_group=smallest))
        assert reason is not None
        assert reason.startswith("a protected attribute is missing")


def test_hundreds_of_groups_stay_small():
    assert len(json.dumps(run(Unknown(), regions(400)).model_dump(mode="json"), indent=2)) < 60_000
