"""Linear models and their smallest perturbations, by solvers that share nothing with the attacks."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import brentq, linprog
from torch import Tensor, nn

FREE = (float("-inf"), float("inf"))
UNIT = (0.0, 1.0)


def linear(
    classes: int, box: bool, n: int = 24, elements: int = 12, dtype: torch.dtype = torch.float64
) -> tuple[nn.Module, Tensor, Tensor]:
    """An affine model, inputs (n, elements) in the unit box or not, and its own answers."""
    generator = torch.Generator().manual_seed(classes + elements)
    model = nn.Linear(elements, classes).to(dtype)
    with torch.no_grad():
        model.weight.copy_(torch.randn(classes, elements, generator=generator))
        model.bias.copy_(-model.weight.sum(1) / 2 if box else torch.randn(classes, generator=generator))
    inputs = (torch.rand if box else torch.randn)(n, elements, generator=generator, dtype=dtype)
    return model, inputs, model(inputs).argmax(1)


def smallest(model: nn.Module, inputs: Tensor, labels: Tensor, norm: str, box: bool, free: Tensor) -> Tensor:
    """The smallest size that makes any wrong class win, (n,), inf where none does: one problem a wrong class."""
    weight, bias = (value.detach().double().numpy() for value in model.parameters())
    best = []
    for x, label in zip(inputs.double().numpy(), labels.tolist(), strict=True):
        scores = weight @ x + bias
        sizes = [np.inf]
        for k in range(len(weight)):
            if k != label:
                slope = (weight[k] - weight[label]) * free.numpy()
                down, up = (-x, 1 - x) if box else (np.full_like(x, -np.inf), np.full_like(x, np.inf))
                sizes.append(SOLVERS[norm](slope, scores[label] - scores[k], down, up))
        best.append(min(sizes))
    return torch.tensor(best, dtype=torch.float64)


def _programme(cost: np.ndarray, rows: np.ndarray, right: list[float], limits: list) -> float:
    answer = linprog(cost, A_ub=rows, b_ub=right, bounds=limits)
    return float(answer.fun) if answer.status == 0 else np.inf


def _linf(slope: np.ndarray, lack: float, down: np.ndarray, up: np.ndarray) -> float:
    """Minimise t with |delta_i| <= t, delta in the box and slope . delta >= lack."""
    d = len(slope)
    ones, eye = np.ones((d, 1)), np.eye(d)
    rows = np.block([[eye, -ones], [-eye, -ones], [-slope[None], np.zeros((1, 1))]])
    return _programme(
        np.r_[np.zeros(d), 1.0], rows, [0.0] * (2 * d) + [-lack], [*zip(down, up, strict=True), (0, None)]
    )


def _l1(slope: np.ndarray, lack: float, down: np.ndarray, up: np.ndarray) -> float:
    """Delta as rise minus fall, both at least 0; minimise their sum."""
    limits = [(0, v) for v in np.r_[up, -down]]
    return _programme(np.ones(2 * len(slope)), np.r_[-slope, slope][None], [-lack], limits)


def _l2(slope: np.ndarray, lack: float, down: np.ndarray, up: np.ndarray) -> float:
    """Stationarity of the Lagrangian: delta = clip(lam * slope); the multiplier is a root."""

    def gain(lam: float) -> float:
        return float(slope @ np.clip(lam * slope, down, up)) - lack

    most = 1.0
    while gain(most) < 0:
        most *= 2
        if most > 1e9:
            return np.inf
    return float(np.linalg.norm(np.clip(brentq(gain, 0, most, xtol=1e-14, rtol=1e-14) * slope, down, up)))


def _l0(slope: np.ndarray, lack: float, down: np.ndarray, up: np.ndarray) -> float:
    """Every element gives at most what its end of the box gives: take the best until they suffice."""
    worth = np.sort(np.maximum(slope * up, slope * down))[::-1].cumsum()
    enough = np.flatnonzero(worth > lack)
    return float(enough[0] + 1) if len(enough) else np.inf


SOLVERS = {"linf": _linf, "l2": _l2, "l1": _l1, "l0": _l0}
