"""What attention looks at, and whether it matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.explaining.methods import METHODS
from audit.subject import Capability, Modality
from reports.record import Bar, Bars, Estimate, Figure, Measured, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.checks.explain._heads import Heads
    from audit.datasets import Dataset
    from audit.explaining.attention import Portion
    from audit.explaining.examples import Examples
    from audit.subject import Subject

    Floats = NDArray[np.float64]

#: shuffles behind what chance reaches
SHUFFLES = 999
#: heads listed, those whose silence changes most first
LISTED = 40

MEASURES = ("attention_rollout", "gradient_rollout", "last_layer")
TITLES = {
    "attention_rollout": METHODS["attention_rollout"].title,
    "gradient_rollout": METHODS["gradient_rollout"].title,
    "last_layer": "last layer's attention",
}


@dataclass(frozen=True)
class Attention(Check):
    """What attention looks at, and whether it matters.

    What it measures:
        For some test texts, how much of each word the model's attention carries to where the score is read: in the last
        layer, followed through all layers (rollout), and weighted by its gradient (gradient rollout). Beside it stands
        what happens: the change in the log-odds of the predicted class when that word is masked, deleted or replaced.
        Compared are the two orders of the words, by Spearman's rank correlation: with the size of the change, and with the
        change itself, which is positive for words that speak for the class. Each head is then silenced, its output
        replaced by its mean over all tokens, and the change in log-odds stands beside what the head looks at.
    Why it matters:
        Attention maps are shown as explanations because they are at hand. They say where information may flow, not
        what the answer rests on; only an intervention says that.
    How to read it:
        1 is the same order as the true changes, 0 is no relation; what shuffled words reach stands beside it. Attention
        has no sign, so rollout can at best follow the size; gradient rollout looks for words that speak for the class.
        Where the correlation is near chance, do not read these maps as importance. A head that looks sharply at one
        token can be silenced without effect, and one that looks everywhere can decide. Masked words make unusual texts,
        so trust what several ways of removal agree on.

    References:
        Abnar and Zuidema 2020; Chefer, Gur and Wolf 2021; Jain and Wallace 2019; Wiegreffe and Pinter 2019; Michel, Levy
        and Neubig 2019.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.ATTENTION})
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"texts": 24, "heads": 16, "removals": ("mask",)},
        Effort.EXHAUSTIVE: {"texts": 256, "heads": 512},
    }

    #: test texts
    texts: int = 64
    #: heads silenced, one after the other
    heads: int = 96
    #: what stands for a removed word
    removals: tuple[str, ...] = ("mask", "delete", "words")

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.explain import _shown_attention
        from audit.checks.explain._heads import heads_of
        from audit.explaining.attention import portions
        from audit.explaining.examples import examples

        chosen = examples(subject, data, rng, self.texts, self.texts, self.texts)
        parts = list(portions(subject, chosen.rows, chosen.targets))
        values = _values(subject, parts)
        changes, left_out = {}, []
        for removal in self.removals:
            try:
                changes[removal] = _changes(chosen, parts, removal)
            except ValueError as refusal:  # no text has words that could stand for others
                if removal == self.removals[0]:
                    raise
                left_out.append(f"Words were not removed by {removal!r}: {refusal}")
        heads = heads_of(subject, parts, self.heads, rng)
        estimates, table, bars = _agreement(values, changes, rng)
        sharp = _sharpness(heads, rng)
        silenced = int(np.isfinite(heads.effect[0]).sum())
        first = changes[self.removals[0]]
        return Measured(
            estimates={**estimates, "sharp_heads_matter": sharp},
            headline=(
                f"causal_agreement@attention_rollout,{self.removals[0]}",
                f"speaks_for@gradient_rollout,{self.removals[0]}",
            ),
            tables=(table, _heads(heads)),
            figures=(
                *bars,
                *_shown_attention.texts(subject, chosen, parts, values, first),
                *_shown_attention.grid(subject, chosen, parts, heads),
            ),
            notes=(
                f"{len(chosen.rows)} test texts; left out where words do not differ or there are fewer than three. Changes "
                "are those of the log-odds of the predicted class, compared by size.",
                f"{silenced} of {len(heads.labels)} heads silenced.",
                "Attention is shown beside what removal changes, never as importance by itself.",
                *left_out,
            ),
        )


def _values(subject: Subject, parts: Sequence[Portion]) -> dict[str, list[Floats]]:
    """For each measure and text, one value a word."""
    from audit import explainers
    from audit.explaining.attention import looks, words_of

    found: dict[str, list[Floats]] = {measure: [] for measure in MEASURES}
    for part in parts:
        of_tokens = looks(subject, part)
        last = explainers.attention(subject.model, part.inputs)[-1].double().mean(dim=1).numpy()
        of_tokens["last_layer"] = np.einsum("nq,nqk->nk", of_tokens["readout"], last)
        for measure in MEASURES:
            found[measure] += words_of(of_tokens[measure], part)
    return found


