"""Whether test and training data come from the same place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit import statistics
from audit.check import Check, Effort
from reports.record import Bar, Bars, Cell, Estimate, Measured, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject

#: side of the thumbnails
SIDE = 8
#: rows of each split below which a classifier has nothing to learn from
FEWEST = 20


@dataclass(frozen=True)
class Split(Check):
    """Drift between training and test data.

    What it measures:
        A small classifier (boosted trees on table columns or on 8 x 8 thumbnails, logistic regression on the words of
        a text) tries to tell test rows from training rows, equally many of each. It is fitted on one half of them and
        scored on the other: the area under its ROC curve (AUC). Beside it, how far the mean of each column (or of
        brightness and contrast, or of the text's length) differs between the splits, in standard deviations, and how
        far the share of each class differs.
    Why it matters:
        Test figures speak about data like the test data. If it was drawn otherwise than the training data, a gap
        between them mixes memorising with drift; if it is like the training data but use will not be, they promise
        too much.
    How to read it:
        An AUC of 0.5 means that no difference was found, 1 that every row can be told. An interval above 0.5 shows
        drift: the columns named first say where. An AUC below 0.5 is no drift; far below, it can come from leakage,
        because rows that stand in both splits are learnt under one name and met under the other (see the check of
        duplicates). The interval takes rows as independent and is too narrow where they come in families, such as
        several texts about one film; so are those of single columns, which do not allow for the number shown.

    References:
        Lopez-Paz and Oquab 2017 (classifier two-sample test); Cohen 1988 (standardised difference); Efron 1979.
    """

    rows: int = 5000
    trees: int = 50
    resamples: int = 500
    shown: int = 15

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 2000, "trees": 30, "resamples": 200},
        Effort.EXHAUSTIVE: {"rows": 50_000, "trees": 100, "resamples": 1000},
    }

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Skip where there is nothing to compare with."""
        return None if data.train is not None else "no training data was given; name it under data.train in the plan"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        assert data.train is not None
        n = min(self.rows, len(data), len(data.train))
        test, train = data.sample(n, rng), data.train.sample(n, rng)
        estimates: dict[str, Estimate] = {"auc": self._auc(test, train, rng)}
        test_labels, train_labels = data.labels.numpy(), data.train.labels.numpy()
        rows: list[tuple[Cell, ...]] = []
        for index, name in enumerate(data.classes):
            a = statistics.proportion(int((test_labels == index).sum()), len(test_labels))
            b = statistics.proportion(int((train_labels == index).sum()), len(train_labels))
            estimates[f"class_share_gap@class={name}"] = statistics.difference(a, b)
            rows.append((name, a, b, estimates[f"class_share_gap@class={name}"]))
        shifts = _shifts(test, train)
        far = sorted(shifts, key=lambda name: -abs(shifts[name].value or 0.0))[: self.shown]
        return Measured(
            estimates=estimates,
            headline=("auc",),
            tables=(
                Table(title="Class shares", columns=("class", "test", "train", "difference"), rows=tuple(rows)),
                Table(
                    title="Largest differences of means",
                    columns=("quantity", "test - train, standard deviations"),
                    rows=tuple((name, shifts[name]) for name in far),
                ),
            ),
            figures=(
                Bars(
                    title="Largest differences of means",
                    x_title="test - train, standard deviations",
                    bars=tuple(
                        Bar(label=name, value=e.value, low=e.low, high=e.high)
                        for name, e in ((name, shifts[name]) for name in far)
                        if e.value is not None
                    ),
                    reference=0.0,
                ),
            ),
            notes=(f"Compared {n} rows of each split.",),
        )

    def _auc(self, test: Dataset, train: Dataset, rng: np.random.Generator) -> Estimate:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

        n = len(test)
        if n < FEWEST:
            return statistics.undefined(f"needs at least {FEWEST} rows of each split, found {n}", n=n)
        rows, is_test = _evidence(test, train), np.repeat([1, 0], n)
        # one half held out, not cross-validation: its folds share rows, which made intervals a third too narrow
        order = np.stack([rng.permutation(n), n + rng.permutation(n)])
        fit, held = order[:, : n // 2].ravel(), order[:, n // 2 :].ravel()
        classifier = self._classifier(isinstance(rows, list), int(rng.integers(2**31 - 1)))
        # small trees on many threads wait for each other: on a busy machine one thread was thirty times faster
        with threadpool_limits(1):
            classifier.fit(_at(rows, fit), is_test[fit])
            scores = classifier.predict_proba(_at(rows, held))[:, 1]
        return statistics.bootstrap(_area, scores, is_test[held], rng=rng, replicates=self.resamples)

    def _classifier(self, text: bool, seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        if text:
            # tokens of one character too, so that no text leaves an empty vocabulary
            words = TfidfVectorizer(max_features=20_000, sublinear_tf=True, token_pattern=r"\S+")  # noqa: S106 - no password
            return make_pipeline(words, LogisticRegression(max_iter=200))
        return HistGradientBoostingClassifier(max_iter=self.trees, max_leaf_nodes=15, random_state=seed)


def _evidence(test: Dataset, train: Dataset) -> list[str] | NDArray[np.float32]:
    """What the classifier sees, test rows first."""
    from torch.nn.functional import adaptive_avg_pool2d

    a, b = test.inputs, train.inputs
    if isinstance(a, list) and isinstance(b, list):
        # an empty text would have no word at all
        return [text if text.strip() else "<empty>" for text in (*a, *b)]
    assert not isinstance(a, list) and not isinstance(b, list)
    if a.ndim == 4:
        a, b = (adaptive_avg_pool2d(x, (min(SIDE, x.shape[2]), min(SIDE, x.shape[3]))) for x in (a, b))
    return np.concatenate([a.flatten(1).numpy(), b.flatten(1).numpy()])


def _at(rows: list[str] | NDArray[np.float32], index: NDArray[np.int64]) -> Any:
    return [rows[i] for i in index] if isinstance(rows, list) else rows[index]


def _area(scores: NDArray[np.float64], is_test: NDArray[np.int64]) -> float:
    """Area under the ROC curve, as the Mann-Whitney statistic; ties count one half."""
    positive = is_test == 1
    k, n = int(positive.sum()), len(is_test)
    if k in (0, n):
        return float("nan")
    return float((stats.rankdata(scores)[positive].sum() - k * (k + 1) / 2) / (k * (n - k)))


def _shifts(test: Dataset, train: Dataset) -> dict[str, Estimate]:
    """Quantity -> difference of means in standard deviations of both splits together."""
    out = {}
    a, b = _summaries(test), _summaries(train)
    for name, values in a.items():
        scale = float(np.concatenate([values, b[name]]).std())
        if scale > 0:
            out[name] = statistics.difference(
                statistics.mean(values / scale, "standard deviations"),
                statistics.mean(b[name] / scale, "standard deviations"),
            )
    return out


def _summaries(data: Dataset) -> dict[str, NDArray[np.float64]]:
    """Numbers a person understands, one a row."""
    if isinstance(data.inputs, list):
        return {
            "characters": np.array([len(text) for text in data.inputs], dtype=np.float64),
            "words": np.array([len(text.split()) for text in data.inputs], dtype=np.float64),
        }
    values = data.inputs.numpy().astype(np.float64)
    if not data.features:
        flat = values.reshape(len(values), -1)
        return {"brightness": flat.mean(axis=1), "contrast": flat.std(axis=1)}
    return {
        f"{f.name}={f.categories[i]}" if f.categories else f.name: values[:, column]
        for f in data.features
        for i, column in enumerate(f.columns)
    }
