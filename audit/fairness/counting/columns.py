"""Columns of numbers and the groups beside them: what is no finite number, or has another length, is refused."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.errors import DataError
from audit.fairness.counting.encoding import shown, sort_keys
from audit.fairness.counting.grouping import Levels, attributes, refuse_identifier

Floats = NDArray[np.float64]
#: weights from here on, or all below its inverse, have squares that floating point cannot hold
HEAVIEST = 1e100


def numbers(values: ArrayLike, name: str, n: int | None = None) -> NDArray[Any]:
    """(n,) finite numbers, of the type they have.

    Args:
        values: what was given.
        name: what the message calls it.
        n: length expected; None for any but 0.

    Raises:
        DataError: they are not.
    """
    found = np.asarray(values)
    if found.dtype == object:
        with suppress(TypeError, ValueError):
            found = found.astype(np.float64)
    if found.ndim != 1 or found.dtype.kind not in "fiu":
        shape = f"an array of shape {found.shape}" if found.ndim != 1 else f"values of type {found.dtype}"
        raise DataError(f"Expected {name} to hold one number a row, found {shape}; try a numeric column.")
    if n is not None and len(found) != n:
        raise DataError(f"Expected {n} values of {name}, one a row, found {len(found)}.")
    if not len(found):
        raise DataError("Expected at least one row, found none.")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found))[0])
        raise DataError(f"Expected finite {name}, found {found[row]} in row {row}; try dropping such rows.")
    return found


def relative_weights(weights: ArrayLike | None, n: int) -> Floats | None:
    """(n,) weights; None where every row counts alike.

    Raises:
        DataError: they are not n numbers from 0 to `HEAVIEST`, or all so small that their squares are 0.
    """
    if weights is None:
        return None
    found = numbers(weights, "weights", n).astype(np.float64)
    if found.min() < 0 or found.max() >= HEAVIEST or found.max() < 1 / HEAVIEST:
        raise DataError(
            f"Expected weights >= 0, below {HEAVIEST:g} and not all 0, found {len(found)} from {found.min():g} to "
            f"{found.max():g}."
        )
    return found


def names_of(groups: Any) -> tuple[str, ...]:
    """Names of the parts of tuple keys; none where keys are single values."""
    return attributes(groups)[0]


def refuse_identifiers(names: Sequence[str], keys: Sequence[Hashable], rows: NDArray[np.int64]) -> None:
    """Refuse groups by a column that has nearly a value a row, so that it identifies people.

    Args:
        names: attributes of tuple keys; none where keys are single values.
        keys: (g,) group keys.
        rows: (g,) rows of each.

    Raises:
        DataError: there is such a column; the message names it.
    """
    seen = [key for key, size in zip(keys, rows, strict=True) if size]
    for at, name in enumerate(names or ("groups",)):
        values = {key[at] for key in seen} if names else seen  # type: ignore[index]  # keys of attributes are tuples
        refuse_identifier(Levels(name), len(values), int(rows.sum()))


def united(
    one: tuple[Hashable, ...], other: tuple[Hashable, ...]
) -> tuple[tuple[Hashable, ...], tuple[list[int], list[int]]]:
    """Group keys of both, and the place of each one's own among them; equal keys are one whatever their type."""
    keys: dict[Hashable, Hashable] = {}
    for key in (*one, *other):
        keys[key] = shown(keys.get(key, key), key)
    groups = tuple(keys.values()) if len(keys) == len(one) else tuple(sort_keys(keys.values()))
    place = {key: i for i, key in enumerate(groups)}
    return groups, ([place[key] for key in one], [place[key] for key in other])


def divided(a: Any, b: Any, otherwise: float = 0.0) -> Floats:
    """A / b where b > 0, `otherwise` elsewhere; shapes broadcast."""
    a, b = np.broadcast_arrays(a, b)
    out = np.full(a.shape, otherwise)
    np.divide(a, b, out=out, where=b > 0)
    return out
