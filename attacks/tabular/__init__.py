"""Attacks and noise for tables, and noise for series."""

from attacks.tabular.columns import Category, Eps, Number, Table
from attacks.tabular.constraints import Constraint
from attacks.tabular.noise import TABULAR_NOISE, tabular_noise
from attacks.tabular.search import TableSearch, table_search
from attacks.tabular.series import SERIES_NOISE, series_noise

__all__ = [
    "SERIES_NOISE",
    "TABULAR_NOISE",
    "Category",
    "Constraint",
    "Eps",
    "Number",
    "Table",
    "TableSearch",
    "series_noise",
    "table_search",
    "tabular_noise",
]
