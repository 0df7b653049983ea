"""Tables of the definitions check: impact ratios, and what definitions would demand."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.checks.fairness._groups import percent
from audit.fairness.attributes import CROSS, MISSING, Levels
from audit.fairness.counting.cube import Cube
from audit.fairness.definitions import impact, impossibility
from audit.fairness.definitions import published as definitions
from audit.fairness.definitions.impossibility import Exclusion
from audit.fairness.definitions.published import Distance
from audit.fairness.strata.stratified import Strata
from audit.statistics import LEVEL, undefined
from reports.record import Cell, Estimate, Table

Ints = NDArray[np.int64]


class Rows(NamedTuple):
    """What the definitions are read from: class indices, the favourable one's probability and its index."""

    true: Ints
    answer: Ints
    score: NDArray[np.float64]
    classes: range
    positive: int


def counted(rows: Rows, own: Levels, keep: NDArray[np.bool_]) -> Cube:
    """The groups by name; a cube that has lost groups without rows."""
    names = np.array(own.names, dtype=object)[own.code[keep]]
    return Cube.count(rows.true[keep], rows.answer[keep], names, classes=rows.classes, positive=rows.positive)


def within(rows: Rows, own: Levels, other: Levels, rate: str) -> Distance:
    """The largest difference within the levels of another variable."""
    keep = (own.code >= 0) & (other.code >= 0)
    frame = {"group": np.array(own.names, dtype=object)[own.code[keep]], "alike": other.code[keep]}
    cube = Cube.count(rows.true[keep], rows.answer[keep], frame, classes=rows.classes, positive=rows.positive)
    return definitions.adjusted(Strata.of(cube, rate, "group"))


def impact_ratios(attribute: str, rows: Rows, own: Levels, most: int) -> tuple[Table, dict[str, Estimate]]:
    """Impact ratios of selection and of scoring, with both rules' readings."""
    names = np.array([*own.names, None], dtype=object)[own.code]
    unknown = np.array([name is None or MISSING in str(name).split(CROSS) for name in names])
    known = counted(rows, own, (own.code >= 0) & ~unknown)
    federal = {line.group: line for line in impact.four_fifths(known)}
    lines, _ = impact.impact_ratios(known)
    names[unknown] = None
    above, _, _ = impact.above_median(rows.score, names)
    scored = {line.group: line for line in impact.impact_ratios(above)[0]}
    shown = {line.group for line in sorted(lines, key=lambda line: -line.rows)[:most]}
    table = Table(
        title=f"Impact ratios by {attribute}",
        columns=(
            attribute,
            "rows",
            "selected",
            "selection rate",
            "impact ratio",
            "ratio of refusals",
            "29 CFR 1607.4(D)",
            "scoring rate",
            "scoring ratio",
        ),
        rows=tuple(
            (
                str(line.group),
                line.rows,
                line.hits,
                line.rate,
                _cell(line.ratio),
                _plain(federal[line.group].opposite) if line.group in federal else "",
                federal[line.group].reading if line.group in federal else "",
                _plain(scored[line.group].rate),
                _cell(scored[line.group].ratio),
            )
            for line in lines
            if line.group in shown
        ),
        note="Each group over the most favoured one. Scoring rate: scores strictly above the median of all rows. "
        f"{_unknown(int(unknown.sum()), attribute)}Categories under {100 * impact.SMALL:g} % of the rows are listed without "
        f"a ratio by the city's rule. At most {most} groups are listed; intervals hold for all pairs.",
    )
    smallest = {
        f"impact_ratio@{attribute}": _smallest([line.ratio for line in lines]),
        f"scoring_impact_ratio@{attribute}": _smallest([line.ratio for line in scored.values()]),
    }
    return table, smallest


def _unknown(rows: int, attribute: str) -> str:
    return f"{rows:,} rows of unknown {attribute} are in none of the ratios. " if rows else ""


def _cell(one: Estimate) -> Cell:
    return one.reason if one.value is None else one


def _plain(one: Estimate) -> str:
    """A number beside others that carry the interval."""
    if one.value is None:
        return "-"
    return percent(one.value) if one.unit == "fraction" else f"{one.value:.2f}"


def _smallest(ratios: list[Estimate]) -> Estimate:
    there = [ratio for ratio in ratios if ratio.value is not None]
    if len(there) < 2:
        return undefined("fewer than two categories of at least 2 % of the rows")
    return min(there, key=lambda ratio: ratio.value or 0.0)


def demands(attribute: str, cube: Cube, most: int) -> tuple[list[Table], tuple[Exclusion, ...], str]:
    """What definitions that exclude each other would demand, where base rates differ; and that in words."""
    found = cube.test("base_rate", margin=0.0)
    gap = found.disparity
    if gap.value is None:
        return [], (), f"True rates by {attribute} cannot be compared: {gap.reason}."
    if found.p is None or found.p > 1 - LEVEL:
        return (
            [],
            (),
            (
                f"True rates by {attribute} do not differ beyond chance ({gap.value * 100:.1f} points), so the definitions need "
                "not exclude each other."
            ),
        )
    lines = impossibility.demands(cube)
    size: dict[Hashable, int] = dict(zip(cube.groups, cube.rows.sum((1, 2)).tolist(), strict=True))
    lines = sorted(lines, key=lambda line: -size[line.group])[:most]
    table = Table(
        title=f"What definitions would demand by {attribute}",
        columns=(
            attribute,
            "true rate",
            "false positive rate",
            "that rate for predictive parity",
            "that rate for demographic parity",
            "selection rate under equalised odds",
            "precision under equalised odds",
        ),
        rows=tuple((str(line.group), line.base, _plain(line.false_positive_rate), *line[3:]) for line in lines),
        note="What would follow if all groups had the model's overall true positive rate: the false positive rate that each "
        "group would need for the one definition or the other, and what it would have under equalised odds. Where a "
        "column differs between groups, its definition and equalised odds cannot hold together; what is below 0 or above "
        "100 % cannot be reached.",
    )
    excluded = impossibility.exclusions(cube)
    return (
        [table],
        excluded,
        (
            f"True rates by {attribute} differ by {gap.value * 100:.1f} points, beyond chance, so this model cannot satisfy "
            f"together: {'; '.join(one.definitions for one in excluded)}. Choose the one that the use asks for."
        ),
    )


def excluding(found: Mapping[str, tuple[Exclusion, ...]]) -> list[Table]:
    """One table of what excludes each other, for the attributes it holds for; none where nothing does."""
    where: dict[Exclusion, list[str]] = {}
    for attribute, excluded in found.items():
        for one in excluded:
            where.setdefault(one, []).append(attribute)
    if not where:
        return []
    return [
        Table(
            title="Definitions that exclude each other",
            columns=("groups by", "definitions", "because", "unless", "source"),
            rows=tuple((", ".join(names), *one) for one, names in where.items()),
            note="As true rates differ, no threshold and no retraining brings both together, but in the cases named by `unless`.",
        )
    ]
