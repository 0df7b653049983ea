"""LIME for tables: closed forms of additive models, the lime package, repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.explainers import lime_tabular

PLAYERS = torch.tensor([0, 1, 2, 3, 3, 3])
WEIGHT = torch.tensor([2.0, -1.0, 0.5, 1.0, 0.0, -2.0], dtype=torch.float64)


def table(n: int, seed: int) -> Tensor:
    """Three numbers of different units, one of them with few values, and a one-hot category of three."""
    rng = np.random.default_rng(seed)
    numbers = np.column_stack([rng.normal(5, 3, n), rng.exponential(2, n), rng.integers(0, 3, n)])
    return torch.from_numpy(np.column_stack([numbers, np.eye(3)[rng.choice(3, n, p=[0.5, 0.3, 0.2])]]))


def additive(batch: Tensor) -> Tensor:
    return (batch @ WEIGHT)[:, None]


def bent(batch: Tensor) -> Tensor:
    score = torch.tanh((batch * WEIGHT).sum(1) / 4) + 0.1 * batch[:, 0] * batch[:, 3]
    return torch.stack([score, -score], dim=1)


def worth(x: Tensor, background: Tensor) -> np.ndarray:
    """Weight times the mean in the example's bin less that outside of it, by hand, (n, 4)."""
    rows, known, out = x.numpy(), background.numpy(), np.zeros((len(x), 4))
    for i, row in enumerate(rows):
        for j in range(3):
            edges = np.unique(np.percentile(known[:, j], [25, 50, 75]))
            same = np.searchsorted(edges, known[:, j]) == np.searchsorted(edges, row[j])
            out[i, j] = WEIGHT[j] * (known[same, j].mean() - known[~same, j].mean())
        same = (known[:, 3:] == row[3:]).all(1)
        out[i, 3] = (known[same, 3:].mean(0) - known[~same, 3:].mean(0)) @ WEIGHT[3:].numpy()
    return out


def test_an_additive_model_has_the_worth_of_each_bin_in_closed_form():
    x, background = table(5, 1), table(400, 0)
    truth = worth(x, background)
    found = lime_tabular(additive, x, background, PLAYERS, evaluations=100_000, ridge=0.0)
    np.testing.assert_allclose(found.values[:, :, 0], truth, atol=0.1)
    covered = []
    for seed in range(40):
        found = lime_tabular(additive, x, background, PLAYERS, evaluations=500, ridge=0.0, seed=seed)
        covered.append((found.low[:, :, 0].numpy() <= truth) & (truth <= found.high[:, :, 0].numpy()))
    assert 0.92 <= np.mean(covered) <= 0.98


def test_numbers_that_stay_numbers_have_the_slope_of_a_linear_model():
    x, background = table(5, 1), table(400, 0)
    found = lime_tabular(
        lambda b: (b @ WEIGHT[:3])[:, None], x[:, :3], background[:, :3], evaluations=200, bins=None, ridge=0.0
    )
    truth = WEIGHT[:3] * background[:, :3].std(0, correction=0)
    torch.testing.assert_close(found.values[:, :, 0], truth.expand(5, 3), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.fit, torch.ones(5, 1, dtype=torch.float64))
    assert float((found.high - found.low).max()) < 1e-8


@pytest.mark.filterwarnings("ignore:(?s).*do not sum to 1")
@pytest.mark.parametrize("bins", [4, None])
def test_as_the_lime_package_explains_the_same_tables(bins):
    """Both draw from the data; lime smooths numbers within a bin, so that a small difference is left."""
    from lime.lime_tabular import LimeTabularExplainer

    # categories as codes for lime, one-hot for the model
    x, background = table(3, 1), table(2000, 0)
    codes = lambda rows: np.column_stack([rows[:, :3], rows[:, 3:].argmax(1)])  # noqa: E731
    back = lambda rows: np.column_stack([rows[:, :3], np.eye(3)[rows[:, 3].astype(int)]])  # noqa: E731
    peer = LimeTabularExplainer(
        codes(background.numpy()), categorical_features=[3], discretize_continuous=bins is not None, random_state=0
    )
    found = lime_tabular(bent, x, background, PLAYERS, evaluations=4000, bins=bins, targets=0)
    half = (found.high - found.low)[:, :, 0].numpy() / 2
    for i in range(3):
        theirs = peer.explain_instance(
            codes(x.numpy())[i],
            lambda rows: bent(torch.from_numpy(back(rows))).numpy(),
            labels=(0,),
            num_features=4,
            num_samples=4000,
        )
        values = np.array([value for _, value in sorted(theirs.local_exp[0])])
        np.testing.assert_allclose(found.values[i, :, 0].numpy(), values, atol=2.5 * half[i].max() + 0.02)
        assert theirs.score == pytest.approx(float(found.fit[i, 0]), abs=0.08)


