"""Which conjunctions of attributes fare worse: counted, folded, and confirmed on rows that did not choose them."""

from audit.fairness.subgroups.coding import Condition
from audit.fairness.subgroups.findings import Search, Subgroup
from audit.fairness.subgroups.searching import search

__all__ = ["Condition", "Search", "Subgroup", "search"]
