"""Whether a small change that leaves the answer leaves the explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.explaining.methods import METHODS, methods_of
from audit.subject import Capability, Modality
from reports.record import Bar, Bars, Estimate, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from audit.checks.explain._steady import Ball
    from audit.datasets import Dataset
    from audit.explaining.attributions import Values
    from audit.explaining.examples import Examples
    from audit.subject import Subject

    Floats = NDArray[np.float64]

#: what an explanation is compared with -> the words for it
KINDS = {"seeds": "another seed", "noise": "random noise", "attack": "the worst case found"}


@dataclass(frozen=True)
class Steadiness(Check):
    """Explanations under attack.

    What it measures:
        The rank correlation of explanations, and the overlap of their strongest features or cells, before and after a
        small change of the input that leaves the answer as it is: random noise, and the worst case found. The
        latter is searched among points of random noise and along the path of an attacker who follows the gradient
        of the map's dissimilarity, on a copy of the model whose ReLUs are smoothed. For comparison, the same explanation
        is made with another seed and no change at all.
    Why it matters:
        Whoever can choose between two inputs that look alike and are answered alike can choose the reason that is given.
        An explanation that a change nobody sees turns around proves nothing about fair treatment.
    How to read it:
        1 is unmoved, 0 is unrelated. The figure for noise is a mean, that for the attack the worst of all changes tried,
        noise among them: some distance between the two is there without malice. The attack is a search, so the true worst
        case is at least as bad. A low figure can be the model's fault: where its surface is
        rugged, a true explanation changes from point to point. Changes that move the answer do not count.

    References:
        Ghorbani et al. 2019 (the attack); Dombrowski et al. 2019 (smoothed ReLUs); Alvarez-Melis and Jaakkola 2018.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR, Modality.IMAGE})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {
            "methods": ("kernel_shap", "occlusion", "saliency"),
            "rows": 48,
            "media": 8,
            "evaluations": 160,
            "background": 8,
            "draws": 2,
            "steps": 10,
            "kept": 2,
        },
        Effort.EXHAUSTIVE: {
            "rows": 256,
            "media": 64,
            "evaluations": 1024,
            "background": 32,
            "draws": 22,
            "steps": 100,
            "kept": 20,
        },
    }

    methods: tuple[str, ...] = ("kernel_shap", "lime", "deep_lift", "smooth_grad", "saliency")
    #: examples of tables
    rows: int = 96
    #: examples of pictures
    media: int = 24
    #: coalitions asked for in each example
    evaluations: int = 192
    #: training rows that stand for "removed" (tables)
    background: int = 16
    #: largest change of a table's numeric columns, in standard deviations
    eps_table: float = 0.1
    #: largest change of a pixel, as a share of its range
    eps_picture: float = 0.0157
    #: random changes of each example
    draws: int = 6
    #: steps of the attacker
    steps: int = 24
    #: points of the attacker's path that are tried
    kept: int = 6
    #: how many of the strongest are compared
    top: int = 3

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs inputs that can move a little."""
        from audit.checks.robustness._space import unfit

        if not methods_of(subject, self.methods):
            return f"none of {', '.join(self.methods)} applies to this checkpoint"
        return unfit(data)

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.explaining.examples import examples

        chosen = examples(subject, data, rng, self.rows, self.media, self.background)
        ball = self._ball(subject, data, chosen.rows)
        noise = [ball.random(rng) for _ in range(self.draws)]
        path = self._path(chosen, ball, rng)
        kept = [self._keeps(chosen, points) for points in (*noise, *path)]
        seeds = [int(seed) for seed in rng.integers(2**31, size=2)]
        estimates: dict[str, Estimate] = {}
        lines, refused = [], {}
        for name in methods_of(subject, self.methods):
            found = self._compare(name, chosen, [*noise, *path], kept, seeds)
            if isinstance(found, str):
                refused[name] = found
                continue
            estimates |= {f"{key}@{name}": estimate for key, estimate in found.items()}
            lines.append((METHODS[name].title, *found.values()))
        bars = tuple(
            Bar(label=METHODS[name].title, value=e.value, low=e.low, high=e.high, series=KINDS[kind])
            for name in METHODS
            for kind in KINDS
            for e in [estimates.get(f"similarity_{kind}@{name}")]
            if e is not None and e.value is not None
        )
        unit = "input units" if subject.modality is Modality.IMAGE else "standard deviations"
        figure = Bars(title="What is left of the explanation", x_title="rank correlation", bars=bars)
        return Measured(
            estimates=estimates,
            headline=tuple(name for name in estimates if name.startswith("similarity_attack@")),
            tables=(
                Table(
                    title="Explanations before and after",
                    columns=(
                        "method",
                        *(f"rank correlation, {words}" for words in KINDS.values()),
                        *(f"top {self.top} kept, {words}" for words in KINDS.values()),
                    ),
                    rows=tuple(lines),
                ),
            ),
            figures=(figure,) if bars else (),
            notes=(
                f"{len(chosen.rows)} test examples; changes of at most {ball.threat.eps:g} {unit} (linf), "
                f"{np.mean(kept):.0%} of the {len(kept)} changes tried keep the answer.",
                "The attacker follows the gradient of the map."
                if path
                else "The attacker has random points only: the map's gradient is zero or cannot be had.",
                *(f"{METHODS[name].title} refuses: {why}" for name, why in refused.items()),
            ),
        )

    def _ball(self, subject: Subject, data: Dataset, sample: Dataset) -> Ball:
        import torch

        from attacks import Threat
        from audit.checks.explain._steady import Ball
        from audit.checks.robustness._space import space

        room = space(subject, data, sample)
        scale = torch.ones_like(room.inputs[0])
        if subject.modality is Modality.IMAGE:
            assert data.bounds is not None
            eps = self.eps_picture * (data.bounds[1] - data.bounds[0])
            return Ball(room.inputs, Threat("linf", eps, data.bounds), scale)
        scale = scale if room.scale is None else room.scale
        low, high = (torch.as_tensor(end, device=scale.device) / scale for end in room.bounds)
        return Ball(room.inputs, Threat("linf", self.eps_table, (low, high), room.mutable), scale)

    def _path(self, chosen: Examples, ball: Ball, rng: np.random.Generator) -> list[Tensor]:
        import torch

        from audit.checks.explain._steady import manipulated
        from audit.explaining.players import groups_of

        if Capability.INPUT_GRADIENT not in chosen.subject.capabilities:
            return []
        (group,) = groups_of(chosen.subject, chosen.rows, chosen.background)
        member = torch.eye(len(group.names))[group.features.flatten()].to(ball.centres)
        targets = chosen.targets.to(ball.centres.device)
        return manipulated(chosen.subject, ball, targets, member, self.steps, self.kept, rng)

    def _keeps(self, chosen: Examples, points: Tensor) -> NDArray[np.bool_]:
        """Whose answer stays, by the model itself, (n,)."""
        kept = chosen.subject.predict(points.cpu()).argmax(1) == chosen.targets
        return np.asarray(kept.numpy())

    def _compare(
        self, name: str, chosen: Examples, changes: list[Tensor], kept: list[NDArray[np.bool_]], seeds: list[int]
    ) -> dict[str, Estimate] | str:
        """Rank correlations and overlaps of one method, or why it refuses."""
        from audit.explaining.examples import mean_correlation

        def explain(points: Tensor | None, seed: int) -> Values:
            rows = chosen.rows if points is None else replace(chosen.rows, inputs=points.cpu())
            return replace(chosen, rows=rows).attribute(name, np.random.default_rng(seed), self.evaluations).values

        try:
            before, again = (explain(None, seed) for seed in seeds)
            # one seed before and after: the input is all that differs
            after = [explain(points, seeds[0]) for points in changes]
        except ValueError as refusal:  # it does not add up, or the model is built as the method cannot read it
            return str(refusal)
        order = {"seeds": _alike(before, again, self.top)}
        moved = np.stack([_alike(before, values, self.top) for values in after])
        moved = np.where(np.stack(kept)[:, None], moved, np.nan)  # (changes, kinds of likeness, examples)
        order["noise"] = _over(np.nanmean, moved[: self.draws])
        order["attack"] = _over(np.nanmin, moved)
        found = {f"similarity_{kind}": mean_correlation(order[kind][0]) for kind in KINDS}
        for kind in KINDS:
            shares = order[kind][1]
            found[f"top_kept_{kind}"] = statistics.clustered_proportion(shares[np.isfinite(shares)], self.top)
        return found


def _alike(a: Values, b: Values, top: int) -> Floats:
    """Rank correlation and overlap of the strongest, (2, n); NaN where there is nothing to rank."""
    from audit.explainers.quality import rank_correlation, top_k_overlap

    first, second = np.stack(a), np.stack(b)
    return np.stack([rank_correlation(first, second), top_k_overlap(first, second, top)])


def _over(statistic: Any, moved: Floats) -> Floats:
    """The statistic over changes, NaN where none is defined."""
    known = np.isfinite(moved).any(0)
    return np.where(known, statistic(np.where(known, moved, 0.0), axis=0), np.nan)
