"""The search on tables against a listing of every allowed change, and what it promises about each row."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attacks.tabular import Category, Number, Table, table_search
from tests.attacks.tabular.truth import RULES, World, assert_lawful, breakable, raw_of, world


@cache
def worlds() -> list[tuple[World, np.ndarray]]:
    """With what can be broken in each: linear models and small nets, of two to four classes, under every set of constraints."""
    found = [
        world(seed, rules, hidden, classes=2 + seed % 3, n=16, whole=seed % 3 > 0)
        for seed, rules in enumerate((*RULES, *RULES))
        for hidden in (0, 8)
    ]
    return [(here, breakable(here)) for here in found]


@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "scores"])
def test_what_can_be_broken_is_broken_and_nothing_unlawful_counts(gradients: bool) -> None:
    possible = broken = 0
    for here, listed in worlds():
        found = table_search(
            here.model, here.inputs, here.labels, here.table, here.reach, here.switches, gradients=gradients
        )
        assert_lawful(here, found.adversarial)
        wrong = here.model(found.adversarial).argmax(1) != here.labels
        assert torch.equal(found.success, wrong), "a fresh look agrees"
        truth = torch.from_numpy(listed) & found.clean_correct
        if all(c.whole or not c.mutable for c in here.table.numbers):
            assert not bool((found.success & found.clean_correct & ~truth).any()), "the listing is complete"
        possible += int(truth.sum())
        broken += int((truth & found.success).sum())
    assert possible > 150
    assert broken >= 0.99 * possible


def test_a_linear_model_of_free_columns_falls_exactly_where_it_must() -> None:
    """Independent columns: the largest margin is the sum of the best of each, with the two best switches."""
    here = world(3, "none", hidden=0, n=200)
    layer = here.model[0]
    assert isinstance(layer, nn.Linear)
    slope = (layer.weight[1] - layer.weight[0]).detach().double()
    margin = (here.inputs.double() @ slope + (layer.bias[1] - layer.bias[0]).detach().double()) * 1.0
    sign = torch.where(here.labels == 0, 1.0, -1.0).double()
    gain = torch.zeros(len(here.inputs), dtype=torch.float64)
    for number in here.table.numbers:
        if not number.mutable:
            continue
        raw = torch.tensor([raw_of(here, row)[number.name] for row in here.inputs], dtype=torch.float64)
        eps, own = here.reach[number.name], sign * slope[number.at] / number.scale
        room = torch.where(own > 0, (number.high - raw).clamp(0, eps).floor(), (raw - number.low).clamp(0, eps).floor())
        gain += own.abs() * room
    switches = []
    for category in here.table.categories[:2]:
        block, at = here.inputs[:, list(category.at)].double(), list(category.at)
        allowed = torch.tensor(category.allowed or [True] * len(at))
        value = (sign[:, None] * slope[at]).masked_fill(~allowed, -torch.inf).amax(1)
        switches.append((value - sign * (block @ slope[at])).clamp(min=0))
    gain += torch.stack(switches, 1).sum(1)
    right = here.model(here.inputs).argmax(1) == here.labels
    reachable = right & (sign * margin + gain > 1e-4)
    found = table_search(here.model, here.inputs, here.labels, here.table, here.reach, here.switches, effort="quick")
    assert torch.equal(found.success & found.clean_correct, reachable)
    assert bool((found.success & found.clean_correct).any())
    assert not bool(found.success.all())


def test_the_wrong_are_left_alone_and_the_rest_is_reported_truly() -> None:
    here = world(1, "order")
    found = table_search(here.model, here.inputs, here.labels, here.table, here.reach, here.switches)
    wrong = here.model(here.inputs).argmax(1) != here.labels
    assert bool(wrong.any())
    assert torch.equal(~found.clean_correct, wrong)
    assert torch.equal(found.adversarial[wrong], here.inputs[wrong])
    assert bool(found.success[wrong].all())
    assert bool((found.distance[wrong] == 0).all())
    held = ~found.success
    assert torch.equal(found.adversarial[held], here.inputs[held])
    assert bool((found.distance[held] == torch.inf).all())
    assert bool((found.distance[found.success] <= 1).all())
    differs = here.inputs != found.adversarial
    for j, column in enumerate(here.table.columns):
        at = [column.at] if isinstance(column, Number) else list(column.at)
        assert torch.equal(found.changed[:, j], differs[:, at].any(1))
    assert torch.equal(found.switches, found.changed[:, 4:].sum(1))
    assert bool(found.changed.any(1)[found.success & ~wrong].all())


def test_needless_changes_are_taken_back() -> None:
    here = world(2, "none", hidden=0)
    found = table_search(here.model, here.inputs, here.labels, here.table, here.reach, here.switches)
    for i in (found.success & found.clean_correct).nonzero()[:, 0].tolist():
        for j, column in enumerate(here.table.columns):
            if found.changed[i, j]:
                at = [column.at] if isinstance(column, Number) else list(column.at)
                without = found.adversarial[i].clone()
                without[at] = here.inputs[i, at]
                assert int(here.model(without[None]).argmax()) == int(here.labels[i]), "every change is needed"


@pytest.mark.parametrize("rules", ["none", "chain"])
def test_rows_stand_alone(rules: str) -> None:
    here = world(4, rules, classes=3, n=16)

    def attack(inputs: Tensor, labels: Tensor, batch_size: int | None = None) -> Tensor:
        return table_search(
            here.model, inputs, labels, here.table, here.reach, here.switches, batch_size=batch_size
        ).adversarial

    whole = attack(here.inputs, here.labels)
    assert torch.equal(whole, attack(here.inputs, here.labels)), "deterministic"
    torch.testing.assert_close(attack(here.inputs, here.labels, batch_size=3), whole)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(attack(here.inputs[order], here.labels[order]), whole[order])
    torch.testing.assert_close(attack(here.inputs[2:3], here.labels[2:3]), whole[2:3])


def test_calls_are_counted_and_nothing_is_left_behind() -> None:
    here = world(5, "sum", n=20)
    model = nn.Sequential(*here.model, nn.Dropout(0.0)).train()
    seen = {"rows": 0}
    model.register_forward_hook(lambda _, given, __: seen.update(rows=seen["rows"] + len(given[0])))
    state, randomness = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    found = table_search(model, here.inputs, here.labels, here.table, here.reach, here.switches)
    assert found.forwards == seen["rows"]
    assert 0 < found.backwards < found.forwards
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert torch.equal(randomness, torch.get_rng_state())
    blind = table_search(
        lambda x: model(x).detach(), here.inputs, here.labels, here.table, here.reach, here.switches, gradients=False
    )
    assert blind.backwards == 0


def test_more_budget_never_breaks_less_and_none_breaks_none() -> None:
    here = world(6, "order", n=60)

    def broken(share: float, switches: int) -> int:
        reach = {name: share * eps for name, eps in here.reach.items()}
        return int(table_search(here.model, here.inputs, here.labels, here.table, reach, switches).success.sum())

    counts = [broken(share, switches) for share, switches in ((0, 0), (0.5, 0), (1, 0), (1, 1), (1, 2))]
    assert counts == sorted(counts)
    assert counts[0] == int((here.model(here.inputs).argmax(1) != here.labels).sum())
    assert counts[0] < counts[2] < counts[4]


def test_a_direction_holds() -> None:
    here = world(6, "none", hidden=0)
    columns = tuple(replace(c, moves="up") if c.name == "a" else c for c in here.table.columns)  # type: ignore[arg-type]
    found = table_search(here.model, here.inputs, here.labels, Table(columns), here.reach, 0)
    change = found.adversarial[:, 0] - here.inputs[:, 0]
    assert bool((change >= 0).all())
    assert bool((change > 0).any())
    free = table_search(here.model, here.inputs, here.labels, here.table, here.reach, 0)
    assert bool((free.adversarial[:, 0] < here.inputs[:, 0]).any())


def test_a_shared_eps_is_in_units_of_the_scale() -> None:
    table = Table((Number("wage", 0, centre=1000.0, scale=200.0),))
    model = nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [1.0]]))
        model.bias.zero_()
    inputs = -torch.tensor([[0.1], [0.3], [0.49], [0.51], [2.0]])
    found = table_search(model, inputs, torch.zeros(5, dtype=torch.int64), table, 0.5, 0)
    assert found.success.tolist() == [True, True, True, False, False]
    assert found.distance[0] == pytest.approx(0.2, abs=0.02), "no further than it must"
    own = table_search(model, inputs, torch.zeros(5, dtype=torch.int64), table, {"wage": 100.0}, 0)
    assert torch.equal(own.success, found.success)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    here = world(8, "order")
    table = here.table
    model = nn.Sequential(*here.model).to(dtype)
    inputs = here.inputs.to(dtype)
    found = table_search(model, inputs, here.labels, table, here.reach, here.switches)
    assert found.adversarial.dtype == dtype
    assert torch.equal(found.success, model(found.adversarial).argmax(1) != here.labels)
    assert bool(table.lawful(inputs, found.adversarial, here.reach, here.switches).all())
    assert int((found.success & found.clean_correct).sum()) > 10
    model.to(torch.float32)


def test_a_gradient_that_lies_is_not_believed() -> None:
    here = world(9, "order", n=60)
    truth = breakable(here)

    def shattered(x: Tensor) -> Tensor:
        scores = here.model(x)
        lie: Tensor = scores.detach() - 1e3 * (scores - scores.detach())
        return lie

    found = table_search(shattered, here.inputs, here.labels, here.table, here.reach, here.switches)
    assert int((found.success.numpy() & truth).sum()) >= 0.98 * int(truth.sum())


def test_a_judge_sees_every_breach() -> None:
    table = Table(
        (
            Number("a", 0, 10.0, 2.0, 0.0, 20.0, whole=True),
            Number("b", 1, 10.0, 2.0),
            Number("c", 2, moves="up"),
            Number("d", 3, mutable=False),
            Category("p", (4, 5, 6), (True, True, False)),
            Category("q", (7, 8), mutable=False),
        ),
        ("a <= b",),
    )
    clean = torch.tensor([[0.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.7]])
    eps = {"a": 4.0, "b": 4.0, "c": 1.0}

    def judged(**change: float) -> bool:
        after = clean.clone()
        for at, value in change.items():
            after[0, int(at[1:])] = value
        return bool(table.lawful(clean, after, eps, 1))

    assert judged()
    assert judged(_0=0.5)
    assert not judged(_0=0.75), "no whole number"
    assert not judged(_0=1.0), "above b"
    assert judged(_0=1.0, _1=1.25)
    assert not judged(_1=3.0), "too far"
    assert judged(_2=0.5)
    assert not judged(_2=-0.5), "the wrong way"
    assert not judged(_3=0.1), "immutable"
    assert judged(_4=0.0, _5=1.0)
    assert not judged(_4=0.0, _6=1.0), "never observed"
    assert not judged(_5=1.0), "two categories at once"
    assert not judged(_4=0.0), "no category at all"
    assert not judged(_7=0.0, _8=1.0), "immutable category"
    assert not judged(_9=0.0), "no column"
    assert not judged(_2=float("nan"))
    after = clean.clone()
    after[0, 4:6] = torch.tensor([0.0, 1.0])
    assert not bool(table.lawful(clean, after, eps, 0)), "over the budget of switches"
    low = torch.tensor([[5.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.7]])  # a is 20, b is 10: broken as given
    less, more = low.clone(), low.clone()
    less[0, 0], more[0, 1] = 4.5, -0.5
    assert bool(table.lawful(low, less, eps, 0))
    assert not bool(table.lawful(low, more, eps, 0)), "broken by more"


def test_whole_numbers_are_encoded_to_the_last_bit() -> None:
    """A changed cell holds what an encoder would have made of the whole number."""
    here = world(11, "none")
    found = table_search(here.model, here.inputs, here.labels, here.table, here.reach, here.switches)
    number = here.table.numbers[0]
    changed = found.adversarial[:, 0] != here.inputs[:, 0]
    assert bool(changed.any())
    raw = np.round(found.adversarial[changed, 0].double().numpy() * number.scale + number.centre)
    assert np.array_equal(
        ((raw - number.centre) / number.scale).astype(np.float32), found.adversarial[changed, 0].numpy()
    )


@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "scores"])
@pytest.mark.parametrize(
    ("table", "falls"),
    [
        (Table((Category("p", (0, 1, 2)),)), True),
        (Table((Number("a", 3),)), True),
        (Table((Number("a", 3, mutable=False), Category("p", (0, 1, 2), mutable=False))), False),
        (Table((Number("a", 3, low=0.0, high=0.0), Category("p", (0, 1, 2), (False, False, False)))), False),
        (Table(()), False),
    ],
    ids=["categories alone", "numbers alone", "immutable", "nowhere to go", "no column"],
)
def test_tables_that_lack_something(table: Table, falls: bool, gradients: bool) -> None:
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [0.0, 1, 2, 1]]))
        model.bias.copy_(torch.tensor([0.5, 0.0]))
    inputs = torch.tensor([[1.0, 0, 0, 0]]).repeat(3, 1)
    found = table_search(model, inputs, torch.zeros(3, dtype=torch.int64), table, 1.0, 1, gradients=gradients)
    assert found.success.tolist() == [falls] * 3
    assert found.changed.shape == (3, len(table.columns))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"eps": -1.0}, "Expected eps"),
        ({"eps": float("inf")}, "Expected eps"),
        ({"eps": {"z": 1.0}}, "Expected eps for numeric columns, found 'z'"),
        ({"switches": -1}, "Expected switches"),
        ({"switches": 1.5}, "Expected switches"),
        ({"effort": "most"}, "Expected effort"),
        ({"inputs": torch.zeros(3, 5)}, "at least 13 elements"),
        ({"inputs": torch.zeros(3, 1, 14)}, "Expected inputs"),
        ({"inputs": torch.full((3, 14), torch.nan)}, "finite inputs"),
        ({"labels": torch.tensor([0, 1, 2])}, "Expected labels between"),
    ],
)
def test_refusals(change: dict[str, object], says: str) -> None:
    here = world(0)
    given = {"inputs": here.inputs[:3], "labels": here.labels[:3], "eps": here.reach, "switches": 1} | change
    with pytest.raises(ValueError, match=says):
        table_search(here.model, table=here.table, **given)  # type: ignore[arg-type]


def test_what_a_table_refuses() -> None:
    with pytest.raises(ValueError, match="distinct names"):
        Table((Number("a", 0), Number("a", 1)))
    with pytest.raises(ValueError, match="distinct positions"):
        Table((Number("a", 0), Category("b", (0, 1))))
    with pytest.raises(ValueError, match="scale above 0"):
        Number("a", 0, scale=0.0)
    with pytest.raises(ValueError, match="low <= high"):
        Number("a", 0, low=2.0, high=1.0)
    with pytest.raises(ValueError, match="moves"):
        Number("a", 0, moves="sideways")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one entry a category"):
        Category("a", (0, 1), (True,))
    with pytest.raises(TypeError, match=r"attacks\.Table"):
        table_search(nn.Linear(1, 2), torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), None)  # type: ignore[arg-type]
