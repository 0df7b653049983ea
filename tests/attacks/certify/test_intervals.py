"""Bounds on scores: exact where that can be known, never above what an input in the ball attains."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import attacks
from attacks import Threat
from attacks.certify import curved
from attacks.certify.curved import Bend
from tests.attacks.certify.nets import NETS, net

FREE = (float("-inf"), float("inf"))


def points(shape: tuple[int, ...], n: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def logits(scores: Tensor, name: str) -> Tensor:
    """What a margin is of, where probabilities close the net."""
    return scores.log() if name == "probabilities" else scores


def lead(scores: Tensor, labels: Tensor) -> Tensor:
    own = scores.gather(1, labels[:, None])[:, 0]
    return own - scores.scatter(1, labels[:, None], -torch.inf).amax(1)


def moved(inputs: Tensor, threat: Threat, seed: int) -> Tensor:
    """A random input of ball and box for each; corners of it half of the time."""
    generator = torch.Generator().manual_seed(seed)
    x = inputs.flatten(1)
    way = torch.randn(x.shape, generator=generator)
    if seed % 2:
        way = way.sign()
    if threat.norm == "l0":
        chosen = way.abs().argsort(1, descending=True)[:, : int(threat.eps)]
        x = x.scatter(1, chosen, torch.rand(x.shape, generator=generator).round().gather(1, chosen))
    else:
        order = {"linf": torch.inf, "l2": 2, "l1": 1}[threat.norm]
        if threat.norm == "l1":
            way = way * (torch.rand(x.shape, generator=generator) < 0.3)
        size = torch.linalg.vector_norm(way, order, dim=1, keepdim=True).clamp(min=1e-9)
        x = (x + threat.eps * 0.999999 * way / size).clamp(0, 1)
    return x.view(inputs.shape)


@pytest.mark.parametrize("name", list(NETS))
def test_no_input_in_the_ball_has_less_margin_than_was_proved(name):
    proved = 0
    for seed in (0, 1):
        model, shape = net(name, seed)
        x = points(shape, seed=seed)
        labels = model(x).argmax(1)
        for threat in (
            Threat("linf", 0.02),
            Threat("linf", 0.2),
            Threat("l2", 0.2),
            Threat("l1", 0.3),
            Threat("l0", 1),
        ):
            wide = attacks.certify_intervals(model, x, labels, threat, lines=0)
            tight = attacks.certify_intervals(model, x, labels, threat)
            assert bool((tight.margin >= wide.margin).all())
            proved += int(tight.certified.sum())
            with torch.no_grad():
                attained = torch.stack(
                    [lead(logits(model(moved(x, threat, s)), name).double(), labels) for s in range(40)]
                )
            assert bool((tight.margin <= attained.amin(0) + 1e-6).all())
    assert proved > 0


@pytest.mark.parametrize("name", ["ReLU0", "GELU4", "max", "residual"])
def test_what_is_certified_no_attack_breaks(name):
    certified = broken = 0
    for seed in range(2):
        model, shape = net(name, seed)
        x = points(shape, 10, seed)
        labels = model(x).argmax(1)
        labels[0] = (labels[0] + 1) % 3
        for threat in (Threat("linf", 0.05), Threat("l2", 0.3)):
            found = attacks.certify_intervals(model, x, labels, threat)
            run = attacks.evaluate(model, x, labels, threat, effort="quick")
            assert not bool((found.certified & ~run.robust).any())
            assert not bool(found.certified[0])
            certified, broken = certified + int(found.certified.sum()), broken + int((~run.robust).sum())
    assert certified > 0
    assert broken > 0


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_models_are_bounded_exactly(norm, dtype):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(9, 7), nn.Linear(7, 4)).to(dtype)
    x = torch.randn(20, 9, generator=generator).to(dtype)
    with torch.no_grad():
        scores = model(x).double()
        weight = (model[1].weight.double() @ model[0].weight.double())[None]
    labels = scores.argmax(1)
    found = attacks.certify_intervals(model, x, labels, Threat(norm, 0.1, FREE))
    order = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    gap = torch.linalg.vector_norm(weight[:, labels].transpose(0, 1) - weight, order, dim=2)
    truth = (scores.gather(1, labels[:, None]) - scores - 0.1 * gap).scatter(1, labels[:, None], torch.inf).amin(1)
    assert bool((found.margin <= truth).all())
    torch.testing.assert_close(found.margin, truth, atol=1e-4 if dtype == torch.float32 else 1e-10, rtol=0)


def test_box_mask_and_target_are_used():
    model = nn.Linear(3, 3)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
        model.bias.copy_(torch.tensor([0.0, 1.0, -9.0]))
    x, labels = torch.tensor([[0.9, 0.9, 0.9]]), torch.tensor([0])

    def margin(**fields: object) -> float:
        return float(attacks.certify_intervals(model, x, labels, Threat("linf", 0.5, **fields)).margin)  # type: ignore[arg-type]

    assert margin() == pytest.approx(1.7 - 1.5, abs=1e-5)
    assert margin(mutable=torch.tensor([True, False, False])) == pytest.approx(1.7 - 0.5, abs=1e-5)
    assert margin(bounds=(0.6, 1.0)) == pytest.approx(1.7 - 0.9, abs=1e-5)
    # against class 2: x0 counts -1, so it rises to 1 while the others fall to 0.4
    assert margin(target=2) == pytest.approx(9 + 0.4 + 0.4 - 1, abs=1e-4)


def test_rounding_in_the_models_own_arithmetic_is_not_proved_away():
    """In float32 the scores are multiples of 1/16: a lead of 0.01 is a tie, whatever real numbers say."""

    def model(batch: Tensor) -> Tensor:
        first = (batch[:, :1] + 1e6) - 1e6
        return torch.cat([torch.zeros_like(first), first], 1)

    x, labels = torch.tensor([[0.02]]), torch.tensor([1])
    assert int(model(x).argmax(1)) == 0
    assert not bool(attacks.certify_intervals(model, x, labels, Threat("linf", 0.001)).certified)
    assert bool(attacks.certify_intervals(model, x.double(), labels, Threat("linf", 0.001)).certified)


def test_half_precision_is_certified_with_its_own_rounding():
    model, shape = net("ReLU0")
    x = points(shape)
    labels = model(x).argmax(1)
    single = attacks.certify_intervals(model, x, labels, Threat("linf", 0.01))
    half = attacks.certify_intervals(model.bfloat16(), x.bfloat16(), labels, Threat("linf", 0.01))
    assert bool((half.margin < single.margin).all())
    assert bool(half.certified.any())


def test_a_layer_in_half_precision_counts_with_its_rounding():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 3).bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.flatten(1).bfloat16()).float()

    model, x = Mixed(), points((2, 3))
    labels = model(x).argmax(1)
    margin = attacks.certify_intervals(model, x, labels, Threat("linf", 0.0)).margin
    loss = lead(model(x), labels).double() - margin
    assert bool((loss > 2.0**-9).all())  # of scores near 1
    assert bool((loss < 0.2).all())


def test_rows_stand_alone():
    model, shape = net("max")
    x = points(shape, 11)
    labels = model(x).argmax(1)
    whole = attacks.certify_intervals(model, x, labels, Threat("linf", 0.05))
    torch.testing.assert_close(
        attacks.certify_intervals(model, x, labels, Threat("linf", 0.05), batch_size=3).margin, whole.margin
    )
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    again = attacks.certify_intervals(model, x[order], labels[order], Threat("linf", 0.05))
    torch.testing.assert_close(again.margin, whole.margin[order])


def test_the_model_is_left_as_it_was():
    model, shape = net("max")
    model.train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    attacks.certify_intervals(model, points(shape), torch.zeros(6, dtype=torch.int64), Threat("linf", 0.05))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(x, x, x).sum(2)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Attention(), "aten"),
        (lambda x: x.sum(2) * x.prod(2), "aten"),
        (lambda x: x.sum(2) if x.sum() > -1 else -x.sum(2), "recorded"),
        (lambda x: torch.from_numpy(x.detach().numpy().sum(2)), "depend on the inputs|record"),
        (lambda x: x.sum(2) + torch.from_numpy(x.detach().numpy().sum(2)), "record"),
        (lambda x: x.sum(2) + torch.randn(2), "record"),
        (lambda x: x.sum(2) - x.sum((0, 2)), "neighbours"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(model, named):
    with pytest.raises(ValueError, match=named):
        attacks.certify_intervals(model, points((2, 3)), torch.zeros(6, dtype=torch.int64), Threat("linf", 0.05))


@pytest.mark.parametrize("name", [n for n in NETS if n[-1].isdigit()])
def test_lines_hold_a_bend(name):
    from attacks.certify.graph import read

    model, shape = net(name)
    nodes = read(model, points(shape)).nodes
    (bend, *_) = [b for b in map(curved.bend_of, nodes[1:]) if b is not None]
    assert isinstance(bend, Bend)
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(400, dtype=torch.float64, generator=generator) * 4
    high = low + torch.rand(400, dtype=torch.float64, generator=generator).pow(3) * 8
    bottom, top = bend.range(low, high)
    found = curved.lines(bend, low, high)
    for share in torch.linspace(0, 1, 101, dtype=torch.float64):
        x = low + share * (high - low)
        y = bend.value(x)
        assert bool(((y >= bottom - 1e-12) & (y <= top + 1e-12)).all())
        assert bool((found.low_slope * x + found.low_offset <= y + 1e-12).all())
        assert bool((found.high_slope * x + found.high_offset >= y - 1e-12).all())
    # and not from afar: the lines come together as the interval shrinks
    narrow = curved.lines(bend, low, low + 1e-3)
    assert float(narrow.apart(low, low + 1e-3).amax()) < 1e-3
