"""Attributes as small integer codes, and the conditions on them that a subgroup may be made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: levels of one column that are told apart at most; the rarer ones belong to no condition
LEVELS = 250
#: rows from which on a whole number that never repeats is taken for an identifier
DISTINCT = 100
MISSING = "missing"

Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Condition:
    """One condition on one attribute.

    Attributes:
        column: name of the attribute.
        words: e.g. "sex = Female", "25 < age <= 37".
        first: first of the column's codes that meet it.
        last: last of them.
    """

    column: str
    words: str
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Column:
    """One attribute, coded.

    Attributes:
        name: of the attribute.
        code: (n,) uint8; 0 where a row meets no condition (a rare value).
        size: how many codes there are, 0 included.
        conditions: what a subgroup may ask of it.
    """

    name: str
    code: Codes
    size: int
    conditions: tuple[Condition, ...]


def coded(columns: Mapping[str, pd.Series], least: int, bins: int) -> tuple[list[Column], dict[str, str]]:
    """Code every attribute.

    Numbers are cut at their quantiles, and ranges of adjacent parts are conditions too; a missing value is a level.

    Args:
        columns: name -> (n,) values.
        least: rows that a value needs to be a condition of its own.
        bins: parts of a number.

    Returns:
        The coded attributes, and name -> why it is left out.
    """
    found: list[Column] = []
    left_out: dict[str, str] = {}
    for name, series in columns.items():
        number = _numeric(series)
        column: Column | str
        if number is None:
            column = _category(name, series, least)
        else:
            column = _number(name, number, least, bins, whole=_whole(series))
        if isinstance(column, str):
            left_out[name] = column
        else:
            found.append(column)
    return found, left_out


def _numeric(series: pd.Series) -> NDArray[np.float64] | None:
    """The values as numbers, NaN where missing; None where they are no numbers."""
    if pd.api.types.is_bool_dtype(series.dtype) or isinstance(series.dtype, pd.CategoricalDtype):
        return None
    if pd.api.types.is_numeric_dtype(series.dtype):
        return np.asarray(series.to_numpy(np.float64, na_value=np.nan))
    kinds = ("integer", "floating", "mixed-integer-float")
    if series.dtype == object and pd.api.types.infer_dtype(series, skipna=True) in kinds:
        return np.asarray(pd.to_numeric(series).to_numpy(np.float64, na_value=np.nan))
    return None


def _whole(series: pd.Series) -> bool:
    return bool(pd.api.types.is_integer_dtype(series.dtype)) or pd.api.types.infer_dtype(series) == "integer"


def _category(name: str, series: pd.Series, least: int) -> Column | str:
    place, values = pd.factorize(series)
    count = np.bincount(place[place >= 0], minlength=len(values))
    common = np.flatnonzero(count >= least)
    common = np.sort(common[np.argsort(-count[common], kind="stable")][: LEVELS - 1])
    gone = place < 0
    missing = int(gone.sum()) >= least
    if not len(common) and not missing:
        return f"no value has {least} rows ({len(values)} values: an identifier?)"
    if len(values) + bool(gone.any()) < 2:
        return "one value only"
    recode = np.zeros(len(values) + 1, dtype=np.uint8)
    recode[common] = np.arange(1, len(common) + 1)
    words = [f"{name} = {value}" for value in np.asarray(values, dtype=object)[common]]
    if missing:
        recode[-1] = len(common) + 1  # the place of a missing value is -1
        words.append(f"{name} = {MISSING}")
    conditions = tuple(Condition(name, text, code, code) for code, text in enumerate(words, start=1))
    return Column(name, recode[place], len(words) + 1, conditions)


def _number(name: str, number: NDArray[np.float64], least: int, bins: int, whole: bool) -> Column | str:
    gone = np.isnan(number)
    known = np.sort(number[~gone])
    distinct = known[np.concatenate([[True], known[1:] > known[:-1]])] if len(known) else known
    if whole and len(known) >= DISTINCT and len(distinct) == len(known):
        return "every row has its own whole number (an identifier?)"
    if len(distinct) + bool(gone.any()) < 2:
        return "one value only"
    few = len(distinct) <= bins
    if few:
        cuts = distinct[:-1]
    else:
        cuts = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
        cuts = cuts[cuts < distinct[-1]]
    code = (np.searchsorted(cuts, number, side="left") + 1).astype(np.uint8)
    parts = len(cuts) + 1
    conditions = [
        Condition(name, _range(name, cuts, distinct if few else None, first, last), first, last)
        for first in range(1, parts + 1)
        for last in range(first, parts + 1)
        if (first, last) != (1, parts)
    ]
    code[gone] = 0
    size = parts + 1
    if gone.sum() >= least:
        code[gone] = size
        conditions.append(Condition(name, f"{name} = {MISSING}", size, size))
        size += 1
    return Column(name, code, size, tuple(conditions))


def _range(name: str, cuts: NDArray[np.float64], values: NDArray[np.float64] | None, first: int, last: int) -> str:
    """The parts from `first` to `last` in words; by the values themselves where they are few."""
    if values is not None and first == last:
        return f"{name} = {values[first - 1]:.6g}"
    low = f"{cuts[first - 2]:.6g} < " if first > 1 else ""
    high = f" <= {cuts[last - 1]:.6g}" if last <= len(cuts) else ""
    return f"{name} > {cuts[first - 2]:.6g}" if not high else f"{low}{name}{high}"
