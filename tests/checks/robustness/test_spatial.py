"""The check of rotations and shifts, on models whose answers under them are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.checks.robustness.spatial import Spatial
from audit.datasets import Dataset
from audit.subject import Modality
from reports.record import Images, Matrix, Measured
from tests.checks.robustness.known import dataset_of, linear, subject_of

SIDE = 16
SMALL = {"rows": 100, "angles": 3, "shifts": 5, "samples": 4, "refinements": 4}


def value(found: Measured, name: str) -> float:
    """An estimate that must be defined."""
    estimate = found.estimates[name]
    assert estimate.value is not None
    return estimate.value


def tops(n: int = 30) -> Tensor:
    """The upper row of each bar, far enough from the frame to stay in it."""
    return 3 + torch.arange(n) % 10


def bars(n: int = 30) -> Dataset:
    """A bright horizontal bar of two rows at the height of the row's number; the label says whether it is high."""
    x = torch.zeros(n, 1, SIDE, SIDE)
    top = tops(n)
    for i, at in enumerate(top.tolist()):
        x[i, :, at : at + 2] = 1
    data = dataset_of(x, (top < SIDE // 2 - 1).long(), Modality.IMAGE, ("low", "high"))
    return replace(data, bounds=(0.0, 1.0))


def centre(x: Tensor) -> Tensor:
    """High where the weight of the picture lies above the middle."""
    height = ((SIDE - 1) / 2 - torch.arange(SIDE, dtype=x.dtype))[:, None]
    lead = (x * height).flatten(1).sum(1) / x.flatten(1).sum(1).clamp(min=1e-6)
    return torch.stack([torch.zeros_like(lead), lead], 1)


def test_the_worst_turn_and_shift() -> None:
    data = bars()
    assert isinstance(data.inputs, Tensor)
    subject = subject_of(centre, Modality.IMAGE, ("low", "high"))  # type: ignore[arg-type]
    check = Spatial(**SMALL, degrees=(0.001, 0.002), reach=(1.1 / SIDE, 3.1 / SIDE))  # type: ignore[arg-type]
    found = check.run(subject, data, np.random.default_rng(0))
    assert value(found, "clean_accuracy") == 1
    # how far a bar lies from the middle: below the reach the worst shift carries it across
    off = ((SIDE - 1) / 2 - (tops() + 0.5)).abs()
    for turn, far in (("0.001", 1.1), ("0.002", 3.1)):
        assert value(found, f"robust_accuracy@turn:{turn}") == pytest.approx(float((off > far).double().mean()))
        assert value(found, f"random_accuracy@turn:{turn}") > value(found, f"robust_accuracy@turn:{turn}")
    heat = next(f for f in found.figures if isinstance(f, Matrix))
    middle = dict(zip(heat.columns, heat.rows[3].values, strict=True))
    assert (middle["as it is"], middle["left"], middle["right"]) == (1, 1, 1)
    low = off[data.labels == 0]  # a shift up carries the low ones across
    assert middle["up"] == pytest.approx(1 - float((low < 3.1).double().sum()) / 30)
    shown = next(f for f in found.figures if isinstance(f, Images))
    assert len(shown.panels) == 8
    for given, moved in zip(shown.panels[::2], shown.panels[1::2], strict=True):
        assert given.caption.rsplit(": ")[-1] != moved.caption.rsplit(": ")[-1]
    assert len(found.model_dump_json()) < 150_000


def test_a_model_that_sees_the_sum_is_never_broken_inside_the_frame() -> None:
    x = torch.zeros(20, 1, SIDE, SIDE)
    level = torch.linspace(0.2, 0.8, 20)
    x[:, :, 5:11, 5:11] = level[:, None, None, None]
    data = replace(dataset_of(x, (level > 0.5).long(), Modality.IMAGE, ("dark", "light")), bounds=(0.0, 1.0))
    model = linear([[0.0] * SIDE**2, [1 / 36] * SIDE**2], [0.0, -0.5], flatten=True)
    found = Spatial(**SMALL).run(  # type: ignore[arg-type]
        subject_of(model, Modality.IMAGE, ("dark", "light")), data, np.random.default_rng(0)
    )
    assert {name: e.value for name, e in found.estimates.items()} == dict.fromkeys(found.estimates, 1.0)
    assert not any(isinstance(f, Images) for f in found.figures)


def test_it_says_why_it_does_not_fit_and_repeats_itself() -> None:
    data = bars()
    subject = subject_of(centre, Modality.IMAGE, ("low", "high"))  # type: ignore[arg-type]
    assert "bounds" in (Spatial().skip_reason(subject, replace(data, bounds=None)) or "")
    assert "1 and 4" in (Spatial(degrees=(5.0,)).skip_reason(subject, data) or "")
    assert Spatial().skip_reason(subject, data) is None
    one, two = (Spatial(**SMALL).run(subject, data, np.random.default_rng(3)) for _ in range(2))  # type: ignore[arg-type]
    assert one == two
