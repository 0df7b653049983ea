"""Global importance: the closed form on linear log-odds, and one picture for each modality."""

from __future__ import annotations

import numpy as np
import pytest

from audit.check import Effort, build, card
from audit.checks.explain.global_importance import GlobalImportance

CHECK = GlobalImportance(rows=60, media=40, evaluations=128, background=60, resamples=200)


def test_table_equals_the_mean_magnitude(table):
    subject, data = table
    measured = CHECK.run(subject, data, np.random.default_rng(0))
    moved = (data.inputs - data.inputs.mean(0)) * subject.model.weight
    age, city = moved[:, 0].abs().mean(), moved[:, 1:4].sum(1).abs().mean()
    assert measured.estimates["importance@age"].value == pytest.approx(float(age), abs=1e-4)
    assert measured.estimates["importance@city"].value == pytest.approx(float(city), abs=1e-4)
    assert measured.estimates["importance@noise"].value == pytest.approx(0, abs=1e-5)
    assert measured.estimates["share_of_top_3"].value == pytest.approx(1)
    assert measured.estimates["relative_error"].value == pytest.approx(0, abs=1e-9)
    assert measured.estimates["additivity_gap"].value == pytest.approx(0, abs=1e-4)
    assert measured.headline[0] == "importance@age"
    assert [bar.label for bar in measured.figures[0].bars] == ["age", "city", "noise"]


def test_the_swarm_speaks_of_one_class_and_knows_low_from_high(table):
    subject, data = table
    measured = CHECK.run(subject, data, np.random.default_rng(0))
    (figure,) = measured.figures[1:]
    assert figure.x_title.endswith(data.classes[1])
    rows = {row.label: row for row in figure.rows}
    assert len(rows["age"].values) == 60
    # log-odds of the second class rise by twice the age, whatever class is predicted
    order = np.argsort(rows["age"].levels)
    assert (np.diff(np.array(rows["age"].values)[order]) >= 0).all()
    spread = float(2 * (data.inputs[:, 0].max() - data.inputs[:, 0].min()))
    assert np.ptp(rows["age"].values) == pytest.approx(spread, abs=2e-3)
    assert set(rows["city"].levels) == {None}


def test_picture_finds_the_cell_the_model_reads(picture):
    subject, data = picture
    measured = CHECK.run(subject, data, np.random.default_rng(0))
    assert measured.headline[0] == "importance@row 1, column 1"
    (figure,) = measured.figures
    assert figure.kind == "images"
    heat = np.array(figure.panels[0].heat)
    assert heat.shape == (7, 7)
    assert heat[0, 0] == heat.max() == 1
    assert len(figure.panels) == 3
    assert measured.estimates["relative_error"].value < 1e-3


def test_text_ranks_words_seen_often_enough(words):
    subject, data = words
    measured = CHECK.run(subject, data, np.random.default_rng(0))
    # dull: 1 + 1 + 2 times 2, over 7 texts; great is heavier but stands in two texts only
    assert measured.headline[0] == "importance@dull"
    assert measured.estimates["importance@dull"].value == pytest.approx(8 / 7, abs=1e-4)
    assert measured.estimates["importance@great"].value == pytest.approx(6 / 7, abs=1e-4)
    names = [row[0] for row in measured.tables[0].rows]
    assert names.index("film") < names.index("great")


def test_repeats_and_leaves_the_generators_alone(table):
    import torch

    subject, data = table
    before = torch.get_rng_state()
    one, two = (CHECK.run(subject, data, np.random.default_rng(5)) for _ in range(2))
    assert one == two
    assert torch.equal(before, torch.get_rng_state())


def test_the_card_has_every_part_and_the_efforts_fit():
    text = card("explain.global_importance")
    assert all((text.title, text.what, text.why, text.how, text.references))
    assert all(build("explain.global_importance", effort, {}) for effort in Effort)
