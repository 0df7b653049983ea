"""Whether explanations add up, hold still and are short, for all methods at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.explaining.methods import METHODS, method, methods_of
from reports.record import Estimate, Measured, Metric, Score, Scoreboard, ScoreRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.explaining.attributions import Values
    from audit.explaining.examples import Examples
    from audit.subject import Subject

    Floats = NDArray[np.float64]
    #: metric -> for each example the score of the explanation and of chance; NaN where undefined
    Measures = dict[str, tuple[Floats, Floats]]


@dataclass(frozen=True)
class _Kind:
    """What a metric is called, what it says, which way is better (+1 more, -1 less, 0 neither), and its range."""

    label: str
    note: str
    better: int
    least: float = 0.0
    most: float = float("inf")


KINDS = {
    "sensitivity_n": _Kind(
        "sensitivity-n", "correlation of its sums with what removing many at once does", 1, -1.0, 1.0
    ),
    "explained": _Kind(
        "explained", "share of those changes that its sums foretell, infidelity turned round", 1, 0.0, 1.0
    ),
    "noise": _Kind("noise", "how far a little noise on the input moves it (max-sensitivity)", -1),
    "seeds": _Kind("seeds", "how far another seed moves it", -1),
    "rewrites": _Kind("rewrites", "how far it moves when the same function is written differently", -1),
    "units": _Kind("units", "how far it moves when inputs are measured in other units", -1),
    "effective_features": _Kind("features", "effective number of features, cells or words it names", 0),
}

#: of a movement; what lies beyond is single precision's own
DIGITS = 5


@dataclass(frozen=True)
class Battery(Check):
    """Tests of the explanations, method by method.

    What it measures:
        Many features, cells or words are removed at once, and the change in log-odds is compared with what the explanation
        gives them together: by correlation within sets of one size (sensitivity-n) and as the share of the changes that
        is explained (infidelity at its best scale, turned round). The explanation is then computed again after next to
        nothing has changed: a little noise on the input, another seed, the same function written down differently
        (hidden units reordered, rescaled and split, logits shifted), inputs in other units. Movement is the distance
        between the two as a share of the explanation's own length. Last, how many features it names.
    Why it matters:
        An explanation that does not add up to what the model does, or that changes when nothing has, cannot be used as
        evidence for or against a decision.
    How to read it:
        Each score stands beside that of chance: the same values given to random features of the same example, for which
        movement is that from one such order to another. A mark says whether the method is better than chance with its
        interval. A movement of 0.1 means a tenth of the explanation was replaced; other seeds and other spellings
        should move it by no more than its own sampling error. A gradient that is not multiplied by a displacement changes
        with the units. Fewer features are easier to read, not truer. Rows without a
        model are fakes: holding still and being short is easy for them, adding up is not.

    References:
        Ancona et al. 2018 (sensitivity-n); Yeh et al. 2019 (infidelity, max-sensitivity); Kindermans et al. 2019
        (other units); Bhatt, Weller and Moura 2020 (complexity).
    """

    version: ClassVar[int] = 3
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {
            "methods": (
                "kernel_shap",
                "lime",
                "deep_lift",
                "saliency",
                "attention_rollout",
                "gradient_rollout",
            ),
            "rows": 32,
            "media": 6,
            "evaluations": 192,
            "background": 16,
            "noisy": 2,
        },
        Effort.EXHAUSTIVE: {"rows": 256, "media": 64, "evaluations": 2048, "background": 64, "sets": 100, "noisy": 10},
    }

    methods: tuple[str, ...] = tuple(name for name in METHODS if name != "random")
    #: examples of tables
    rows: int = 64
    #: examples of pictures and texts
    media: int = 10
    #: coalitions asked for in each example
    evaluations: int = 384
    #: training rows that stand for "removed" (tables)
    background: int = 32
    #: sets of each size that are removed
    sets: int = 24
    #: shares of the features that are removed together
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    #: noisy versions of each example
    noisy: int = 3
    #: random orders of each explanation
    random: int = 20

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.explaining.examples import examples
        from audit.explaining.fakes import TITLES, controls

        chosen = examples(subject, data, rng, self.rows, self.media, self.background)
        methods, seed = methods_of(subject, self.methods), int(rng.integers(2**31))
        found, refused = chosen.attribute_each(methods, np.random.default_rng(seed), self.evaluations)
        values: dict[str, Values] = {name: of.values for name, of in found.items()}
        fakes = controls(chosen)
        measured = self._adding_up(chosen, {**values, **fakes}, rng)
        said = self._holding_still(chosen, values, seed, measured, rng)
        for name, of_method in {**values, **fakes}.items():
            measured[name]["effective_features"] = _features(of_method, rng)
        titles = {**{name: method(name).title for name in found}, **TITLES}
        kinds = [kind for kind in KINDS if any(kind in of_method for of_method in measured.values())]
        scores = {(n, k): _score(m[k], KINDS[k]) for n, m in measured.items() for k in kinds if k in m}
        return Measured(
            estimates={f"{kind}@{name}": s.value for (name, kind), s in scores.items() if name in found}
            | {f"{k}_lead@{n}": s.lead for (n, k), s in scores.items() if n in found and s.lead is not None},
            headline=tuple(f"sensitivity_n@{name}" for name in found),
            figures=(
                Scoreboard(
                    title="Methods against chance",
                    metrics=tuple(Metric(label=KINDS[kind].label, note=KINDS[kind].note) for kind in kinds),
                    rows=tuple(
                        ScoreRow(label=titles[name], scores=tuple(scores.get((name, kind)) for kind in kinds))
                        for name in measured
                    ),
                    note="Means over examples. Sensitivity-n and explained: the more the better; noise, seeds, rewrites and "
                    "units: the less the better.",
                ),
            ),
            notes=(
                f"{len(chosen.rows)} test examples, the same for all columns; {self.sets} sets of each of "
                f"{len(self.shares)} sizes, {self.noisy} noisy versions, {self.random} random orders.",
                said,
                *refused.values(),
            ),
        )

    def _adding_up(
        self, chosen: Examples, values: Mapping[str, Values], rng: np.random.Generator
    ) -> dict[str, Measures]:
        """Sensitivity-n and the explained share of every method, from the same removals."""
        from audit.explainers.quality import explained, shuffled
        from audit.explainers.quality.additive import pearson, random_sets
        from audit.explaining.rankings import scores_without

        sizes = [len(of_row) for of_row in next(iter(values.values()))]
        removed = []
        for players in sizes:
            counts = sorted({min(max(1, round(share * players)), players) for share in self.shares})
            sets = [random_sets(players, count, self.sets, rng) for count in counts]
            removed.append(np.stack(sets) if players else np.zeros((len(counts), self.sets, 0), dtype=np.bool_))
        whole = [np.ones((1, players), dtype=np.bool_) for players in sizes]
        keep = [np.concatenate([w, ~np.concatenate(r)]) for w, r in zip(whole, removed, strict=True)]
        changes = [scores[:1] - scores[1:] for scores in scores_without(chosen, keep)]
        out: dict[str, Measures] = {}
        for name, of_method in values.items():
            rows: dict[str, list[Floats]] = {"sensitivity_n": [], "explained": []}
            for of_row, gone, change in zip(of_method, removed, changes, strict=True):
                orders = np.concatenate([of_row[None], shuffled(of_row, self.random, rng)])
                sums = orders @ np.concatenate(gone).T.astype(np.float64)
                shape = gone.shape[:2]
                by_size = pearson(sums.reshape(-1, *shape), np.broadcast_to(change.reshape(shape), (len(sums), *shape)))
                rows["sensitivity_n"].append(_mean(by_size, axis=1))
                rows["explained"].append(explained(sums, change))
            # an explanation without variation foretells nothing
            out[name] = {
                kind: _beside_chance(
                    np.stack([np.nan_to_num(r) if _any(c) else r for r, c in zip(v, changes, strict=True)])
                )
                for kind, v in rows.items()
            }
        return out

    def _holding_still(
        self,
        chosen: Examples,
        values: Mapping[str, Values],
        seed: int,
        measured: dict[str, Measures],
        rng: np.random.Generator,
    ) -> str:
        """Add the movements to `measured`, and say how the model was written differently."""
        from audit.checks.explain import _nudges as nudges

        others: dict[str, list[tuple[Examples, int]]] = {
            "noise": [(e, seed) for e in (nudges.moved(chosen, rng) for _ in range(self.noisy)) if e is not None],
            "seeds": [(chosen, seed + 1)],
        }
        rewritten, said = nudges.rewritten(chosen, rng)
        units = nudges.in_other_units(chosen)
        others |= {"rewrites": [] if rewritten is None else [(rewritten, seed)]}
        others |= {"units": [] if units is None else [(units, seed)]}
        chance = {name: _moved_by_chance(of_method, self.random, rng) for name, of_method in values.items()}
        for kind, versions in others.items():
            moves: dict[str, list[Floats]] = {name: [] for name in values}
            for other, with_seed in versions:
                found, _ = other.attribute_each(values, np.random.default_rng(with_seed), self.evaluations)
                for name, after in found.items():
                    moves[name].append(_distance(values[name], after.values))
            for name, of_method in moves.items():
                if of_method:
                    measured[name][kind] = (np.max(of_method, axis=0), chance[name])
        return said


def _any(change: Floats) -> bool:
    """Whether the model reacts to any removal at all, so that there is something to foretell."""
    return bool(change.size) and bool(np.ptp(change) > 0)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of what is defined; NaN where nothing is."""
    return np.asarray(np.ma.masked_invalid(values).mean(axis).filled(np.nan))