def _changes(chosen: Examples, parts: Sequence[Portion], removal: str) -> list[Floats]:
    """For each text by how much the log-odds fall without each word alone."""
    from audit.explaining.players import log_odds, remove

    keep = [~np.eye(len(words), dtype=bool) for part in parts for words in part.words]
    left = remove(chosen.subject, chosen.rows, keep, chosen.targets, chosen.background, removal)
    full = log_odds(chosen.subject.scores(chosen.rows), chosen.targets).double().numpy()
    return [whole - without for whole, without in zip(full, left, strict=True)]


def _agreement(
    values: Mapping[str, list[Floats]], changes: Mapping[str, list[Floats]], rng: np.random.Generator
) -> tuple[dict[str, Estimate], Table, tuple[Figure, ...]]:
    """Rank correlation of attention with the size of the change, and with the change, for each measure and removal."""
    from audit.explaining.examples import mean_correlation, rank_correlation

    estimates: dict[str, Estimate] = {}
    rows, bars = [], []
    for removal, change in changes.items():
        for measure in MEASURES:
            pairs = list(zip(values[measure], change, strict=True))
            found = np.array([rank_correlation(a, b) for a, b in pairs])
            # the order of the changes themselves: above the least of them
            signed = np.array([rank_correlation(a, b - b.min(initial=0.0)) for a, b in pairs])
            size, side = mean_correlation(found), mean_correlation(signed)
            estimates[f"causal_agreement@{measure},{removal}"] = size
            estimates[f"speaks_for@{measure},{removal}"] = side
            shuffled = _by_chance([p for p, value in zip(pairs, found, strict=True) if np.isfinite(value)], rng)
            reach = p_value = None
            if size.value is not None:
                reach = float(np.quantile(shuffled, 0.975))
                p_value = (1 + int((shuffled >= size.value).sum())) / (SHUFFLES + 1)
                bar = Bar(label=TITLES[measure], value=size.value, low=size.low, high=size.high, series=removal)
                bars.append(bar)
            rows.append((TITLES[measure], removal, size, reach, p_value, side))
    table = Table(
        title="Attention beside what removing a word changes",
        columns=(
            "attention",
            "removed by",
            "correlation with the size of the change",
            "shuffled words reach",
            "p",
            "correlation with the change",
        ),
        rows=tuple(rows),
        note=f"Shuffled: the upper end of 95 % of {SHUFFLES} means with each text's words in random order; p is the share "
        "of them that reach the mean found. The change is positive for words that speak for the predicted class, which is "
        "what gradient rollout looks for.",
    )
    figure = Bars(
        title="Does attention rank words as their removal does?",
        x_title="Spearman's correlation with the size of the change",
        bars=tuple(bars),
        reference=0.0,
    )
    return estimates, table, (figure,) if bars else ()


def _by_chance(pairs: Sequence[tuple[Floats, Floats]], rng: np.random.Generator) -> Floats:
    """Mean correlations when the words of each text are shuffled, (SHUFFLES,)."""
    from scipy import stats

    total = np.zeros(SHUFFLES)
    for a, b in pairs:
        first, second = (stats.zscore(stats.rankdata(np.abs(v))) for v in (a, b))
        total += rng.permuted(np.tile(second, (SHUFFLES, 1)), axis=1) @ first / len(first)
    return total / max(len(pairs), 1)


def _sharpness(heads: Heads, rng: np.random.Generator) -> Estimate:
    """Rank correlation over heads of how few tokens one looks at with how much its silence changes; texts resampled."""
    from audit.explaining.examples import rank_correlation

    kept = np.isfinite(heads.effect[0])
    if kept.sum() < 4:
        return statistics.undefined(f"needs at least 4 heads, found {int(kept.sum())}", n=len(heads.effect))

    def correlation(effect: Floats, tokens: Floats) -> float:
        return rank_correlation(1 / tokens.mean(axis=0), np.abs(effect).mean(axis=0))

    return statistics.bootstrap(correlation, heads.effect[:, kept], heads.tokens[:, kept], rng=rng, replicates=400)


def _heads(heads: Heads) -> Table:
    size = np.nan_to_num(np.abs(heads.effect).mean(axis=0), nan=-1.0)
    order = [int(i) for i in np.argsort(-size, kind="stable") if size[i] >= 0][:LISTED]
    return Table(
        title="What each head looks at, and what its silence changes",
        columns=(
            "head",
            "size of the change in log-odds",
            "change",
            "tokens looked at",
            "tokens away",
            "on special tokens",
        ),
        rows=tuple(
            (
                f"layer {heads.labels[i][0]}, head {heads.labels[i][1]}",
                statistics.mean(np.abs(heads.effect[:, i])),
                statistics.mean(heads.effect[:, i]),
                round(float(heads.tokens[:, i].mean()), 2),
                round(float(heads.distance[:, i].mean()), 2),
                f"{heads.special[:, i].mean():.0%}",
            )
            for i in order
        ),
        note="A change above 0 means that the head speaks for the predicted class. Tokens looked at: e to the entropy of its "
        "weights. Means over texts; with many heads some intervals miss 0 by chance.",
    )
