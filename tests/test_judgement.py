"""Gates pass and fail only where the interval says so; exit codes follow."""

from __future__ import annotations

import pytest

from audit.errors import PlanError
from audit.judgement import ExitCode, compare, exit_code, judge, matches, read_policy
from reports.record import Estimate, Failed, Gate, Measured, Outcome, Skipped
from tests.records import entry, estimate, record


@pytest.mark.parametrize(
    ("bound", "value", "outcome"),
    [
        ({"at_least": 0.8}, 0.82, "PASS"),
        ({"at_least": 0.8}, 0.805, "INSUFFICIENT"),
        ({"at_least": 0.8}, 0.78, "FAIL"),
        ({"at_most": 0.1}, 0.08, "PASS"),
        ({"at_most": 0.1}, 0.105, "INSUFFICIENT"),
        ({"at_most": 0.1}, 0.12, "FAIL"),
    ],
)
def test_an_outcome_needs_the_whole_interval(bound, value, outcome):
    assert compare(Gate(estimate="fit.accuracy/b", **bound), estimate(value))[0] == outcome


def test_what_is_undefined_never_passes():
    undefined = Estimate(value=None, n=0, method="-", reason="no rows")
    outcome, why = compare(Gate(estimate="fit.accuracy/b", at_least=0.0), undefined)
    assert outcome is Outcome.INSUFFICIENT
    assert "no rows" in why


def policy(tmp_path, *gates: str):
    path = tmp_path / "policy.yaml"
    path.write_text("name: mine\ngates:\n" + "".join(f"  - {gate}\n" for gate in gates))
    return str(path)


def test_wildcards_hold_every_matching_estimate(tmp_path):
    found = record(
        entry("fairness.rates", Measured(estimates={"r@a=1": estimate(0.5), "r@a=2": estimate(0.9), "s": estimate(0)}))
    )
    verdicts = judge(found, policy(tmp_path, "{estimate: 'fairness.*/r@*', at_least: 0.7}"))
    assert [(v.subject, v.outcome) for v in verdicts] == [
        ("fairness.rates/r@a=1", "FAIL"),
        ("fairness.rates/r@a=2", "PASS"),
    ]
    assert verdicts[0].evidence == "key-of-fairness.rates"


def test_skipped_is_silent_unless_required_and_failed_is_insufficient(tmp_path):
    found = record(
        entry("robustness.evasion", Skipped(reason="meant for images")),
        entry("robustness.noise", Failed(error="it broke")),
    )
    gates = ("{estimate: robustness.evasion/x, at_least: 0}", "{estimate: robustness.noise/x, at_least: 0}")
    assert [v.outcome for v in judge(found, policy(tmp_path, *gates))] == ["INSUFFICIENT"]
    required = "{estimate: robustness.evasion/x, at_least: 0, required: true}"
    (verdict,) = judge(found, policy(tmp_path, required))
    assert verdict.outcome is Outcome.INSUFFICIENT
    assert "meant for images" in verdict.why


@pytest.mark.parametrize(
    ("gates", "code"),
    [
        (["{estimate: fit.accuracy/accuracy, at_least: 0.8}"], ExitCode.PASSED),
        (["{estimate: fit.accuracy/accuracy, at_least: 0.95}"], ExitCode.FAILED),
        (["{estimate: fit.accuracy/accuracy, at_least: 0.9}"], ExitCode.INSUFFICIENT),
        (
            [
                "{estimate: fit.accuracy/accuracy, at_least: 0.8}",
                "{estimate: fit.accuracy/accuracy, at_least: 0.95, severity: warning}",
            ],
            ExitCode.PASSED,
        ),
        (
            [
                "{estimate: fit.accuracy/accuracy, at_least: 0.9}",
                "{estimate: fit.accuracy/accuracy, at_least: 0.95}",
            ],
            ExitCode.FAILED,
        ),
        (["{estimate: fit.confidence/auroc, at_least: 0}"], ExitCode.INSUFFICIENT),
    ],
)
def test_exit_codes(tmp_path, gates, code):
    assert exit_code(judge(record(), policy(tmp_path, *gates))) is code


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ngates: [{estimate: fit.accuracy/b, at_leest: 1}]", "'gates.0.at_leest'; did you mean 'at_least'"),
        ("name: x\ngates: [{estimate: fit.accuracy/b}]", "exactly one of at_least and at_most"),
        ("name: x\ngates: []", "gates"),
        ("name: x\ngates: [{estimate: fit.acuracy/accuracy, at_least: 1}]", "did you mean 'fit.accuracy'"),
        ("name: x\ngates: [{estimate: fit.accuracy, at_least: 1}]", "check.id/estimate"),
        ("name: !!python/object/apply:os.system [echo]\ngates: []", "plain YAML without tags"),
    ],
)
def test_a_wrong_policy_is_refused(tmp_path, text, message):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(PlanError, match=message):
        read_policy(str(path))


def test_an_unknown_policy_offers_the_shipped_ones():
    with pytest.raises(PlanError, match="did you mean 'default'"):
        read_policy("defualt")


def test_every_gate_of_the_default_policy_names_a_check_that_exists():
    from audit.check import registry

    for gate in read_policy("default").gates:
        assert gate.estimate.split("/")[0] in registry(), gate.estimate
        assert gate.why


def test_an_interrupted_record_never_passes(tmp_path):
    found = record().model_copy(update={"missing": ("robustness.evasion",)})
    gates = ("{estimate: fit.accuracy/accuracy, at_least: 0.8}", "{estimate: robustness.evasion/x, at_least: 0}")
    verdicts = judge(found, policy(tmp_path, *gates))
    assert exit_code(verdicts) is ExitCode.INSUFFICIENT
    assert "interrupted" in verdicts[-1].why


@pytest.mark.parametrize("name", ["x[0]", "a?b", "sex=south [bold]", "*"])
def test_a_gate_finds_an_estimate_of_any_name(name):
    assert matches(name, name)
    assert matches(name, "*")
    assert not matches(name + "!", name) or name == "*"


def test_a_gate_on_an_estimate_that_was_not_measured_never_vanishes(tmp_path):
    wrong = "{estimate: fit.accuracy/acc, at_least: 0}"
    (verdict,) = judge(record(), policy(tmp_path, wrong))
    assert verdict.outcome is Outcome.INSUFFICIENT
    assert "mend its name" in verdict.why
    assert judge(record(), policy(tmp_path, wrong.replace("}", ", optional: true}"))) == ()
