"""Adversarial debiasing (Zhang, Lemoine and Mitchell 2018, https://arxiv.org/abs/1801.07593)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.defence.keeping import derive, isolated
from audit.mitigation.methods._network import inner, scores, trainee
from audit.mitigation.methods._rates import compared, difference, margin, small, strata
from audit.mitigation.methods._training import Gradients, Loop
from audit.mitigation.remedy import Bench, Definition, Remedy

#: weight of the adversary's gradient against the predictor's at full strength
ALPHA = 1.0
_SLOWER = 0.3  # share of the learning rate: a network that moves faster than its adversary learns swings
_RAMP = 0.3  # share of the training in which that weight rises
_HIDDEN, _RATE, _WARM_STEPS, _STEPS = 16, 5e-3, 200, 2
_REMEMBERED = 1024  # rows whose last scores the adversary goes on learning from: one batch alone is too few
_TINY = 1e-12


class Adversary(nn.Module):
    """Guesses the group from the margin of the favourable class, and from the truth where the definition allows it.

    Args:
        groups: how many there are.
        truths: strata of the truth it is told apart; 1: it is told nothing.
    """

    def __init__(self, groups: int, truths: int) -> None:
        super().__init__()
        self.truths = truths
        self.layers = nn.Sequential(nn.Linear(3 * truths, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, groups))

    def forward(self, ahead: Tensor, truth: Tensor) -> Tensor:
        """Margins (n,) and truths (n,) of 0 and 1 -> (n, groups) logits."""
        # the decision and the odds: the paper's s = sigmoid((1 + |c|) logit) learns to be between the two
        seen = torch.stack([torch.ones_like(ahead), torch.sigmoid(4 * ahead), torch.tanh(ahead / 4)], 1)
        told = F.one_hot(truth if self.truths > 1 else torch.zeros_like(truth), self.truths).to(seen.dtype)
        return self.layers((told[:, :, None] * seen[:, None, :]).flatten(1))  # type: ignore[no-any-return]


class Duel:
    """The adversary, its rows and its optimiser, beside the network that it plays against.

    Args:
        bench: rows, aim and seed.
        counted: (groups,) which groups it guesses.
    """

    def __init__(self, bench: Bench, counted: NDArray[np.bool_]) -> None:
        self.bench, aim, train = bench, bench.aim, bench.train
        device = bench.subject.device
        code = np.full(len(bench.groups) + 1, -1)
        code[np.flatnonzero(counted)] = np.arange(counted.sum())
        group = code[train.groups]
        weight = np.zeros(len(train))
        for of in strata(aim, train.labels):  # groups weigh the same, for the widest gap may be that of a small one
            seen = of & (group >= 0)
            count = np.bincount(group[seen], minlength=int(counted.sum()))
            weight[seen] = (seen.sum() / (len(count) * count))[group[seen]]
        self.group = torch.from_numpy(np.maximum(group, 0)).to(device)
        self.weight = torch.from_numpy(weight).float().to(device)
        self.truth = torch.from_numpy((train.labels == aim.favourable).astype(np.int64)).to(device)
        self.labels = torch.from_numpy(train.labels).to(device)
        with isolated(torch.device("cpu")):
            torch.manual_seed(derive(bench.seed, 0xAD))
            made = Adversary(int(counted.sum()), 2 if aim.definition is Definition.EQUALISED_ODDS else 1)
        self.adversary = made.to(device)
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.optimiser = torch.optim.AdamW(self.adversary.parameters(), lr=_RATE)

    def warm(self, found: Tensor) -> None:
        """Learn from the audited scores (n, classes) before the network moves (the paper's advice, section 4)."""
        generator = torch.Generator().manual_seed(derive(self.bench.seed, 0xADD))
        for _ in range(_WARM_STEPS):
            rows = torch.randint(len(found), (min(len(found), self.bench.batch_size),), generator=generator)
            self._learn(found[rows].to(self.group.device), rows)

    def losses(self, found: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The predictor's loss and the adversary's, which learns from these and the last scores first."""
        rows = rows.to(self.group.device)
        self.seen.append((found.detach(), rows))
        while sum(len(at) for _, at in self.seen[1:]) >= _REMEMBERED:
            del self.seen[0]
        for _ in range(_STEPS):
            self._learn(torch.cat([one for one, _ in self.seen]), torch.cat([at for _, at in self.seen]))
        return F.cross_entropy(found, self.labels[rows], reduction="sum"), self._loss(found, rows)

    def join(self, found: list[Gradients], done: float) -> Gradients:
        """Equation 1: g_P - proj_{g_A} g_P - alpha g_A, with an alpha that rises first."""
        predictor, adversary = found
        along = sum(((p * a).sum() for p, a in zip(predictor, adversary, strict=True)), torch.zeros(()))
        long = sum(((a * a).sum() for a in adversary), torch.zeros(())) + _TINY
        alpha = ALPHA * self.bench.aim.strength * min(done / _RAMP, 1.0)
        return [p - (along / long + alpha) * a for p, a in zip(predictor, adversary, strict=True)]

    def _learn(self, found: Tensor, rows: Tensor) -> None:
        self.optimiser.zero_grad()
        (self._loss(found, rows) / len(rows)).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def _loss(self, found: Tensor, rows: Tensor) -> Tensor:
        favourable = self.bench.aim.favourable
        others = [k for k in range(found.shape[1]) if k != favourable]
        ahead = found[:, favourable] - found[:, others].amax(1)
        each = F.cross_entropy(self.adversary(ahead, self.truth[rows]), self.group[rows], reduction="none")
        return (each * self.weight[rows]).sum()


def adversarial(bench: Bench) -> Remedy:
    """Train the network while an adversary tries to tell the group from its scores.

    The adversary sees what the definition allows: the score for demographic parity, the score of rows that deserve the
    favourable class for equal opportunity, score and truth for equalised odds. Kept is the epoch with the least error plus
    difference on the held rows. The aim's strength multiplies alpha.

    Raises:
        AssayError: the model does not train, or fewer than two groups are large enough.
    """
    counted = compared(bench, bench.train, "training")
    large = compared(bench, bench.held, "held") & counted
    here = trainee(bench)
    duel = Duel(bench, counted)
    duel.warm(torch.from_numpy(scores(bench, here.module, here.train)).float())
    aim, held = bench.aim, bench.held
    told: list[dict[str, float]] = []

    def judge(found: NDArray[np.float64]) -> float:
        error = float((found.argmax(1) != held.labels).mean())
        wide = difference(aim, margin(found, aim.favourable) > 0, held.labels, held.groups, large)
        told.append({"accuracy": 1 - error, "difference": wide})
        return error + wide

    loop = Loop(bench, here, "adversarial", duel.losses, judge, duel.join, _SLOWER)
    model = loop.run()
    return Remedy(
        "adversarial",
        model,
        inner(model),
        None,
        group_at_prediction=False,
        figures={"epochs": told, "epoch": loop.best, "alpha": ALPHA * aim.strength},
        notes=small(bench, counted, "the adversary does not guess them"),
    )
