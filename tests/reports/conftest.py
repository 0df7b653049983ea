"""A record made by hand that holds everything a renderer can meet, and one whose every name is an attack."""

from __future__ import annotations

from typing import Any

import pytest

from reports.record import (
    Card,
    DataCard,
    Entry,
    Failed,
    Gate,
    Measured,
    Outcome,
    Record,
    Severity,
    Skipped,
    SubjectCard,
    Unit,
    Verdict,
)
from tests.measured import accuracy, battery, cost, evasion, explanations, fraction

#: breaks out of HTML, attributes, XML, Markdown, rich markup and terminals
ATTACK = '</td><script>alert("1")</script>\'|`*_[red]x[/red]\x1b[31m\x00\u202e<img src=x onerror=alert(1)>'


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


def full_record() -> Record:
    fit = entry("fit.accuracy", accuracy(), resamples=1000)
    attack = entry("robustness.evasion", evasion(), steps=40, eps=[0.1, 0.5])
    why = entry("explain.faithfulness", explanations())
    price = entry("cost.size", cost())
    held = entry("explain.battery", battery())
    broken = entry("fairness.rates", Failed(error="ValueError: no group has rows (rates.py:42)"))
    skipped = entry("data.leakage", Skipped(reason="needs training data; the plan names none"))
    plugin = entry("watermark.trace", Measured(estimates={"detected": fraction(0.5, 0.2, 20)}, headline=("detected",)))
    entries = (why, held, attack, broken, skipped, price, fit, plugin)
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
            card("explain.battery", "Explanations audited"),
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
    fixed |= {"heat", "heats", "weights", "values", "levels"}  # numbers, written on one line
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
