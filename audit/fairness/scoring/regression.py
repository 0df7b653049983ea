"""Errors of predicted numbers by group, from moments that are taken in one pass and can be added."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.errors import DataError, nearest
from audit.fairness.counting.columns import divided, names_of, numbers, refuse_identifiers, relative_weights, united
from audit.fairness.counting.grouping import group_codes
from audit.fairness.scoring import spread
from audit.fairness.scoring.reliability import student
from audit.fairness.scoring.spread import Limits
from audit.statistics import LEVEL
from reports.record import Estimate

Floats = NDArray[np.float64]

#: what is averaged: the error e = prediction - truth, |e|, e^2, the truth about the group's origin, and its square
ERROR, SIZE, SQUARE, TRUTH, SPREAD = range(5)
NAMES = ("mean_error", "mean_absolute_error", "root_mean_squared_error", "r2")
#: rows at a time
BLOCK = 1 << 19


@dataclass(frozen=True, eq=False)
class Residuals:
    """Means and second moments of u = (e, |e|, e^2, t, t^2) of each group; t is the truth less the group's origin.

    Attributes:
        groups: keys; tuples where several attributes were given.
        rows: (g,) numbers of rows, unweighted.
        weight: (g,) sums of weights.
        squares: (g,) sums of squared weights, for the effective sample size.
        origin: (g,) mean truth, so that its spread does not vanish beside its size; 0 where a group has no rows.
        mean: (g, 5) weighted means of u.
        drift: (g, 5) sums of deviations from them, by squared weights.
        moments: (g, 5, 5) sums of products of deviations, by squared weights.
        attributes: names of the parts of a tuple key; empty where keys are single values.
    """

    groups: tuple[Hashable, ...]
    rows: NDArray[np.int64]
    weight: Floats
    squares: Floats
    origin: Floats
    mean: Floats
    drift: Floats
    moments: Floats
    attributes: tuple[str, ...] = ()

    @classmethod
    def count(cls, y_true: ArrayLike, y_pred: ArrayLike, groups: Any, weights: ArrayLike | None = None) -> Residuals:
        """Add up rows.

        Args:
            y_true: (n,) true numbers.
            y_pred: (n,) predicted numbers.
            groups: as `Cube.count` takes them.
            weights: (n,) relative weights >= 0; ten times all of them changes nothing.

        Raises:
            DataError: lengths differ, a number is missing or infinite, a group column identifies people, or a weight is
                out of its range; the message names it.
        """
        predicted = numbers(y_pred, "y_pred")
        n = len(predicted)
        true = numbers(y_true, "y_true", n)
        keys, code = group_codes(groups, n)
        names, rows = names_of(groups), np.bincount(code, minlength=len(keys))
        refuse_identifiers(names, keys, rows)
        w = relative_weights(weights, n)
        weight = np.bincount(code, w, len(keys)).astype(np.float64)
        # about a value near all of them first, so that large numbers leave no digits behind
        start = float(true[0])
        shifted = np.asarray(true, dtype=np.float64) - start
        origin = start + divided(np.bincount(code, shifted if w is None else shifted * w, len(keys)), weight)

        def sums(about: Floats | None) -> tuple[Floats, Floats]:
            first, second = np.zeros((len(keys), 5)), np.zeros((len(keys), 5, 5))
            for at in range(0, n, BLOCK):
                block = slice(at, at + BLOCK)
                own = code[block]
                error = predicted[block].astype(np.float64) - true[block]
                truth = true[block] - origin[own]
                u = [error, np.abs(error), error**2, truth, truth**2]
                by = np.ones(len(own)) if w is None else w[block]
                if about is not None:
                    u, by = [x - about[own, i] for i, x in enumerate(u)], by**2
                for i in range(5):
                    weighted = u[i] * by
                    first[:, i] += np.bincount(own, weighted, len(keys))
                    for j in range(i + 1) if about is not None else ():
                        second[:, i, j] += np.bincount(own, weighted * u[j], len(keys))
            return first, second

        mean = divided(sums(None)[0], weight[:, None])
        drift, lower = sums(mean)
        return cls(
            groups=keys,
            rows=rows,
            weight=weight,
            squares=weight if w is None else np.bincount(code, w**2, len(keys)).astype(np.float64),
            origin=origin,
            mean=mean,
            drift=drift,
            moments=lower + np.tril(lower, -1).transpose(0, 2, 1),
            attributes=names,
        )

    def __add__(self, other: Residuals) -> Residuals:
        """The rows of both; groups of either appear.

        Means and moments are moved to those of all rows (Chan, Golub and LeVeque 1979), which loses no digits.

        Raises:
            DataError: attributes differ.
        """
        if self.attributes != other.attributes:
            raise DataError(f"Expected equal attributes to add, found {self.attributes} and {other.attributes}.")
        groups, places = united(self.groups, other.groups)
        parts = [part._spread(place, groups) for part, place in zip((self, other), places, strict=True)]
        weight = parts[0].weight + parts[1].weight
        origin = divided(sum(part.weight * (part.origin + part.mean[:, TRUTH]) for part in parts), weight)
        parts = [part._about(origin) for part in parts]
        mean = divided(sum(part.weight[:, None] * part.mean for part in parts), weight[:, None])
        drift, moments = np.zeros_like(mean), np.zeros_like(parts[0].moments)
        for part in parts:
            step = part.mean - mean
            crossed = part.drift[:, :, None] * step[:, None, :]
            moments += part.moments + crossed + crossed.transpose(0, 2, 1)
            moments += part.squares[:, None, None] * step[:, :, None] * step[:, None, :]
            drift += part.drift + part.squares[:, None] * step
        return Residuals(
            groups=groups,
            rows=parts[0].rows + parts[1].rows,
            weight=weight,
            squares=parts[0].squares + parts[1].squares,
            origin=origin,
            mean=mean,
            drift=drift,
            moments=moments,
            attributes=self.attributes,
        )

    def measure(self, name: str) -> dict[Hashable, Estimate]:
        """A measure of each group with its 95 % interval; undefined below 2 rows, R2 also where the truth does not vary.

        Args:
            name: mean_error, mean_absolute_error (Student t), root_mean_squared_error or r2 (delta method on the
                logarithm of the mean squared error, for R2 of its share of the variance, with Student's t).

        Raises:
            DataError: the measure is unknown.
        """
        return spread.estimates(self.groups, self._limits(name, spread.critical()))

    def disparity(self, name: str, alpha: float = 1 - LEVEL) -> Estimate:
        """The largest difference of a measure between any two groups, with an interval that holds for all pairs at once.

        Args:
            name: as `measure` takes it.
            alpha: one minus the simultaneous level.
        """
        self._limits(name, 1.0)  # refuses an unknown name even where there are no groups to compare
        return spread.largest_difference(lambda z: self._limits(name, z), len(self.groups), alpha)

    def _limits(self, name: str, z: float) -> Limits:
        if name not in NAMES:
            raise DataError(f"Expected the name of a measure, found {name!r}{nearest(name, NAMES)}")
        n = divided(self.weight**2, self.squares)
        enough, squared = n > 1, self.mean[:, SQUARE]
        if name in ("mean_error", "mean_absolute_error"):
            at = ERROR if name == "mean_error" else SIZE
            value = np.where(enough, self.mean[:, at], np.nan)
            half = student(z, n - 1) * np.sqrt(self._variance(np.eye(5)[at]))
            low = value - half
            return Limits(
                value, low if at == ERROR else np.maximum(low, 0), value + half, n, "needs at least 2 rows", "Student t"
            )
        slope = np.zeros_like(self.mean)
        slope[:, SQUARE] = divided(1.0, squared)
        if name == "root_mean_squared_error":
            value = np.where(enough, np.sqrt(squared), np.nan)
            factor = np.exp(student(z, n - 1) * np.sqrt(self._variance(slope)) / 2)
            return Limits(
                value, value / factor, value * factor, n, "needs at least 2 rows", "delta of the logarithm, t"
            )
        centre = self.mean[:, TRUTH]
        varied = np.maximum(self.mean[:, SPREAD] - centre**2, 0)
        # squares of rounding errors are no variance
        there = enough & (varied > (np.finfo(np.float64).eps * np.maximum(np.abs(self.origin), 1)) ** 2)
        slope[:, SPREAD] = -divided(1.0, varied)
        slope[:, TRUTH] = divided(2 * centre, varied)
        missed = np.where(there, divided(squared, varied), np.nan)
        factor = np.exp(student(z, n - 1) * np.sqrt(self._variance(slope)))
        return Limits(
            value=1 - missed,
            low=1 - missed * factor,
            high=1 - missed / factor,
            n=n,
            reason="needs at least 2 rows of different truths",
            method="delta of the logarithm of the share missed, t",
        )

    def _variance(self, slope: Floats) -> Floats:
        """(g,) variance of a function of the means, by its slope (5,) or (g, 5) (the delta method).

        A few rows that happen to be alike show no spread, which is not the same as having none: they get that of all groups.
        """
        slopes = np.broadcast_to(slope, self.mean.shape)
        n = divided(self.weight**2, self.squares)
        along = np.einsum("gi,gij,gj->g", slopes, self.moments, slopes)
        found = divided(divided(np.maximum(along, 0), self.weight**2) * n, n - 1, np.nan)
        known = np.nan_to_num(found * n)
        together = divided((known * n).sum(), n[known > 0].sum())
        return np.where(found * n <= 1e-12 * together, divided(together, n), found)

    def _spread(self, place: list[int], groups: tuple[Hashable, ...]) -> Residuals:
        """The same rows under more groups."""

        def put(values: NDArray[Any]) -> NDArray[Any]:
            out = np.zeros((len(groups), *values.shape[1:]), dtype=values.dtype)
            out[place] = values
            return out

        return Residuals(
            groups,
            put(self.rows),
            put(self.weight),
            put(self.squares),
            put(self.origin),
            put(self.mean),
            put(self.drift),
            put(self.moments),
            self.attributes,
        )

    def _about(self, origin: Floats) -> Residuals:
        """The same rows about another origin: t moves by a constant, and t^2 to (t + step)^2."""
        step = np.where(self.weight > 0, self.origin - origin, 0.0)
        turn = np.tile(np.eye(5), (len(step), 1, 1))
        turn[:, SPREAD, TRUTH] = 2 * step
        mean = np.einsum("gij,gj->gi", turn, self.mean)
        mean[:, TRUTH] += step
        mean[:, SPREAD] += step**2
        return Residuals(
            self.groups,
            self.rows,
            self.weight,
            self.squares,
            origin,
            mean,
            np.einsum("gij,gj->gi", turn, self.drift),
            turn @ self.moments @ turn.transpose(0, 2, 1),
            self.attributes,
        )
