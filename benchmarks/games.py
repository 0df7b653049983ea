"""Eight games small enough to be enumerated: what the explainers of Shapley values are held against.

Models as they come: three networks (untrained, on wine, on digits seen as 2 x 2 cells), the census network of the examples
over its 14 columns, boosted trees, the Fashion network over 12 superpixels, the movies transformer over 12 words, and a game
with planted interactions. None is additive: there every method is exact.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits, load_wine, make_friedman1
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import audit
from audit.explainers import kernel_shap
from audit.explainers.segments import blur, grid, masked_tokens, token_players
from audit.subject import Encoded

EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Contest:
    """A game: `kernel_shap(predict, inputs, background, features)`.

    Attributes:
        name: of the game.
        predict: (m, ...) batch to (m, outputs) scores: logits, log-odds or a regression's value.
        inputs: (n, ...) examples.
        background: (b, ...) rows, or (n, b, ...) for each example.
        features: element -> player; None: every element is one.
        players: how many.
    """

    name: str
    predict: Callable[[Tensor], Tensor]
    inputs: Tensor
    background: Tensor
    features: Tensor | None
    players: int


def untrained(examples: int = 16, width: int = 64) -> Contest:
    """An untrained network of 14 inputs and 3 outputs against one background row."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = (nn.Linear(14, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
        net = nn.Sequential(*layers).eval()
    rows = torch.randn(examples + 1, 14, generator=torch.Generator().manual_seed(1))
    return Contest("untrained", net, rows[1:], rows[:1], None, 14)


def wine(examples: int = 16) -> Contest:
    """A network on wine: 13 columns, 3 classes, 10 background rows."""
    table, label = load_wine(return_X_y=True)
    table = (table - table.mean(0)) / table.std(0)
    net = _fit(table, label, (32, 32))
    rows = torch.from_numpy(table).float()[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
    return Contest("wine", net, rows[10 : 10 + examples], rows[:10], None, 13)


def digits(examples: int = 8) -> Contest:
    """A network on digits of 8 x 8 pixels: 16 cells, 10 classes, against the mean picture."""
    table, label = load_digits(return_X_y=True)
    net = _fit(table / 16, label, (64,))
    rows = torch.from_numpy(table / 16).float()
    cells = grid(8, 8, 4).reshape(-1)
    return Contest("digits", net, rows[:examples], rows.mean(0, keepdim=True), cells, 16)


def adult(examples: int = 16) -> Contest:
    """The census network of the examples: 14 columns (one-hot groups), 8 background rows, log-odds of > 50K."""
    folder = EXAMPLES / "adult"
    subject = audit.load(folder / "model.safetensors", factory="model:build", classes=["<=50K", ">50K"], root=folder)
    data = audit.data(folder / "test.parquet", label="salary", encoder=folder / "encoder.json")
    rows, columns = data.inputs, data.players()
    assert isinstance(rows, Tensor)
    assert columns is not None

    def predict(batch: Tensor) -> Tensor:
        scores = subject.predict(batch)
        return scores[:, 1:] - scores[:, :1]

    players = torch.from_numpy(columns)
    return Contest("adult", predict, rows[8 : 8 + examples], rows[:8], players, len(players.unique()))


def trees(examples: int = 16) -> Contest:
    """Boosted trees on Friedman's first function: 14 columns, of which 5 matter, 4 background rows."""
    table, value = make_friedman1(1000, 14, noise=0.5, random_state=0)
    model = GradientBoostingRegressor(max_depth=4, random_state=0).fit(table, value)

    def predict(batch: Tensor) -> Tensor:
        return torch.from_numpy(model.predict(batch.numpy())).unsqueeze(1)

    rows = torch.from_numpy(table)
    return Contest("trees", predict, rows[4 : 4 + examples], rows[:4], None, 14)


def fashion(examples: int = 8) -> Contest:
    """The Fashion network of the examples: 12 cells, against the blurred picture, 10 classes."""
    from benchmarks.fashion import points, standard

    images, _ = points(examples)
    across = torch.arange(28).mul(4).div(28, rounding_mode="floor")
    down = torch.arange(28).mul(3).div(28, rounding_mode="floor")
    cells = (4 * down[:, None] + across).unsqueeze(0)
    return Contest("fashion", standard(), images, blur(images).unsqueeze(1), cells, 12)


def movies(examples: int = 8) -> Contest:
    """The transformer of the examples on texts of 12 word pieces, against masks, log-odds of positive."""
    folder = EXAMPLES / "movies"
    subject = audit.load(folder / "model", classes=["negative", "positive"])
    data = audit.data(folder / "test.parquet", label="label", text="text")
    text = subject.text
    assert text is not None
    assert isinstance(data.inputs, list)
    encoded = text.encode(data.inputs[:1000])
    fit = encoded.mask.sum(1) == 14  # two of them are special
    ids = encoded.ids[fit][:examples, :14]
    background = torch.stack([masked_tokens(row, text.special_ids, text.mask_id) for row in ids]).unsqueeze(1)

    def predict(batch: Tensor) -> Tensor:
        scores = text.from_ids(Encoded(batch, torch.ones_like(batch)))
        return scores[:, 1:] - scores[:, :1]

    return Contest("movies", predict, ids, background, token_players(ids[0], text.special_ids), 12)


def planted(examples: int = 16) -> Contest:
    """A sum of products of one to five of 14 inputs, 40 of them; each example has inputs of its own."""
    rng = np.random.default_rng(0)
    every = [list(c) for size in range(1, 6) for c in combinations(range(14), size)]
    sizes = rng.integers(1, 6, 40)
    members = [every[i] for s in sizes for i in rng.choice([k for k, c in enumerate(every) if len(c) == s], 1)]
    factor = torch.from_numpy(rng.standard_normal(len(members)))

    def predict(batch: Tensor) -> Tensor:
        return sum(f * batch[:, m].prod(1) for f, m in zip(factor, members, strict=True)).unsqueeze(1)

    rows = torch.from_numpy(rng.uniform(0.5, 1.5, (examples, 14)))
    return Contest("planted", predict, rows, torch.zeros(1, 14, dtype=torch.float64), None, 14)


GAMES = {f.__name__: f for f in (untrained, wine, digits, adult, trees, fashion, movies, planted)}


def exact(contest: Contest) -> Tensor:
    """Shapley values by enumeration of all coalitions, (n, players, outputs)."""
    return kernel_shap(
        contest.predict, contest.inputs, contest.background, contest.features, evaluations=2**contest.players
    ).values


def _fit(table: np.ndarray, label: np.ndarray, hidden: tuple[int, ...]) -> nn.Module:
    found = MLPClassifier(hidden, alpha=1e-2, max_iter=300, random_state=0).fit(table, label)
    layers: list[nn.Module] = []
    for weight, bias in zip(found.coefs_, found.intercepts_, strict=True):
        layer = nn.Linear(*weight.shape)
        layer.weight.data, layer.bias.data = torch.from_numpy(weight.T).float(), torch.from_numpy(bias).float()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()
