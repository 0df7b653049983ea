"""What would mend a difference between groups, and at what price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from audit import statistics
from audit.check import Check, Effort
from audit.fairness.attributes import lacking
from reports.record import Estimate, Measured

if TYPE_CHECKING:
    import numpy as np

    from audit.datasets import Dataset
    from audit.subject import Subject

#: of the best remedy: the difference it leaves, by how much it changed, and what that costs
_HEADLINE = ("smallest_difference", "difference_change", "accuracy_change")


@dataclass(frozen=True)
class Mitigation(Check):
    """What would mend the difference between groups.

    What it measures:
        What the cheap remedies would do: thresholds by group, calibration by group and a fairer last layer, which leave
        the rest of the network as it is, and, except at quick effort, taking from the inputs what the group tells of
        them, after which the network is trained on for a while. Each is learnt on training
        rows and measured on the test rows: the difference between groups that is left, and what it costs in accuracy.
        The headline is the remedy with the smallest difference on training rows set aside to choose on.
    Why it matters:
        A difference that a threshold removes for half a point of accuracy is another finding than one that only a new
        model would remove. It says what to do next, and what that would cost.
    How to read it:
        Each point is a model: further left is a smaller difference, higher is more accurate, and no other model beats
        those on the front in both. Some remedies need to know a person's group when the model answers, which the law
        does not allow everywhere; the table says which. `audit mitigate` tries them with more care, retraining among
        them, and writes the one that you choose.

    References:
        Hardt et al. 2016 (thresholds); Agarwal et al. 2018 (reductions); Platt 1999 (calibration); Feldman et al. 2015
        (decorrelation); Agresti and Min 2005 (paired proportions).
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 5000, "methods": ("thresholds", "calibration", "reductions")},
        Effort.EXHAUSTIVE: {"rows": 50_000},
    }

    #: whom it is for; none: the attribute whose difference on the test rows is surest
    attribute: str | None = None
    #: whose difference is to fall
    definition: Literal["demographic_parity", "equal_opportunity", "equalised_odds"] = "demographic_parity"
    #: remedies to try
    methods: tuple[str, ...] = ("thresholds", "calibration", "reductions", "decorrelation")
    #: training rows used at most
    rows: int = 10_000
    #: share of them kept back, half to set thresholds and half to choose on
    held: float = 0.4

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """See `Check.unfit`."""
        from audit.loading import Format
        from audit.mitigation.material import LEAST

        if subject.format == Format.POST_PROCESSOR:
            return "this is a remedy already; audit the model inside it to see what would mend that"
        if (reason := lacking(data, LEAST)) is not None:
            return reason
        if data.train is None:
            return "remedies are learnt on training data, and none are given; set data.train in the plan"
        return lacking(data.train, LEAST)

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.mitigation.menu import menu
        from audit.mitigation.showing import scatter, table
        from audit.mitigation.trials import BEFORE

        found = menu(subject, data, self.attribute, self.definition, self.methods, self.rows, self.held, rng)
        attribute, gap = found.aim.attribute, f"{self.definition}_difference"
        reached: dict[str, Estimate] = {f"{gap}_before@{attribute}": found.found[BEFORE].estimates[gap]}
        if found.best is None:
            reason = next(iter(found.left_out.values()), "the difference is undefined on the rows to choose on")
            reached |= {f"{name}@{attribute}": statistics.undefined(reason) for name in _HEADLINE}
        else:
            best = found.found[found.best].estimates
            taken = (gap, f"{gap}_change", "accuracy_change")
            reached |= {f"{name}@{attribute}": best[of] for name, of in zip(_HEADLINE, taken, strict=True)}
        notes = [
            f"Learnt on {found.rows} training rows, of which {self.held:.0%} were kept back: half to set thresholds, half "
            "to choose on.",
            *([] if found.best is None else [f"The smallest difference on the rows to choose on: {found.best}."]),
            *found.notes,
            *(f"{name} was left out: {reason}" for name, reason in found.left_out.items()),
        ]
        return Measured(
            estimates=reached,
            headline=tuple(f"{name}@{attribute}" for name in _HEADLINE),
            tables=(table(found.found, found.aim, found.reads),),
            figures=(scatter(found.found, found.aim, "Filled points are the front."),) if found.reads else (),
            notes=tuple(notes),
        )
