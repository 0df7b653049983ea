"""The attack on tables within their rules, on models whose breakable rows can be counted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from audit.checks.robustness.table_evasion import TableEvasion
from audit.datasets import Dataset, Feature, FeatureKind
from audit.subject import Modality
from reports.record import Bars, Curves, Measured
from tests.checks.robustness.known import dataset_of, linear, subject_of, table

FEATURES = (
    Feature("years", FeatureKind.NUMERIC, (0,), mean=10.0, std=2.0),
    Feature("age", FeatureKind.NUMERIC, (1,), mean=40.0, std=8.0, mutable=False),
    Feature("rate", FeatureKind.NUMERIC, (2,), mean=5.0, std=0.5),
    Feature("job", FeatureKind.CATEGORICAL, (3, 4, 5), categories=("clerk", "driver", "judge")),
    Feature("sex", FeatureKind.CATEGORICAL, (6, 7), categories=("F", "M"), mutable=False),
)
#: years of school count 0.5 each, the rate 0.25 a unit, a driver 1 more than a clerk; a judge 9 more, but none was seen
WEIGHTS = [[0.0] * 8, [1.0, 3.0, 0.125, 0.0, 1.0, 9.0, 0.0, 3.0]]
MODEL = linear(WEIGHTS, [0.0, 0.0])


def people(n: int = 300, constraints: tuple[str, ...] = ()) -> Dataset:
    """Rows labelled by the model itself but for ten; years are whole, the rate is not, no one is a judge."""
    rng = np.random.default_rng(0)
    years, age, rate = rng.integers(4, 17, n), rng.integers(20, 61, n), rng.uniform(4, 6, n)
    x = np.zeros((n, 8), dtype=np.float32)
    for at, (value, feature) in enumerate(zip((years, age, rate), FEATURES[:3], strict=True)):
        x[:, at] = (value - feature.mean) / feature.std
    job, sex = rng.integers(0, 2, n), rng.integers(0, 2, n)
    x[np.arange(n), 3 + job] = 1
    x[np.arange(n), 6 + sex] = 1
    inputs = torch.from_numpy(x)
    labels = MODEL(inputs).argmax(1)
    labels[:10] = 1 - labels[:10]
    frame = pd.DataFrame({"years": years, "age": age, "rate": rate})
    data = dataset_of(inputs, labels, Modality.TABULAR)
    return replace(data, features=FEATURES, frame=frame, constraints=constraints)


def standing(data: Dataset, eps: float, switches: int, ceiling: Tensor | None = None) -> float:
    """The share that stands: the margin against all that years, rate and job can add to it, exactly."""
    x, frame = data.inputs, data.frame
    assert isinstance(x, Tensor)
    assert frame is not None
    scores = MODEL(x).double()
    margin, label = scores[:, 1] - scores[:, 0], data.labels
    years = torch.tensor(frame["years"].to_numpy())
    steps = int(eps * float(years.double().std(correction=0)) + 1e-9)
    top = years.max() if ceiling is None else torch.minimum(years.max(), torch.maximum(ceiling, years))
    up, down = (top - years).clamp(0, steps), (years - years.min()).clamp(0, steps)
    rate = torch.tensor(frame["rate"].to_numpy())
    reach = eps * float(rate.std(correction=0))
    more = 0.5 * up + 0.25 * (rate.max() - rate).clamp(0, reach)
    less = 0.5 * down + 0.25 * (rate - rate.min()).clamp(0, reach)
    if switches:
        more = more + (x[:, 3] == 1).double()
        less = less + (x[:, 4] == 1).double()
    stands = torch.where(label == 1, margin - less > 0, margin + more <= 0)
    return float((stands & (scores.argmax(1) == label)).double().mean())


def value(found: Measured, name: str) -> float:
    """An estimate that must be defined."""
    estimate = found.estimates[name]
    assert estimate.value is not None
    return estimate.value


@pytest.mark.parametrize("gradient", [True, False], ids=["gradients", "scores"])
def test_robust_accuracy_is_exact_where_it_can_be_counted(gradient: bool) -> None:
    data = people()
    check = TableEvasion(rows=300, effort="quick")
    subject = subject_of(MODEL, Modality.TABULAR, gradient=gradient)
    found = check.run(subject, data, np.random.default_rng(0))
    assert value(found, "clean_accuracy") == pytest.approx(290 / 300)
    for eps in check.deviations:
        for switches in check.switches:
            if eps or switches:
                expected = standing(data, eps, switches)
                assert value(found, f"robust_accuracy@eps={eps:.4g},switches={switches}") == pytest.approx(expected)
    assert standing(data, 0.5, 1) < standing(data, 0.5, 0) < 290 / 300, "the case is no trivial one"
    assert any("no input gradient" in note for note in found.notes) != gradient


def test_a_constraint_holds_and_costs_the_enemy() -> None:
    data = people(constraints=("years + 22 <= age",))
    assert data.frame is not None
    check = TableEvasion(rows=300, effort="quick", deviations=(0.5,), switches=(0,))
    found = check.run(subject_of(MODEL, Modality.TABULAR), data, np.random.default_rng(0))
    # whoever breaks it as given may gain no year; whoever keeps it may go up to it
    ceiling = torch.tensor(data.frame["age"].to_numpy()) - 22
    assert value(found, "robust_accuracy@eps=0.5,switches=0") == pytest.approx(standing(data, 0.5, 0, ceiling))
    assert standing(data, 0.5, 0, ceiling) > standing(data, 0.5, 0)
    broken = int((data.frame["years"] + 22 > data.frame["age"]).sum())
    (note,) = (note for note in found.notes if "years + 22 <= age" in note)
    assert f"{broken} rows break it as given" in note


def test_rows_before_and_after_are_shown_in_their_own_units() -> None:
    data = people()
    found = TableEvasion(rows=300, effort="quick").run(
        subject_of(MODEL, Modality.TABULAR), data, np.random.default_rng(0)
    )
    grid, examples, rules = found.tables
    assert [row[0] for row in grid.rows] == [0.0, 0.1, 0.25, 0.5]
    assert examples.columns[:3] == ("example", "", "answer")
    names = examples.columns[3:]
    assert set(names) <= {"years", "rate", "job"}
    assert len(examples.rows) == 12
    for before, after in zip(examples.rows[::2], examples.rows[1::2], strict=True):
        assert before[2] != after[2]
        marked = [str(b).startswith("→ ") for b in after[3:]]
        assert any(marked)
        for name, old, new, changed in zip(names, before[3:], after[3:], marked, strict=True):
            assert changed == (f"→ {old}" != str(new) and old != new)
            if name == "years":
                assert isinstance(old, int)
                assert abs(old - int(str(new).removeprefix("→ "))) <= 1
            if name == "job":
                assert str(new).removeprefix("→ ") in ("clerk", "driver"), "no judge was ever seen"
    by_name = {row[0]: row[1:] for row in rules.rows}
    assert by_name["years"][0] == "whole number"
    assert by_name["years"][2:] == ("too little for a whole step", "too little for a whole step", "± 1")
    assert by_name["age"][2] == "never"
    assert by_name["rate"][0] == "number"
    assert by_name["job"][1] == "2 observed"
    assert by_name["sex"][2] == "never"
    assert "Columns that never move: age, sex." in found.notes


def test_the_columns_an_enemy_needed_are_counted() -> None:
    data = people()
    found = TableEvasion(rows=300, effort="quick", deviations=(0.0,), switches=(1,)).run(
        subject_of(MODEL, Modality.TABULAR), data, np.random.default_rng(0)
    )
    curves, bars = found.figures
    assert isinstance(curves, Curves)
    assert isinstance(bars, Bars)
    assert [(bar.label, bar.value) for bar in bars.bars] == [("job", 1.0), ("years", 0.0), ("rate", 0.0)]
    assert len(found.model_dump_json()) < 150_000


def test_nothing_breaks_a_model_that_reads_only_what_is_fixed() -> None:
    data = people()
    model = linear([[0.0] * 8, [0.0, 1.0, 0, 0, 0, 0, 0, 0]], [0.0, 0.0])
    assert isinstance(data.inputs, Tensor)
    data = replace(data, labels=model(data.inputs).argmax(1))
    found = TableEvasion(rows=300, effort="quick").run(
        subject_of(model, Modality.TABULAR), data, np.random.default_rng(0)
    )
    assert value(found, "robust_accuracy@eps=0.5,switches=2") == 1
    assert len(found.tables) == 2
    assert len(found.figures) == 1


def test_what_the_encoder_left_as_it_was_is_measured_in_deviations_all_the_same() -> None:
    """Raw numbers without an encoder: the budget is one of deviations, and whole numbers are seen without a frame."""
    data = people()
    assert isinstance(data.inputs, Tensor)
    unit = torch.tensor([2.0, 8.0, 0.5, 1, 1, 1, 1, 1])
    shift = torch.tensor([10.0, 40.0, 5.0, 0, 0, 0, 0, 0])
    plain = tuple(replace(f, mean=0.0, std=1.0) for f in data.features)
    raw = replace(data, inputs=data.inputs * unit + shift, features=plain, frame=None)
    weights = (torch.tensor(WEIGHTS) / unit).tolist()
    model = linear(weights, [0.0, -float((torch.tensor(WEIGHTS[1]) / unit) @ shift)])
    found = [
        TableEvasion(rows=300, effort="quick").run(subject_of(m, Modality.TABULAR), d, np.random.default_rng(0))
        for m, d in ((MODEL, data), (model, raw))
    ]
    for name in found[0].estimates:
        assert value(found[0], name) == pytest.approx(value(found[1], name), abs=0.007), name


def test_what_cannot_be_attacked_is_skipped_and_the_rest_repeats_itself() -> None:
    data = table(40)
    subject = subject_of(linear([[0.0] * 6, [1.0, 0, 0, 0, 0, 0]], [0.0, 0.0]), Modality.TABULAR)
    frozen = replace(data, features=tuple(replace(f, mutable=False) for f in data.features))
    assert "immutable" in (TableEvasion().skip_reason(subject, frozen) or "")
    assert TableEvasion(deviations=(0.0,), switches=(0,)).skip_reason(subject, data) == "no budget is given"
    assert TableEvasion().skip_reason(subject, data) is None
    one, two = (TableEvasion(rows=20, effort="quick").run(subject, data, np.random.default_rng(3)) for _ in range(2))
    assert one == two
