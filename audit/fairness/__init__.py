"""Bias measured by counting: one cube of (group, true class, predicted class), every rate and interval from it."""

from audit.fairness.counting.cube import Cube
from audit.fairness.counting.rates import RATES
from audit.fairness.scoring.regression import Residuals
from audit.fairness.scoring.scores import Scores
from audit.fairness.strata.stratified import Strata

__all__ = ["RATES", "Cube", "Residuals", "Scores", "Strata"]
