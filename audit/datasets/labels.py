"""Labels, classes and protected groups out of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

#: more distinct values than this, in more than half of the rows, is a name for a row and no group
IDENTIFIER = 50


def key(value: Any) -> str:
    """A value as the text that names it: 1, 1.0 and "1" are "1", True is "True"."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def show(column: pd.Series[Any], row: int) -> str:
    """A value as a message shows it."""
    return repr(column.iloc[[row]].tolist()[0])


def keys(column: pd.Series[Any]) -> list[str | None]:
    """`key` of every value, None where it is missing."""
    import pandas as pd

    codes, distinct = pd.factorize(column)
    names = [key(v) for v in distinct]
    return [None if c < 0 else names[c] for c in codes]


def looks_like_identifier(column: pd.Series[Any]) -> bool:
    """Whether the column names rows (more than 50 values, in more than half of the rows)."""
    distinct = int(column.nunique())
    return distinct > IDENTIFIER and distinct > len(column) / 2


def derive_classes(columns: Sequence[pd.Series[Any]], label: str) -> tuple[str, ...]:
    """The classes that occur in the splits: numbers in their order, anything else by name.

    Raises:
        DataError: the column holds no classes.
    """
    import pandas as pd

    values = pd.concat([column.dropna() for column in columns]).drop_duplicates()
    if values.empty:
        raise DataError(f"Expected classes in the label column {label!r}, found only missing values; try another.")
    numeric = pd.api.types.is_numeric_dtype(values)
    fraction = next((v for v in values if numeric and not float(v).is_integer()), None)
    if fraction is not None or any(looks_like_identifier(column) for column in columns):
        found = f"numbers such as {fraction}" if fraction is not None else f"{len(values)} distinct values"
        raise DataError(f"Expected classes in the label column {label!r}, found {found}; try a column of classes.")
    return tuple(dict.fromkeys(key(v) for v in (values.sort_values() if numeric else sorted(values, key=str))))


def match_labels(column: pd.Series[Any], classes: Sequence[str], label: str) -> NDArray[np.int64]:
    """Class indices (n,): every value is matched by name or, where any is no name, every value is an index.

    Raises:
        DataError: a label is missing, or is neither a class nor an index of one.
    """
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise DataError(
            f"Expected a label in every row, found {len(missing)} missing in {label!r}, the first in row {missing[0]}; "
            f"try dropping these rows."
        )
    place = {name: index for index, name in enumerate(classes)}
    found = [str(k) for k in keys(column)]
    if all(name in place for name in found):
        return np.array([place[name] for name in found], dtype=np.int64)
    indices = [_index(value, len(classes)) for value in column.tolist()]
    for row, index in enumerate(indices):
        if index is None and found[row] not in place:
            shown = ", ".join(repr(c) for c in classes[:12]) + (", ..." if len(classes) > 12 else "")
            close = nearest(found[row], classes) if len(classes) > 12 else "; try naming the classes as the data does."
            raise DataError(
                f"Expected labels among the classes {shown} (or 0 to {len(classes) - 1}), found {show(column, row)} "
                f"first in row {row} of {label!r}{close}"
            )
    mixed = next((row for row, index in enumerate(indices) if index is None), None)
    if mixed is not None:
        raise DataError(
            f"Expected labels that are all names or all indices of classes, found both in {label!r} "
            f"({show(column, mixed)} in row {mixed}); try one kind."
        )
    found_indices = np.array(indices, dtype=np.int64)
    # a whole data set without the first class is less likely than one that counts from 1
    if len(classes) > 2 and len(indices) >= 5 * len(classes) and found_indices.min() == 1:
        raise DataError(
            f"Expected class indices from 0 (for {classes[0]!r}) in {label!r}, found {found_indices.min()} to "
            f"{found_indices.max()}; try naming the classes as the data does, classes: [1, 2, ...]."
        )
    return found_indices


def _index(value: Any, classes: int) -> int | None:
    if isinstance(value, bool | np.bool_):
        value = int(value)
    if isinstance(value, int | float) and float(value).is_integer() and 0 <= value < classes:
        return int(value)
    return None


def group_values(column: pd.Series[Any], name: str) -> NDArray[Any]:
    """Values of a protected attribute, (n,) objects of their own type; None where missing.

    Raises:
        DataError: the column names rows.
    """
    import pandas as pd

    if looks_like_identifier(column):
        raise DataError(
            f"Expected groups in the protected column {name!r}, found {int(column.nunique())} distinct values in "
            f"{len(column)} rows; try a column of groups, or bins of this one."
        )
    present = column.dropna()
    # a missing value makes the reader store whole numbers as floats
    whole = pd.api.types.is_float_dtype(column) and len(present) < len(column) and bool((present % 1 == 0).all())
    out = np.empty(len(column), dtype=object)
    out[:] = [None if m else int(v) if whole else v for v, m in zip(column.tolist(), column.isna(), strict=True)]
    return out
