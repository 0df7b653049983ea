"""The mitigation as evidence: every method side by side, the front, the one that was taken and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from audit.mitigation.choosing import Spot, front
from audit.mitigation.measuring import CHOICE
from audit.mitigation.trials import BEFORE, NAME, VERSION
from reports.record import Card, Estimate, Measured, Place, Scatter, Table

if TYPE_CHECKING:
    from audit.comparison import Row
    from audit.mitigation.remedy import Aim
    from audit.mitigation.trials import Trial

CARD = Card(
    id=NAME,
    section="fairness",
    version=VERSION,
    title="Mitigation, before and after",
    what="Several remedies for a difference between groups, each learnt on training rows and audited on the same test rows "
    "as the model was: the difference aimed at and the others, accuracy, accuracy under a small attack, and calibration. "
    "One was taken, by a rule, on training rows that no remedy saw; no test row had a part in it.",
    why="A smaller difference is bought, most often with accuracy, sometimes with probabilities that mean less or with "
    "answers that are easier to turn. Which price is right is for people to say, so the whole menu is shown.",
    how="Each point is a model: the further left, the smaller the difference; the higher, the more accurate. No other model "
    "beats those on the front in both. Changes are measured row by row against the model as it was; where an interval "
    "leaves out 0, the change is no chance. A model that reads a person's group when it answers treats equal people of two "
    "groups differently by design: in some places, and for some uses, the law forbids it.",
    references="Kamiran and Calders 2012 (reweighing); Hardt et al. 2016 (thresholds); Agarwal et al. 2018 (reductions); "
    "Zhang et al. 2018 (adversarial debiasing); Feldman et al. 2015 (decorrelation); Platt 1999 (calibration); Agresti and "
    "Min 2005 (paired proportions).",
)


def spot(found: Measured, definition: str, rows: str = "") -> Spot:
    """Where a model stands, on the test rows or on those to choose on."""
    at = f"@{rows}" if rows else ""
    return Spot(
        found.estimates[f"{definition}_difference{at}"].value,
        found.estimates[f"accuracy{at}"].value,
    )


def scatter(found: Mapping[str, Measured], aim: Aim, note: str, taken: str | None = None) -> Scatter:
    """Difference against accuracy on the test rows, with the front; the model that was taken is marked."""
    definition = str(aim.definition)
    places = {name: spot(one, definition) for name, one in found.items()}
    best = front(places)
    points = []
    for name, one in found.items():
        gap, accuracy = one.estimates[f"{definition}_difference"], one.estimates["accuracy"]
        if gap.value is not None and accuracy.value is not None:
            points.append(
                Place(
                    label=f"{name} (taken)" if name == taken else name,
                    x=gap.value,
                    y=accuracy.value,
                    x_low=gap.low,
                    x_high=gap.high,
                    y_low=accuracy.low,
                    y_high=accuracy.high,
                    front=name in best,
                )
            )
    return Scatter(
        title=f"What a smaller difference between groups of {aim.attribute} costs",
        x_title=f"{words(definition)} difference",
        y_title="accuracy",
        points=tuple(points),
        x_percent=True,
        y_percent=True,
        note=note,
    )


def table(found: Mapping[str, Measured], aim: Aim, reads: Mapping[str, bool]) -> Table:
    """A line a model, on the test rows."""
    definition = str(aim.definition)
    best = front({name: spot(one, definition) for name, one in found.items()})
    robust = next((n for one in found.values() for n in one.estimates if n.startswith("robust_accuracy@")), None)
    shown = [f"{definition}_difference", "accuracy", *([robust] if robust else []), "brier_score", "calibration_gap"]
    changes = [f"{definition}_difference_change", "accuracy_change"]
    rows = []
    for name, one in found.items():
        cells = [one.estimates[key] for key in shown]
        moved = [one.estimates.get(key, "") for key in changes]
        rows.append((name, *cells, *moved, "yes" if reads.get(name) else "no", "yes" if name in best else "no"))
    return Table(
        title="Remedies, on the test rows",
        columns=(
            "model",
            *(words(key).replace("@", " ") for key in (*shown, *changes)),
            "reads the group to answer",
            "on the front",
        ),
        rows=tuple(rows),
        note="Intervals of differences hold for all pairs of groups at once; changes are paired, row by row.",
    )


def evidence(
    found: Mapping[str, Measured],
    trials: Sequence[Trial],
    chosen: str,
    aim: Aim,
    compared: Sequence[Row],
    notes: Sequence[str],
) -> Measured:
    """Everything together; the changes of the chosen model are the headline."""
    estimates: dict[str, Estimate] = {}
    headline = []
    for key, estimate in found[chosen].estimates.items():
        if "_change" in key:
            estimates[key] = estimate
            headline.append(key)
    for name, one in found.items():
        for key, estimate in one.estimates.items():
            base, _, slice_ = key.partition("@")
            if slice_ != CHOICE and not (name == chosen and "_change" in key):
                estimates[f"{base}@{name}" + (f", {slice_}" if slice_ else "")] = estimate
    reads = {trial.method: trial.reads for trial in trials}
    before_after = Table(
        title="Before and after",
        columns=("figure", "before", "after", "change"),
        rows=tuple((row.subject, row.before, row.after, row.change) for row in compared if row.headline),
        note="Headline figures of the two audits, as if they had seen different rows; every figure is in comparison.json.",
    )
    note = (
        f"{chosen} was taken. Filled points are the front: no other is better in one respect and as good in the other."
    )
    return Measured(
        estimates=estimates,
        headline=tuple(headline),
        tables=(table(found, aim, reads), before_after),
        figures=(scatter(found, aim, note, chosen),),
        notes=tuple(notes),
    )


def words(name: str) -> str:
    """A name without underscores."""
    return name.replace("_", " ")


def told(
    trials: Sequence[Trial], left_out: Mapping[str, str], found: Mapping[str, Measured], chosen: str, aim: Aim
) -> list[str]:
    """What a reader must know of the methods."""
    notes = [f"{trial.method}: {note}" for trial in trials for note in trial.notes]
    notes += [f"{name} was left out: {reason}" for name, reason in left_out.items()]
    was = spot(found[BEFORE], str(aim.definition), CHOICE)
    if was.difference is not None and was.difference <= aim.margin:
        notes.append(
            f"On the rows to choose on, the model as it was has a difference of {was.difference:.3g}, which is within the "
            f"margin of {aim.margin:g}: there may be nothing to mend."
        )
    if (unsure := unproven(found[chosen], chosen, aim)) is not None:
        notes.append(unsure)
    return notes


def unproven(found: Measured, chosen: str, aim: Aim) -> str | None:
    """That the test rows do not show that the model taken has a smaller difference than before; None where they do."""
    change = found.estimates[f"{aim.definition}_difference_change"]
    if change.high is not None and change.high < 0:
        return None
    if change.value is None or change.low is None or change.high is None:
        return f"Whether {chosen} brings the difference down is not known on the test rows: {change.reason}."
    return (
        f"The test rows do not show that {chosen} brings the difference down: it changes by {100 * change.value:.1f} "
        f"percentage points ({100 * change.low:.1f} to {100 * change.high:.1f}); try more test rows, or another method."
    )
