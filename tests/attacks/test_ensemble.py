"""The ensemble against closed forms, linear programs and a plain slow attack; what it spends, in counts."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn
from torch.nn import functional

import attacks
from attacks import Threat, ensemble, norms, search
from attacks.gradient import apgd
from attacks.guard import Guard
from attacks.minimal import shortest
from attacks.points import Points, build
from attacks.search import Hunt
from tests.attacks.contracts import assert_inside

NORMS = {"linf": 0.15, "l2": 0.6, "l1": 2.0, "l0": 4.0}


def net(shape: tuple[int, ...], classes: int, seed: int = 0) -> nn.Module:
    """An untrained perceptron of one hidden layer: flat inputs of any shape to scores."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        width = int(np.prod(shape))
        return nn.Sequential(nn.Flatten(), nn.Linear(width, 24), nn.GELU(), nn.Linear(24, classes)).eval()


def data(model: nn.Module, shape: tuple[int, ...], n: int = 12, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs in the unit box, labelled by the model but for every sixth."""
    inputs = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))
    scores = model(inputs).detach()
    labels = scores.argmax(1)
    labels[::6] = scores.argmin(1)[::6]
    return inputs, labels


def assert_sound(e: attacks.Evaluation, model: nn.Module, inputs: Tensor, labels: Tensor, threat: Threat) -> None:
    """Broken points are inside and wrong, as the model itself says; the others are right where they were left."""
    assert_inside(e.adversarial, inputs, threat)
    with torch.no_grad():
        decision = model(e.adversarial).argmax(1)
    wanted = decision != labels if threat.target is None else decision == threat.target
    assert torch.equal(wanted, ~e.robust)
    assert all((name is None) == stands for name, stands in zip(e.broken_by, e.robust.tolist(), strict=True))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_models_of_every_precision(dtype, norm):
    model = net((6, 6), 4)
    inputs, labels = data(model, (6, 6))
    model, inputs = model.to(dtype), inputs.to(dtype)
    labels = torch.where(torch.arange(12) % 6 == 0, labels, model(inputs).argmax(1))
    threat = Threat(norm, NORMS[norm])
    e = attacks.evaluate(model, inputs, labels, threat, effort="quick")
    assert_sound(e, model, inputs, labels, threat)
    assert int((~e.robust & e.clean_correct).sum()) > 0, "the budget breaks some"


@pytest.mark.parametrize("classes", [2, 3, 5, 1000])
@pytest.mark.parametrize("shape", [(9,), (5, 4), (3, 7, 4)])
def test_any_number_of_classes_and_any_shape(classes, shape):
    model = net(shape, classes)
    inputs, labels = data(model, shape)
    threat = Threat("linf", 0.1)
    e = attacks.evaluate(model, inputs, labels, threat)
    assert_sound(e, model, inputs, labels, threat)
    one = attacks.evaluate(model, inputs[3:4], labels[3:4], threat)
    assert bool(one.robust[0]) == bool(e.robust[3])
    target = (int(labels.max()) + 1) % classes
    rows = labels != target
    aimed = Threat("linf", 0.1, target=target)
    t = attacks.evaluate(model, inputs[rows], labels[rows], aimed, effort="quick")
    assert_sound(t, model, inputs[rows], labels[rows], aimed)


def linear(classes: int, width: int, seed: int = 0) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(width, classes)
    with torch.no_grad():
        model.weight.copy_(torch.randn(classes, width, generator=generator))
        model.bias.zero_()
    return model.double()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [3, 5, 30])
def test_linear_models_with_many_classes_are_broken_where_any_rival_can_win(classes, norm):
    model = linear(classes, 10)
    inputs = torch.rand(80, 10, generator=torch.Generator().manual_seed(2)).double()
    scores = model(inputs).detach()
    labels = scores.argmax(1)
    eps = {"linf": 0.06, "l2": 0.15, "l1": 0.3}[norm]
    w = model.weight.detach()[None] - model.weight.detach()[labels][:, None]  # (n, classes, d)
    lead = scores - scores.gather(1, labels[:, None])
    radius = torch.full((80,), eps, dtype=torch.float64)
    for rival in range(classes):
        corner = norms.vertex(w[:, rival], norm, radius, -inputs, 1 - inputs)
        lead[:, rival] += (w[:, rival] * corner).sum(1)
    best = lead.scatter(1, labels[:, None], -torch.inf).amax(1)
    e = attacks.evaluate(model, inputs, labels, Threat(norm, eps))
    clear = best.abs() > 1e-4
    assert torch.equal(e.robust[clear], (best < 0)[clear])
    assert 0.1 < float((best > 0).double().mean()) < 0.9


def reachable(model: nn.Linear, point: Tensor, goal: int, eps: float) -> float:
    """Largest lead of the goal over all other classes at once in ball and box: a linear program."""
    w, x = model.weight.detach().numpy(), point.numpy()
    rivals = [k for k in range(len(w)) if k != goal]
    gap = w[goal] - w[rivals]
    # maximise t with t <= gap (x + delta)
    solution = linprog(
        [*np.zeros(len(x)), -1.0],
        A_ub=np.hstack([-gap, np.ones((len(rivals), 1))]),
        b_ub=gap @ x,
        bounds=[(max(-eps, -v), min(eps, 1 - v)) for v in x] + [(None, None)],
    )
    return float(-solution.fun)


@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_a_goal_that_must_beat_several_rivals_at_once_is_reached_where_a_linear_program_reaches_it(effort):
    model, goal, eps = linear(5, 8, seed=3), 2, 0.2
    inputs = torch.rand(60, 8, generator=torch.Generator().manual_seed(4)).double()
    labels = model(inputs).argmax(1)
    inputs, labels = inputs[labels != goal], labels[labels != goal]
    e = attacks.evaluate(model, inputs, labels, Threat("linf", eps, target=goal), effort=effort)
    best = torch.tensor([reachable(model, point, goal, eps) for point in inputs])
    clear = best.abs() > 0.01
    assert torch.equal(e.robust[clear], (best < 0)[clear])
    assert 0.1 < float((best > 0).double().mean()) < 0.9


def plain_targeted_pgd(model: nn.Module, inputs: Tensor, labels: Tensor, eps: float, steps: int) -> Tensor:
    """Which points fall to sign steps on the lead of each wrong class in turn, (n,) bool; nothing clever."""
    fallen = model(inputs).argmax(1) != labels
    for shift in range(1, 10):
        aim = (labels + shift) % 10
        moved = inputs.clone()
        for step in range(steps):
            leaf = moved.clone().requires_grad_()
            scores = model(leaf)
            rows = torch.arange(len(labels))
            (gradient,) = torch.autograd.grad((scores[rows, aim] - scores[rows, labels]).sum(), leaf)
            size = 0.5 * eps * (1 - step / steps)
            moved = (moved + size * gradient.sign()).clamp(inputs - eps, inputs + eps).clamp(0, 1)
            fallen |= model(moved).detach().argmax(1) != labels
    return fallen


@pytest.mark.parametrize("eps", [0.08, 0.12])
def test_every_point_a_slow_attack_breaks_is_broken_at_a_tenth_of_what_autoattack_spends(digits, eps):
    model, inputs, labels = digits
    spent = {}
    for effort in ("quick", "standard"):
        with Guard(model, (1, 8, 8), torch.float32) as guard, torch.no_grad():
            points = build(guard, inputs, labels, Threat("linf", eps), 0)
            run = ensemble.assault(guard, points, ensemble.schedule(ensemble.budget(effort), (1, 8, 8)))
        spent[effort] = guard.forwards, guard.backwards
    stands = torch.tensor([name is None for name in run.broken_by])
    slow = plain_targeted_pgd(model, inputs, labels, eps, steps=25)
    assert not bool((slow & stands).any())
    assert 3 <= int(stands.sum()) <= 50
    # of AutoAttack's hundred steps each, a point that stands meets APGD, nine targets of APGD-T and nine of FAB-T, which
    # takes two forwards a step, then 5 000 queries of Square; a point that is right but falls meets at least APGD
    right, standing = int((model(inputs).argmax(1) == labels).sum()), int(stands.sum())
    assert 10 * spent["standard"][0] < standing * (900 + 1800 + 5000) + right * 100
    assert 10 * spent["standard"][1] < standing * (900 + 900) + right * 100
    assert all(2 * quick < standard for quick, standard in zip(*spent.values(), strict=True))


def test_the_curve_costs_at_most_half_more_than_one_budget_and_says_the_same(digits):
    model, inputs, labels = digits
    epsilons = (0.04, 0.07, 0.1, 0.14, 0.18)
    c = attacks.curve(model, inputs, labels, "linf", epsilons)
    one = attacks.evaluate(model, inputs, labels, Threat("linf", 0.1))
    assert c.forwards + 2 * c.backwards <= 1.5 * (one.forwards + 2 * one.backwards)
    assert torch.equal(c.robust[:, 2], one.robust)
    assert all(here >= after for here, after in pairwise(c.robust_accuracy))


def recorded(seen: list[list[int]], answer) -> ensemble.Stage:
    """A stage that writes down the rows it meets, by their first element, and answers with margins."""

    def stage(guard: Guard, points: Points) -> Hunt:
        seen.append(points.x[:, 0].round().int().tolist())
        hunt = Hunt(points)
        answer(hunt)
        return hunt

    return stage


@pytest.fixture
def line() -> tuple[Guard, Points]:
    """Ten points 0, ..., 9 on a line, of class 0, with margin 20; no ball is large enough."""
    model = lambda x: torch.cat([20 + 0 * x, 0 * x], dim=1)  # noqa: E731
    inputs = torch.arange(10.0)[:, None]
    guard = Guard(model, (1,), torch.float32)
    with guard, torch.no_grad():
        points = build(guard, inputs, torch.zeros(10).long(), Threat("linf", 1.0, (0.0, 9.0)), 0)
    return guard, points


def test_effort_goes_where_success_is_near_and_where_nothing_is_known(line):
    guard, points = line
    first, second = [], []

    def gains(hunt: Hunt) -> None:
        hunt.loss = torch.tensor([-20.0, -20.0, -18, -15, -11, -10, -9, -5, -2, -1])

    stages = {
        "all": recorded(first, gains),
        "near": ensemble.Near(recorded(second, lambda hunt: None), reach=1.0),
    }
    with guard, torch.no_grad():
        run = ensemble.assault(guard, points, stages)
    assert first == [list(range(10))]
    # half the way or more, or no way at all
    assert second == [[0, 1, 5, 6, 7, 8, 9]]
    assert run.broken_by == (None,) * 10


def test_a_claim_that_a_fresh_pass_refutes_is_not_believed(line):
    guard, points = line

    def claims(hunt: Hunt) -> None:
        hunt.loss[:5] = torch.inf

    with guard, torch.no_grad():
        run = ensemble.assault(guard, points, {"liar": recorded([], claims)})
    assert run.broken_by == (None,) * 10


def test_blocks_are_refilled_and_change_nothing(digits, monkeypatch):
    model, inputs, labels = digits
    threat = Threat("linf", 0.1)
    whole = attacks.evaluate(model, inputs, labels, threat)
    curve = attacks.curve(model, inputs, labels, "linf", (0.05, 0.1))
    sizes: dict[str, list[int]] = {}
    schedule = ensemble.schedule

    def spied(*args, **named):
        def spy(name, stage):
            def watched(guard, points):
                sizes.setdefault(name, []).append(len(points))
                return stage(guard, points)

            return ensemble.Near(watched, stage.reach) if isinstance(stage, ensemble.Near) else watched

        return {name: spy(name, stage) for name, stage in schedule(*args, **named).items()}

    def small(guard, points, steps):
        sizes.setdefault("shortest", []).append(len(points))
        return shortest(guard, points, steps)

    monkeypatch.setattr(ensemble, "_BLOCK", 64 * 8)
    monkeypatch.setattr(import_module("attacks.evaluate"), "schedule", spied)
    monkeypatch.setattr(import_module("attacks.curve"), "shortest", small)
    parts = attacks.evaluate(model, inputs, labels, threat)
    assert torch.equal(whole.robust, parts.robust)
    torch.testing.assert_close(whole.adversarial, parts.adversarial)
    assert torch.equal(attacks.curve(model, inputs, labels, "linf", (0.05, 0.1)).robust, curve.robust)
    assert len(sizes["apgd"]) > 1
    assert max(sizes["shortest"]) == 8
    for met in sizes.values():
        assert set(met[:-1]) <= {8}, "every block but the last is full"


def test_a_resumed_search_is_never_worse_than_where_it_began(digits):
    model, inputs, labels = digits
    with Guard(model, (1, 8, 8), torch.float32) as guard, torch.no_grad():
        points = build(guard, inputs, labels, Threat("linf", 0.08), 0)
        points = points.take(~points.broken(points.scores))
        first = apgd.search(guard, points, search.margin, 5)
        rest = points.take(~first.broken).starting(first.delta[~first.broken])
        again = apgd.resume(guard, rest, search.margin, 10)
        before = first.loss[~first.broken]
    assert bool((again.loss >= before - 1e-5).all())
    assert bool((again.loss > before + 1e-3).any())


def test_a_standing_point_is_shown_at_its_strongest_attempt(digits):
    model, inputs, labels = digits
    e = attacks.evaluate(model, inputs, labels, Threat("linf", 0.05), effort="quick")
    pgd = attacks.pgd(model, inputs, labels, Threat("linf", 0.05))

    def loss(x: Tensor) -> Tensor:
        return functional.cross_entropy(model(x), labels, reduction="none").detach()[e.robust]

    assert bool((loss(e.adversarial) > loss(inputs)).all())
    assert float((loss(e.adversarial) >= 0.9 * loss(pgd)).double().mean()) > 0.9
