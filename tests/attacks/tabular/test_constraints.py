"""Constraints: what is read, and what is refused aloud."""

import pytest

from attacks.tabular import Number, Table
from attacks.tabular.constraints import parse

NAMES = ["age", "education-num", "capital-gain", "capital", "gain", "x[0]", "a b", "16", "a", "b"]


@pytest.mark.parametrize(
    ("text", "coefficients", "bound", "strict"),
    [
        ("a <= b", {"a": 1, "b": -1}, 0, False),
        ("a<b", {"a": 1, "b": -1}, 0, True),
        ("a >= b", {"a": -1, "b": 1}, 0, False),
        ("a > 3", {"a": -1}, -3, True),
        ("education-num + 6 <= age", {"education-num": 1, "age": -1}, -6, False),
        ("3*a - 2 >= b + 1", {"a": -3, "b": 1}, -3, False),
        ("capital-gain <= 5", {"capital-gain": 1}, 5, False),
        ("capital - gain > 0", {"capital": -1, "gain": 1}, 0, True),
        ("`16` <= 16", {"16": 1}, 16, False),
        ("x[0] <= a b", {"x[0]": 1, "a b": -1}, 0, False),
        ("-a <= -2.5e1", {"a": -1}, -25, False),
        ("0.5 * a + a <= .25", {"a": 1.5}, 0.25, False),
        ("a + age <= a + b", {"age": 1, "b": -1}, 0, False),
    ],
)
def test_what_is_read(text: str, coefficients: dict[str, float], bound: float, strict: bool) -> None:
    found = parse(text, NAMES)
    assert found.text == text
    assert found.coefficients == coefficients
    assert (found.bound, found.strict) == (bound, strict)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a <= b <= age", "one relation.*found 2"),
        ("a + b", "one relation.*found 0"),
        ("a == b", "found '=='"),
        ("a != b", "found '!='"),
        ("a * b <= 3", "sum of terms"),
        ("a*2 <= b", "sum of terms"),
        ("a 3 <= b", "sum of terms.*found '3'"),
        ("<= b", "sum of terms.*found 'nothing'"),
        ("a <=", "sum of terms.*found 'nothing'"),
        ("a <= b +", "sum of terms.*found 'nothing'"),
        ("a+-b <= 3", "sum of terms.*found '-'"),
        ("3 <= 4", "none that counts"),
        ("a - a <= 4", "none that counts"),
        ("sex <= 3", "'sex', which holds categories"),
        ("2a <= b", "found '2a <= b'"),
        ("ages <= b", "found 'ages <= b'.*columns are"),
        ("a & b", "found '& b'"),
        ("a / 2 <= b", "found '/ 2 <= b'"),
        ("`c` <= b", "name in backticks"),
        ("`a <= b", "name in backticks"),
        ("a <= 1e400", "finite"),
        (3, "as text"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(text, NAMES, ["sex"])


def test_a_table_refuses_what_it_cannot_read() -> None:
    with pytest.raises(ValueError, match="found 'b'"):
        Table((Number("a", 0),), ("a <= b",))
    with pytest.raises(ValueError, match="one string"):
        Table((Number("a", 0),), "a <= 3")  # type: ignore[arg-type]
