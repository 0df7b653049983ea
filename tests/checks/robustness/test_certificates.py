"""The sandwich on models whose robust accuracy is known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import attacks
from audit.checks.robustness.certificates import Certificates
from audit.subject import Modality
from reports.record import Curves, Measured
from tests.checks.robustness.known import linear, pictures, subject_of, table

WEIGHTS = [2.0, -1.0, 5.0, 0.5, -0.5, 0.0]
MODEL = linear([[0.0] * 6, WEIGHTS], [0.0, 0.3])
CHECK = Certificates(rows_table=80, effort="quick", smoothed=80, draws=200, sigma_table=(0.25,))


def value(found: Measured, name: str) -> float:
    """An estimate that must be defined."""
    estimate = found.estimates[name]
    assert estimate.value is not None
    return estimate.value


def rows():
    """Rows labelled by the model, but for eight; the training data leave all room and have deviation 1."""
    data = table(80)
    assert isinstance(data.inputs, Tensor)
    labels = MODEL(data.inputs).argmax(1)
    labels[:8] = 1 - labels[:8]
    wide = torch.cat([torch.full((1, 6), -50.0), torch.full((1, 6), 50.0), torch.zeros(4998, 6)])
    train = replace(data, inputs=wide, labels=torch.zeros(5000, dtype=torch.int64), split="train")
    return replace(data, labels=labels, train=train)


def test_nothing_is_undecided_on_a_linear_model_and_both_bounds_are_the_truth():
    data = rows()
    found = CHECK.run(subject_of(MODEL, Modality.TABULAR), data, np.random.default_rng(0))
    scores = MODEL(data.inputs)
    distance = (scores[:, 1] - scores[:, 0]).abs() / 3  # age and colours never move
    right = scores.argmax(1) == data.labels
    for eps in CHECK.linf_table:
        truth = float((right & (distance > eps)).double().mean())
        assert value(found, f"certified_accuracy@linf:{eps:.4g}") == pytest.approx(truth)
        assert value(found, f"robust_accuracy@linf:{eps:.4g}") == pytest.approx(truth)
        assert value(found, f"undecided@linf:{eps:.4g}") == 0
    assert found.headline[0] == "clean_accuracy"
    assert value(found, "clean_accuracy") == pytest.approx(0.9)


def test_smoothing_is_reported_as_of_another_model():
    data = rows()
    found = CHECK.run(subject_of(MODEL, Modality.TABULAR), data, np.random.default_rng(0))
    assert any("another model" in note for note in found.notes)
    # of the two numbers that may move, the distance is over their Euclidean length
    scores = MODEL(data.inputs)
    truth = torch.where(scores.argmax(1) == data.labels, (scores[:, 1] - scores[:, 0]).abs() / 5**0.5, 0)
    accuracy = value(found, "smoothed_accuracy@sigma:0.25")
    assert 0.7 < accuracy < 0.9
    assert accuracy + value(found, "abstained@sigma:0.25") <= 1
    assert 0 < value(found, "median_radius@sigma:0.25") <= float(truth.median())
    assert [figure.title for figure in found.figures if isinstance(figure, Curves)][1].startswith("The smoothed model")


def test_images_are_certified_too():
    data = pictures(30)
    model = linear([[-1 / 256] * 256, [1 / 256] * 256], [0.5, -0.5], flatten=True)
    check = Certificates(rows_image=30, effort="quick", linf_image=(0.01, 0.05), smoothed=4, draws=50)
    found = check.run(subject_of(model, Modality.IMAGE), data, np.random.default_rng(0))
    distance = (data.inputs.mean((1, 2, 3)) - 0.5).abs()  # type: ignore[union-attr]
    for eps in check.linf_image:
        truth = float((distance > eps).double().mean())
        assert value(found, f"certified_accuracy@linf:{eps:.4g}") == pytest.approx(truth)


def test_a_contradiction_is_an_error_that_names_the_rows(monkeypatch):
    honest = attacks.certify_intervals

    def boastful(*args: object, **named: object) -> attacks.Bounds:
        found = honest(*args, **named)  # type: ignore[arg-type]
        return replace(found, certified=torch.ones_like(found.certified))

    monkeypatch.setattr(attacks, "certify_intervals", boastful)
    with pytest.raises(RuntimeError, match=r"both certified and broken \(test rows \d+"):
        CHECK.run(subject_of(MODEL, Modality.TABULAR), rows(), np.random.default_rng(0))


class Products(nn.Module):
    """Two moving factors have no rule."""

    def forward(self, x: Tensor) -> Tensor:
        score = x[:, 0] * x[:, 1].exp()
        return torch.stack([-score, score], 1)


def test_a_model_that_cannot_be_read_is_smoothed_alone():
    found = CHECK.run(subject_of(Products(), Modality.TABULAR), rows(), np.random.default_rng(0))
    assert any("No bounds on the model itself" in note and "aten.mul" in note for note in found.notes)
    assert not any(name.startswith("certified") for name in found.estimates)
    assert "smoothed_accuracy@sigma:0.25" in found.estimates


def test_it_says_why_it_does_not_apply():
    subject = subject_of(MODEL, Modality.TABULAR)
    assert Certificates(linf_table=()).skip_reason(subject, rows()) == "no budget is given"
    assert "range of a pixel" in (
        Certificates().skip_reason(subject_of(MODEL, Modality.IMAGE), replace(pictures(4), bounds=None)) or ""
    )
