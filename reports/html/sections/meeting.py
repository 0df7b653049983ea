"""Where the other sections' figures of every group meet: one table an attribute, a row a group. It only places them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.html import views
from reports.record import Entry, Estimate, Measured

#: check, quantity, heading; in the order of the columns
COLUMNS = (
    ("data.representation", "base_rate", "favourable in truth"),
    ("fairness.rates", "selection_rate", "favourable answers"),
    ("fairness.rates", "accuracy", "accuracy"),
    ("fairness.calibration", "calibration_gap", "calibration gap"),
    ("robustness.groups", "robust_accuracy", "accuracy under attack"),
    ("explain.groups", "faithfulness", "explanations: faithfulness"),
    ("explain.groups", "repeatability", "explanations: steadiness"),
    ("explain.counterfactuals", "distance", "way to the favourable answer"),
    ("fairness.counterfactual", "net_favour", "net favour of membership"),
    ("fairness.label_noise", "label_noise", "labels in doubt"),
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class _Found:
    """An estimate of a group, and the evidence it stands in."""

    estimate: Estimate
    evidence: str
    name: str


def meeting(entries: Iterable[Entry], attributes: Sequence[str]) -> tuple[views.TableView, ...]:
    """What several checks measured of each group, side by side.

    Args:
        entries: the evidence of the whole record.
        attributes: the protected attributes, as in the data card.

    Returns:
        One table for each attribute of which at least two checks say something; every number knows its evidence.
    """
    measured: dict[str, tuple[str, Measured]] = {}
    for entry in entries:
        if isinstance(entry.evidence, Measured):
            measured.setdefault(entry.unit.check, (entry.unit.key, entry.evidence))
    tables = (_table(attribute, _gathered(attribute, attributes, measured)) for attribute in attributes)
    return tuple(table for table in tables if table is not None)


def _gathered(
    attribute: str, attributes: Sequence[str], measured: dict[str, tuple[str, Measured]]
) -> list[dict[str, _Found]]:
    """For each column, the estimate of every group by name."""
    # an attribute may be called as another one begins
    longer = tuple(f"{other}=" for other in attributes if other.startswith(f"{attribute}="))
    columns = []
    for check, quantity, _ in COLUMNS:
        key, evidence = measured.get(check, ("", None))
        prefix = f"{quantity}@{attribute}="
        columns.append(
            {
                name.removeprefix(prefix): _Found(estimate, key, name)
                for name, estimate in (evidence.estimates if evidence else {}).items()
                if name.startswith(prefix) and not name.partition("@")[2].startswith(longer or ("\0",))
            }
        )
    return columns


def _table(attribute: str, columns: list[dict[str, _Found]]) -> views.TableView | None:
    shown = [(COLUMNS[i], column) for i, column in enumerate(columns) if column]
    if len({check for (check, _, _), _ in shown}) < 2:
        return None
    groups = sorted({group for _, column in shown for group in column}, key=_place)
    rows = tuple(
        (
            views.CellView(None, group, numeric=False),
            *(_cell(column.get(group), head) for (_, _, head), column in shown),
        )
        for group in groups
    )
    checks = ", ".join(dict.fromkeys(check for (check, _, _), _ in shown))
    return views.TableView(
        title=f"Everything measured by {attribute}",
        columns=(attribute, *(head for (_, _, head), _ in shown)),
        numeric=(False, *(True for _ in shown)),
        rows=rows,
        note=f"From {checks}. An empty place was not measured; checks that explain or attack take a sample of each group "
        "and may join small ones as “others”.",
        folded=len(rows) > views.FOLDED,
    )


def _cell(found: _Found | None, heading: str) -> views.CellView:
    if found is None:
        return views.CellView(None, "", numeric=True)
    return views.CellView(views.number(found.estimate, found.evidence, found.name, heading), "", numeric=True)


def _place(group: str) -> tuple[int, float, str]:
    """Words by the alphabet, then ranges of numbers by where they begin, then what is no group of its own."""
    if group in ("others", "missing"):
        return 2, 0.0, group
    if group.startswith("(") or _NUMBER.fullmatch(group):
        first = _NUMBER.search(group.partition(",")[0])
        return 1, float(first[0]) if first else float("-inf"), group
    return 0, 0.0, group
