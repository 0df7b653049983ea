from collections import Counter

import numpy as np
import torch

from audit.datasets import Dataset
from audit.fairness import Cube
from audit.fairness.attributes import Levels, cross, crossed, group_name, groups, levels
from audit.subject import Modality


def column(values):
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def test_a_missing_value_is_a_group_of_its_own_and_stands_last():
    found = levels(column(["b", None, "a", float("nan"), "b"]))
    assert found.names == ("a", "b", "missing")
    assert found.code.tolist() == [1, 2, 0, 2, 1]


def test_numbers_of_few_values_keep_their_order_and_many_are_cut_at_quartiles():
    assert levels(column([10, 9, 10, 2])).names == ("2", "9", "10")
    ages = levels(column([*range(100), None]))
    assert ages.names[-1] == "missing" and len(ages.names) == 5
    assert ages.sizes().tolist() == [25, 25, 25, 25, 1]
    assert levels(column([True, False])).names == ("False", "True")


def test_equal_numbers_of_several_types_are_one_group_in_any_order():
    for values in ([1, 1.0, True, 2, 0], [True, 0, 1.0, 2, 1], [np.float64(1), 2, np.int64(1), 0, 1]):
        found = levels(column(values))
        assert found.names == ("0", "1", "2")
        assert found.sizes().tolist() == [1, 3, 1]


def test_cuts_are_told_apart_and_infinite_numbers_are_outermost():
    assert len(levels(np.arange(10_000_000, 10_000_100)).names) == 4
    found = levels(np.r_[np.arange(100.0), [np.inf] * 60, [-np.inf] * 60])
    assert found.sizes().tolist() == [85, 25, 25, 85]


def test_groups_whose_names_hold_a_cross_are_told_apart():
    found = crossed({"p": column(["a", "a x b"] * 3), "q": column(["b x c", "c"] * 3)}, depth=2)["p x q"]
    assert found.names == ("a x 'b x c'", "'a x b' x c")
    assert len(found.column().categories) == 2


def test_small_groups_are_joined_or_count_nowhere():
    values = column(["a"] * 5 + ["b"] * 5 + ["c", "d"])
    assert levels(values, least=2).names == ("a", "b", "others")
    assert levels(values, least=3).names == ("a", "b") and levels(values, least=3).sizes().sum() == 10


def test_an_intersection_holds_the_combinations_that_occur_and_no_row_twice():
    sex, race = column(["f", "m", "f", "m", "f"]), column(["x", "x", "y", None, "x"])
    found = crossed({"sex": sex, "race": race}, depth=2)
    assert list(found) == ["sex", "race", "sex x race"]
    both = found["sex x race"]
    assert both.names == ("f x x", "f x y", "m x x", "m x missing")
    expected = Counter(f"{s} x {group_name(r)}" for s, r in zip(sex, race, strict=True))
    assert dict(zip(both.names, both.sizes().tolist(), strict=True)) == expected


def test_rows_that_count_nowhere_count_nowhere_in_an_intersection():
    part = levels(column(["a"] * 3 + ["b"]), least=2)
    other = levels(column(["x", "y", "x", "x"]))
    both = cross([part, other])
    assert both.code.tolist()[-1] == -1 and both.names == ("a x x", "a x y")


def test_three_attributes_cross_in_every_way_up_to_the_depth():
    columns = {name: column(["0", "1"] * 4) for name in "abc"}
    assert list(crossed(columns, depth=3)) == ["a", "b", "c", "a x b", "a x c", "b x c", "a x b x c"]
    assert list(crossed(columns, depth=1)) == ["a", "b", "c"]


def test_a_cube_takes_the_column_and_counts_the_same_groups():
    found = levels(column(["b", "a", None, "b"]))
    cube = Cube.count([0, 1, 1, 0], [0, 1, 0, 1], found.column())
    assert cube.groups == found.names
    assert cube.counts.sum((1, 2)).tolist() == found.sizes().tolist()


