"""Noise in tables: what moves, by how much, and what never does."""

import pytest
import torch

from attacks.tabular import TABULAR_NOISE, tabular_noise

# two numeric columns, a fixed one, a group of three, a fixed group of two
NUMERIC = torch.tensor([True, True, False, False, False, False, False, False])
GROUP = (3, 4, 5)
FIXED = [2, 6, 7]


def table(n: int = 2000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 8, generator=generator)
    x[:, 3:6] = torch.nn.functional.one_hot(torch.randint(3, (n,), generator=generator), 3).float()
    x[:, 6:8] = torch.nn.functional.one_hot(torch.randint(2, (n,), generator=generator), 2).float()
    return x


LEVELS = {
    "gaussian": 0.5,
    "missing": 0.3,
    "unit": 10.0,
    "decimal": 1.0,
    "sign": 0.3,
    "swap": 0.3,
    "category": 0.3,
}


@pytest.mark.parametrize("kind", TABULAR_NOISE)
def test_fixed_columns_never_move_and_rows_stand_alone(kind: str) -> None:
    x = table()
    y = tabular_noise(x, kind, LEVELS[kind], numeric=NUMERIC, groups=[GROUP], seed=4)
    assert not torch.equal(x, y)
    assert torch.equal(y[:, FIXED], x[:, FIXED])
    again = tabular_noise(x, kind, LEVELS[kind], numeric=NUMERIC, groups=[GROUP], seed=4)
    assert torch.equal(y, again)
    rows = torch.tensor([7, 3])
    part = tabular_noise(x[rows], kind, LEVELS[kind], numeric=NUMERIC, groups=[GROUP], seed=4, rows=rows)
    assert torch.equal(part, y[rows])
    assert not torch.equal(y, tabular_noise(x, kind, LEVELS[kind], numeric=NUMERIC, groups=[GROUP], seed=5))


def test_gaussian_has_its_deviation_and_scales() -> None:
    x = table()
    one = tabular_noise(x, "gaussian", 1.0, numeric=NUMERIC, groups=[GROUP]) - x
    assert float(one[:, :2].std()) == pytest.approx(1, rel=0.05)
    half = tabular_noise(x, "gaussian", 0.5, numeric=NUMERIC, groups=[GROUP]) - x
    assert torch.allclose(half, one / 2, atol=1e-6)
    assert torch.equal(one[:, 2:], torch.zeros(2000, 6))


def test_missing_takes_the_fill_at_its_rate_and_grows() -> None:
    x, fill = table(), torch.arange(8.0)
    y = tabular_noise(x, "missing", 0.3, numeric=NUMERIC, groups=[GROUP], fill=fill)
    lost = y != x
    assert float(lost[:, 0].float().mean()) == pytest.approx(0.3, abs=0.05)
    assert torch.equal(y[lost[:, 0], 0], fill[0].expand(int(lost[:, 0].sum())))
    whole = (y[:, 3:6] == fill[3:6]).all(1)
    assert torch.equal(whole, lost[:, 3:6].any(1))  # a group goes as one
    assert float(whole.float().mean()) == pytest.approx(0.3, abs=0.05)
    more = tabular_noise(x, "missing", 0.6, numeric=NUMERIC, groups=[GROUP], fill=fill) != x
    assert bool((more | ~lost).all())
    assert torch.equal(tabular_noise(x, "missing", 0.0, numeric=NUMERIC, groups=[GROUP]), x)


def test_unit_multiplies_one_column_in_its_own_unit() -> None:
    x, mean, std = table(), torch.full((8,), 30.0), torch.full((8,), 4.0)
    y = tabular_noise(x, "unit", 10.0, numeric=NUMERIC, groups=[GROUP], mean=mean, std=std)
    moved = y != x
    assert torch.equal(moved.sum(1), torch.ones(2000, dtype=torch.int64))
    assert 0.4 < float(moved[:, 0].float().mean()) < 0.6
    own = x[moved] * 4 + 30
    assert torch.allclose(y[moved] * 4 + 30, own * 10, rtol=1e-4)


