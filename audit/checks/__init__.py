"""The checks: one file each; the path below this folder is the id (`fit/calibration.py` is `fit.calibration`)."""
