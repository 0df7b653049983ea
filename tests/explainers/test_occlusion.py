"""Occlusion: closed forms, captum's windows, players, and backgrounds of several rows."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from audit.explainers import game, occlusion


def rows(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def convolutional() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 5 * 6, 3)).double().eval()


def test_linear_models():
    x, background, weight = rows(4, 3), rows(5, 3, seed=1), rows(3, 2, seed=2)
    found = occlusion(lambda p: p @ weight, x, background)
    torch.testing.assert_close(found.values, (x - background.mean(0)).unsqueeze(2) * weight)
    torch.testing.assert_close(found.base, (background @ weight).mean(0).expand(4, 2))
    assert torch.equal(found.low, found.high) and found.evaluations == 3 and found.error is None


def test_players_move_together():
    x, background = rows(4, 4), torch.zeros(1, 4).double()
    found = occlusion(lambda p: p.prod(1, keepdim=True), x, background, features=torch.tensor([0, 0, 1, -1]))
    # whatever factor is covered, the product is gone
    torch.testing.assert_close(found.values, x.prod(1).reshape(4, 1, 1).expand(4, 2, 1))


@pytest.mark.parametrize(
    ("window", "stride"), [((2, 3, 3), 1), ((1, 4, 2), (1, 2, 2)), ((2, 3, 4), (2, 3, 3)), ((2, 7, 8), (1, 1, 1))]
)
def test_windows_are_captums(window, stride):
    from captum.attr import Occlusion

    net, x, baseline = convolutional(), rows(2, 2, 7, 8), rows(2, 2, 7, 8, seed=1)
    found = occlusion(net, x, baseline.unsqueeze(1), window=window, stride=stride, targets=[2, 0])
    for column, target in enumerate((2, 0)):
        reference = Occlusion(net).attribute(x, window, stride, baselines=baseline, target=target)
        torch.testing.assert_close(
            found.values[:, :, column], reference.flatten(1).double().detach(), atol=1e-6, rtol=0
        )


def test_blocks_of_windows_are_one(monkeypatch):
    import sys

    from audit.explainers import occlusion as _  # noqa: F401 - the module is reached by its name below

    net, x, baseline = convolutional(), rows(2, 2, 7, 8), torch.zeros(1, 2, 7, 8).double()
    whole = occlusion(net, x, baseline, window=(2, 2, 2))
    monkeypatch.setattr(sys.modules["audit.explainers.occlusion"], "MEMORY", 9 * 112 * 5)
    monkeypatch.setattr(game, "MEMORY", 4000)
    torch.testing.assert_close(occlusion(net, x, baseline, window=(2, 2, 2)).values, whole.values)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"window": (3,)}, "window"),
        ({"window": (1, 9, 1)}, "window"),
        ({"window": (1, 1, 1), "features": torch.zeros(2, 7, 8).long()}, "window"),
        ({"window": (1, 2, 2), "stride": (1, 3, 1)}, "stride"),
        ({"window": (1, 2, 2), "stride": 0}, "stride"),
        ({"baselines": torch.zeros(1, 2, 7, 7).double()}, "background"),
    ],
)
def test_refusals_name_the_argument(more, named):
    arguments = {"predict": convolutional(), "inputs": rows(1, 2, 7, 8), "baselines": rows(1, 2, 7, 8)} | more
    with pytest.raises(ValueError, match=f"^{named}: Expected"):
        occlusion(**arguments)


def test_players_are_covered_a_few_at_a_time(monkeypatch):
    x, background = rows(2, 40).float(), rows(3, 40, seed=1).float()
    model = nn.Sequential(nn.Linear(40, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
    whole, held = occlusion(model, x, background), []
    plain = game.Game.values

    def values(self, keep):
        held.append(keep.numel())
        return plain(self, keep)

    monkeypatch.setattr(game.Game, "values", values)
    monkeypatch.setattr(sys.modules["audit.explainers.occlusion"], "MEMORY", 4 * 40 * game.TILE)
    assert torch.equal(occlusion(model, x, background).values, whole.values)
    assert max(held) == 40 * game.TILE
