"""The checks of scores on people whose scores are known: calibration and thresholds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from audit.checks.fairness.calibration import Calibration
from audit.checks.fairness.thresholds import Thresholds
from audit.datasets import Dataset
from audit.subject import Modality, Subject
from tests.checks.fairness.known_people import judge

N = 4_000


def people(shift: float, noise: float = 0.0, texts: bool = False, n: int = N) -> tuple[Subject, Dataset]:
    """True log-odds as scores; men get `shift` more, and women noise that hides who deserves what."""
    rng = np.random.default_rng(0)
    sex = np.where(np.arange(n) % 2, "F", "M").astype(object)
    age = rng.integers(18, 80, n).astype(object)
    odds = rng.normal(0, 1.5, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    odds = odds + shift * (sex == "M") + noise * (sex == "F") * rng.normal(size=n)
    scores = torch.from_numpy(np.column_stack([np.zeros(n), odds])).float()
    data = Dataset(
        inputs=[str(i) for i in range(n)] if texts else torch.arange(n)[:, None].float(),
        labels=torch.from_numpy(labels),
        classes=("no", "yes"),
        modality=Modality.TEXT if texts else Modality.TABULAR,
        groups={"sex": sex, "age": age},
        label="y",
        split="test",
        source="-",
        digest="0",
        favourable=1,
    )
    return judge(scores, data.classes), data


def run(check, subject, data):
    return check.run(subject, data, np.random.default_rng(0))


def test_a_score_too_high_for_one_group_is_a_gap_and_a_difference():
    measured = run(Calibration(), *people(1.0))
    assert measured.estimates["calibration_gap@sex=M"].low > 0.1
    fair = measured.estimates["calibration_gap@sex=F"]
    assert fair.low < 0 < fair.high
    assert measured.estimates["calibration_gap_difference@sex"].low > 0.1
    assert measured.estimates["calibration_error@sex=F"].low == 0.0
    assert measured.estimates["calibration_error@sex=M"].low > 0.1
    assert measured.estimates["auc_difference@sex"].low == 0.0
    assert measured.headline[:2] == ("calibration_gap_difference@sex", "auc_difference@sex")
    assert [figure.title for figure in measured.figures] == ["Reliability by sex", "Reliability by age"]


def test_a_group_told_apart_less_well_has_a_lower_auc():
    subject, data = people(0.0, noise=3.0, texts=True)
    measured = run(Calibration(), subject, data)
    women = data.groups["sex"] == "F"
    probability = subject.scores(data).double().softmax(1)[:, 1].numpy()
    found = measured.estimates["auc@sex=F"]
    assert found.value == pytest.approx(roc_auc_score(data.labels.numpy()[women], probability[women]), abs=1e-12)
    assert measured.estimates["auc_difference@sex"].low > 0.05


def test_ages_are_cut_and_crossed_and_nothing_is_said_twice():
    measured = run(Calibration(), *people(0.0))
    listed = [row[:2] for row in measured.tables[1].rows]
    assert sum(attribute == "age" for attribute, _ in listed) == 4
    assert sum(attribute == "sex x age" for attribute, _ in listed) == 8
    assert len(set(listed)) == len(listed)
    assert sum(row[2] for row in measured.tables[1].rows if row[0] == "sex") == N


def test_the_favourable_class_stands_against_all_others():
    subject, data = people(0.0)
    three = torch.cat([subject.scores(data), torch.zeros(N, 1)], 1)
    data = replace(data, classes=("no", "yes", "maybe"))
    subject = judge(three, data.classes)
    measured = run(Calibration(), subject, data)
    truth = three.double().softmax(1)[:, 1].numpy() - (data.labels.numpy() == 1)
    women = data.groups["sex"] == "F"
    assert measured.estimates["calibration_gap@sex=F"].value == pytest.approx(truth[women].mean(), abs=1e-9)
    assert "against all others" in measured.notes[0]
    swept = run(Thresholds(), subject, data)
    assert "selection_ratio_in_use@sex" not in swept.estimates
    assert "no threshold in use" in swept.notes[1]
    assert swept.figures[0].mark is None


def test_thresholds_bring_groups_of_shifted_scores_together_at_a_price():
    subject, data = people(1.0)
    measured = run(Thresholds(), subject, data)
    probability = subject.scores(data).double().softmax(1)[:, 1].numpy()
    men, true = data.groups["sex"] == "M", data.labels.numpy() == 1

    def ratio(t: float) -> float:
        shares = [(probability[of] >= t).mean() for of in (men, ~men)]
        return min(shares) / max(shares)

    now = measured.estimates["selection_ratio_in_use@sex"]
    assert now.value == pytest.approx(ratio(0.5))
    tried = [i / 100 for i in range(1, 100) if 0.05 <= (probability >= i / 100).mean() <= 0.95]
    smallest = measured.estimates["smallest_selection_ratio@sex"]
    assert smallest.value == pytest.approx(min(map(ratio, tried)))
    row = measured.tables[0].rows[0]
    good = [t for t in tried if ratio(t) >= 0.8]
    nearest = min(good, key=lambda t: abs(t - 0.5))
    assert row[4].startswith(f"{good[0]:.2f}")
    assert row[5] == f"{nearest:.2f}"
    change = measured.estimates["accuracy_change_at_wanted_ratio@sex"]
    truth = ((probability >= nearest) == true).mean() - ((probability >= 0.5) == true).mean()
    assert change.value == pytest.approx(truth)
    assert change.low < change.value < change.high


def test_equal_scores_need_no_other_threshold():
    subject, data = people(0.0)
    data = replace(data, groups={"sex": data.groups["sex"]})
    measured = run(Thresholds(), subject, data)
    assert measured.tables[0].rows[0][5] == "0.50"
    assert measured.estimates["accuracy_change_at_wanted_ratio@sex"].value == 0.0
    figure = measured.figures[0]
    assert figure.mark == 0.5
    assert len({point.panel for point in figure.points}) == 3
    assert 0.5 in {point.x for point in figure.points}
    selected = {point.series: point.y for point in figure.points if point.x == 0.5 and point.panel == "selection rate"}
    chosen = subject.scores(data).double().softmax(1)[:, 1].numpy() >= 0.5
    assert selected["F"] == pytest.approx(chosen[data.groups["sex"] == "F"].mean(), abs=1e-4)


@pytest.mark.parametrize("check", [Calibration(), Thresholds()])
def test_evidence_stays_small_however_many_groups_there_are(check):
    subject, data = people(0.3)
    towns = np.array([f"town {i}" for i in range(900)], dtype=object)[np.arange(N) % 900]
    data = replace(data, groups={**data.groups, "town": towns, "street": towns[::-1].copy()})
    measured = run(check, subject, data)
    assert len(measured.model_dump_json(indent=2)) < 60_000
    assert len(measured.figures) <= 2
    assert any("the 30 largest" in note for note in measured.notes)


@pytest.mark.parametrize("check", [Calibration(), Thresholds()])
def test_odd_models_and_groups_are_measured_or_undefined(check):
    subject, data = people(0.0, n=60)
    sure = judge(torch.log(torch.nn.functional.one_hot(data.labels, 2).float()), data.classes)
    alone = replace(data, groups={"sex": np.array(["F"] * 60, dtype=object)})
    same = replace(data, labels=torch.ones_like(data.labels))
    for model, people_ in ((sure, data), (subject, alone), (subject, same)):
        assert run(check, model, people_).estimates


@pytest.mark.parametrize("check", [Calibration(), Thresholds()])
def test_without_protected_attributes_it_is_skipped_with_advice(check):
    subject, data = people(0.0)
    assert "data.protected" in check.skip_reason(subject, replace(data, groups={}))