def test_the_model_sees_the_drawn_rows_once_for_all_examples():
    seen = []

    def predict(batch: Tensor) -> Tensor:
        seen.append(batch)
        return additive(batch)

    x, background = table(50, 1), table(400, 0)
    found = lime_tabular(predict, x, background, PLAYERS, evaluations=300)
    rows = torch.cat(seen)
    # batches may be filled up to a round number of rows
    assert 299 + 50 <= len(rows) < 299 + 50 + 128 and found.evaluations == 300
    # every value occurs in the data, and every category is whole
    for j in range(3):
        assert set(rows[:, j].tolist()) <= set(background[:, j].tolist()) | set(x[:, j].tolist())
    assert torch.equal(rows[:, 3:].sum(1), torch.ones(len(rows), dtype=torch.float64))


def test_bit_identical_for_any_batch_size_and_order_and_leaves_the_generators_alone():
    x, background = table(6, 1), table(100, 0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - watched, not used
    one, two, back, alone = (
        lime_tabular(bent, batch, background, PLAYERS, evaluations=200, seed=3, batch_size=size)
        for batch, size in ((x, None), (x, 7), (x.flip(0), None), (x[2:3], 33))
    )
    for other, at in ((two, slice(None)), (alone, slice(2, 3))):
        assert torch.equal(one.values[at], other.values) and torch.equal(one.low[at], other.low)
    assert torch.equal(one.values.flip(0), back.values) and torch.equal(one.fit.flip(0), back.fit)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002 - watched, not used


@pytest.mark.parametrize("bins", [4, None])
def test_constant_models_and_columns_that_never_vary(bins):
    x, background = table(2, 1), table(100, 0)
    x[:, 0] = background[:, 0] = 7.0
    constant = lime_tabular(lambda b: torch.ones(len(b), 1), x, background, PLAYERS, evaluations=100, bins=bins)
    assert bool(constant.fit.isnan().all())
    assert float(constant.values.abs().max()) < 1e-12
    found = lime_tabular(bent, x, background, PLAYERS, evaluations=100, bins=bins)
    assert bool(found.low.isfinite().all()) and bool(found.high.isfinite().all())
    assert float(found.values[:, 0].abs().max()) < 1e-9


def test_one_column_is_enough():
    x, background = table(2, 1)[:, :1], table(100, 0)[:, :1]
    found = lime_tabular(lambda b: 3 * b, x, background, evaluations=100, bins=None, ridge=0.0)
    torch.testing.assert_close(found.values[:, 0, 0], 3 * background.std(correction=0).expand(2))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"evaluations": 4}, "evaluations"),
        ({"bins": 1}, "bins"),
        ({"width": 0.0}, "width"),
        ({"features": torch.tensor([0, 1, 2, 3, 3, -1])}, "features"),
        ({"background": table(4, 0).expand(2, 4, 6)}, "background"),
    ],
)
def test_refusals_name_the_argument(change, named):
    arguments = {"inputs": table(2, 1), "background": table(9, 0), "features": PLAYERS} | change
    with pytest.raises(ValueError, match=named):
        lime_tabular(additive, **arguments)


def test_an_example_that_no_sample_comes_near_is_refused():
    """Coefficients would be 0, and their intervals too."""
    background = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 4)))
    x = torch.stack([background[0], torch.full((4,), 12.0).double()])
    with pytest.raises(ValueError, match=r"width: .* around example 1, found none with any weight; try a larger width"):
        lime_tabular(lambda rows: 3 * rows[:, :1], x, background, bins=None)
    found = lime_tabular(lambda rows: 3 * rows[:, :1], x, background, bins=None, width=10.0)
    torch.testing.assert_close(found.values[1, 0, 0], 3 * background[:, 0].std(correction=0), rtol=1e-3, atol=0)
