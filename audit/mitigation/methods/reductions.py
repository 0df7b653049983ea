"""Fair heads by reductions (Agarwal et al. 2018, https://arxiv.org/abs/1803.02453), by fairlearn's ExponentiatedGradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from audit.errors import DataError
from audit.mitigation.methods._network import embeddings, last_linear
from audit.mitigation.methods._rates import compared, difference, margin, sizeable, small
from audit.mitigation.processors import attach
from audit.mitigation.remedy import Bench, Definition, Processor, Remedy, Step

ROWS, ROUNDS = 20_000, 50
_LEAST_EPS = 1e-3  # fairlearn divides by it


@dataclass(frozen=True, eq=False)
class Heads:
    """Logistic heads over the embedding: `weight` (k, width), `bias` (k,), `mix` (k,) positive with sum 1."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    mix: NDArray[np.float64]

    def odds(self, embedding: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, width) -> (n, k) log-odds of the favourable class."""
        return np.asarray(embedding @ self.weight.T + self.bias)


def reductions(bench: Bench) -> Remedy:
    """Replace the last layer by logistic heads learnt under the aim's constraint, over what the network says before it.

    fairlearn finds heads and the odds with which its randomised classifier draws one of them. Here their probabilities
    are averaged with those odds, and the favourable class is predicted above one half: equal people are treated alike.
    What that changes on held rows is in the figures. Of more than two classes, the favourable one is set against the best
    of the others, whose own scores stay. A strength below 1 allows the rest of the difference that a head without
    constraint has.

    Raises:
        AssayError: the network does not end in a linear layer, or fewer than two groups are large enough.
    """
    counted = compared(bench, bench.train, "training")
    layer = last_linear(bench)
    bench.tell(Step("reductions", 0, 2, "embeddings"))
    rows = np.flatnonzero((bench.train.groups >= 0) & counted[np.maximum(bench.train.groups, 0)])
    if len(rows) > ROWS:
        rows = np.sort(np.random.default_rng([bench.seed, 0x12ED]).choice(rows, ROWS, replace=False))
    inputs = bench.train.take(rows).inputs
    train = embeddings(bench, inputs, layer).double().numpy()
    bench.tell(Step("reductions", 1, 2, f"at most {ROUNDS} rounds of heads"))
    truth, groups = bench.train.labels[rows] == bench.aim.favourable, bench.train.groups[rows]
    if truth.all() or not truth.any():
        raise DataError("Expected training rows of the favourable class and of others, found one kind; try more rows.")
    heads, allowed = learn(bench, train, truth, groups, counted)
    bench.tell(Step("reductions", 2, 2, f"{len(heads.mix)} heads"))
    tensors = {name: torch.from_numpy(getattr(heads, name)).float() for name in ("weight", "bias", "mix")}
    processor = Processor("mixture", {"layer": layer, "favourable": bench.aim.favourable}, tensors)
    return Remedy(
        "reductions",
        attach(processor, bench.subject.model),
        None,
        processor,
        group_at_prediction=False,
        figures={
            "heads": len(heads.mix),
            "mix": heads.mix.tolist(),
            "training_rows": len(rows),
            "allowed_difference": allowed,
            **_told(bench, layer, heads),
        },
        notes=small(bench, counted, "their rows taught no head"),
    )


def learn(
    bench: Bench,
    embedding: NDArray[np.float64],
    truth: NDArray[np.bool_],
    groups: NDArray[np.int64],
    counted: NDArray[np.bool_],
) -> tuple[Heads, float]:
    """Fairlearn's heads, and the difference between groups they were allowed.

    Args:
        bench: the aim.
        embedding: (n, width).
        truth: (n,) whether the favourable class is right.
        groups: (n,) codes.
        counted: which of them there are.
    """
    from fairlearn.reductions import ExponentiatedGradient

    mean, spread = embedding.mean(0), embedding.std(0)
    spread[spread < 1e-6 * max(spread.max(), 1e-12)] = np.inf  # a unit that never moves says nothing
    features, labels = (embedding - mean) / spread, truth.astype(int)
    allowed = bench.aim.margin
    if bench.aim.strength < 1:
        free = _logistic().fit(features, labels).predict(features)
        whole = difference(bench.aim, free, np.where(truth, bench.aim.favourable, -1), groups, counted)
        allowed = max(allowed, (1 - bench.aim.strength) * whole)
    rule = ExponentiatedGradient(
        _logistic(),
        # each group is held against all together, so two of them may be twice as far apart
        constraint(bench.aim.definition, allowed / 2),
        eps=max(allowed, _LEAST_EPS),
        max_iter=ROUNDS,
    )
    rule.fit(features, labels, sensitive_features=groups)
    used = [index for index, share in rule.weights_.items() if share > 1e-9]
    pairs = [_line(rule.predictors_[index], features.shape[1]) for index in used]
    weight = np.array([coefficients for coefficients, _ in pairs]) / spread
    bias = np.array([intercept for _, intercept in pairs]) - weight @ mean
    mix = np.array([rule.weights_[index] for index in used])
    return Heads(weight, bias, mix / mix.sum()), allowed


def constraint(definition: Definition, bound: float) -> Any:
    """Fairlearn's constraint of that name."""
    from fairlearn.reductions import DemographicParity, EqualizedOdds, TruePositiveRateParity

    return {
        Definition.DEMOGRAPHIC_PARITY: DemographicParity,
        Definition.EQUAL_OPPORTUNITY: TruePositiveRateParity,
        Definition.EQUALISED_ODDS: EqualizedOdds,
    }[definition](difference_bound=bound)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, max_iter=2000)


def _line(head: Any, width: int) -> tuple[NDArray[np.float64], float]:
    """Coefficients and intercept; a head of fairlearn's that always says the same has none but a wide intercept."""
    if hasattr(head, "coef_"):
        return np.asarray(head.coef_[0]), float(head.intercept_[0])
    always = float(np.ravel(head.predict(np.zeros((1, width))))[0])
    return np.zeros(width), 20.0 if always > 0.5 else -20.0


def _told(bench: Bench, layer: str, heads: Heads) -> dict[str, dict[str, float]]:
    """Difference and accuracy on held rows: as audited, the randomised classifier, and the mean of its heads."""
    from audit.mitigation.methods._network import scores

    held, aim = bench.held, bench.aim
    counted = sizeable(aim, held, len(bench.groups))
    odds = heads.odds(embeddings(bench, held.inputs, layer).double().numpy())
    truth = held.labels == aim.favourable
    rules = {
        "before": (margin(scores(bench, None, held.inputs), aim.favourable) > 0).astype(float),
        "randomised": (odds > 0) @ heads.mix,
        "deterministic": (expit(odds) @ heads.mix > 0.5).astype(float),
    }
    found = {name: {"accuracy": float(np.where(truth, p, 1 - p).mean())} for name, p in rules.items()}
    if counted.sum() > 1:
        for name, chosen in rules.items():
            found[name]["difference"] = difference(aim, chosen, held.labels, held.groups, counted)
    return found
