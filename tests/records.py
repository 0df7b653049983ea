"""A small record made by hand, for tests of whatever reads records."""

from __future__ import annotations

from reports.record import (
    Card,
    DataCard,
    Entry,
    Estimate,
    Evidence,
    Failed,
    Measured,
    Record,
    Skipped,
    SubjectCard,
    Unit,
)


def estimate(value: float, half: float = 0.01, n: int = 100, unit: str = "fraction") -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, n=n, method="made up", unit=unit)


def entry(check: str, evidence: Evidence) -> Entry:
    return Entry(unit=Unit(key=f"key-of-{check}", check=check, version=1, params={}, seed=0), evidence=evidence)


def record(*entries: Entry) -> Record:
    entries = entries or (
        entry(
            "fit.accuracy",
            Measured(
                estimates={
                    "accuracy": estimate(0.9),
                    "lift_over_majority": estimate(0.3),
                    "train_test_gap": estimate(0.02, 0.005),
                },
                headline=("accuracy",),
            ),
        ),
        entry("robustness.corruptions", Skipped(reason="meant for images")),
        entry("explain.sanity", Failed(error="RuntimeError: it broke")),
    )
    return Record(
        subject=SubjectCard(
            name="toy",
            source="toy.safetensors",
            format="safetensors",
            digest="ab" * 32,
            task="classification",
            modality="tabular",
            classes=("no", "yes"),
            capabilities=("hooks",),
        ),
        data=(DataCard(split="test", source="toy.csv", digest="cd" * 32, rows=100, label="y"),),
        environment={"assay": "0"},
        settings={"effort": "quick", "seed": 0},
        cards=tuple(
            Card(
                id=e.unit.check,
                section=e.unit.check.split(".")[0],
                version=1,
                title=e.unit.check,
                what="what",
                why="why",
                how="how",
            )
            for e in entries
        ),
        evidence=entries,
    )
