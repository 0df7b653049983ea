"""Definitions on people who are treated alike, and on others who are not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from audit.checks.fairness.definitions import Definitions
from audit.errors import DataError
from tests.checks.fairness.judged import N, colleges, judged, people, regions, run


def test_fair_people_break_nothing_and_a_lean_breaks_much():
    for lean, expected in ((0.0, {"no"}), (1.5, {"yes"})):
        measured = run(Definitions(), people(lean))
        table = {row[0]: row for row in measured.tables[0].rows}
        assert {table[name][3] for name in ("demographic parity", "equalised odds", "equal opportunity")} == expected
    assert measured.estimates["impact_ratio@sex"].high < 0.9
    assert "sex x age" in {table.columns[0] for table in measured.tables}
    assert table["conditional statistical parity"][3] == "-"


def test_scores_that_mean_another_thing_for_one_group_break_calibration():
    measured = run(Definitions(), people(lean=1.5))
    assert {row[0]: row[3] for row in measured.tables[0].rows}["calibration within groups"] == "yes"
    assert measured.estimates["scoring_impact_ratio@sex"].value < 0.9


def test_true_rates_that_differ_exclude_definitions_and_equal_ones_do_not():
    assert any("do not differ beyond chance" in note for note in run(Definitions(), people()).notes)
    rng = np.random.default_rng(0)
    sex = np.where(np.arange(N) % 2, "F", "M").astype(object)
    true = rng.random(N) < np.where(sex == "F", 0.2, 0.6)
    answer = np.where(rng.random(N) < 0.8, true, ~true)
    measured = run(Definitions(), judged(np.stack([~answer, answer], 1) * 2.0, true, {"sex": sex}))
    assert any("cannot satisfy together: predictive parity and equalised odds" in note for note in measured.notes)
    assert any(table.title == "What definitions would demand by sex" for table in measured.tables)
    perfect = run(Definitions(), judged(np.stack([~true, true], 1) * 2.0, true, {"sex": sex}))
    assert any("cannot satisfy together: demographic parity and equalised odds;" in note for note in perfect.notes)


def test_legitimate_grounds_are_held_fixed_and_must_exist():
    subject, data = colleges()
    measured = run(Definitions(legitimate=("department",)), (subject, data))
    gap = measured.estimates["conditional_statistical_parity_difference@sex"]
    assert gap.low < 0.15 < gap.high
    assert measured.estimates["demographic_parity_difference@sex"].value != pytest.approx(gap.value)
    with pytest.raises(DataError, match="departement"):
        run(Definitions(legitimate=("departement",)), (subject, data))


def test_unknown_people_are_counted_and_in_no_ratio():
    measured = run(Definitions(), people(lean=1.0, gone=0.2))
    table = next(table for table in measured.tables if table.title == "Impact ratios by sex")
    assert {row[0] for row in table.rows} == {"F", "M"}
    assert "rows of unknown sex are in none" in table.note
    assert int(table.note.split("all rows. ")[1].split()[0]) == sum(
        v is None for v in people(1.0, 0.2)[1].groups["sex"]
    )


def test_several_classes_are_read_as_one_against_the_rest():
    subject, data = people(lean=1.5, k=4)
    measured = run(Definitions(), (subject, data))
    answer = subject.scores(data).argmax(1).numpy() == 1
    men = data.groups["sex"] == "M"
    assert measured.estimates["demographic_parity_difference@sex"].value == pytest.approx(
        answer[men].mean() - answer[~men].mean()
    )
    assert "other classes together" in measured.notes[0]


def test_an_undeclared_orientation_is_said():
    subject, data = people()
    object.__setattr__(data, "favourable", None)
    assert "none is declared" in run(Definitions(), (subject, data)).notes[0]


def test_hundreds_of_groups_stay_small():
    assert len(json.dumps(run(Definitions(), regions(400)).model_dump(mode="json"), indent=2)) < 60_000
