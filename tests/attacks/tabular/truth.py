"""Small tables whose every allowed change can be listed, and a judge that shares no code with the search."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from attacks.tabular import Category, Number, Table

#: a constraint as the attack reads it, and as Python does: from raw values to how much it is violated
Rule = tuple[str, Callable[[dict[str, float]], float], bool]
RULES: dict[str, list[Rule]] = {
    "none": [],
    "order": [("a <= b", lambda v: v["a"] - v["b"], False)],
    "strict": [("a < b", lambda v: v["a"] - v["b"], True)],
    "sum": [("a + 2 * c <= b + 3", lambda v: v["a"] + 2 * v["c"] - v["b"] - 3, False)],
    "chain": [("a <= b", lambda v: v["a"] - v["b"], False), ("c >= b - 1", lambda v: v["b"] - 1 - v["c"], False)],
}


@dataclass(frozen=True)
class World:
    """A table of three numbers and three categories, a model, rows with labels, and a budget."""

    table: Table
    rules: list[Rule]
    model: nn.Sequential
    inputs: Tensor
    labels: Tensor
    reach: dict[str, float]
    switches: int


def world(seed: int, rules: str = "none", hidden: int = 8, classes: int = 2, n: int = 40, whole: bool = True) -> World:
    """Columns a, b and c move (c continuous unless `whole`), d is immutable, as is the third category."""
    rng = np.random.default_rng(seed)
    numbers = [
        Number("a", 0, 4.0, 2.0, -1.0, 9.0, whole=True),
        Number("b", 1, 5.0, 1.5, 0.0, 10.0, whole=True),
        Number("c", 2, 2.0, 3.0, -4.0, 8.0, whole=whole),
        Number("d", 3, 0.0, 1.0, mutable=False),
    ]
    categories = [
        Category("p", (4, 5, 6, 7), (True, True, False, True)),
        Category("q", (8, 9, 10)),
        Category("r", (11, 12), mutable=False),
    ]
    raw = np.stack([rng.integers(-1, 10, n), rng.integers(0, 11, n), rng.integers(-4, 9, n), rng.normal(size=n)], 1)
    raw = raw.astype(np.float64)
    if not whole:
        raw[:, 2] += rng.uniform(-0.3, 0.3, n)
    x = np.zeros((n, 14))
    for j, number in enumerate(numbers):
        x[:, j] = (raw[:, j] - number.centre) / number.scale
    for category in categories:
        x[np.arange(n), np.array(category.at)[rng.integers(0, len(category.at), n)]] = 1
    x[:2, 8:11] = 0  # a missing category
    x[:, 13] = rng.normal(size=n)  # an element that belongs to no column
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(14, classes)] if not hidden else [nn.Linear(14, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
    with torch.no_grad():
        for layer in layers:
            for weight in layer.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * (0.7 if hidden else 1.0))
    model = nn.Sequential(*layers).eval()
    inputs = torch.from_numpy(x).float()
    labels = model(inputs).argmax(1).detach()
    labels[::10] = (labels[::10] + 1) % classes
    table = Table((*numbers, *categories), tuple(text for text, _, _ in RULES[rules]))
    return World(table, RULES[rules], model, inputs, labels, {"a": 2.0, "b": 3.0, "c": 2.0}, 2)


def raw_of(world: World, row: Tensor) -> dict[str, float]:
    """Raw numbers of an encoded row, whole ones rounded."""
    out = {}
    for number in world.table.numbers:
        value = float(row[number.at].double()) * number.scale + number.centre
        out[number.name] = float(round(value)) if number.whole else value
    return out


def every_change(world: World, row: Tensor) -> Tensor:
    """All rows (k, d) that the rules allow, continuous columns at nine values of their range."""
    raw = raw_of(world, row)
    choices = []
    for number in world.table.numbers:
        own, eps = raw[number.name], world.reach.get(number.name, 0.0)
        low, high = max(own - eps, min(number.low, own)), min(own + eps, max(number.high, own))
        if number.whole:
            choices.append([float(v) for v in range(int(np.ceil(low)), int(np.floor(high)) + 1)])
        else:
            choices.append(sorted({own, *np.linspace(low, high, 9)}) if eps else [own])
    bases = []
    for values in itertools.product(*choices):
        base = row.clone()
        for number, value in zip(world.table.numbers, values, strict=True):
            if value != raw[number.name]:
                base[number.at] = (value - number.centre) / number.scale
        # what counts is what the model is shown: a value may round to one that is just outside
        after = raw_of(world, base)
        near = all(abs(after[name] - raw[name]) <= eps for name, eps in world.reach.items())
        if near and all(_kept(rule, raw, after) for rule in world.rules):
            bases.append(base)
    blocks = []
    for combination in _switches(world, row):
        part = torch.stack(bases)
        for at, hot in combination:
            part[:, list(at)] = 0
            part[:, hot] = 1
        blocks.append(part)
    return torch.cat(blocks)


def _switches(world: World, row: Tensor) -> Iterator[list[tuple[tuple[int, ...], int]]]:
    options = []
    for category in world.table.categories:
        allowed = category.allowed or (True,) * len(category.at)
        other = [at for at, ok in zip(category.at, allowed, strict=True) if ok and float(row[at]) != 1]
        options.append([(category.at, at) for at in other] if category.mutable else [])
    for size in range(world.switches + 1):
        for columns in itertools.combinations(options, size):
            yield from (list(chosen) for chosen in itertools.product(*columns))


def _kept(rule: Rule, before: dict[str, float], after: dict[str, float], slack: float = 0.0) -> bool:
    _, violation, strict = rule
    now = violation(after)
    return (now < 0 if strict else now <= slack) or now <= violation(before) + slack


def breakable(world: World) -> np.ndarray:
    """Which rows some allowed change breaks, by listing all; the wrong ones count."""
    out = []
    for row, label in zip(world.inputs, world.labels, strict=True):
        with torch.no_grad():
            out.append(bool((world.model(every_change(world, row)).argmax(1) != label).any()))
    return np.array(out)


def assert_lawful(world: World, after: Tensor) -> None:
    """Every row keeps every rule, in raw units."""
    for old, new in zip(world.inputs, after, strict=True):
        before, now = raw_of(world, old), raw_of(world, new)
        for number in world.table.numbers:
            if float(old[number.at]) == float(new[number.at]):
                continue
            exact = float(new[number.at].double()) * number.scale + number.centre
            assert number.mutable, number.name
            assert abs(now[number.name] - before[number.name]) <= world.reach[number.name] * (1 + 1e-12)
            assert not number.whole or abs(exact - round(exact)) < 1e-4, (number.name, exact)
            was = before[number.name]
            assert min(number.low, was) <= now[number.name] + 1e-12, number.name
            assert now[number.name] <= max(number.high, was) + 1e-12, number.name
        switched = 0
        for category in world.table.categories:
            at = list(category.at)
            if torch.equal(old[at], new[at]):
                continue
            assert category.mutable, category.name
            assert sorted(new[at].tolist()) == [0.0] * (len(at) - 1) + [1.0]
            assert (category.allowed or (True,) * len(at))[int(new[at].argmax())], category.name
            switched += 1
        assert switched <= world.switches
        assert float(old[13]) == float(new[13])
        for rule in world.rules:
            assert _kept(rule, before, now, slack=1e-12), rule[0]
