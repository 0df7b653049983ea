"""Histograms of scores by group: ranking, calibration and every threshold; and residuals of numbers."""
