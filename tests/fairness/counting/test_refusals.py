"""What counting refuses, each in one sentence that names the argument."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from audit.errors import DataError
from audit.fairness import Cube

AB = ["a", "b"]
NAN = float("nan")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 2], [0, 1], AB, None, [0, 1]), r"y_true to hold the classes \[0, 1\], found 2 in row 1"),
        (([0, 1], [0, "1"], AB, None, [0, 1]), r"y_pred to hold the classes \[0, 1\], found '1' in row 1"),
        (([0, 1], [0.2, 0.7], AB, None, [0, 1]), "y_pred to hold the classes .* found 0.2 .* not scores"),
        (([0, 1], [0.0, 0.7], AB), "y_pred to hold classes, found the score 0.7 in row 1; try comparing scores"),
        (([0.1, 1], [0, 1], AB), "y_true to hold classes, found the score 0.1 in row 0"),
        (([0, 1], [[0.2, 0.8], [0.5, 0.5]], AB), r"'y_pred', found an array of shape \(2, 2\); try argmax\(1\)"),
        (([0, None], [0, 1], AB), "y_true to hold a class in every row, found none in row 1"),
        (([0, 1], [NAN, 1], AB, None, [0, 1]), "y_pred to hold a class in every row, found none in row 0"),
        ((["yes", "no"], [1, 0], AB), "of one kind, found 'yes' and 1; try declaring the classes"),
        ((range(2000), range(2000), ["a"] * 2000), "few classes, found more than 1,000 values"),
        (([0, 1], [0, 1], AB, None, [0, 1, 1]), "classes that differ"),
        (([0, 1], [0, 1], AB, None, [0, 1], 2), "positive to be a class, found 2"),
        (([0, 1], [0], AB), "one length, found 2 and 1"),
        (([0, 1], [0, 1], ["a"]), "one group value a row in 'groups': 2, found 1"),
        (([0, 1], [0, 1], AB, [1, -1]), "found -1 in row 1"),
        (([0, 1], [0, 1], AB, [NAN, 1]), "found nan in row 0"),
        (([0, 1], [0, 1], AB, [1, float("inf")]), "found inf in row 1"),
        (([0, 1], [0, 1], AB, [0, 0]), "weights that are not all 0, found 2 with a sum of 0"),
        (([0, 1], [0, 1], AB, [1e-170, 1e-170]), "weights that are not all 0"),
        (([0, 1], [0, 1], AB, [1, 1e170]), r"from 0 to 1e\+100, found 1e\+170 in row 1"),
        (([0, 1], [0, 1], AB, [1]), r"weights: 2 .* found an array of shape \(1,\)"),
        (([0, 1], [0, 1], AB, ["x", "y"]), "weights: 2 .* could not convert"),
        (([0, 1], [0, 1], AB, None, None, None, ["p"]), "one cluster a row in 'clusters': 2, found 1"),
        (([0, 1], [0, 1], AB, None, None, None, ["p", None]), "a cluster in every row"),
        (([], [], []), "at least one row"),
        ((5, 5, AB), "one value a row in 'y_true'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(DataError, match=message) as found:
        Cube.count(*[list(a) if isinstance(a, range) else a for a in arguments])
    assert str(found.value).startswith("Expected ")
    assert "\n" not in str(found.value)


def test_the_row_is_the_first_wrong_one_of_all_blocks():
    n = 1_200_000
    predicted = np.zeros(n, dtype=np.int8)
    predicted[[1_100_000, 1_150_000]] = 7
    with pytest.raises(DataError, match="found 7 in row 1100000"):
        Cube.count(np.zeros(n, np.int8), predicted, np.zeros(n, np.int8), classes=[0, 1])


def test_too_many_cells_are_refused_before_they_are_held():
    with pytest.raises(DataError, match="at most 134,217,728 cells, found 2 groups x 20,000 x 20,000 classes"):
        Cube.count([0, 1], [0, 1], AB, classes=range(20_000))
    with pytest.raises(DataError, match="second moments"):
        Cube.count([0, 1], [0, 1], AB, classes=range(200), clusters=[0, 1])


@pytest.mark.parametrize(
    ("true", "predicted", "classes"),
    [
        ([True, False], [1, 0], (0, 1)),
        ([1.0, 0.0], [True, False], (0, 1)),
        ([1.0, 0.0], [True, True], (False, 1.0)),
        (np.array([1, 0], np.uint8), pd.Series([1, 0], dtype="Int64"), (0, 1)),
        (np.array(["y", "n"]), pd.Categorical(["y", "n"]), ("n", "y")),
        ([b"y", b"n"], np.array([b"y", b"n"]), (b"n", b"y")),
    ],
)
def test_equal_classes_of_different_types_are_one(true, predicted, classes):
    cube = Cube.count(true, predicted, AB)
    assert cube.classes == classes
    assert cube.rows.sum() == 2


@pytest.mark.parametrize(
    ("value", "classes"),
    [(0, (0, 1)), (1, (0, 1)), (False, (False, True)), (1.0, (0.0, 1.0)), (2, (2,)), ("y", ("y",))],
)
def test_one_class_of_a_yes_or_no_answer_is_not_taken_for_the_positive_one(value, classes):
    cube = Cube.count([value] * 3, [value] * 3, ["a"] * 3)
    assert cube.classes == classes
    assert [type(c) for c in cube.classes] == [type(value)] * len(classes)
    assert cube.rate("selection_rate")["a"].value == (0 if value == 0 else 1)
