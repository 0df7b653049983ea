"""The classes of labels and predictions: declared, or found; what is none of them is refused."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from audit.errors import DataError
from audit.fairness.counting.encoding import KINDS, Codes, Encoded, plain, shown, sort_keys

#: more classes than this, when none are declared, are a number or an identifier
MOST_CLASSES = 1000


class Classes:
    """Numbers for class values. Equal values are one class whatever their type, as True and 1 are."""

    def __init__(self, declared: Sequence[Any] | None) -> None:
        self._declared = None if declared is None else tuple(map(plain, declared))
        self._number: dict[Hashable, int] = {}
        self._values: list[Any] = []
        for value in self._declared or ():
            self._numbered(value)
        if self._declared is not None and len(self._values) != len(self._declared):
            raise DataError(f"Expected classes that differ, found {list(self._declared)}.")

    def check(self, part: Encoded, name: str, start: int) -> None:
        """Refuse a block of labels.

        Args:
            part: the block.
            name: "y_true", or what the column is called.
            start: row number of its first row.

        Raises:
            DataError: a class is missing, is none of the declared ones, or is a score.
        """
        occurs = np.bincount(part.code, minlength=len(part.values)) > 0
        for i in np.flatnonzero(occurs):
            wrong = self._wrong(part.values[i])
            if wrong:
                row = start + int(np.argmax(part.code == i))
                raise DataError(f"Expected {name} to hold {wrong[0]}, found {wrong[1]} in row {row}; try {wrong[2]}.")

    def numbers(self, values: Iterable[Any]) -> Codes:
        """The number of each value.

        Raises:
            DataError: they are too many to be classes, or of kinds that cannot be compared.
        """
        found = np.fromiter(map(self._numbered, values), dtype=np.int64)
        if self._declared is None and len(self._values) > MOST_CLASSES:
            raise DataError(
                f"Expected labels and predictions of few classes, found more than {MOST_CLASSES:,} values such as "
                f"{self._values[0]!r}; try cutting numbers into ranges, or declaring the classes."
            )
        return found

    def values(self) -> tuple[Any, ...]:
        """The classes: as declared, or sorted; where all rows are of class 0, or of 1, the other of the two is known.

        Raises:
            DataError: texts and numbers are mixed.
        """
        if self._declared is not None:
            return self._declared
        texts = [isinstance(v, str) for v in self._values]
        if any(texts) and not all(texts):
            text, other = self._values[texts.index(True)], self._values[texts.index(False)]
            raise DataError(
                f"Expected y_true and y_pred of one kind, found {text!r} and {other!r}; try declaring the classes."
            )
        if len(self._values) == 1 and type(self._values[0]) in KINDS and self._values[0] in (0, 1):
            return tuple(map(type(self._values[0]), (0, 1)))
        return tuple(sort_keys(self._values))

    def order(self) -> Codes:
        """(classes,) the place of each number among `values`."""
        place = {value: i for i, value in enumerate(self.values())}
        return np.array([place[value] for value in self._values], dtype=np.int64)

    def _wrong(self, value: Any) -> tuple[str, str, str] | None:
        """What was expected, what was found and what to try; None where the value is a class."""
        if value is None:
            return "a class in every row", "none", "dropping such rows"
        if self._declared is not None:
            if value in self._number:
                return None
            return f"the classes {_few(self._declared)}", repr(value), "passing classes, not scores"
        if isinstance(value, float) and not value.is_integer():
            return "classes", f"the score {value!r}", "comparing scores with a threshold first"
        return None

    def _numbered(self, value: Any) -> int:
        number = self._number.get(value)
        if number is None:
            number = self._number[value] = len(self._values)
            self._values.append(value)
        elif self._declared is None and type(value) is not type(self._values[number]):
            self._values[number] = shown(self._values[number], value)
        return number


def _few(classes: Sequence[Any]) -> str:
    first = ", ".join(map(repr, classes[:10]))
    return f"[{first}{', ...' if len(classes) > 10 else ''}]"