def test_a_decimal_point_slips_both_ways() -> None:
    x, mean, std = table(), torch.full((8,), 30.0), torch.full((8,), 4.0)
    y = tabular_noise(x, "decimal", 2.0, numeric=NUMERIC, groups=[GROUP], mean=mean, std=std)
    moved = y != x
    assert torch.equal(moved.sum(1), torch.ones(2000, dtype=torch.int64))
    factor = (y[moved] * 4 + 30) / (x[moved] * 4 + 30)
    up = factor > 1
    assert torch.allclose(factor[up], torch.tensor(100.0), rtol=1e-3)
    assert torch.allclose(factor[~up], torch.tensor(0.01), rtol=1e-2)
    assert 0.4 < float(up.float().mean()) < 0.6


def test_a_sign_is_lost_in_its_own_unit() -> None:
    x, mean, std = table(), torch.full((8,), 30.0), torch.full((8,), 4.0)
    y = tabular_noise(x, "sign", 0.25, numeric=NUMERIC, groups=[GROUP], mean=mean, std=std)
    moved = y != x
    assert float(moved[:, :2].float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.allclose(y[moved] * 4 + 30, -(x[moved] * 4 + 30), atol=1e-4)
    more = tabular_noise(x, "sign", 0.5, numeric=NUMERIC, groups=[GROUP], mean=mean, std=std) != x
    assert bool((more | ~moved).all())


def test_two_columns_trade_values_in_their_own_units() -> None:
    x, mean, std = table(), torch.arange(8.0), torch.arange(1.0, 9.0)
    y = tabular_noise(x, "swap", 0.4, numeric=NUMERIC, groups=[GROUP], mean=mean, std=std)
    hit = (y != x).any(1)
    assert float(hit.float().mean()) == pytest.approx(0.4, abs=0.04)
    before, after = x[hit, :2] * std[:2] + mean[:2], y[hit, :2] * std[:2] + mean[:2]
    assert torch.allclose(after, before.flip(1), atol=1e-5)
    alone = NUMERIC.clone()
    alone[1] = False  # one column has no other to trade with
    assert torch.equal(tabular_noise(x, "swap", 1.0, numeric=alone, groups=[GROUP]), x)


def test_category_goes_to_another_observed_one() -> None:
    x = table()
    seen = torch.ones(8, dtype=torch.bool)
    y = tabular_noise(x, "category", 1.0, numeric=NUMERIC, groups=[GROUP], observed=seen)
    assert torch.equal(y[:, 3:6].sum(1), torch.ones(2000))
    assert bool((y[:, 3:6].argmax(1) != x[:, 3:6].argmax(1)).all())
    seen[4] = False
    y = tabular_noise(x, "category", 1.0, numeric=NUMERIC, groups=[GROUP], observed=seen)
    assert not bool((y[:, 4] > x[:, 4]).any())
    seen[[3, 5]] = False  # nothing else to go to
    assert torch.equal(tabular_noise(x, "category", 1.0, numeric=NUMERIC, groups=[GROUP], observed=seen), x)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "dust"}, "Expected kind"),
        ({"level": -1.0}, "Expected level"),
        ({"kind": "missing", "level": 1.5}, "Expected level"),
        ({"level": float("nan")}, "Expected level"),
        ({"inputs": torch.zeros(2)}, "Expected inputs"),
        ({"numeric": torch.ones(3, dtype=torch.bool)}, "Expected numeric"),
        ({"rows": torch.arange(5)}, "Expected rows"),
    ],
)
def test_refusals(change: dict[str, object], says: str) -> None:
    given = {"inputs": torch.zeros(2, 8), "kind": "gaussian", "level": 0.1, "groups": [GROUP]} | change
    with pytest.raises(ValueError, match=says):
        tabular_noise(**given)  # type: ignore[arg-type]
