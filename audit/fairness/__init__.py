"""Bias measured by counting: one cube of (group, true class, predicted class), every rate and interval from it."""

from audit.fairness.cube import Cube
from audit.fairness.rates import RATES

__all__ = ["RATES", "Cube"]
