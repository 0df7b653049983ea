"""Checks of noise and corruptions on models whose answers under noise are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from torch import Tensor

from audit.checks.robustness.corruptions import Corruptions
from audit.checks.robustness.noise import Noise
from audit.subject import Modality
from reports.record import Measured
from tests.checks.robustness.known import linear, pictures, subject_of, table

SIGN = [[0.0] * 6, [1.0, 0, 0, 0, 0, 0]]


def value(found: Measured, name: str) -> float:
    """An estimate that must be defined."""
    estimate = found.estimates[name]
    assert estimate.value is not None
    return estimate.value


def test_table_noise_has_its_closed_forms() -> None:
    data = table(4000)
    x = data.inputs
    assert isinstance(x, Tensor)
    x[:, 0] = x[:, 0].sign()
    found = Noise(rows=4000).run(subject_of(linear(SIGN, [0.0, 0.0]), Modality.TABULAR), data, np.random.default_rng(0))
    assert value(found, "clean_accuracy") == 1
    for sigma in (0.5, 1.0, 2.0):
        accuracy = found.estimates[f"accuracy@gaussian:{sigma:.4g}"]
        expected = stats.norm.cdf(1 / sigma)
        assert accuracy.value == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 4000) ** 0.5)
        assert value(found, f"changed_answers@gaussian:{sigma:.4g}") == pytest.approx(
            1 - value(found, f"accuracy@gaussian:{sigma:.4g}")
        )
    # a lost value becomes 0: the first class answers
    positive = float(data.labels.float().mean())
    assert value(found, "changed_answers@missing:0.3") == pytest.approx(0.3 * positive, abs=0.03)
    # colours do not matter to this model
    assert value(found, "accuracy@category:0.5") == 1
    # height and weight are equally likely in the wrong unit, and a tall ten times over is tall
    assert value(found, "accuracy_drop@unit:10") == pytest.approx((1 - positive) / 2, abs=0.03)
    assert "age" in found.notes[1]


def test_table_noise_of_a_single_unit() -> None:
    data = table(300)
    found = Noise(rows=300).run(subject_of(linear(SIGN, [0.0, 0.0]), Modality.TABULAR), data, np.random.default_rng(0))
    units = next(t for t in found.tables if "unit" in t.title)
    by_name = {row[0]: row[1:] for row in units.rows}
    assert set(by_name) == {"height", "weight"}
    tall = by_name["height"][0]
    assert tall.value == pytest.approx(float(data.labels.float().mean()))  # type: ignore[union-attr]
    assert by_name["weight"][0].value == 1  # type: ignore[union-attr]


def test_table_noise_needs_something_to_spoil() -> None:
    data = table(10)
    subject = subject_of(linear(SIGN, [0.0, 0.0]), Modality.TABULAR)
    frozen = replace(data, features=tuple(replace(f, mutable=False) for f in data.features))
    assert "immutable" in (Noise().skip_reason(subject, frozen) or "")
    assert Noise().skip_reason(subject, data) is None
    only = replace(data, features=tuple(replace(f, mutable=f.name == "colour") for f in data.features))
    found = Noise(rows=10).run(subject, only, np.random.default_rng(0))
    assert "accuracy@category:0.2" in found.estimates
    assert "accuracy@gaussian:0.5" not in found.estimates
    assert "accuracy@unit:10" not in found.estimates


def test_equal_seeds_give_equal_evidence() -> None:
    data = table(500)
    subject = subject_of(linear(SIGN, [0.0, 0.0]), Modality.TABULAR)
    one, two = (Noise(rows=100).run(subject, data, np.random.default_rng(7)) for _ in range(2))
    assert one == two


# ------------------------------------------------------------------------------------------------------------- images


def brightness_model(size: int, channels: int = 1) -> object:
    """Light where the mean is above one half."""
    d = channels * size * size
    return linear([[0.0] * d, [1.0 / d] * d], [0.0, -0.5], flatten=True)


def test_corruptions_of_a_model_that_sees_the_mean() -> None:
    data = pictures(60)
    subject = subject_of(brightness_model(16), Modality.IMAGE, ("dark", "light"))  # type: ignore[arg-type]
    found = Corruptions(rows=60).run(subject, data, np.random.default_rng(0))
    assert value(found, "clean_accuracy") == 1
    assert value(found, "accuracy@corruption=contrast") == 1  # keeps the mean
    # brightness can only lighten, and at the strongest by 0.3: all that end above one half are called light
    x = data.inputs
    assert isinstance(x, Tensor)
    assert value(found, "accuracy@corruption=brightness") < 0.9
    assert 0 <= value(found, "worst_corruption_accuracy") <= value(found, "mean_corruption_accuracy") <= 1
    names = [row[0] for row in found.tables[0].rows]
    assert "saturate" not in names
    assert len(names) >= 15
    cells = [[cell.value for cell in row[2:7]] for row in found.tables[0].rows]  # type: ignore[union-attr]
    assert value(found, "mean_corruption_accuracy") == pytest.approx(np.mean(cells))
    assert value(found, "relative_corruption_accuracy") == pytest.approx(np.mean(cells))
    assert value(found, "accuracy@severity=3") == pytest.approx(np.mean(cells, 0)[2])
    heat, _, shown = found.figures
    assert [list(row.values) for row in heat.rows] == cells  # type: ignore[union-attr]
    assert len(shown.panels) == len(names) + 1  # type: ignore[union-attr]
    # every answer is right without corruption: all errors are added ones
    error = found.estimates["mean_corruption_error"]
    assert value(found, "mean_corruption_error") == pytest.approx(1 - np.mean(cells))
    assert value(found, "excess_corruption_error") == pytest.approx(1 - np.mean(cells))
    assert error.low is not None
    assert 0 < error.low < 1 - np.mean(cells) < (error.high or 0)
    assert "corruption_error_to_baseline" not in found.estimates
    assert len(found.model_dump_json()) < 150_000


def test_corruptions_in_other_units_and_colours() -> None:
    data = pictures(20, channels=3)
    x = data.inputs
    assert isinstance(x, Tensor)
    subject = subject_of(brightness_model(16, 3), Modality.IMAGE, ("dark", "light"))  # type: ignore[arg-type]
    scaled = replace(data, inputs=x * 255, bounds=(0.0, 255.0))
    d = 3 * 16 * 16
    other = subject_of(
        linear([[0.0] * d, [1 / 255 / d] * d], [0.0, -0.5], flatten=True), Modality.IMAGE, ("dark", "light")
    )
    check = Corruptions(rows=20, names=("gaussian_noise", "fog", "saturate"))
    one = check.run(subject, data, np.random.default_rng(1))
    two = check.run(other, scaled, np.random.default_rng(1))
    assert {k: e.value for k, e in one.estimates.items()} == {k: e.value for k, e in two.estimates.items()}
    assert "saturate" in [row[0] for row in one.tables[0].rows]


def test_corruptions_need_bounds_and_a_right_answer() -> None:
    data = pictures(10)
    subject = subject_of(brightness_model(16), Modality.IMAGE, ("dark", "light"))  # type: ignore[arg-type]
    assert "bounds" in (Corruptions().skip_reason(subject, replace(data, bounds=None)) or "")
    wrong = replace(data, labels=1 - data.labels)
    found = Corruptions(rows=10, names=("contrast",)).run(subject, wrong, np.random.default_rng(0))
    assert found.estimates["relative_corruption_accuracy"].value is None
