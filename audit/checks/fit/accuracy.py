"""Accuracy, macro F1 and the gap to the training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.check import Check
from reports.record import Bar, Bars, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Accuracy(Check):
    """Accuracy and generalisation.

    What it measures:
        The share of test rows classified rightly, macro F1 (the unweighted mean of the classes' F1), recall of each
        class, the lift over always answering the commonest class, and accuracy on the training data minus accuracy
        on the test data.
    Why it matters:
        A model that is hardly better than the commonest class has learnt little; one that is much better on its
        training data has memorised. Accuracy alone hides rare classes, macro F1 does not.
    How to read it:
        A lift whose interval includes 0 is no evidence of learning. A gap of a few points is usual; a large one asks
        for more data, augmentation, weight decay, dropout or earlier stopping.

    References:
        Wilson 1927 (interval of a proportion); Opitz and Burst 2019 (macro F1).
    """

    resamples: int = 1000

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        labels = data.labels.numpy()
        predicted = subject.scores(data).argmax(1).numpy()
        right = predicted == labels
        accuracy = statistics.proportion(int(right.sum()), len(right))
        share = np.bincount(labels, minlength=len(data.classes)) / len(labels)
        common = int(share.argmax())
        estimates = {
            "accuracy": accuracy,
            "macro_f1": statistics.bootstrap(
                _macro_f1, labels, predicted, rng=rng, replicates=self.resamples, unit="fraction"
            ),
            # paired: both answers are scored on the same rows
            "lift_over_majority": statistics.mean(
                right.astype(float) - (labels == common).astype(float), unit="fraction"
            ),
        }
        headline = ["accuracy", "macro_f1", "lift_over_majority"]
        if data.train is not None:
            train_right = subject.scores(data.train).argmax(1).numpy() == data.train.labels.numpy()
            train = statistics.proportion(int(train_right.sum()), len(train_right))
            estimates["train_accuracy"] = train
            estimates["train_test_gap"] = statistics.difference(train, accuracy)
            headline.append("train_test_gap")
        bars, rows = [], []
        for index, name in enumerate(data.classes):
            of_class = labels == index
            recall = statistics.proportion(int((right & of_class).sum()), int(of_class.sum()))
            chosen = predicted == index
            precision = statistics.proportion(int((right & chosen).sum()), int(chosen.sum()))
            estimates[f"recall@class={name}"] = recall
            rows.append((name, int(of_class.sum()), recall, precision))
            if recall.value is not None:
                bars.append(Bar(label=name, value=recall.value, low=recall.low, high=recall.high))
        return Measured(
            estimates=estimates,
            headline=tuple(headline),
            tables=(Table(title="By class", columns=("class", "rows", "recall", "precision"), rows=tuple(rows)),),
            figures=(
                Bars(
                    title="Recall of each class",
                    x_title="recall",
                    bars=tuple(bars),
                    reference=accuracy.value,
                    percent=True,
                    note="The line is the accuracy over all classes.",
                ),
            ),
            notes=(f"The commonest class is {data.classes[common]!r} with {share[common]:.1%} of the test rows.",),
        )


def _macro_f1(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    classes = int(max(labels.max(), predicted.max())) + 1
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    total = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    seen = total > 0
    return float((2 * hits[seen] / total[seen]).mean())
