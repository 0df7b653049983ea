"""Whether the model's confidence can be taken at its word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.fit._reliability import bins_of, ece, temperature
from audit.checks.fit._scores import log_probabilities, normalised
from reports.record import Curves, Estimate, Measured, Point, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration(Check):
    """Calibration of the confidence.

    What it measures:
        How far the probability of the predicted class is from the share of predictions that are right: the expected
        calibration error (ECE) over bins of equally many rows, the error that a perfectly calibrated model would
        show by chance on as many rows, the mean confidence minus the accuracy, the Brier score and the negative log
        likelihood, and the temperature that would mend the scores.
    Why it matters:
        Whoever acts on a probability (to refer a patient, to price a risk, to let a machine decide alone) needs 90 %
        to mean nine in ten. Deep networks are often too sure of themselves.
    How to read it:
        Compare the ECE with the one expected by chance: only what exceeds it speaks against the model. A confidence
        above the accuracy means overconfident. In the picture a calibrated model lies on the diagonal, an overconfident
        one below it. A temperature above 1 softens the scores and keeps every prediction; it is fitted on a random
        half of the test rows and tried on the other half, which the second table shows.

    References:
        Guo et al. 2017 (temperature); Naeini et al. 2015 (ECE); Nixon et al. 2019 (bins of equal mass); Vaicenavicius
        et al. 2019 (comparison with chance); Brier 1950.
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"resamples": 300},
        Effort.EXHAUSTIVE: {"resamples": 5000},
    }

    bins: int = 15
    resamples: int = 1000

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        logs, labels = log_probabilities(subject, data), data.labels.numpy()
        confidence, right = _top(logs, labels)
        half = rng.permutation(len(labels))
        fitted, tried = half[: len(half) // 2], half[len(half) // 2 :]
        mended = temperature(logs[fitted], labels[fitted])
        error, by_chance = ece(confidence, right, self.bins, rng, self.resamples)
        estimates = {
            "ece": error,
            "ece_if_calibrated": by_chance,
            "overconfidence": statistics.mean(confidence - right, "fraction"),
            "brier": statistics.mean(_brier(logs, labels)),
            "negative_log_likelihood": statistics.mean(-logs[np.arange(len(labels)), labels], "nats"),
            "temperature": mended,
        }
        table, after = self._mended(logs[tried], labels[tried], mended, rng)
        return Measured(
            estimates={**estimates, **after},
            headline=("ece", "ece_if_calibrated", "overconfidence"),
            tables=(table,),
            figures=(
                Curves(
                    title="Reliability",
                    x_title="confidence",
                    y_title="share right",
                    points=tuple(self._curve(confidence, right)),
                    diagonal=True,
                    x_percent=True,
                    y_percent=True,
                    note="Each point is a bin of equally many rows. Below the diagonal: too sure.",
                ),
            ),
            notes=(
                f"The temperature is fitted on {len(fitted)} rows drawn at random from the test data and tried on the "
                f"other {len(tried)}.",
                "The Brier score adds the squared errors of all classes: 0 is best, 2 is worst.",
            ),
        )

    def _curve(self, confidence: Floats, right: Floats) -> list[Point]:
        bin_of = bins_of(confidence, self.bins)
        points = []
        for index in range(bin_of.max(initial=-1) + 1):
            of_bin = bin_of == index
            share = statistics.proportion(int(right[of_bin].sum()), int(of_bin.sum()))
            if share.value is not None:
                points.append(Point(x=float(confidence[of_bin].mean()), y=share.value, low=share.low, high=share.high))
        return points

    def _mended(
        self, logs: Floats, labels: NDArray[np.int64], found: Estimate, rng: np.random.Generator
    ) -> tuple[Table, dict[str, Estimate]]:
        """ECE and log-likelihood of these rows, as they are and divided by the temperature."""
        versions = {"as it is": logs}
        if found.value is not None:
            versions[f"scores divided by {found.value:.3g}"] = normalised(logs / found.value)
        rows, after = [], {}
        for name, version in versions.items():
            error, _ = ece(*_top(version, labels), self.bins, rng, self.resamples)
            likelihood = statistics.mean(-version[np.arange(len(labels)), labels], "nats")
            rows.append((name, error, likelihood))
            if version is not logs:
                after["ece_after_temperature"] = error
        columns = ("confidence", "ECE", "negative log likelihood")
        return Table(title="Mended by temperature", columns=columns, rows=tuple(rows)), after


def _top(logs: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Confidence in the predicted class, and whether it is right (0 or 1)."""
    return np.exp(logs.max(1)), (logs.argmax(1) == labels).astype(np.float64)


def _brier(logs: Floats, labels: NDArray[np.int64]) -> Floats:
    """Squared errors of all classes' probabilities added up, one a row."""
    missed = np.exp(logs)
    missed[np.arange(len(labels)), labels] -= 1
    return np.asarray((missed**2).sum(1))
