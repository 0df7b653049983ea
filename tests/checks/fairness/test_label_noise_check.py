"""Labels turned more often in one group than in the other, in tables and pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.checks.fairness.label_noise import LabelNoise
from audit.subject import Modality
from tests.checks.fairness.known_people import judged, people, pictures, with_groups

CHECK = LabelNoise(replicates=60)


def turned(data, group: str, rate: float):
    """The data with right labels by the sign of the first number, then some of one group's turned."""
    rng = np.random.default_rng(0)
    right = (data.inputs.flatten(1)[:, 0] > (0.5 if data.modality is Modality.IMAGE else 0)).numpy()
    wrong = (data.groups["sex"] == group) & (rng.random(len(data)) < rate)
    return replace(data, labels=torch.from_numpy((right ^ wrong).astype(np.int64))), wrong


@pytest.mark.parametrize("kind", ["table", "picture"])
def test_the_group_with_wrong_labels_is_named_and_its_rows_listed(kind):
    data, wrong = turned(people() if kind == "table" else pictures(), "F", 0.2)
    picture = kind == "picture"
    model = judged(
        (lambda x: 60 * (x[:, 0, 0, 0] - 0.5)) if picture else (lambda x: 30 * x[:, 0]),
        Modality.IMAGE if picture else Modality.TABULAR,
    )
    measured = CHECK.run(model, data, np.random.default_rng(0))
    e = measured.estimates
    women = data.groups["sex"] == "F"
    assert e["label_noise@sex=F"].low <= wrong[women].mean() <= e["label_noise@sex=F"].high
    assert e["label_noise@sex=M"].value < 0.02
    assert e["label_noise_difference@sex=F"].low > 0
    assert e["label_noise_beyond_overlap@sex=F"].low > 0
    assert measured.headline == ("label_noise", "label_noise_beyond_overlap@sex=F")
    rows = [row[0] for row in next(t for t in measured.tables if "in doubt" in t.title and "Rows" in t.title).rows]
    assert wrong[rows].mean() > 0.9


def test_rows_are_numbered_as_in_the_test_split_though_only_some_are_taken():
    data, wrong = turned(people(), "F", 0.1)
    measured = LabelNoise(replicates=10, rows=400).run(judged(lambda x: 60 * x[:, 0]), data, np.random.default_rng(0))
    rows = [row[0] for row in measured.tables[1].rows]
    assert max(rows) > 400
    assert wrong[rows].mean() > 0.9


def test_without_groups_it_is_skipped_and_a_tiny_group_is_undefined():
    data = people()
    assert "data.protected" in CHECK.skip_reason(judged(lambda x: x[:, 0]), with_groups(data))
    few = np.where(np.arange(1200) < 24, "few", "many").astype(object)
    labels = data.labels.clone()
    labels[:24] = 1
    measured = CHECK.run(
        judged(lambda x: x[:, 0]), with_groups(replace(data, labels=labels), sex=few), np.random.default_rng(0)
    )
    assert "two classes" in measured.estimates["label_noise@sex=few"].reason


def test_the_same_seed_gives_the_same_bits():
    first, second = (
        CHECK.run(judged(lambda x: x[:, 0]), people(), np.random.default_rng(3)).model_dump_json() for _ in range(2)
    )
    assert first == second
