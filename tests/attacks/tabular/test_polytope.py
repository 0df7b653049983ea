"""Box and constraints against scipy's solvers."""

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, linprog, minimize
from torch import Tensor

from attacks.tabular import Number, Table
from attacks.tabular.polytope import Polytope

EPS = {"a": 2.0, "b": 3.0, "c": 1.5, "d": 0.7}
CONSTRAINTS = {
    "one": ("a <= b",),
    "apart": ("a <= b", "c + 2 * d <= 1"),
    "chain": ("a <= b", "b <= c + 1", "a + d >= -1"),
}


def polytope(names: tuple[str, ...], seed: int, n: int = 30) -> tuple[Polytope, Tensor, np.ndarray, np.ndarray]:
    """Continuous columns, rows (n, 4) that hold the constraints, and the constraints as matrix and bounds."""
    columns = tuple(Number(name, j, 0.3, 2.0, -4.0, 4.0) for j, name in enumerate("abcd"))
    table = Table(columns, names)
    rng = np.random.default_rng(seed)
    matrix = np.array([[r.coefficients.get(c.name, 0.0) for c in columns] for r in table.rules])
    bound = np.array([r.bound for r in table.rules])
    raw = rng.uniform(-4, 4, (20000, 4))
    raw = raw[(raw @ matrix.T < bound - 0.05).all(1)][:n]
    rows = torch.from_numpy((raw - 0.3) / 2.0)
    return Polytope(table, rows, EPS), rows, matrix, bound


@pytest.mark.parametrize("names", CONSTRAINTS.values(), ids=CONSTRAINTS)
def test_the_vertex_is_the_optimum_of_the_linear_programme(names: tuple[str, ...]) -> None:
    box, rows, matrix, bound = polytope(names, 0)
    slope = torch.from_numpy(np.random.default_rng(1).normal(size=(len(rows), 4)))
    found = box.vertex(torch.arange(len(rows)), box.raw, slope)
    for i in range(len(rows)):
        limits = np.stack([box.low[i].numpy(), box.high[i].numpy()], 1)
        best = linprog(-slope[i].numpy(), A_ub=matrix, b_ub=bound, bounds=limits)
        assert float(slope[i] @ found[i]) == pytest.approx(-best.fun, abs=1e-5)
        assert (matrix @ found[i].numpy() <= bound).all()
        assert bool(((found[i] >= box.low[i]) & (found[i] <= box.high[i])).all())


@pytest.mark.parametrize("names", CONSTRAINTS.values(), ids=CONSTRAINTS)
def test_settling_is_the_nearest_point_in_widths_of_the_box(names: tuple[str, ...]) -> None:
    box, rows, matrix, bound = polytope(names, 2, n=12)
    wish = box.raw + torch.from_numpy(np.random.default_rng(3).normal(scale=3.0, size=(len(rows), 4)))
    found = box.settle(torch.arange(len(rows)), wish, box.raw)
    for i in range(len(rows)):
        low, high = box.low[i].numpy(), box.high[i].numpy()
        width, target = high - low, wish[i].numpy()

        def cost(x: np.ndarray, target: np.ndarray = target, width: np.ndarray = width) -> float:
            return float((((x - target) / width) ** 2).sum())

        limits = LinearConstraint(matrix, -np.inf, bound)
        best = minimize(
            cost, rows[i].numpy(), bounds=list(zip(low, high, strict=True)), constraints=limits, method="SLSQP"
        )
        assert cost(found[i].numpy()) <= best.fun * (1 + 1e-4) + 1e-4
        assert (matrix @ found[i].numpy() <= bound).all()


def test_what_the_row_breaks_already_is_widened_up_to_it_and_no_further() -> None:
    table = Table((Number("a", 0, low=0.0, high=5.0, whole=True), Number("b", 1, whole=True)), ("a <= b",))
    rows = torch.tensor([[7.0, 3.0]])  # outside its range, and above b by 4
    box = Polytope(table, rows, {"a": 4.0, "b": 4.0})
    at = torch.tensor([0])
    up = box.vertex(at, box.raw, torch.tensor([[1.0, -0.1]], dtype=torch.float64))
    assert up.tolist() == [[7.0, 3.0]], "no further out, and no more broken"
    both = box.vertex(at, box.raw, torch.tensor([[0.1, 1.0]], dtype=torch.float64))
    assert both.tolist() == [[7.0, 7.0]]
    down = box.vertex(at, box.raw, torch.tensor([[-1.0, -0.9]], dtype=torch.float64))
    assert down.tolist() == [[3.0, -1.0]]


def test_a_column_leads_those_tied_to_it_or_stops_where_they_stop_it() -> None:
    table = Table((Number("a", 0, whole=True), Number("b", 1, whole=True)), ("a <= b",))
    box = Polytope(table, torch.tensor([[1.0, 2.0]]), {"a": 5.0, "b": 3.0})
    at, high = torch.tensor([0]), torch.tensor([9.0], dtype=torch.float64)
    assert box.put(at, box.raw, 0, high, lead=False).tolist() == [[2.0, 2.0]]
    assert box.put(at, box.raw, 0, high, lead=True).tolist() == [[5.0, 5.0]]
