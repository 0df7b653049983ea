"""Bias measured by counting: one cube of (group, true class, predicted class), every rate and interval from it."""

from audit.fairness.cube import RATES, Cube

__all__ = ["RATES", "Cube"]
