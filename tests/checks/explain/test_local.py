"""Local explanations: which examples are shown, what the figures hold, what the quality figures say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audit.check import Effort, build, card
from audit.checks.explain.local import Local, _choose
from audit.subject import Modality

CHECK = Local(evaluations=128, background=60)


def test_examples_are_chosen_by_rule_and_once():
    probability = np.array([[0.9, 0.1], [0.2, 0.8], [0.52, 0.48], [0.05, 0.95], [0.3, 0.7]])
    labels = np.array([0, 1, 1, 0, 0])
    # right: rows 0, 1 by confidence; wrong: rows 3, 4, 2; the least certain is row 2
    assert _choose(probability, labels) == [
        ("most confident right", 0),
        ("typical right", 1),
        ("most confident wrong", 3),
        ("typical wrong", 4),
        ("least certain", 2),
    ]
    assert _choose(probability[:1], labels[:1]) == [("most confident right", 0)]


def test_the_waterfall_of_a_table_holds_the_closed_form(table):
    subject, data = table
    measured = CHECK.run(subject, data, np.random.default_rng(0))
    row = measured.tables[0].rows[0][1]
    score = subject.scores(data)[row]
    sign = 1 if score.argmax() == 1 else -1
    truth = sign * 2 * float(data.inputs[row, 0] - data.inputs[:, 0].mean())
    waterfall, compared = (next(f for f in measured.figures if f.kind == kind) for kind in ("waterfall", "matrix"))
    (age,) = (step for step in waterfall.steps if step.label == "age")
    assert age.value == pytest.approx(truth, abs=3e-2)
    assert age.low <= age.value <= age.high
    assert waterfall.end == pytest.approx(float(score.max() - score.min()), abs=1e-5)
    assert waterfall.start + sum(step.value for step in waterfall.steps) == pytest.approx(waterfall.end, abs=1e-4)
    assert {"SHAP", "LIME", "integrated gradients"} <= set(compared.columns)
    assert "random" not in compared.columns
    largest = max(compared.rows, key=lambda row: abs(row.values[0]))
    (strongest,) = (step for step in waterfall.steps if step.label == largest.label)
    assert abs(strongest.value) == max(abs(step.value) for step in waterfall.steps)
    signed = [c for c, column in enumerate(compared.columns) if column in ("SHAP", "LIME", "integrated gradients")]
    assert all(largest.values[c] == pytest.approx(np.sign(strongest.value), abs=0.02) for c in signed)
    assert measured.estimates["lime_r2"].value == pytest.approx(1, abs=1e-3)
    assert measured.estimates["shap_relative_half_width"].value == pytest.approx(0, abs=1e-9)
    assert measured.estimates["completeness_error"].value <= 1e-3


def test_features_beyond_the_first_are_one_step(table):
    subject, data = table
    all_of_them, two = (
        Local(evaluations=128, background=60, top=top).run(subject, data, np.random.default_rng(0)).figures[0]
        for top in (8, 2)
    )
    assert [step.label for step in two.steps] == [step.label for step in all_of_them.steps[:2]] + ["1 other feature"]
    rest = sum(step.value for step in all_of_them.steps[2:])
    assert two.steps[2].value == pytest.approx(rest)
    assert two.steps[2].low is None


def test_pictures_stand_side_by_side(picture):
    subject, data = picture
    (figure,) = CHECK.run(subject, data, np.random.default_rng(0)).figures
    assert {"SHAP", "LIME", "integrated gradients"} <= set(figure.columns)
    heats = dict(zip(figure.columns, figure.rows[0].heats, strict=True))
    assert np.array(heats["SHAP"]).shape == (7, 7)
    pixels = np.array(heats["integrated gradients"])
    assert pixels.shape == (14, 14)
    assert np.abs(pixels[2:]).max() == 0 < np.abs(pixels[:2, :2]).max()


def test_texts_are_shaded_by_every_method(words):
    subject, data = words
    measured = CHECK.run(subject, data, np.random.default_rng(0))
    for figure in measured.figures:
        assert {"SHAP", "LIME", "integrated gradients"} <= {line.caption for line in figure.lines}
        assert len({line.tokens for line in figure.lines}) == 1


def test_a_method_that_refuses_is_left_out_and_says_why(table, monkeypatch):
    from audit.explainers import CompletenessError
    from audit.explaining import attributions

    subject, data = table
    honest = attributions.attribute

    def attribute(name, *others):
        if name == "integrated_gradients":
            raise CompletenessError("does not add up here")
        return honest(name, *others)

    monkeypatch.setattr(attributions, "attribute", attribute)
    measured = CHECK.run(subject, data, np.random.default_rng(0))
    assert "completeness_error" not in measured.estimates
    assert "integrated gradients" not in measured.figures[-1].columns
    assert "integrated gradients: does not add up here" in measured.notes
    assert not any("Not applicable" in note and "integrated gradients" in note for note in measured.notes)


def test_without_gradients_the_other_methods_go_on(table):
    subject, data = table
    subject.capabilities = frozenset()
    measured = CHECK.run(subject, data, np.random.default_rng(0))
    assert "completeness_error" not in measured.estimates
    assert any("integrated gradients" in note for note in measured.notes)


def test_leaves_the_model_and_the_generators_alone(picture):
    subject, data = picture
    before, weight = torch.get_rng_state(), subject.model.weight.clone()
    one, two = (CHECK.run(subject, data, np.random.default_rng(1)) for _ in range(2))
    assert one == two
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(weight, subject.model.weight)


def test_the_card_has_every_part_and_the_efforts_fit():
    text = card("explain.local")
    assert all((text.title, text.what, text.why, text.how, text.references))
    assert all(build("explain.local", effort, {}) for effort in Effort)
    assert Local.modalities == frozenset(Modality)
