"""The fairness checks on people whose treatment is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audit.checks.fairness.calibration import Calibration
from audit.checks.fairness.disparity import Disparity
from audit.checks.fairness.rates import Rates
from audit.datasets import Dataset
from audit.subject import Modality, Subject, Task

N = 4000


def people(shift: float) -> tuple[Subject, Dataset]:
    """Half of group F would be selected; the model adds `shift` to the log-odds of M."""
    rng = np.random.default_rng(0)
    sex = np.where(np.arange(N) % 2, "F", "M").astype(object)
    age = np.where(rng.random(N) < 0.3, "old", "young").astype(object)
    logit = torch.from_numpy(rng.normal(0, 1.5, N)).float()
    labels = torch.from_numpy((rng.random(N) < logit.sigmoid().numpy()).astype(np.int64))
    score = logit + shift * torch.from_numpy((sex == "M").astype(np.float32))
    inputs = score[:, None]
    subject = Subject(
        model=torch.nn.Identity(),
        predict=lambda x: torch.cat([torch.zeros_like(x), x], 1),
        task=Task.CLASSIFICATION,
        modality=Modality.TABULAR,
        classes=("no", "yes"),
        capabilities=frozenset(),
        digest="0",
        name="people",
        source="-",
        format="test",
        device=torch.device("cpu"),
    )
    data = Dataset(
        inputs=inputs,
        labels=labels,
        classes=("no", "yes"),
        modality=Modality.TABULAR,
        groups={"sex": sex, "age": age},
        label="y",
        split="test",
        source="-",
        digest="0",
        favourable=1,
    )
    return subject, data


def test_equal_treatment_is_not_called_a_difference():
    measured = Disparity().run(*people(0.0), np.random.default_rng(0))
    gap = measured.estimates["demographic_parity_difference@sex"]
    assert gap.low == 0.0
    assert gap.high < 0.06


def test_a_shift_is_found_with_its_size_and_in_the_intersection():
    subject, data = people(1.0)
    measured = Disparity().run(subject, data, np.random.default_rng(0))
    chosen = subject.scores(data).argmax(1).numpy() == 1
    sex = data.groups["sex"]
    truth = chosen[sex == "M"].mean() - chosen[sex == "F"].mean()
    gap = measured.estimates["demographic_parity_difference@sex"]
    assert gap.value == pytest.approx(truth)
    assert gap.low > 0.1
    assert measured.estimates["demographic_parity_difference@sex x age"].value >= gap.value
    assert measured.estimates["demographic_parity_ratio@sex"].value == pytest.approx(
        chosen[sex == "F"].mean() / chosen[sex == "M"].mean()
    )


def test_rates_count_every_group_and_intersection():
    subject, data = people(0.5)
    measured = Rates().run(subject, data, np.random.default_rng(0))
    men = data.groups["sex"] == "M"
    right = (subject.scores(data).argmax(1) == data.labels).numpy()
    assert measured.estimates["accuracy@sex=M"].value == pytest.approx(right[men].mean())
    assert [t.title for t in measured.tables] == ["Rates by sex", "Rates by age", "Rates by sex x age"]
    assert sum(row[1] for row in measured.tables[2].rows) == N


def test_calibration_finds_the_group_whose_scores_are_too_high():
    measured = Calibration().run(*people(1.0), np.random.default_rng(0))
    assert measured.estimates["calibration_gap@sex=M"].low > 0.05
    fair = measured.estimates["calibration_gap@sex=F"]
    assert fair.low < 0 < fair.high
    assert measured.headline[0] == "calibration_gap_difference@sex"


@pytest.mark.parametrize("check", [Rates(), Disparity(), Calibration()])
def test_without_protected_attributes_it_is_skipped_with_advice(check):
    subject, data = people(0.0)
    data.groups.clear()
    assert "data.protected" in check.skip_reason(subject, data)
