"""From a column of any type to integer codes, a block at a time, without a Python loop over the rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from audit.errors import DataError

Codes = NDArray[np.int64]
#: integers within such a range are their own codes
NARROW = 1 << 12
#: one object in so many rows is taken to be shared between rows
SHARED = 8
#: types without missing values
PLAIN = frozenset({str, int, bool, type(None)})
#: equal keys of several types are shown as the first of these
KINDS = (int, float, bool)
#: what pandas calls columns in which equality means the same as in Python, because all values have one type
UNIFORM = frozenset({"string", "bytes", "integer", "floating", "boolean"})


class Encoded(NamedTuple):
    """A block of a column: `values[code[i]]` is the value of row i; None is missing. Values may repeat, or not occur."""

    code: Codes
    values: list[Any]


@dataclass(frozen=True, eq=False)
class Column:
    """A column that is cut into blocks without copying it.

    Attributes:
        name: what refusals call it.
        data: a numpy, arrow or pandas array; the codes of a categorical.
        declared: the categories of a categorical, in order, or None.
    """

    name: str
    data: Any
    declared: tuple[Hashable, ...] | None = None

    def __len__(self) -> int:
        return len(self.data)

    def block(self, start: int, stop: int) -> Encoded:
        """Encode rows `start` to `stop`.

        Raises:
            DataError: a value cannot be a key.
        """
        part = self.data[start:stop]
        if self.declared is not None:
            return Encoded(
                np.where(part < 0, len(self.declared), part).astype(np.int64),
                [*self.declared, None],
            )
        if isinstance(part, pa.ChunkedArray | pa.Array):
            code, values = _arrow(part)
        elif isinstance(part, np.ndarray):
            code, values = _numpy(part)
        else:
            found, uniques = pd.factorize(part)
            code, values = np.where(found < 0, len(uniques), found), [*uniques.tolist(), None]
        try:
            return Encoded(code.astype(np.int64, copy=False), [plain(v) for v in values])
        except TypeError as error:
            raise DataError(
                f"Expected values that can be keys in {self.name!r}, found {error}; try text or numbers."
            ) from error


def column(values: Any, name: str) -> Column:
    """Wrap whatever holds a value a row: numpy, pandas, arrow, tensor, list.

    Raises:
        DataError: it has more than one dimension.
    """
    if isinstance(values, pd.Series | pd.Index):
        values = values.array
    if isinstance(values, pd.Categorical):
        return Column(name, np.asarray(values.codes), tuple(plain(v) for v in values.categories.tolist()))
    if isinstance(values, pa.ChunkedArray | pa.Array):
        if pa.types.is_dictionary(values.type):
            return column(values.to_pandas(), name)
        return Column(name, values)
    if isinstance(values, pd.api.extensions.ExtensionArray):
        if isinstance(values.dtype, pd.ArrowDtype) or getattr(values.dtype, "storage", None) == "pyarrow":
            return Column(name, values.__arrow_array__())  # type: ignore[attr-defined]  # what holds the data already
        if isinstance(values, pd.arrays.NumpyExtensionArray):
            values = values.to_numpy()
        else:
            return Column(name, values)
    if isinstance(values, list | tuple) and not (values and isinstance(values[0], list | np.ndarray)):
        values = pd.Series(values, dtype=object).to_numpy()  # no common type, so that 1 and "1" stay apart
    array = np.asarray(values)
    if array.ndim != 1:
        hint = "; try argmax(1) of scores" if array.ndim == 2 and array.dtype.kind == "f" else ""
        raise DataError(f"Expected one value a row in {name!r}, found an array of shape {array.shape}{hint}.")
    return Column(name, array)


def distinct(values: NDArray[Any]) -> tuple[Codes, NDArray[Any]]:
    """Codes in the order of appearance, and the distinct numbers; hashing, so linear in the rows."""
    found = pa.array(values).dictionary_encode()
    return found.indices.to_numpy().astype(np.int64), found.dictionary.to_numpy(zero_copy_only=False)


def plain(value: Any) -> Any:
    """The value as a Python object; None where it is missing.

    Raises:
        TypeError: it cannot be a key.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        value = value.item()
    hash(value)
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def shown(one: Any, other: Any) -> Any:
    """Which of two equal keys stands for both, as of 1, 1.0 and True: the integer, whichever came first."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return tuple(map(shown, one, other))
    if type(one) is type(other):
        return one
    return min(one, other, key=lambda v: (*KINDS, type(v)).index(type(v)))


def sort_keys(values: Iterable[Any]) -> list[Any]:
    """Sorted within their type, types by name; None last, in a tuple as well."""
    found = list(values)
    try:
        return sorted(found, key=_place)
    except TypeError:  # values of a type that knows no order
        return sorted(found, key=lambda v: (v is None, type(v).__name__, repr(v)))


def _place(value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return (False, "tuple", tuple(map(_place, value)))
    return (True,) if value is None else (False, type(value).__name__, value)


def _arrow(part: Any) -> tuple[Codes, list[Any]]:
    try:
        found = part.dictionary_encode()
    except pa.ArrowNotImplementedError:  # decimals, views, nested types
        return _objects(pd.Series(part.to_pylist(), dtype=object).to_numpy())
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    if isinstance(found, pa.ChunkedArray):  # arrow leaves an empty or a single chunk as it was
        found = found.chunk(0)
    values = found.dictionary.to_pylist()
    indices = found.indices
    if indices.null_count:
        indices = indices.fill_null(len(values))
    return indices.to_numpy(), [*values, None]


def _numpy(part: NDArray[Any]) -> tuple[Codes, list[Any]]:
    part = part.astype(part.dtype.newbyteorder("="), copy=False)
    kind = part.dtype.kind
    if kind == "O":
        return _objects(part)
    if kind in "US":
        return _text(part)
    if kind == "b":
        return part.astype(np.int64), [False, True]
    if kind in "iu":
        low, high = int(part.min()), int(part.max())
        if high - low < NARROW and high < np.iinfo(np.int64).max:
            return part.astype(np.int64) - low, list(range(low, high + 1))
    elif kind in "mM":
        code, found = distinct(part.view(np.int64))
        return code, pd.Series(found.view(part.dtype)).tolist()
    elif part.dtype.itemsize not in (4, 8) or kind != "f":
        code, found = pd.factorize(part, use_na_sentinel=False)
        return code, found.tolist()
    code, found = distinct(part)
    return code, found.tolist()


def _text(part: NDArray[Any]) -> tuple[Codes, list[Any]]:
    """Fixed-width text as 64-bit words of its characters, which are hashed one after the other."""
    n, kind = len(part), part.dtype.kind
    part = np.ascontiguousarray(part)
    letters = part.view(np.uint32 if kind == "U" else np.uint8).reshape(n, -1)
    widest = int(letters.max(initial=0))
    unit = np.uint8 if widest < 1 << 8 else np.uint16 if widest < 1 << 16 else np.uint32
    fit = 8 // np.dtype(unit).itemsize
    padded = np.zeros((n, -(-max(letters.shape[1], 1) // fit) * fit), dtype=unit)
    padded[:, : letters.shape[1]] = letters
    words = padded.view(np.uint64)
    code = np.zeros(n, dtype=np.int64)
    size = 1
    for j in range(words.shape[1]):
        word = words[:, j]
        if (word == word[0]).all():
            continue
        more, found = distinct(np.ascontiguousarray(word))
        code, firsts = (more, found) if size == 1 else distinct(code * len(found) + more)
        size = len(firsts)
    return code, part[_first(code, size)].tolist()


def _objects(part: NDArray[Any]) -> tuple[Codes, list[Any]]:
    """Rows that share an object are found by its address; only where few do are the values themselves hashed."""
    part = np.ascontiguousarray(part)
    sample = part[: 1 << 12]
    if len(set(map(id, sample))) * SHARED <= len(sample) or len(part) <= len(sample):
        code, found = distinct(np.frombuffer(part, dtype=np.uintp))
        return code, part[_first(code, len(found))].tolist()
    if pd.api.types.infer_dtype(part, skipna=True) in UNIFORM:
        return _hashed(part)
    # values of different types may be equal (1, 1.0, True): every type is encoded on its own
    kinds, types = pd.factorize(np.fromiter(map(type, part), dtype=object, count=len(part)))
    code, values = np.empty(len(part), dtype=np.int64), list[Any]()
    for index in range(len(types)):
        at = np.flatnonzero(kinds == index)
        own, uniques = _hashed(part[at])
        code[at] = own + len(values)
        values += uniques
    return code, values


def _hashed(part: NDArray[Any]) -> tuple[Codes, list[Any]]:
    found, uniques = pd.factorize(part)
    return np.where(found < 0, len(uniques), found), [*uniques.tolist(), None]


def _first(code: Codes, size: int) -> Codes:
    """A row that holds each code."""
    row = np.zeros(size, dtype=np.int64)
    row[code] = np.arange(len(code))
    return row
