"""From columns to integer codes: classes and group keys that keep their type."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.errors import DataError


def class_values(values: NDArray[Any]) -> tuple[Any, ...]:
    """The distinct values, sorted within their type.

    Raises:
        DataError: a value is missing.
    """
    missing = pd.isna(pd.Series(values)).to_numpy().nonzero()[0]
    if len(missing):
        raise DataError(f"Expected a class in every row, found none in row {missing[0]}; try dropping such rows.")
    return tuple(sorted(pd.unique(pd.Series(values)), key=lambda v: (str(type(v)), v)))


def class_codes(values: NDArray[Any], classes: Sequence[Any], name: str) -> NDArray[np.int64]:
    """Each value's position among the classes.

    Raises:
        DataError: a value is none of them.
    """
    codes = pd.Index(list(classes)).get_indexer(pd.Index(values))
    if (codes < 0).any():
        row = int(np.flatnonzero(codes < 0)[0])
        raise DataError(
            f"Expected {name} to hold the classes {list(classes)}, found {values[row : row + 1].tolist()[0]!r} in row {row}; "
            "try passing classes, not scores."
        )
    return np.asarray(codes, dtype=np.int64)


def group_codes(groups: Any, n: int) -> tuple[tuple[Hashable, ...], NDArray[np.int64]]:
    """Group keys and each row's position among them."""
    if isinstance(groups, Mapping | pd.DataFrame):
        columns = [_column(groups[name], n, str(name)) for name in groups]
        if not columns:
            raise DataError("Expected at least one group column, found none.")
    else:
        return _column(groups, n, "groups")
    # only combinations that occur; declared but empty categories appear through single attributes
    code = np.zeros(n, dtype=np.int64)
    for keys, codes in columns:
        code = code * len(keys) + codes
    unique, inverse = np.unique(code, return_inverse=True)
    combined: list[Hashable] = []
    for value in unique:
        key: list[Hashable] = []
        for keys, _ in reversed(columns):
            value, at = divmod(int(value), len(keys))
            key.append(keys[at])
        combined.append(tuple(reversed(key)))
    return tuple(combined), inverse.astype(np.int64)


def _column(values: Any, n: int, name: str) -> tuple[tuple[Hashable, ...], NDArray[np.int64]]:
    series = (
        values
        if isinstance(values, pd.Series)
        else pd.Series(values, dtype=None if hasattr(values, "dtype") else object)
    )
    if len(series) != n:
        raise DataError(f"Expected one group value a row in {name!r}: {n}, found {len(series)}.")
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes, keys = series.cat.codes.to_numpy(np.int64), list(series.cat.categories)
    else:
        # equal but differently typed values (1 and True and 1.0) stay apart
        tagged = pd.Series([None if pd.isna(v) else (type(v).__name__, v) for v in series.to_numpy()], dtype=object)
        codes, uniques = pd.factorize(tagged, sort=False)
        order = sorted(range(len(uniques)), key=lambda i: (uniques[i][0], uniques[i][1]))
        rank = np.empty(len(order) + 1, dtype=np.int64)
        rank[order] = np.arange(len(order))
        rank[-1] = -1
        codes, keys = rank[codes], [uniques[i][1] for i in order]
    result: NDArray[np.int64] = np.asarray(codes, dtype=np.int64)
    if (result < 0).any():
        keys.append(None)
        result = np.where(result < 0, len(keys) - 1, result)
    return tuple(keys), result
