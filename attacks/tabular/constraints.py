"""Constraints between a table's numbers, read from text such as `education-num + 6 <= age`.

The grammar: SIDE RELATION SIDE, where RELATION is one of `<=`, `<`, `>=`, `>`, and SIDE adds and subtracts terms: a
number, a column, or a number times a column (`2 * a`). A column whose name holds blanks or signs is found all the same,
since the longest known name wins; in backticks a name is taken as it stands. Everything else is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?")
_RELATION = re.compile(r"<=|>=|==|!=|<|>|=")
_GRAMMAR = "try SIDE <= SIDE, each a sum of columns and numbers, such as 'a + 2 * b <= c - 1'"


@dataclass(frozen=True)
class Constraint:
    """A linear constraint: the sum of coefficient times column is at most `bound`, or below it.

    Attributes:
        text: as it was written.
        coefficients: column -> coefficient, none of them 0, in the columns' own units.
        bound: right-hand side.
        strict: whether the sum must stay below the bound.
    """

    text: str
    coefficients: dict[str, float]
    bound: float
    strict: bool


def parse(text: str, numbers: Iterable[str], others: Iterable[str] = ()) -> Constraint:
    """Read one constraint.

    Args:
        text: see the module.
        numbers: names of the numeric columns.
        others: names of columns that hold no numbers, to say so where one is named.

    Raises:
        ValueError: the text is not in the grammar, or names what is no numeric column.
    """
    if not isinstance(text, str):
        raise ValueError(f"Expected a constraint as text, found {text!r}; {_GRAMMAR}.")
    known, barred = set(numbers), set(others)
    tokens = list(_tokens(text, sorted(known | barred, key=len, reverse=True)))
    relations = [i for i, (kind, _) in enumerate(tokens) if kind == "relation"]
    if len(relations) != 1:
        raise ValueError(f"Expected one relation in the constraint {text!r}, found {len(relations)}; {_GRAMMAR}.")
    (middle,) = relations
    relation = tokens[middle][1]
    if relation not in ("<=", "<", ">=", ">"):
        raise ValueError(f"Expected <=, <, >= or > in the constraint {text!r}, found {relation!r}; {_GRAMMAR}.")
    sign = 1.0 if relation.startswith("<") else -1.0
    total: dict[str, float] = {}
    constant = 0.0
    for side, part in ((sign, tokens[:middle]), (-sign, tokens[middle + 1 :])):
        for factor, name in _terms(part, text):
            if name is None:
                constant += side * factor
            elif name in known:
                total[name] = total.get(name, 0.0) + side * factor
            else:
                raise ValueError(
                    f"Expected numeric columns in the constraint {text!r}, found {name!r}, which holds categories."
                )
    coefficients = {name: factor for name, factor in total.items() if factor}
    if not coefficients:
        raise ValueError(f"Expected a column in the constraint {text!r}, found none that counts; {_GRAMMAR}.")
    if not all(math.isfinite(v) for v in (*coefficients.values(), constant)):
        raise ValueError(f"Expected finite numbers in the constraint {text!r}, found infinite ones.")
    return Constraint(text, coefficients, 0.0 - constant, len(relation) == 1)


def _tokens(text: str, names: list[str]) -> Iterator[tuple[str, str]]:
    """(kind, text) pieces: number, name, relation, sign."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        if text[at] == "`":
            end = text.find("`", at + 1)
            name = text[at + 1 : end]
            if end < 0 or name not in names:
                raise ValueError(
                    f"Expected a column's name in backticks in the constraint {text!r}, found {text[at:]!r}."
                )
            yield "name", name
            at = end + 1
            continue
        name = next((n for n in names if text.startswith(n, at) and _ends(text, at + len(n), n)), "")
        number = _NUMBER.match(text, at)
        relation = _RELATION.match(text, at)
        if name and (number is None or len(name) > len(number[0])):
            kind, piece = "name", name
        elif number is not None and _ends(text, number.end(), number[0]):
            kind, piece = "number", number[0]
        elif relation is not None:
            kind, piece = "relation", relation[0]
        elif text[at] in "+-*":
            kind, piece = "sign", text[at]
        else:
            known = ", ".join(repr(n) for n in sorted(names)[:12])
            raise ValueError(
                f"Expected a column, a number or a sign in the constraint {text!r}, found {text[at:]!r}; "
                f"the columns are {known}."
            )
        yield kind, piece
        at += len(piece)


def _ends(text: str, at: int, piece: str) -> bool:
    """Whether a word that ends in a letter or a digit ends here and not in the middle of a longer one."""
    return at >= len(text) or not (_wordly(piece[-1]) and _wordly(text[at]))


def _wordly(character: str) -> bool:
    return character.isalnum() or character == "_"


def _terms(tokens: list[tuple[str, str]], text: str) -> Iterator[tuple[float, str | None]]:
    """(factor, column or None for a plain number) of one side."""
    at = 0
    while at < len(tokens):
        sign = 1.0
        if tokens[at] in (("sign", "+"), ("sign", "-")):
            sign = 1.0 if tokens[at][1] == "+" else -1.0
            at += 1
        elif at:
            break
        kinds = [kind for kind, _ in tokens[at : at + 3]]
        times = len(kinds) == 3 and tokens[at + 1] == ("sign", "*")
        if times and kinds[::2] == ["number", "name"]:
            yield sign * float(tokens[at][1]), tokens[at + 2][1]
            at += 3
        elif kinds and not times and kinds[0] == "number":
            yield sign * float(tokens[at][1]), None
            at += 1
        elif kinds and not times and kinds[0] == "name":
            yield sign, tokens[at][1]
            at += 1
        else:
            break
    else:
        if tokens:
            return
    found = tokens[at][1] if at < len(tokens) else "nothing"
    raise ValueError(f"Expected a sum of terms on each side of the constraint {text!r}, found {found!r}; {_GRAMMAR}.")
