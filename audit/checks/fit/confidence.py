"""Whether the model knows when it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.fit._scores import log_probabilities
from reports.record import Curves, Measured, Point, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Confidence(Check):
    """Knowing when it is wrong.

    What it measures:
        The chance that a right prediction carries a higher confidence than a wrong one (area under the ROC curve),
        and the accuracy on the share of rows the model is surest of, from all of them down to a tenth.
    Why it matters:
        A model that knows when it is wrong can hand those cases to a person. One that does not errs silently, whatever
        its accuracy, and no threshold on its confidence helps.
    How to read it:
        An area of one half means that the confidence says nothing about being right; 1 means that every error could
        be caught. The curve shows what is gained: if accuracy is 85 % on all rows and 97 % on the surest half, then a
        person who takes over the other half sees most of the errors. Calibration is another matter: a model can rank
        its own errors well and still be too sure of all its answers.

    References:
        Hendrycks and Gimpel 2017 (errors by confidence); Geifman and El-Yaniv 2017 (selective prediction); Newcombe 2006
        (interval of the area).
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"resamples": 200},
        Effort.EXHAUSTIVE: {"resamples": 5000},
    }

    #: shares of the rows, surest first
    coverages: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    resamples: int = 1000

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        logs = log_probabilities(subject, data)
        # of confidences that round to 1, the odds still tell which is larger
        sure = _log_odds_of_top(logs)
        right = logs.argmax(1) == data.labels.numpy()
        order = np.argsort(-sure, kind="stable")
        curve = {}
        for coverage in self.coverages:
            rows = order[: max(1, round(coverage * len(order)))]
            curve[coverage] = statistics.proportion(int(right[rows].sum()), len(rows))
        estimates = {
            "auroc": statistics.auroc(sure[right], sure[~right]),
            "area_under_risk_coverage": statistics.bootstrap(
                _risk_area, sure, right, rng=rng, replicates=self.resamples, unit="fraction"
            ),
            **{f"accuracy@coverage={coverage:.0%}": share for coverage, share in curve.items()},
        }
        return Measured(
            estimates=estimates,
            headline=("auroc",),
            tables=(
                Table(
                    title="Accuracy on the surest rows",
                    columns=("share of rows kept", "accuracy"),
                    rows=tuple((f"{coverage:.0%}", share) for coverage, share in curve.items()),
                ),
            ),
            figures=(
                Curves(
                    title="Accuracy on the surest rows",
                    x_title="share of rows kept, surest first",
                    y_title="accuracy",
                    points=tuple(
                        Point(x=coverage, y=share.value, low=share.low, high=share.high)
                        for coverage, share in curve.items()
                        if share.value is not None
                    ),
                    reference=float(right.mean()),
                    x_percent=True,
                    y_percent=True,
                    note="The line is the accuracy on all rows.",
                ),
            ),
            notes=(
                "The area under the risk-coverage curve is the error on the surest rows, averaged over all shares of "
                "rows: lower is better.",
            ),
        )


def _log_odds_of_top(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of the predicted class: log p - log(1 - p), exact where p rounds to 1."""
    ordered = np.sort(logs, axis=1)
    return np.asarray(ordered[:, -1] - np.logaddexp.reduce(ordered[:, :-1], axis=1))


def _risk_area(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    wrong = ~right[np.argsort(-sure, kind="stable")]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())