def _beside_chance(scores: Floats) -> tuple[Floats, Floats]:
    """(examples, 1 + orders) to the explanation's own score and the mean of its random orders."""
    return scores[:, 0], _mean(scores[:, 1:], axis=1)


def _distance(before: Values, after: Values) -> Floats:
    from audit.explainers.quality import relative_distance

    moved = [relative_distance(a, b) if a.size else np.nan for a, b in zip(before, after, strict=True)]
    return np.asarray(moved, dtype=np.float64).round(DIGITS)


def _moved_by_chance(values: Values, draws: int, rng: np.random.Generator) -> Floats:
    """Distance from one random order of an explanation's values to another."""
    from audit.explainers.quality import relative_distance, shuffled

    return np.array(
        [relative_distance(row, shuffled(row, draws, rng)).mean() if row.size else np.nan for row in values]
    )


def _features(values: Values, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Effective number of features, and that of normally distributed values."""
    from audit.explainers.quality import effective_features, random_values

    def of(row: Floats) -> float:
        return float(effective_features(row[None])[0]) if row.size and row.any() else np.nan

    return np.array([of(row) for row in values]), np.array([of(random_values(row.shape, rng)) for row in values])


def _score(measured: tuple[Floats, Floats], kind: _Kind) -> Score:
    """Means over the examples for which both are defined, their intervals within the range; the lead is paired."""
    value, chance = measured
    defined = np.isfinite(value) & np.isfinite(chance)
    value, chance = value[defined], chance[defined]
    lead: Estimate | None = statistics.mean(kind.better * (value - chance)) if kind.better else None
    mean = statistics.mean(value)
    if mean.value is not None and mean.low is not None and mean.high is not None:
        ends = {"low": max(mean.low, min(kind.least, mean.value)), "high": min(mean.high, max(kind.most, mean.value))}
        mean = mean.model_copy(update=ends)
    return Score(value=mean, chance=statistics.mean(chance), lead=lead)
