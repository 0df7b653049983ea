"""Rows changed as a person could change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.subject import Capability, Modality
from reports.record import Bar, Bars, Cell, Curves, Estimate, Measured, Table

if TYPE_CHECKING:
    from torch import Tensor

    from attacks.tabular.search import Effort as Search
    from audit.checks.robustness._tables import Layout
    from audit.datasets import Dataset
    from audit.subject import Subject

#: deviations a number may move, categorical columns that may switch
Budget = tuple[float, int]


@dataclass(frozen=True)
class TableEvasion(Check):
    """Attacks on tables, within their rules.

    What it measures:
        The share of rows that the model still answers rightly after an enemy has changed them as a person could: each
        number by at most so many standard deviations, in its own unit and within what the training data hold; whole
        numbers to whole numbers; a few categorical columns to categories that occur. Columns declared immutable never
        move, and declared constraints hold. Gradients guide the search where the model has them; what they do not break
        is searched by scores alone. Each row found is shown to the model anew before it counts.
    Why it matters:
        An applicant does not add noise to a vector. He enters another occupation, two hours more, a slightly higher
        age. If so small an edit flips the answer, whoever learns of it can have the answer he wants.
    How to read it:
        Accuracy without attack is the ceiling. Compare the curve at no switch with that at one: the gap is what the
        categories alone are worth to an enemy. The bars name the columns he needed; those deserve verification. Rows that
        stand are not proven safe: no change was found, which is not the same as none exists.

    References:
        Ballet et al. 2019 (imperceptible attacks on tables); Mathov et al. 2020 (constraints of tabular data); Ebrahimi
        et al. 2018 (switches by gradient); Frank and Wolfe 1956.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TABULAR})
    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"rows": 400, "effort": "quick"},
        Effort.EXHAUSTIVE: {"rows": 4000, "effort": "exhaustive"},
    }

    #: test rows sampled
    rows: int = 2000
    #: how far numbers may move, in standard deviations of the training data
    deviations: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5)
    #: how many categorical columns may switch
    switches: tuple[int, ...] = (0, 1, 2)
    #: how long `attacks.table_search` tries
    effort: str = "standard"
    #: examples shown
    shown: int = 6

    def unfit(self, subject: Subject, data: Dataset) -> str | None:
        """See `Check.unfit`."""
        if not any(f.mutable for f in data.features):
            return "no column may change: all are immutable or undescribed"
        return None if self._budgets() else "no budget is given"

    def _budgets(self) -> list[Budget]:
        """All but the one that allows nothing, rising."""
        deviations, switches = sorted(set(self.deviations)), sorted(set(self.switches))
        return [(eps, count) for count, eps in product(switches, deviations) if eps or count]

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.robustness._grid import draw_seed
        from audit.checks.robustness._tables import layout

        sample = data.sample(self.rows, rng)
        here = layout(data)
        siege = _Siege(subject, sample, here, self.effort, draw_seed(rng))
        budgets = self._budgets()
        for budget in reversed(budgets):
            siege.lay(budget)
        accuracy = {budget: siege.accuracy(budget) for budget in budgets}
        middle = budgets[len(budgets) // 2]
        names = {budget: f"robust_accuracy@eps={budget[0]:.4g},switches={budget[1]}" for budget in budgets}
        clean = statistics.proportion(int(siege.right.sum()), len(sample))
        return Measured(
            estimates={"clean_accuracy": clean, **{names[budget]: accuracy[budget] for budget in budgets}},
            headline=("clean_accuracy", names[middle], names[budgets[-1]]),
            tables=(
                self._grid(clean, accuracy),
                *self._examples(subject, sample, here, siege, middle),
                here.rules([eps for eps in sorted(set(self.deviations)) if eps]),
            ),
            figures=(_curves(clean, accuracy), *siege.columns(middle)),
            notes=(
                f"{len(sample)} of {len(data)} test rows. Forward and backward passes of single rows: {siege.passes:,}.",
                *_notes(here, sample),
                *(() if siege.gradients else ("This checkpoint has no input gradient: scores alone led the search.",)),
            ),
        )

    def _grid(self, clean: Estimate, accuracy: Mapping[Budget, Estimate]) -> Table:
        deviations, switches = sorted(set(self.deviations)), sorted(set(self.switches))
        rows: list[tuple[Cell, ...]] = [
            (eps, *(accuracy.get((eps, count), clean) for count in switches)) for eps in deviations
        ]
        return Table(
            title="Accuracy under attack",
            columns=("deviations a number may move", *(_switches(count) for count in switches)),
            rows=tuple(rows),
            note="All cells are measured on the same rows.",
        )

    def _examples(
        self, subject: Subject, sample: Dataset, here: Layout, siege: _Siege, budget: Budget
    ) -> tuple[Table, ...]:
        """Rows that fell, those first that needed the fewest columns."""
        from audit.checks.robustness._examples import as_rows

        fallen, adversarial, changed = siege.fallen(budget)
        order = np.argsort(changed.sum(1), kind="stable")[: self.shown]
        if not len(order):
            return ()
        title = f"Rows before and after, at {_words(budget)}"
        return (
            as_rows(subject, sample, siege.inputs[fallen[order]], adversarial[order], title, here.whole, mark="→ "),
        )


class _Siege:
    """The sampled rows under ever smaller budgets: what stands under one stands under every smaller."""

    def __init__(self, subject: Subject, sample: Dataset, here: Layout, effort: str, seed: int) -> None:
        assert not isinstance(sample.inputs, list)
        self.gradients = Capability.INPUT_GRADIENT in subject.capabilities
        # without a gradient the model may not even be a module that can be called
        self._model = cast("Callable[[Tensor], Tensor]", subject.model if self.gradients else subject.predict)
        device = subject.device if self.gradients else sample.inputs.device
        self.inputs, self._labels = sample.inputs.to(device), sample.labels.to(device)
        self._here, self._effort, self._seed = here, cast("Search", effort), seed
        self.right = subject.predict(sample.inputs).argmax(1).numpy() == sample.labels.numpy()
        self.passes = len(sample)
        self._found: dict[Budget, tuple[Tensor, np.ndarray[tuple[int], np.dtype[np.bool_]]]] = {}

    def lay(self, budget: Budget) -> None:
        """Attack the rows that fell under every larger budget tried so far."""
        import torch

        from attacks import table_search

        eps, switches = budget
        reach = self._here.reach(eps)
        rows = self.right.copy()
        adversarial, broken = self.inputs.clone(), np.zeros_like(rows)
        for (larger, more), (known, fell) in self._found.items():
            if larger >= eps and more >= switches:
                rows &= fell
                # what broke a row under a larger budget may keep to this one
                fits = fell & self._here.table.lawful(self.inputs, known, reach, switches).cpu().numpy()
                adversarial[np.flatnonzero(fits & ~broken)] = known[np.flatnonzero(fits & ~broken)]
                broken |= fits
        at = np.flatnonzero(rows & ~broken)
        if len(at):
            index = torch.from_numpy(at).to(self.inputs.device)
            found = table_search(
                self._model,
                self.inputs[index],
                self._labels[index],
                self._here.table,
                reach,
                switches,
                gradients=self.gradients,
                effort=self._effort,
                seed=self._seed,
            )
            self.passes += found.forwards + found.backwards
            adversarial[index], broken[at] = found.adversarial, found.success.cpu().numpy()
        self._found[budget] = (adversarial, broken)

    def accuracy(self, budget: Budget) -> Estimate:
        """The share of rows that are right as given and stand."""
        _, broken = self._found[budget]
        return statistics.proportion(int((self.right & ~broken).sum()), len(broken))

    def fallen(self, budget: Budget) -> tuple[np.ndarray[Any, Any], Tensor, np.ndarray[Any, Any]]:
        """Rows that fell, (k,), what they became, (k, d), and which columns changed, bool (k, columns)."""
        adversarial, broken = self._found[budget]
        rows = np.flatnonzero(broken)
        changed = self._here.table.changed(self.inputs[rows], adversarial[rows])
        return rows, adversarial[rows], changed.cpu().numpy()

    def columns(self, budget: Budget) -> tuple[Bars, ...]:
        """How often each column was needed."""
        rows, _, changed = self.fallen(budget)
        if not len(rows):
            return ()
        shares = {
            column.name: statistics.proportion(int(changed[:, j].sum()), len(rows))
            for j, column in enumerate(self._here.table.columns)
            if column.mutable
        }
        order = sorted(shares, key=lambda name: -(shares[name].value or 0.0))
        return (
            Bars(
                title=f"Columns that an enemy needed, at {_words(budget)}",
                x_title="share of the rows that fell",
                bars=tuple(
                    Bar(label=n, value=shares[n].value or 0.0, low=shares[n].low, high=shares[n].high) for n in order
                ),
                percent=True,
                note="Changes that proved needless were taken back first, so that a row counts where it had to change.",
            ),
        )


def _curves(clean: Estimate, accuracy: Mapping[Budget, Estimate]) -> Curves:
    from audit.checks.robustness._grid import point

    points = [point(0.0, clean, _switches(0))] if (0.0, 0) not in accuracy else []
    points += [point(eps, estimate, _switches(count)) for (eps, count), estimate in accuracy.items()]
    return Curves(
        title="Accuracy under attack, by what may change",
        x_title="how far a number may move, in standard deviations",
        y_title="accuracy",
        points=tuple(points),
        y_percent=True,
        note="The band is the interval of each point alone.",
    )


def _switches(count: int) -> str:
    return {0: "no switch", 1: "1 switch"}.get(count, f"{count} switches")


def _words(budget: Budget) -> str:
    return f"{budget[0]:.4g} deviations and {_switches(budget[1])}"


def _notes(here: Layout, sample: Dataset) -> tuple[str, ...]:
    """What never moves, and which constraints hold."""
    fixed = [c.name for c in here.table.columns if not c.mutable]
    notes = [f"Columns that never move: {', '.join(fixed) or 'none'}."]
    if not here.table.constraints:
        return (*notes, "No constraint is declared between columns; data.constraints in the plan declares them.")
    assert not isinstance(sample.inputs, list)
    broken = here.table.breaches(sample.inputs).sum(0).tolist()
    for text, count in zip(here.table.constraints, broken, strict=True):
        given = f" {count} rows break it as given; none of them breaks it by more." if count else ""
        notes.append(f"Every changed row keeps to {text}.{given}")
    return tuple(notes)
