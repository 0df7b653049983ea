"""Figures that explanations need: how an answer adds up, swarms, attention, methods side by side, shaded texts."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from reports.estimates import COLOURS, Estimate, Frozen, Gaps, Numbers, Rows


class Step(Frozen):
    """One step of a waterfall; `low` and `high` are the interval of its height."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


class Waterfall(Frozen):
    """How a number comes about: from `start` by steps to `end`, in the order given."""

    kind: Literal["waterfall"] = "waterfall"
    title: str
    x_title: str
    start: float
    end: float
    steps: tuple[Step, ...]
    start_label: str = "without any feature"
    end_label: str = "with all"
    note: str = ""

    @model_validator(mode="after")
    def _adds_up(self) -> Waterfall:
        gap = abs(self.start + sum(step.value for step in self.steps) - self.end)
        # room for rounded steps
        if gap > 0.005 * (abs(self.start) + abs(self.end) + sum(abs(step.value) for step in self.steps)):
            raise ValueError(f"waterfall {self.title!r}: expected steps that lead to the end, found a gap of {gap:g}")
        return self


class SwarmRow(Frozen):
    """The values of one feature over many examples."""

    label: str
    values: Numbers
    #: how large the feature itself is in each example, 0 lowest to 1 highest; None where it has no order
    levels: Gaps

    @model_validator(mode="after")
    def _fits(self) -> SwarmRow:
        if len(self.values) != len(self.levels):
            raise ValueError(f"expected one level a value, found {len(self.levels)} and {len(self.values)}")
        return self


class Swarm(Frozen):
    """A point an example in each row, coloured by how large the feature is there."""

    kind: Literal["swarm"] = "swarm"
    title: str
    x_title: str
    rows: tuple[SwarmRow, ...]
    note: str = ""


class Head(Frozen):
    """One attention head: `weights[query][key]`, a row and a column a token."""

    label: str
    weights: Rows
    #: a few words shown with it, e.g. what it attends to most
    note: str = ""


class HeadLayer(Frozen):
    """The heads of one layer."""

    label: str
    heads: tuple[Head, ...]


class Heads(Frozen):
    """The attention of every head over one text, layer by layer."""

    kind: Literal["heads"] = "heads"
    title: str
    tokens: tuple[str, ...]
    layers: tuple[HeadLayer, ...]
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Heads:
        size = len(self.tokens)
        for layer in self.layers:
            for head in layer.heads:
                if [len(row) for row in head.weights] != [size] * size:
                    raise ValueError(f"heads {self.title!r}: expected {size} x {size} weights in {head.label!r}")
        return self


class Metric(Frozen):
    """A column of a scoreboard."""

    label: str
    #: what it measures, in a few words
    note: str = ""


class Score(Frozen):
    """How well a method does in one metric, and what chance reaches."""

    value: Estimate
    #: the same of a random ranking
    chance: Estimate | None = None
    #: by how much the method is better than chance, positive is better; paired where both saw the same examples
    lead: Estimate | None = None


class ScoreRow(Frozen):
    """One method; None where a metric does not apply to it."""

    label: str
    scores: tuple[Score | None, ...]


class Scoreboard(Frozen):
    """Methods against metrics; a mark says where a method is better than chance, worse, or neither is shown."""

    kind: Literal["scoreboard"] = "scoreboard"
    title: str
    metrics: tuple[Metric, ...]
    rows: tuple[ScoreRow, ...]
    note: str = ""

    @model_validator(mode="after")
    def _is_rectangular(self) -> Scoreboard:
        for row in self.rows:
            if len(row.scores) != len(self.metrics):
                raise ValueError(
                    f"scoreboard {self.title!r}: expected {len(self.metrics)} scores in a row, found {len(row.scores)}"
                )
        return self


class OverlayRow(Frozen):
    """One example and its heat maps, one a column; None where a method has none."""

    caption: str
    #: a base64-encoded PNG
    image: str
    #: rows of values each, as in `Panel`
    heats: tuple[Rows | None, ...]


class Overlays(Frozen):
    """Heat maps over the same pictures: a row an example, a column a method."""

    kind: Literal["overlays"] = "overlays"
    title: str
    columns: tuple[str, ...]
    rows: tuple[OverlayRow, ...]
    #: what the two colours of the heat maps stand for
    colours: tuple[str, str] = COLOURS
    note: str = ""

    @model_validator(mode="after")
    def _is_rectangular(self) -> Overlays:
        for row in self.rows:
            if len(row.heats) != len(self.columns):
                raise ValueError(
                    f"overlays {self.title!r}: expected {len(self.columns)} heat maps in a row, found {len(row.heats)}"
                )
        return self


class TokenLine(Frozen):
    """A text cut into tokens, each shaded by its weight (positive in one colour, negative in another)."""

    caption: str
    tokens: tuple[str, ...]
    weights: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> TokenLine:
        if len(self.tokens) != len(self.weights):
            raise ValueError(f"expected one weight a token, found {len(self.tokens)} and {len(self.weights)}")
        return self


class Tokens(Frozen):
    """Shaded texts."""

    kind: Literal["tokens"] = "tokens"
    title: str
    lines: tuple[TokenLine, ...]
    #: what the two colours of the words stand for
    colours: tuple[str, str] = COLOURS
    note: str = ""
