"""Patches: the closed form on a linear model, one patch for many images, and what every attack promises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import attacks
from attacks.spatial.patch import squares
from tests.attacks.contracts import assert_rows_stand_alone, assert_the_wrong_are_left_alone
from tests.attacks.spatial.known import Linear, pictures


def gains(weight: Tensor, x: Tensor, labels: Tensor, side: int) -> Tensor:
    """How far the best square at each place moves the lead against the label, (n, h, w), by enumeration."""
    sign = torch.where(labels == 1, -1.0, 1.0)[:, None, None, None]
    best = torch.maximum(sign * weight * (1 - x), sign * weight * (0 - x)).sum(1)
    height, width = x.shape[2:]
    places = [
        [best[:, i : i + side, j : j + side].sum((1, 2)) for j in range(width - side + 1)]
        for i in range(height - side + 1)
    ]
    return torch.stack([torch.stack(row, 1) for row in places], 1)


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_on_a_linear_model_place_and_content_are_the_best_there_are(side: int, channels: int) -> None:
    x = pictures(40, channels, height=10, width=13)
    weight = torch.randn(channels, 10, 13, generator=torch.Generator().manual_seed(1))
    model = Linear(weight, -float((x * weight).flatten(1).sum(1).median()))
    lead = model(x)[:, 1].detach()
    labels = (lead > 0).long()
    gain = gains(weight, x, labels, side)
    breakable = gain.flatten(1).amax(1) > lead.abs()
    assert int(breakable.sum()) > 0
    found = attacks.patch(model, x, labels, side, places=1, steps=3)
    assert torch.equal(~found.robust, breakable)
    # the rows that stand are shown their strongest patch, at its place and with its content
    stands = found.robust.nonzero()[:, 0]
    reached = (model(found.adversarial)[:, 1].detach() - lead).abs()
    torch.testing.assert_close(reached[stands], gain.flatten(1).amax(1)[stands], rtol=1e-3, atol=1e-4)
    for row in stands.tolist():
        top, left = found.location[row].tolist()
        assert float(gain[row, top, left]) == pytest.approx(float(gain[row].max()), rel=1e-5)


def test_at_a_fixed_place_the_patch_is_the_best_there() -> None:
    x = pictures(40)
    weight = torch.randn(1, 12, 12, generator=torch.Generator().manual_seed(2))
    model = Linear(weight, -float((x * weight).flatten(1).sum(1).median()))
    lead = model(x)[:, 1].detach()
    labels = (lead > 0).long()
    there = gains(weight, x, labels, 2)[:, 2, 7]
    found = attacks.patch(model, x, labels, 2, location=(2, 7))
    assert torch.equal(~found.robust, there > lead.abs())
    assert 0 < int(found.robust.sum()) < 40, "the case must hold both kinds"
    assert bool((found.location == torch.tensor([2, 7])).all())


def test_only_the_square_changes_and_a_larger_one_breaks_more(digits: tuple) -> None:
    model, inputs, labels = digits
    broken = []
    for side in (1, 2, 3, 8):
        found = attacks.patch(model, inputs, labels, side)
        right = found.clean_correct
        inside = squares(found.location, side, inputs.shape[1:])
        assert torch.equal(found.adversarial[right].where(~inside[right], 0), inputs[right].where(~inside[right], 0))
        assert bool(((found.adversarial >= 0) & (found.adversarial <= 1)).all())
        assert torch.equal(model(found.adversarial).argmax(1) == labels, found.robust)
        broken.append(int((right & ~found.robust).sum()))
    assert broken == sorted(broken)
    assert 0 < broken[0] < broken[2]
    assert broken[3] == int(right.sum())  # the whole image is the attacker's


def test_a_target_is_the_only_success(digits: tuple) -> None:
    model, inputs, labels = digits
    target = (labels + 3) % 10
    found = attacks.patch(model, inputs, labels, 3, target=target, places=3)
    hit = model(found.adversarial).argmax(1) == target
    assert torch.equal(hit & found.clean_correct, found.clean_correct & ~found.robust)
    assert 0 < int(hit.sum()) < int((~attacks.patch(model, inputs, labels, 3).robust).sum())


def test_a_model_blind_to_the_square_is_never_broken(digits: tuple) -> None:
    model, inputs, labels = digits
    blind = nn.Sequential(_Without(0, 4), model).eval()
    labels = blind(inputs).argmax(1)
    assert bool(attacks.patch(blind, inputs, labels, 4, location=(0, 0), steps=3, places=1).robust.all())
    assert not bool(attacks.patch(blind, inputs, labels, 4, steps=5).robust.all())


class _Without(nn.Module):
    """Shows the model nothing of a square in the corner."""

    def __init__(self, start: int, side: int) -> None:
        super().__init__()
        self.part = slice(start, start + side)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :, self.part, self.part] = 0
        return x


def test_rows_stand_alone_and_the_wrong_are_left_alone(digits: tuple) -> None:
    model, inputs, labels = digits
    labels = labels.clone()
    labels[:4] = (labels[:4] + 1) % 10

    def adversarial(x: Tensor, y: Tensor, **rest: object) -> Tensor:
        return attacks.patch(model, x, y, 2, steps=6, places=2, **rest).adversarial  # type: ignore[arg-type]

    assert_rows_stand_alone(adversarial, inputs[:20], labels[:20])
    found = attacks.patch(model, inputs, labels, 2, steps=6, places=2)
    assert_the_wrong_are_left_alone(model, found.adversarial, inputs, labels)
    assert bool((found.location[~found.clean_correct] == -1).all())


@pytest.mark.parametrize("universal", [False, True])
def test_calls_are_counted_and_nothing_is_left_behind(universal: bool, digits: tuple) -> None:
    model, inputs, labels = digits
    entered: list[int] = []
    left: list[int] = []
    model.train()

    def counted(x: Tensor) -> Tensor:
        entered.append(len(x))
        scores: Tensor = model(x)
        if scores.requires_grad:
            scores.register_hook(lambda g: left.append(len(g)))
        return scores

    state, before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    wrapped = _Wrapped(counted, model)
    if universal:
        found: attacks.Universal | attacks.Patched = attacks.universal_patch(
            wrapped, inputs[:30], labels[:30], 3, held_out=(inputs[30:], labels[30:]), steps=5
        )
    else:
        found = attacks.patch(wrapped, inputs, labels, 2, steps=5, places=2)
    assert model.training
    model.eval()
    assert (found.forwards, found.backwards) == (sum(entered), sum(left))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


class _Wrapped(nn.Module):
    def __init__(self, call: object, inner: nn.Module) -> None:
        super().__init__()
        self.call, self.inner = call, inner

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.call(x)  # type: ignore[operator]
        return scores


# ------------------------------------------------------------------------------------------- one patch for all images


def spot(x: Tensor) -> Tensor:
    """Fooled by brightness anywhere: the second class leads where the brightest 3x3 square is bright."""
    lead = nn.functional.avg_pool2d(x, 3, stride=1).flatten(1).amax(1) - 0.7
    return torch.stack([torch.zeros_like(lead), lead], 1)


def test_a_universal_patch_learns_what_fools_every_image() -> None:
    x = pictures(60) * 0.6
    labels = torch.zeros(60, dtype=torch.int64)
    found = attacks.universal_patch(spot, x[:30], labels[:30], 5, held_out=(x[30:], labels[30:]), steps=40)
    assert bool(found.clean_correct.all())
    assert not bool(found.robust.any())
    assert found.trained == 1
    assert float(found.patch[:, 1:4, 1:4].mean()) > 0.9  # white in the middle
    assert found.adversarial.shape == (30, 1, 12, 12)
    assert torch.equal(spot(found.adversarial).argmax(1) == 0, found.robust)
    blind = attacks.universal_patch(
        lambda x: torch.stack([x.flatten(1).sum(1) * 0 + 1, x.flatten(1).sum(1) * 0], 1),
        x[:10], labels[:10], 5, held_out=(x[30:], labels[30:]), steps=5,
    )  # fmt: skip
    assert bool(blind.robust.all())


def test_the_held_out_images_do_not_shape_the_patch(digits: tuple) -> None:
    model, inputs, labels = digits
    made = [
        attacks.universal_patch(model, inputs[:30], labels[:30], 4, held_out=(inputs[rows], labels[rows]), steps=10)
        for rows in (slice(30, 60), slice(30, 40))
    ]
    assert torch.equal(made[0].patch, made[1].patch)
    torch.testing.assert_close(made[0].adversarial[:10], made[1].adversarial)
    other = attacks.universal_patch(
        model, inputs[:30], labels[:30], 4, held_out=(inputs[30:], labels[30:]), steps=10, seed=1
    )
    assert not torch.equal(made[0].patch, other.patch)


def test_an_upright_patch_at_a_fixed_place_is_put_down_as_it_is(digits: tuple) -> None:
    model, inputs, labels = digits
    found = attacks.universal_patch(
        model, inputs[:40], labels[:40], 4, held_out=(inputs[40:], labels[40:]), location=(1, 3), degrees=0.0, scale=0.0
    )
    torch.testing.assert_close(found.adversarial[:, :, 1:5, 3:7], found.patch.expand(20, -1, -1, -1))
    outside = ~squares(torch.tensor([[1, 3]]), 4, inputs.shape[1:])[0]
    assert torch.equal(found.adversarial[:, outside], inputs[40:][:, outside])
    assert int((~found.robust & found.clean_correct).sum()) >= 10  # a quarter of an 8x8 digit


def test_a_universal_patch_is_better_than_a_random_one(digits: tuple) -> None:
    model, inputs, labels = digits
    made = [
        attacks.universal_patch(model, inputs[:30], labels[:30], 4, held_out=(inputs[30:], labels[30:]), steps=steps)
        for steps in (60, 0)
    ]
    assert made[0].robust_accuracy < made[1].robust_accuracy - 0.1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"side": 0}, "side"),
        ({"side": 9}, "side"),
        ({"location": (6, 0)}, "location"),
        ({"steps": 0}, "steps"),
        ({"places": 0}, "places"),
        ({"targets": 0}, "targets"),
        ({"inputs": torch.rand(2, 64)}, r"\(n, C, H, W\)"),
        ({"target": 1}, "target to differ"),
    ],
)
def test_refusals(change: dict[str, object], says: str, digits: tuple) -> None:
    given = {"inputs": torch.rand(2, 1, 8, 8), "labels": torch.tensor([0, 1]), "side": 3} | change
    with pytest.raises(ValueError, match=says):
        attacks.patch(digits[0], **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"degrees": 200.0}, "degrees"),
        ({"scale": 1.0}, "scale"),
        ({"rate": 0.0}, "rate"),
        ({"steps": -1}, "steps"),
        ({"bounds": (0.0, float("inf"))}, "bounds"),
        ({"held_out": (torch.rand(2, 1, 7, 8), torch.tensor([0, 1]))}, "held-out images"),
        ({"held_out": (torch.rand(2, 1, 8, 8) + 1, torch.tensor([0, 1]))}, "inside bounds"),
    ],
)
def test_refusals_of_a_universal_patch(change: dict[str, object], says: str, digits: tuple) -> None:
    x, y = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    given = {"inputs": x, "labels": y, "side": 3, "held_out": (x, y), "steps": 1} | change
    with pytest.raises(ValueError, match=says):
        attacks.universal_patch(digits[0], **given)  # type: ignore[arg-type]
