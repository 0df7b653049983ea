import json

import numpy as np
import pytest
import torch

from audit.datasets.types import Feature, FeatureKind
from audit.errors import DataError
from audit.mitigation.reading import Place, Reader

COLOUR = Feature("colour", FeatureKind.CATEGORICAL, (1, 2, 3), categories=("r", "g", "b"))
AGE = Feature("age", FeatureKind.NUMERIC, (0,))


def rows(n=400, seed=0):
    rng = np.random.default_rng(seed)
    age, colour = rng.normal(size=n).astype(np.float32), rng.integers(0, 4, n)
    hot = np.vstack([np.eye(3), np.zeros(3)])[colour]
    return torch.from_numpy(np.column_stack([age, hot])).float(), age, colour


def test_reads_what_the_rows_said():
    inputs, _, colour = rows()
    found = Reader.learn(inputs, [COLOUR], [colour], colour, 4, 4)
    assert (found.codes(inputs) == colour).all()  # a row with no category set is a group as well


def test_a_number_is_cut_where_its_codes_change():
    inputs, age, _ = rows()
    code = np.digitize(age, [-0.5, 0.7]).astype(np.int64)
    found = Reader.learn(inputs, [AGE], [code], code, 3, 4)
    assert (found.codes(inputs) == code).all()
    new, fresh, _ = rows(seed=1)
    assert (found.codes(new) == np.digitize(fresh, [-0.5, 0.7])).mean() > 0.98


def test_neighbours_in_single_precision_are_told_apart():
    low = np.float32(1.0)
    value = np.array([low, np.nextafter(low, np.float32(2))], dtype=np.float32)
    code = np.array([0, 1])
    inputs = torch.from_numpy(value[:, None])
    assert (Reader.learn(inputs, [AGE], [code], code, 2, 1).codes(inputs) == code).all()


def test_a_missing_number_reads_as_its_stand_in():
    inputs, age, _ = rows()
    code = (age > 0).astype(np.int64)
    inputs[:20, 0], code[:20] = 5.0, 2  # the encoder's stand-in; most rows of that value are missing ones
    found = Reader.learn(inputs, [AGE], [code], code, 3, 4)
    assert (found.codes(inputs) == code).all()


def test_intersections_and_rows_that_count_nowhere():
    inputs, age, colour = rows()
    old = (age > 0).astype(np.int64)
    code = np.where(colour == 3, -1, old * 3 + colour)
    found = Reader.learn(inputs, [AGE, COLOUR], [old, colour], code, 6, 4)
    assert (found.codes(inputs) == code).all()
    values = torch.arange(7.0)[:, None] ** 2
    expected = values[torch.from_numpy(np.where(code < 0, 6, code))]
    assert torch.equal(found.look_up(inputs, values), expected)


def test_a_combination_never_seen_is_no_known_group():
    inputs, age, colour = rows()
    old = (age > 0).astype(np.int64)
    seen = ~((old == 1) & (colour == 2))
    code = old * 4 + colour
    found = Reader.learn(inputs[torch.from_numpy(seen)], [AGE, COLOUR], [old[seen], colour[seen]], code[seen], 8, 4)
    assert (found.codes(inputs)[~seen] == -1).all()


def test_between_groups_values_change_in_a_straight_line():
    found = Reader(4, (Place("colour", (1, 2, 3)),), (0, 1, 2, 3), 3)
    values = torch.tensor([[0.0], [10.0], [20.0], [5.0]])
    half = torch.tensor([[9.0, 0.5, 0.5, 0.0]], requires_grad=True)
    out = found.look_up(half, values)
    assert out.item() == 5.0
    out.sum().backward()
    assert half.grad[0].tolist() == [0.0, -5.0, 5.0, 15.0]  # each against the line of no known group


def test_plain_survives_json():
    inputs, age, colour = rows()
    old = (age > 0.123).astype(np.int64)
    found = Reader.learn(inputs, [AGE, COLOUR], [old, colour], old * 4 + colour, 8, 4)
    assert Reader.of(json.loads(json.dumps(found.plain()))) == found


def test_own_columns_stand_in_front():
    found = Reader(3, (Place("colour", (3, 4)),), (0, 1, 2), 2)
    assert found.own(torch.arange(10.0).view(2, 5)).tolist() == [[0, 1, 2], [5, 6, 7]]


def test_too_many_combinations_are_refused():
    inputs = torch.zeros(4, 3 * 60)
    code = np.zeros(4, dtype=np.int64)
    features = [
        Feature(n, FeatureKind.CATEGORICAL, tuple(range(60 * i, 60 * i + 60)), categories=("x",) * 60)
        for i, n in enumerate("abc")
    ]
    with pytest.raises(DataError, match="a, b, c, found 226981"):
        Reader.learn(inputs, features, [code] * 3, code, 1, 180)
