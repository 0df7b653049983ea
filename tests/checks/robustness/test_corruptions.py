"""The corruption error against a baseline."""

import numpy as np
import pytest

from audit.checks.robustness.corruptions import Corruptions
from audit.subject import Modality
from reports.record import Measured
from tests.checks.robustness.known import linear, pictures, subject_of

NAMES = ("brightness", "gaussian_noise", "occlusion")


def value(found: Measured, name: str) -> float:
    """An estimate that must be defined."""
    estimate = found.estimates[name]
    assert estimate.value is not None
    return estimate.value


def test_the_ratio_to_a_baseline() -> None:
    data = pictures(60)
    model = linear([[0.0] * 256, [1.0 / 256] * 256], [0.0, -0.5], flatten=True)
    subject = subject_of(model, Modality.IMAGE, ("dark", "light"))
    plain = Corruptions(rows=60, names=NAMES).run(subject, data, np.random.default_rng(0))
    own = [1 - value(plain, f"accuracy@corruption={name}") for name in NAMES]
    assert min(own) > 0
    for factor in (1.0, 0.5):
        baseline = tuple(error * factor for error in own)
        found = Corruptions(rows=60, names=NAMES, baseline=baseline).run(subject, data, np.random.default_rng(0))
        assert value(found, "corruption_error_to_baseline") == pytest.approx(1 / factor)
        estimate = found.estimates["corruption_error_to_baseline"]
        assert (estimate.low or 0) < 1 / factor < (estimate.high or 0)
    assert "3 error rates" in (Corruptions(names=NAMES, baseline=(0.1,)).skip_reason(subject, data) or "")
    assert "above 0" in (Corruptions(names=NAMES, baseline=(0.1, 0.0, 0.2)).skip_reason(subject, data) or "")
