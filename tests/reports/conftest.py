"""A record made by hand that holds everything a renderer can meet, and one whose every name is an attack."""

from __future__ import annotations

import math
from typing import Any

import pytest

from reports.record import (
    Bar,
    Bars,
    Card,
    Curves,
    DataCard,
    Entry,
    Estimate,
    Failed,
    Gate,
    Images,
    Matrix,
    MatrixRow,
    Measured,
    Outcome,
    Panel,
    Point,
    Record,
    Severity,
    Skipped,
    SubjectCard,
    Table,
    TokenLine,
    Tokens,
    Unit,
    Verdict,
)

#: breaks out of HTML, attributes, XML, Markdown, rich markup and terminals
ATTACK = '</td><script>alert("1")</script>\'|`*_[red]x[/red]\x1b[31m\x00\u202e<img src=x onerror=alert(1)>'

#: 8 x 8 pixels from black to white; kept as text because its bytes depend on the encoder
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAGElEQVR4nGNkYGZhYWFhYWGUZ4ECBXIYAEDvAdnVX3TgAAAAAElFTkSuQmCC"


def fraction(value: float, half: float, n: int = 1000, method: str = "Wilson 95 %") -> Estimate:
    low, high = max(value - half, -1.0), min(value + half, 1.0)
    return Estimate(value=value, low=low, high=high, n=n, method=method, unit="fraction")


def count(value: float, unit: str = "", n: int = 1) -> Estimate:
    return Estimate(value=value, low=value, high=value, n=n, method="exact count", unit=unit)


def undefined(reason: str) -> Estimate:
    return Estimate(value=None, n=0, method="undefined", unit="fraction", reason=reason)


def entry(check: str, evidence: Measured | Skipped | Failed, **params: Any) -> Entry:
    key = f"{sum(map(ord, check)):08x}{check.encode().hex()}"[:32].ljust(32, "0")
    return Entry(unit=Unit(key=key, check=check, version=1, params=params, seed=0), evidence=evidence)


def card(check: str, title: str) -> Card:
    return Card(
        id=check,
        section=check.partition(".")[0],
        version=1,
        title=title,
        what=f"What {check} measures, in plain words for an engineer and an auditor alike.",
        why="A number without its uncertainty is an opinion. This is why it matters to whoever relies on the model.",
        how="An interval that includes the bound decides nothing; a narrower one needs more rows.",
        references="Wilson 1927; Newcombe 1998.",
    )


def verdict(
    entry: Entry,
    name: str,
    outcome: Outcome,
    at_least: float | None = None,
    at_most: float | None = None,
    severity: Severity = Severity.ERROR,
    why: str = "the whole interval reaches the bound",
) -> Verdict:
    assert isinstance(entry.evidence, Measured)
    gate = Gate(
        estimate=f"{entry.unit.check}/{name}",
        at_least=at_least,
        at_most=at_most,
        severity=severity,
        why="A model below this helps nobody.",
    )
    return Verdict(
        gate=gate,
        subject=f"{entry.unit.check}/{name}",
        outcome=outcome,
        observed=entry.evidence.estimates[name],
        evidence=entry.unit.key,
        why=why,
    )


def accuracy() -> Measured:
    right = fraction(0.851, 0.0057, 15060)
    classes = [("<=50K", fraction(0.93, 0.005, 11360)), (">50K", fraction(0.61, 0.016, 3700))]
    return Measured(
        estimates={
            "accuracy": right,
            "macro_f1": fraction(0.784, 0.008, 15060, "bootstrap 95 % (1000 resamples)"),
            "train_test_gap": fraction(0.0123, 0.017, 15060, "Newcombe 95 %"),
            **{f"recall@class={name}": estimate for name, estimate in classes},
            "recall@class=unseen": undefined("no rows"),
        },
        headline=("accuracy", "macro_f1", "train_test_gap"),
        tables=(
            Table(
                title="By class",
                columns=("class", "rows", "recall"),
                rows=(*((name, e.n, e) for name, e in classes), ("unseen", 0, undefined("no rows"))),
                note="Recall is the share of a class that is found.",
            ),
        ),
        figures=(
            Bars(
                title="Recall of each class",
                x_title="recall",
                bars=tuple(Bar(label=name, value=e.value or 0, low=e.low, high=e.high) for name, e in classes),
                reference=right.value,
                percent=True,
                note="The line is the accuracy over all classes.",
            ),
            Curves(
                title="Reliability",
                x_title="confidence",
                y_title="accuracy",
                points=tuple(
                    Point(x=x / 20, y=x / 21, low=max(0, x / 21 - 0.04), high=x / 21 + 0.04) for x in range(10, 20)
                ),
                diagonal=True,
                x_percent=True,
                y_percent=True,
                note="On the diagonal the model is as sure as it is right.",
            ),
        ),
        notes=("The commonest class is '<=50K' with 75.4 % of the test rows.",),
    )


