"""Bias measured by counting: one cube of (group, true class, predicted class), every rate and interval from it."""

from audit.fairness.cube import Cube
from audit.fairness.rates import RATES
from audit.fairness.regression import Residuals
from audit.fairness.scores import Scores
from audit.fairness.strata import Strata

__all__ = ["RATES", "Cube", "Residuals", "Scores", "Strata"]
