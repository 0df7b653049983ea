"""Attacks and noise for tables."""

from attacks.tabular.columns import Category, Eps, Number, Table
from attacks.tabular.constraints import Constraint
from attacks.tabular.noise import TABULAR_NOISE, tabular_noise
from attacks.tabular.search import TableSearch, table_search

__all__ = [
    "TABULAR_NOISE",
    "Category",
    "Constraint",
    "Eps",
    "Number",
    "Table",
    "TableSearch",
    "table_search",
    "tabular_noise",
]
