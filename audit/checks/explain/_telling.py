"""How well inputs or answers tell a person's group. Imports scikit-learn."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from audit import statistics
from reports.record import Estimate

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.fairness.attributes import Levels

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: cells along each side of a picture, and places of a hashed vocabulary
CELLS, WORDS = 7, 2**11
#: strength of the ridge (inverse, as scikit-learn has it) and steps of the fit
RIDGE, STEPS = 0.1, 200


class Teller:
    """Logistic regression of the group, fitted on one half of the rows and read on the other.

    Args:
        inputs: (n, columns).
        groups: the group of each row; rows of none are left out.
        rng: source of the halves.
    """

    def __init__(self, inputs: Floats, groups: Levels, rng: np.random.Generator) -> None:
        rows = rng.permutation(np.flatnonzero(groups.code >= 0))
        self._groups = groups
        fit, self._rows = np.array_split(rows, 2)
        scaler = StandardScaler().fit(inputs[fit])
        self._inputs, self._code = scaler.transform(inputs[self._rows]), groups.code[self._rows]
        self._model = LogisticRegression(C=RIDGE, max_iter=STEPS)
        with threadpool_limits(1), warnings.catch_warnings():
            # a fit that has not settled tells less than it might, which the figure says
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(scaler.transform(inputs[fit]), groups.code[fit])

    def scores(self, inputs: Floats | None = None) -> Floats:
        """Probability of each group, (rows, groups); groups that were in one half only get none."""
        out = np.zeros((len(self._rows), len(self._groups.names)))
        out[:, self._model.classes_] = self._model.predict_proba(self._inputs if inputs is None else inputs)
        return out

    def estimate(self) -> Estimate:
        """Mean over the groups of the area under the ROC curve on the half not fitted.

        The ends are the means of the groups' own, which is wide enough however the groups hang together.
        """
        scores = self.scores()
        every = [
            statistics.auroc(scores[self._code == group, group], scores[self._code != group, group])
            for group in self._groups.compared
        ]
        ends = [(e.value, e.low, e.high) for e in every if e.value is not None]
        if not ends:
            return statistics.undefined("one group only", n=len(self._code))
        value, low, high = (float(x) for x in np.array(ends, dtype=np.float64).mean(0))
        return Estimate(value=value, low=low, high=high, n=len(self._code), method=every[0].method)

    def losses(self, players: list[list[int]], rng: np.random.Generator) -> Floats:
        """Mean area lost, over the groups, when columns are shuffled together on the half not fitted, (players,)."""
        before = self._mean(self.scores())
        out = []
        for columns in players:
            mixed = self._inputs.copy()
            mixed[:, columns] = mixed[rng.permutation(len(mixed))][:, columns]
            out.append(before - self._mean(self.scores(mixed)))
        return np.array(out)

    def _mean(self, scores: Floats) -> float:
        areas = [
            roc_auc_score(self._code == group, scores[:, group])
            for group in self._groups.compared
            if 0 < (self._code == group).sum() < len(self._code)
        ]
        return float(np.mean(areas)) if areas else float("nan")


def readable(data: Dataset, left_out: list[int]) -> Floats:
    """Inputs as columns: a table's (without some), a picture's mean colours in cells, a text's hashed words."""
    if isinstance(data.inputs, list):
        words = HashingVectorizer(n_features=WORDS, norm=None, alternate_sign=False, binary=True)
        return np.asarray(words.transform(data.inputs).toarray(), dtype=np.float64)
    inputs = data.inputs.double()
    if inputs.ndim == 4:
        side = min(CELLS, *inputs.shape[-2:])
        inputs = torch.nn.functional.adaptive_avg_pool2d(inputs, side)
    flat = inputs.flatten(1).numpy()
    return np.asarray(np.delete(flat, left_out, axis=1))