def evasion() -> Measured:
    series = {"linf": 9.0, "l2": 20.0, "gaussian noise": 45.0}
    points = [
        Point(x=eps / 100, y=y, low=max(0.0, y - 0.04), high=min(1.0, y + 0.04), series=name)
        for name, slope in series.items()
        for eps in range(0, 11, 2)
        for y in [0.86 * math.exp(-eps / slope)]
    ]
    return Measured(
        estimates={
            "robust_accuracy@linf:0.1": fraction(0.283, 0.04, 500),
            "robust_accuracy@l2:0.5": fraction(0.522, 0.044, 500),
        },
        headline=("robust_accuracy@linf:0.1", "robust_accuracy@l2:0.5"),
        figures=(
            Curves(
                title="Accuracy under attack",
                x_title="eps",
                y_title="robust accuracy",
                points=tuple(points),
                reference=0.1,
                y_percent=True,
                note="The dashed line is chance.",
            ),
            Matrix(
                title="Accuracy under each corruption",
                columns=("severity 1", "severity 3", "severity 5"),
                rows=(
                    MatrixRow(label="fog", values=(0.84, 0.71, 0.42)),
                    MatrixRow(label="shot noise", values=(0.8, 0.55, None)),
                ),
                percent=True,
                note="The darker, the more stays right.",
            ),
        ),
    )


def explanations() -> Measured:
    heat = tuple(tuple(round(math.sin(x / 2) * math.cos(y / 3), 3) for x in range(8)) for y in range(8))
    return Measured(
        estimates={"deletion_gain@kernel_shap": fraction(0.31, 0.05, 200), "agreement@shap-lime": count(0.62, n=200)},
        headline=("deletion_gain@kernel_shap",),
        figures=(
            Images(
                title="Where the model looks",
                panels=(
                    Panel(caption="ankle boot, answered ankle boot", image=PNG),
                    Panel(caption="SHAP", image=PNG, heat=heat),
                    Panel(caption="integrated gradients", image=PNG, heat=heat[:4]),
                    Panel(caption="heat alone", heat=heat),
                    Panel(caption="a broken picture", image="AAAA"),
                ),
                note="One example a row.",
            ),
            Tokens(
                title="Which words count",
                lines=(
                    TokenLine(
                        caption="negative, answered negative",
                        tokens=("[CLS]", "a", "dull", ",", "life", "##less", "film", "[SEP]"),
                        weights=(0.0, -0.01, 0.42, 0.02, 0.31, 0.2, -0.22, 0.0),
                    ),
                ),
            ),
            Bars(
                title="Global importance by group",
                x_title="mean contribution",
                bars=tuple(
                    Bar(label=name, value=v * s, low=v * s - 0.02, high=v * s + 0.02, series=group)
                    for name, v in (("capital-gain", 0.3), ("age", -0.12), ("hours-per-week", 0.08))
                    for group, s in (("Female", 0.8), ("Male", 1.0))
                ),
            ),
        ),
    )


def cost() -> Measured:
    rows = tuple((f"layer{i}", "Linear", 1000 * i + 5, count(i / 210, n=1)) for i in range(20))
    return Measured(
        estimates={
            "parameters": count(41_234, "parameters"),
            "latency_p95": Estimate(
                value=3.2e-5, low=2.9e-5, high=4.1e-5, n=200, method="order statistics 95 %", unit="s"
            ),
            "flops": count(81_920, "FLOP a prediction"),
        },
        headline=("parameters", "latency_p95"),
        tables=(Table(title="Parameters by module", columns=("module", "type", "parameters", "share"), rows=rows),),
    )


