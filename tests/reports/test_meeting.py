"""One table an attribute: every number is the evidence's own, in its group's row."""

from __future__ import annotations

from reports.html.sections.meeting import COLUMNS, meeting
from reports.record import Estimate, Measured, Skipped
from tests.records import entry, estimate

ENTRIES = (
    entry(
        "fairness.rates",
        Measured(
            estimates={
                "accuracy@sex=F": estimate(0.9),
                "accuracy@sex=M": estimate(0.8),
                "accuracy@sex x race=F x Black": estimate(0.1),
                "selection_rate@sex=F": estimate(0.3),
                "accuracy@age=(-inf, 28]": estimate(0.71),
                "accuracy@age=(28, 100]": estimate(0.72),
                "accuracy@age=(100, inf]": estimate(0.73),
                "accuracy@age=missing": estimate(0.74),
            }
        ),
    ),
    entry(
        "robustness.groups",
        Measured(
            estimates={
                "robust_accuracy@sex=M": estimate(0.5),
                "robust_accuracy@age=others": estimate(0.4),
                "robust_accuracy_difference@sex": estimate(0.2),
            }
        ),
    ),
    entry(
        "fairness.label_noise",
        Measured(
            estimates={
                "label_noise@sex=F": Estimate(value=None, n=3, method="undefined", reason="needs rows of two classes")
            }
        ),
    ),
    entry("explain.groups", Skipped(reason="no")),
)


def shown(table):
    return {
        row[0].text: [cell.number and (cell.number.exact, cell.number.evidence) for cell in row[1:]]
        for row in table.rows
    }


def test_numbers_stand_in_their_groups_row_and_know_their_evidence():
    sex, age = meeting(ENTRIES, ("sex", "race", "age"))
    assert sex.columns == ("sex", "favourable answers", "accuracy", "accuracy under attack", "labels in doubt")
    rates, attack, noise = (f"key-of-{c}" for c in ("fairness.rates", "robustness.groups", "fairness.label_noise"))
    assert shown(sex) == {
        "F": [("0.3", rates), ("0.9", rates), None, ("", noise)],
        "M": [None, ("0.8", rates), ("0.5", attack), None],
    }
    assert "two classes" in str(sex.rows[0][4].number.shown)
    assert [row[0].text for row in age.rows] == ["(-inf, 28]", "(28, 100]", "(100, inf]", "missing", "others"]
    assert "robustness.groups" in age.note
    assert "explain.groups" not in sex.note


def test_one_check_alone_is_no_meeting():
    assert meeting(ENTRIES[:1], ("sex",)) == ()
    assert meeting((), ("sex",)) == ()


def test_an_attribute_called_as_another_begins_keeps_its_own():
    entries = [
        entry(check, Measured(estimates={f"{quantity}@a=b=c": estimate(0.5), f"{quantity}@a=d": estimate(0.6)}))
        for check, quantity in (("fairness.rates", "accuracy"), ("robustness.groups", "robust_accuracy"))
    ]
    first, second = meeting(entries, ("a", "a=b"))
    assert list(shown(first)) == ["d"]
    assert list(shown(second)) == ["c"]


def test_columns_name_checks_that_are_there():
    from audit.check import registry

    assert {check for check, _, _ in COLUMNS} <= set(registry())
