"""The check of patches, on a linear model whose best patch is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audit.checks.robustness.patch import Patch
from audit.subject import Modality
from reports.record import Images, Measured
from tests.checks.robustness.known import linear, pictures, subject_of

SIDE = 12


def value(found: Measured, name: str) -> float:
    """An estimate that must be defined."""
    estimate = found.estimates[name]
    assert estimate.value is not None
    return estimate.value


def model() -> nn.Module:
    """Light where the mean is above one half."""
    return linear([[0.0] * SIDE**2, [1.0] * SIDE**2], [0.0, -SIDE * SIDE / 2], flatten=True)


def test_accuracy_with_the_best_square_is_exact() -> None:
    data = pictures(60, size=SIDE)
    x = data.inputs
    assert isinstance(x, Tensor)
    subject = subject_of(model(), Modality.IMAGE, ("dark", "light"))
    check = Patch(rows=60, areas=(0.01, 0.06, 0.12), places=1, steps=3, training_rows=20, training_steps=20)
    found = check.run(subject, data, np.random.default_rng(0))
    assert value(found, "clean_accuracy") == 1
    lead = x.flatten(1).sum(1) - SIDE * SIDE / 2
    for area, side in ((0.01, 1), (0.06, 3), (0.12, 4)):
        kept = nn.functional.avg_pool2d(x, side, stride=1).flatten(1) * side**2
        reach = torch.where(lead > 0, kept.amax(1), side**2 - kept.amin(1))  # all black, or all white
        assert value(found, f"robust_accuracy@patch:{area:.4g}") == pytest.approx(
            float((lead.abs() > reach).double().mean())
        )
    assert [row[1] for row in found.tables[0].rows] == [None, 1, 3, 4, 4, 4]
    fallen, universal = (f for f in found.figures if isinstance(f, Images))
    assert len(fallen.panels) == 8
    assert len(universal.panels) == 9
    assert len(found.model_dump_json()) < 150_000


def test_a_universal_patch_harms_where_its_content_counts() -> None:
    data = pictures(80, size=SIDE)
    x = data.inputs
    assert isinstance(x, Tensor)
    # dark pictures only: a white patch makes many of them light, a random one few
    dark = np.flatnonzero(data.labels.numpy() == 0)
    data = data.take(dark)
    subject = subject_of(model(), Modality.IMAGE, ("dark", "light"))
    check = Patch(rows=80, areas=(0.01,), places=1, steps=1, universal_area=0.2, training_steps=30)
    found = check.run(subject, data, np.random.default_rng(0))
    assert value(found, "universal_accuracy@patch:0.2") < value(found, "random_accuracy@patch:0.2") - 0.2
    harm = found.estimates["universal_harm@patch:0.2"]
    assert harm.value == pytest.approx(
        value(found, "random_accuracy@patch:0.2") - value(found, "universal_accuracy@patch:0.2")
    )
    assert (harm.low or 0) > 0
    # half of the rows taught it, the others judged it
    assert harm.n == len(dark) - len(dark) // 2
    with_train = replace(data, train=replace(data, split="train"))
    again = check.run(subject, with_train, np.random.default_rng(0))
    assert again.estimates["universal_harm@patch:0.2"].n == len(dark)


def test_a_constant_model_is_never_broken() -> None:
    data = pictures(10, size=SIDE)
    labels = torch.ones_like(data.labels)
    constant = linear([[0.0] * SIDE**2, [0.0] * SIDE**2], [0.0, 1.0], flatten=True)
    found = Patch(rows=10, places=1, steps=2, training_steps=2).run(
        subject_of(constant, Modality.IMAGE, ("dark", "light")), replace(data, labels=labels), np.random.default_rng(0)
    )
    accuracies = {name: e.value for name, e in found.estimates.items() if "accuracy" in name}
    assert accuracies == dict.fromkeys(accuracies, 1.0)
    assert len([f for f in found.figures if isinstance(f, Images)]) == 1


def test_it_says_why_it_does_not_fit() -> None:
    data = pictures(10, size=SIDE)
    subject = subject_of(model(), Modality.IMAGE, ("dark", "light"))
    assert "bounds" in (Patch().skip_reason(subject, replace(data, bounds=None)) or "")
    assert "one test image" in (Patch().skip_reason(subject, data.take([0])) or "")
    assert "no area" in (Patch(areas=()).skip_reason(subject, data) or "")
    assert Patch().skip_reason(subject, data) is None
    blind = subject_of(model(), Modality.IMAGE, ("dark", "light"), gradient=False)
    assert "input_gradient" in (Patch().skip_reason(blind, data) or "")