def full_record() -> Record:
    fit = entry("fit.accuracy", accuracy(), resamples=1000)
    attack = entry("robustness.evasion", evasion(), steps=40, eps=[0.1, 0.5])
    why = entry("explain.faithfulness", explanations())
    price = entry("cost.size", cost())
    broken = entry("fairness.rates", Failed(error="ValueError: no group has rows (rates.py:42)"))
    skipped = entry("data.leakage", Skipped(reason="needs training data; the plan names none"))
    plugin = entry("watermark.trace", Measured(estimates={"detected": fraction(0.5, 0.2, 20)}, headline=("detected",)))
    entries = (why, attack, broken, skipped, price, fit, plugin)
    return Record(
        subject=SubjectCard(
            name="adult",
            source="model.safetensors",
            format="safetensors",
            digest="ab" * 32,
            task="classification",
            modality="tabular",
            classes=("<=50K", ">50K"),
            capabilities=("hooks", "input_gradient", "train"),
        ),
        data=(
            DataCard(
                split="test",
                source="test.parquet",
                digest="cd" * 32,
                rows=15060,
                label="salary",
                protected=("sex", "race"),
            ),
            DataCard(split="train", source="train.parquet", digest="ef" * 32, rows=30162, label="salary"),
        ),
        environment={"assay": "0.1.0", "date": "2026-01-02 03:04 UTC", "python": "3.11.9", "torch": "2.13.0"},
        settings={"effort": "quick", "seed": 0},
        cards=(
            card("explain.faithfulness", "Single answers explained"),
            card("robustness.evasion", "Evasion"),
            card("fairness.rates", "Rates of each group"),
            card("data.leakage", "Leakage between the splits"),
            card("cost.size", "Size"),
            card("fit.accuracy", "Accuracy and generalisation"),
            card("data.duplicates", "Duplicates"),
        ),
        evidence=entries,
        missing=("data.duplicates",),
        policy="default",
        verdicts=(
            verdict(fit, "accuracy", Outcome.PASS, at_least=0.8),
            verdict(fit, "macro_f1", Outcome.INSUFFICIENT, at_least=0.78, why="the bound lies inside the interval"),
            verdict(fit, "train_test_gap", Outcome.PASS, at_most=0.1, severity=Severity.WARNING),
            verdict(fit, "recall@class=unseen", Outcome.INSUFFICIENT, at_least=0.5, why="undefined: no rows"),
            verdict(
                attack,
                "robust_accuracy@linf:0.1",
                Outcome.FAIL,
                at_least=0.5,
                why="the whole interval lies below the bound",
            ),
            verdict(
                attack,
                "robust_accuracy@l2:0.5",
                Outcome.FAIL,
                at_least=0.6,
                severity=Severity.WARNING,
                why="the whole interval lies below the bound",
            ),
            Verdict(
                gate=Gate(estimate="fairness.rates/*", at_most=0.2),
                subject="fairness.rates/*",
                outcome=Outcome.INSUFFICIENT,
                observed=None,
                evidence=broken.unit.key,
                why="the check failed: ValueError: no group has rows (rates.py:42)",
            ),
            verdict(price, "parameters", Outcome.PASS, at_most=1_000_000),
        ),
    )


def attacked(value: Any, outer: str = "") -> Any:
    """The JSON document with the attack added to every text a user or a data set can choose."""
    fixed = {"kind", "outcome", "severity", "unit", "method", "image", "schema", "key", "evidence", "digest"}
    if isinstance(value, dict):
        free = outer in ("estimates", "environment", "params")
        return {
            (k + ATTACK if free and isinstance(k, str) else k): v if k in fixed and not free else attacked(v, k)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [attacked(v, outer) for v in value]
    return value + ATTACK if isinstance(value, str) else value


@pytest.fixture(scope="session")
def record() -> Record:
    return full_record()


@pytest.fixture(scope="session")
def hostile(record: Record) -> Record:
    return Record.model_validate(attacked(record.model_dump(mode="json", by_alias=True)))
