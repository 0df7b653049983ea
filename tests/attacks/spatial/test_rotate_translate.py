"""Rotation and translation: the move itself, the worst of a grid against enumeration, and what every attack promises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import attacks
from attacks.spatial.move import move
from attacks.spatial.rotate_translate import grid
from tests.attacks.contracts import assert_rows_stand_alone, assert_the_wrong_are_left_alone
from tests.attacks.spatial.known import Linear, pictures, slowly_moved


def attack(model: nn.Module, inputs: Tensor, labels: Tensor, **changes: object) -> attacks.Moved:
    """Small enough to enumerate."""
    small = {"degrees": 10.0, "pixels": 0.5, "angles": 5, "shifts": 3, "samples": 0, "refinements": 0} | changes
    return attacks.rotate_translate(model, inputs, labels, **small)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ the move


@pytest.mark.parametrize(("degrees", "down", "right"), [(17.0, 0.0, 0.0), (-40.0, 1.3, -2.6), (0.0, 0.5, 3.0)])
@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_a_move_is_what_its_definition_says(degrees: float, down: float, right: float, fill: float) -> None:
    x = pictures(2, channels=2, height=9, width=12)
    moved = move(x, torch.tensor([degrees] * 2), torch.tensor([[down, right]] * 2), fill)
    for image, found in zip(x.flatten(0, 1), moved.flatten(0, 1), strict=True):
        torch.testing.assert_close(found, slowly_moved(image, degrees, down, right, fill), atol=1e-5, rtol=0)


def test_quarter_turns_and_whole_pixels_are_exact() -> None:
    x = pictures(3, height=8, width=8)
    turned = move(x, torch.tensor([90.0, 180.0, -90.0]), torch.zeros(3, 2))
    for image, found, quarters in zip(x, turned, (1, 2, -1), strict=True):
        torch.testing.assert_close(found, torch.rot90(image, quarters, (1, 2)), atol=1e-5, rtol=0)
    down = move(x, torch.zeros(3), torch.tensor([[2.0, -1.0]] * 3), 0.25)
    torch.testing.assert_close(down[:, :, 2:, :-1], x[:, :, :-2, 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(down[:, :, :2], torch.full((3, 1, 2, 8), 0.25))
    border = move(x, torch.zeros(3), torch.tensor([[2.0, 0.0]] * 3), "border")
    torch.testing.assert_close(border[:, :, :2], x[:, :, :1].expand(-1, -1, 2, -1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_no_move_is_no_change(dtype: torch.dtype) -> None:
    x = pictures(2).to(dtype)
    moved = move(x, torch.tensor([0.0, 5.0]), torch.zeros(2, 2))
    assert moved.dtype == dtype
    assert torch.equal(moved[0], x[0])
    assert not torch.equal(moved[1], x[1])


def test_the_grid_holds_every_move_once_the_largest_first() -> None:
    moves = grid(30.0, 3.0, angles=5, shifts=3)
    assert len({tuple(m) for m in moves.tolist()}) == 5 * 3 * 3
    assert moves[-1].tolist() == [0, 0, 0]
    assert moves[0].abs().tolist() == [30, 3, 3]
    assert grid(30.0, 0.0, angles=3, shifts=1).tolist() == [[-30, 0, 0], [30, 0, 0], [0, 0, 0]]


# ------------------------------------------------------------------------------------------------------ known truths


@pytest.mark.parametrize("fill", [0.0, "border"])
def test_the_worst_of_the_grid_is_the_worst_by_enumeration(fill: float | str, digits: tuple) -> None:
    model, inputs, labels = digits
    found = attack(model, inputs, labels, fill=fill)
    right = model(inputs).argmax(1) == labels
    stands, worst = right.clone(), torch.full((len(inputs),), -torch.inf)
    for degrees, down, right_ in grid(10.0, 0.5, angles=5, shifts=3).tolist():
        n = len(inputs)
        moved = move(inputs, torch.full((n,), degrees), torch.tensor([[down, right_]]).expand(n, -1), fill)  # type: ignore[arg-type]
        scores = model(moved.clamp(0, 1))
        stands &= scores.argmax(1) == labels
        other = scores.scatter(1, labels[:, None], -torch.inf).amax(1)
        worst = torch.maximum(worst, (other - scores.gather(1, labels[:, None])[:, 0]).detach())
    assert torch.equal(found.robust, stands)
    assert torch.equal(found.clean_correct, right)
    assert 0 < int(stands.sum()) < int(right.sum()), "the case must hold both kinds"
    torch.testing.assert_close(found.margin[stands], worst[stands])  # what stands is shown at its worst
    assert bool((found.margin[~stands] > 0).all())
    # the move reported is the one that made the image
    again = move(inputs, found.degrees, found.pixels, fill).clamp(0, 1)  # type: ignore[arg-type]
    torch.testing.assert_close(again[right], found.adversarial[right])
    assert torch.equal(model(found.adversarial).argmax(1) == labels, stands)


def test_a_model_that_turning_cannot_change_is_never_broken() -> None:
    # it sees the mean inside a disc, far from the edge and wide against the pixels
    side = 32
    at = torch.arange(side) - (side - 1) / 2
    radius = (at[:, None].square() + at.square()).sqrt()
    model = Linear(torch.sigmoid(8 - radius)[None] / torch.sigmoid(8 - radius).sum(), -0.5)
    x = pictures(20, height=side, width=side)
    scores = model(x)
    clear = (scores[:, 1].abs() > 0.02).nonzero()[:, 0]
    assert len(clear) > 10
    x, labels = x[clear], scores.argmax(1)[clear]
    found = attack(model, x, labels, degrees=180.0, pixels=0.0, angles=25, shifts=1, samples=20, refinements=4)
    assert bool(found.robust.all())
    moves_too = attack(model, x, labels, degrees=0.0, pixels=12.0, angles=1, shifts=7)
    assert not bool(moves_too.robust.all())


def test_refinement_finds_what_lies_between_the_points_of_the_grid() -> None:
    # one bright column, and a model that answers to one narrow place between two points of the grid
    x = torch.zeros(1, 1, 9, 9)
    x[..., 4] = 1
    weight = torch.zeros(1, 9, 9)
    weight[..., 5] = 1 / 9

    class Narrow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            at = (x * weight).flatten(1).sum(1)  # how far the column has moved right, up to 1
            lead = 0.05 - (at - 0.3).abs()
            return torch.stack([torch.zeros_like(lead), lead], 1)

    label = torch.tensor([0])
    model = Narrow()
    coarse = attack(model, x, label, degrees=0.0, pixels=2.0, angles=1, shifts=5, fill="border")
    assert bool(coarse.robust.all())
    fine = attack(model, x, label, degrees=0.0, pixels=2.0, angles=1, shifts=5, fill="border", refinements=8)
    assert not bool(fine.robust.any())
    assert float(fine.pixels[0, 1]) == pytest.approx(0.3, abs=0.06)


def test_a_target_is_the_only_success(digits: tuple) -> None:
    model, inputs, labels = digits
    target = (labels + 1) % 10
    found = attack(model, inputs, labels, target=target)
    hit = model(found.adversarial).argmax(1) == target
    assert torch.equal(hit & found.clean_correct, ~found.robust & found.clean_correct)
    assert int(hit.sum()) < int((~attack(model, inputs, labels).robust).sum())


# ---------------------------------------------------------------------------------------------------------- contracts


def test_rows_stand_alone_and_the_wrong_are_left_alone(digits: tuple) -> None:
    model, inputs, labels = digits
    labels = labels.clone()
    labels[:4] = (labels[:4] + 1) % 10

    def adversarial(x: Tensor, y: Tensor, **rest: object) -> Tensor:
        return attack(model, x, y, samples=10, refinements=2, **rest).adversarial

    assert_rows_stand_alone(adversarial, inputs[:20], labels[:20])
    found = attack(model, inputs, labels, samples=10)
    assert_the_wrong_are_left_alone(model, found.adversarial, inputs, labels)
    assert bool((found.degrees[~found.clean_correct] == 0).all())
    assert bool(((found.adversarial >= 0) & (found.adversarial <= 1)).all())


def test_calls_are_counted_and_nothing_is_left_behind(digits: tuple) -> None:
    model, inputs, labels = digits
    entered = []
    handle = model.register_forward_pre_hook(lambda _, args: entered.append(len(args[0])))
    model.train()
    state, before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    found = attack(model, inputs, labels, samples=8, refinements=2)
    handle.remove()
    assert model.training
    model.eval()
    assert found.forwards == sum(entered)
    assert found.backwards == 0
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    # a broken image meets no more transforms
    assert found.forwards < len(inputs) * (45 + 8 + 12)


def test_half_precision_in_is_half_precision_out(digits: tuple) -> None:
    model, inputs, labels = digits
    wide = attack(model, inputs, labels)
    found = attack(lambda x: model(x.float()), inputs.half(), labels)
    assert found.adversarial.dtype == torch.float16
    assert float((found.robust == wide.robust).double().mean()) > 0.95


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"degrees": -1.0}, "degrees"),
        ({"pixels": float("inf")}, "pixels"),
        ({"angles": 4}, "angles to be odd"),
        ({"shifts": 2}, "shifts to be odd"),
        ({"samples": -1}, "samples"),
        ({"refinements": 1.5}, "refinements"),
        ({"fill": 2.0}, "fill"),
        ({"fill": "mirror"}, "fill"),
        ({"inputs": torch.rand(2, 8)}, r"\(n, C, H, W\)"),
        ({"inputs": torch.rand(2, 1, 8, 8) + 1}, "inside bounds"),
    ],
)
def test_refusals(change: dict[str, object], says: str, digits: tuple) -> None:
    inputs = change.pop("inputs", torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match=says):
        attack(digits[0], inputs, torch.tensor([0, 1]), **change)  # type: ignore[arg-type]
