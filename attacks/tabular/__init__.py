"""Attacks and noise for tables."""

from attacks.tabular.noise import TABULAR_NOISE, tabular_noise

__all__ = ["TABULAR_NOISE", "tabular_noise"]