def recovered(both, first, second, smallest):
    """Cells of fewer than `smallest` rows that totals of the attributes and what is shown of the cells give away."""
    shown = {name: size for name, size in zip(both.names, both.sizes().tolist(), strict=True) if name != "others"}
    found = []
    for part, at in ((first, 0), (second, 1)):
        for group, total in zip(part.names, part.sizes().tolist(), strict=True):
            own = {n: s for n, s in shown.items() if n.split(" x ")[at] == group}
            rest = {
                name
                for name in {
                    f"{a} x {b}"
                    for a, b in zip(np.array(first.names)[first.code], np.array(second.names)[second.code], strict=True)
                }
                if name.split(" x ")[at] == group and name not in own
            }
            if len(rest) == 1 and total - sum(own.values()) < smallest:
                found.append(rest)
    return found


def test_no_small_group_is_told_or_can_be_worked_out_from_the_totals():
    rng = np.random.default_rng(0)
    for trial in range(200):
        first = column(rng.choice(["a", "b", "c", "d"], 120, p=[0.55, 0.3, 0.1, 0.05]).tolist())
        second = column(rng.choice(["x", "y", "z"], 120, p=[0.6, 0.35, 0.05]).tolist())
        found = crossed({"first": first, "second": second}, depth=2, smallest=5)
        for name in found:
            assert found[name].sizes().sum() == 120
            assert found[name].sizes().min() >= 5, (trial, name)
        assert not recovered(found["first x second"], found["first"], found["second"], 5)
    plain = crossed({"first": first, "second": second}, depth=2)
    assert min(plain["first x second"].sizes()) < 5


def test_one_small_group_takes_the_next_smallest_with_it():
    values = column(["a"] * 50 + ["b"] * 20 + ["c"] * 3)
    assert crossed({"of": values}, smallest=5)["of"].names == ("a", "others")
    assert crossed({"of": values}, smallest=5)["of"].sizes().tolist() == [50, 23]
    assert crossed({"of": values})["of"].names == ("a", "b", "c")


def test_no_small_group_of_any_part_is_told():
    rng = np.random.default_rng(1)
    for _ in range(100):
        first = column(rng.choice(["a", "b", "c", "d"], 300, p=[0.55, 0.3, 0.1, 0.05]).tolist())
        second = column(rng.choice(["x", "y", "z"], 300, p=[0.6, 0.35, 0.05]).tolist())
        part = np.repeat(["test", "train"], [100, 200])
        found = crossed({"first": first, "second": second}, depth=2, smallest=5, part=part)
        for of in ("test", "train"):
            own = {name: Levels(one.code[part == of], one.names) for name, one in found.items()}
            for one in own.values():
                sizes = one.sizes()
                assert sizes[sizes > 0].min() >= 5
                assert sizes.sum() == (part == of).sum()
            assert not recovered(own["first x second"], own["first"], own["second"], 5)


def test_a_sample_has_the_groups_of_the_whole():
    rng = np.random.default_rng(0)
    ages = column(rng.normal(40, 12, 2000).round(1).tolist())
    data = Dataset(
        inputs=torch.zeros(2000, 1),
        labels=torch.zeros(2000, dtype=torch.int64),
        classes=("no", "yes"),
        modality=Modality.TABULAR,
        groups={"age": ages},
        label="y",
        split="test",
        source="-",
        digest="0",
    )
    whole = groups(data)["age"]
    rows = np.flatnonzero(np.asarray(ages, dtype=float) > 30)  # a sample whose own quartiles lie elsewhere
    part = data.take(rows)
    assert set(groups(part)["age"].names) <= set(whole.names)
    named = np.array(whole.names)[whole.code]
    assert (np.array(groups(part)["age"].names)[groups(part)["age"].code] == named[rows]).all()
    assert groups(part.take(np.arange(50)))["age"].names == groups(data.take(rows[:50]))["age"].names
    assert crossed({"age": ages[rows]})["age"].names != whole.names
