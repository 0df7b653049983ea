"""Differences adjusted for controls, on admissions that turn round by department."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from audit.checks.fairness.strata import Strata
from audit.subject import Modality
from tests.checks.fairness.judged import colleges, judged, people, regions, run


def test_a_control_that_reverses_is_named():
    measured = run(Strata(draws=2000), colleges())
    assert measured.estimates["reversals@sex"].value >= 1
    assert measured.estimates["selection_rate_crude_difference@sex"].high < 0
    assert measured.estimates["selection_rate_adjusted_difference@sex"].low > 0.05
    assert measured.estimates["selection_rate_change@sex"].low > 0.2
    assert any(note.startswith("department reverses the direction") for note in measured.notes)
    assert any("not a justification" in note for note in measured.notes)
    assert any("no two rows are alike: id" in note for note in measured.notes)
    assert measured.tables[0].rows[0][3] == "department"
    assert measured.tables[0].rows[0][7] == "reversed"


def test_controls_that_do_not_matter_change_nothing():
    measured = run(Strata(draws=2000), colleges(turned=False))
    assert measured.estimates["reversals@sex"].value == 0
    change = measured.estimates["selection_rate_change@sex"]
    assert change.low < 0.02
    assert any("No control reverses" in note for note in measured.notes)


@pytest.mark.parametrize("seed", range(3))
def test_noise_never_reverses(seed):
    rng = np.random.default_rng(seed)
    columns = {f"x{i}": rng.integers(0, 5, 400) for i in range(12)}
    answer = rng.random(400) < 0.5
    groups = {"sex": rng.choice(["F", "M"], 400).astype(object)}
    frame = pd.DataFrame(columns | {"y": answer * 1})
    measured = run(Strata(draws=2000), judged(np.stack([~answer, answer], 1) * 2.0, answer, groups, frame))
    assert measured.estimates["reversals@sex"].value == 0


def test_pictures_are_adjusted_for_the_other_attribute_and_one_alone_is_skipped():
    measured = run(Strata(draws=1000), people(lean=0.5, modality=Modality.IMAGE))
    assert {row[3] for row in measured.tables[0].rows} == {"sex", "age"}
    alone = judged(np.zeros((4, 2)), np.zeros(4), {"sex": np.array(list("FMFM"), dtype=object)})
    assert "another variable" in Strata().skip_reason(*alone)


def test_strata_repeat_to_the_bit():
    one, two = (run(Strata(draws=1000), colleges(), seed=4) for _ in range(2))
    assert one.model_dump_json() == two.model_dump_json()


def test_hundreds_of_groups_stay_small():
    assert len(json.dumps(run(Strata(draws=500), regions(400)).model_dump(mode="json"), indent=2)) < 60_000
