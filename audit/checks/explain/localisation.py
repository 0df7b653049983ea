"""Whether explanations lie where people marked the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.explaining.methods import method, methods_of
from audit.subject import Modality
from reports.record import Measured, Metric, Score, Scoreboard, ScoreRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit.datasets import Dataset
    from audit.explaining.attributions import Values
    from audit.subject import Subject

    Floats = NDArray[np.float64]

#: metric -> what it is called and says
KINDS = {
    "pointing_game": ("pointing game", "whether the highest cell is marked"),
    "relevance_mass": ("mass", "share of what speaks for the class that is marked"),
    "relevance_rank": ("rank", "share of the highest cells that is marked, as many as there are marks"),
    "top_3": ("top three", "share of the three highest cells that is marked"),
    "inside_auroc": ("AUROC", "chance that a marked pixel stands above an unmarked one"),
}

#: cells of a picture that hit or miss, where a metric counts hits
TRIALS = {"pointing_game": 1, "top_3": 3}


@dataclass(frozen=True)
class Localisation(Check):
    """Explanations against what people marked.

    What it measures:
        People marked in each picture what the answer is about. Measured is whether the highest cell of an explanation is
        marked (pointing game), which share of what speaks for the class is (relevance mass), which share of the
        highest cells is (relevance rank, and the top three), and how well marked pixels stand above the others (AUROC).
    Why it matters:
        A model that is right for a wrong reason, a watermark or the background, is right only where that reason holds.
    How to read it:
        Each score stands beside that of the same values in random order: a large mark is hit by chance often. A low score
        of an explanation that is faithful speaks against the model, not against the explanation.

    References:
        Zhang et al. 2018 (pointing game); Arras, Osman and Samek 2022 (relevance mass and rank).
    """

    version: ClassVar[int] = 2
    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"media": 24, "evaluations": 256},
        Effort.EXHAUSTIVE: {"media": 256, "evaluations": 2048},
    }

    methods: tuple[str, ...] = ("kernel_shap", "lime", "integrated_gradients", "saliency")
    #: pictures with a mark
    media: int = 64
    #: coalitions asked for in each example
    evaluations: int = 512
    #: random orders of each explanation
    random: int = 20

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """Needs masks that mark something."""
        if data.masks is None:
            return "the data have no masks; name their array as data.masks in the plan"
        return None if len(_marked(data)) else "no mask marks a part of its picture and leaves another out"

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.explaining.examples import examples
        from audit.explaining.fakes import TITLES, controls

        marked = data.take(_marked(data))
        chosen = examples(subject, marked, rng, self.media, self.media, 16)
        found, refused = chosen.attribute_each(methods_of(subject, self.methods), rng, self.evaluations)
        values: dict[str, Values] = {name: of.values for name, of in found.items()} | controls(chosen)
        assert chosen.rows.masks is not None
        scores = {name: self._scores(of, chosen.rows.masks.numpy(), rng) for name, of in values.items()}
        titles = {**{name: method(name).title for name in found}, **TITLES}
        estimates = {f"{kind}@{name}": scores[name][kind].value for name in found for kind in KINDS}
        leads = {(name, kind): scores[name][kind].lead for name in found for kind in KINDS}
        estimates |= {f"{kind}_lead@{name}": lead for (name, kind), lead in leads.items() if lead is not None}
        return Measured(
            estimates=estimates,
            headline=tuple(f"relevance_mass@{name}" for name in found),
            figures=(
                Scoreboard(
                    title="Explanations against marks",
                    metrics=tuple(Metric(label=label, note=note) for label, note in KINDS.values()),
                    rows=tuple(
                        ScoreRow(label=titles[name], scores=tuple(of_kind.values())) for name, of_kind in scores.items()
                    ),
                    note="Chance: the same values in random order.",
                ),
            ),
            notes=(
                f"{len(chosen.rows)} pictures with a mark; {self.random} random orders of each explanation.",
                *refused.values(),
            ),
        )

    def _scores(self, values: Values, masks: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, Score]:
        from audit.explainers import quality
        from audit.explaining.players import cells_of

        cells = cells_of(*masks.shape[1:]).numpy().ravel()
        size = np.bincount(cells)
        own = np.stack(values)
        orders = np.concatenate([own[None], quality.shuffled(own, self.random, rng)])
        flat = masks.reshape(len(masks), -1)
        # a cell's value lies evenly on its pixels, for its mass; its rank is that of all of them
        mass, height = (orders / size)[..., cells], orders[..., cells]
        top = min(max(1, round(3 * size.mean())), flat.shape[1])
        found = {
            "pointing_game": quality.pointing_game(height, flat),
            "relevance_mass": quality.relevance_mass(mass, flat),
            "relevance_rank": quality.relevance_rank(height, flat),
            "top_3": quality.top_k_intersection(height, flat, top),
            "inside_auroc": quality.inside_auroc(height, flat),
        }
        return {kind: _score(found[kind], TRIALS.get(kind)) for kind in KINDS}


def _marked(data: Dataset) -> NDArray[np.int64]:
    """Rows whose mask marks a part of the picture and leaves another out."""
    assert data.masks is not None
    flat = data.masks.flatten(1)
    return np.flatnonzero((flat.any(1) & ~flat.all(1)).numpy())


def _score(scores: Floats, trials: int | None) -> Score:
    """From (1 + orders, examples): the mean, that of the random orders, and the difference, paired.

    Hits are counted: their interval has a width where all pictures are hit, which a deviation of 0 would not give.
    """
    value, chance = scores[0], np.ma.masked_invalid(scores[1:]).mean(0).filled(np.nan)
    defined = np.isfinite(value) & np.isfinite(chance)
    value, chance = value[defined], chance[defined]
    of_chance = statistics.mean(chance, "fraction")
    if trials is not None:
        hits = statistics.clustered_proportion(value, trials)
        return Score(value=hits, chance=of_chance, lead=statistics.difference(hits, of_chance))
    mean = statistics.mean(value, "fraction")
    if mean.low is not None and mean.high is not None:
        mean = mean.model_copy(update={"low": max(mean.low, 0.0), "high": min(mean.high, 1.0)})
    return Score(value=mean, chance=of_chance, lead=statistics.mean(value - chance))
