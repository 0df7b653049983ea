"""Runs: what the folder holds, resuming, interrupts, checks that break."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from audit.checks.data.balance import Balance
from audit.checks.fit.accuracy import Accuracy
from reports.record import read_record


@pytest.fixture
def run(cli, files):
    def call(*arguments: object, only: tuple[str, ...] = ("fit.accuracy", "data.balance")) -> tuple[int, str, str]:
        chosen = [part for name in only for part in ("--only", name)]
        return cli("run", files.plan, "--out", files.folder / "run", *chosen, *arguments)

    return call


def test_the_folder_holds_what_it_should(files, run):
    code, out, err = run()
    assert code in (0, 3), err
    folder = files.folder / "run"
    assert {p.name for p in folder.iterdir()} == {
        "record.json", "report.html", "junit.xml", "results.sarif", "summary.md", "evidence",
    }  # fmt: skip
    record = read_record(folder / "record.json")
    assert {e.unit.check for e in record.evidence} == {"fit.accuracy", "data.balance"}
    assert {p.stem for p in (folder / "evidence").iterdir()} == {e.unit.key for e in record.evidence}
    assert str(folder / "report.html") in out


def test_the_same_command_measures_nothing_again(files, run, monkeypatch):
    run()
    first = read_record(files.folder / "run" / "record.json")
    monkeypatch.setattr(Accuracy, "run", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(Balance, "run", lambda *_: pytest.fail("measured again"))
    run()
    assert read_record(files.folder / "run" / "record.json").evidence == first.evidence


@pytest.mark.parametrize("change", ["seed", "data", "model", "encoder", "constraints", "params"])
def test_whatever_the_evidence_depends_on_gives_another_key(files, run, change):
    run(only=("fit.accuracy",))
    (before,) = read_record(files.folder / "run" / "record.json").evidence
    if change == "seed":
        files.change(seed=1)
    elif change == "data":
        files.rows().head(150).to_csv(files.test, index=False)
    elif change == "model":
        save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, files.model)
    elif change == "encoder":
        encoder = files.folder / "encoder.json"
        encoder.write_text(encoder.read_text().replace('"std": 1.0', '"std": 2.0'))
    elif change == "constraints":
        files.change(data__constraints=["debt <= earnings + 9"])
    else:
        files.change(checks={"fit.accuracy": {"resamples": 10}})
    run(only=("fit.accuracy",))
    (after,) = read_record(files.folder / "run" / "record.json").evidence
    assert before.unit.key != after.unit.key


def test_an_interrupt_keeps_what_is_done_and_the_same_command_goes_on(files, run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Accuracy, "run", interrupt)
        code, _, err = run()
    assert code == 130
    assert "goes on from there" in err
    record = read_record(files.folder / "run" / "record.json")
    assert [e.unit.check for e in record.evidence] == ["data.balance"]
    assert record.missing == ("fit.accuracy",)
    monkeypatch.setattr(Balance, "run", lambda *_: pytest.fail("measured again"))
    assert run()[0] in (0, 3)
    assert read_record(files.folder / "run" / "record.json").missing == ()


def test_a_check_that_breaks_is_failed_and_the_rest_go_on(files, run, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("by zero")

    with monkeypatch.context() as patch:
        patch.setattr(Balance, "run", broken)
        code, _, _ = run()
    record = read_record(files.folder / "run" / "record.json")
    kinds = {e.unit.check: e.evidence.kind for e in record.evidence}
    assert kinds == {"fit.accuracy": "measured", "data.balance": "failed"}
    assert code in (0, 3)
    # a failure is not kept: the same command tries again
    run()
    kinds = {e.unit.check: e.evidence.kind for e in read_record(files.folder / "run" / "record.json").evidence}
    assert kinds["data.balance"] == "measured"


def test_damaged_evidence_is_measured_again(files, run):
    run()
    first = (files.folder / "run" / "record.json").read_text()
    for path in (files.folder / "run" / "evidence").iterdir():
        path.write_text(path.read_text()[:-20])
    run()
    assert json.loads((files.folder / "run" / "record.json").read_text())["evidence"] == json.loads(first)["evidence"]


def test_the_same_seed_gives_the_same_evidence(files, cli):
    found = []
    for name in ("a", "b"):
        cli("run", files.plan, "--out", files.folder / name, "--only", "fit", "--only", "data", "--only", "fairness")
        found.append(read_record(files.folder / name / "record.json").evidence)
    assert found[0] == found[1]


def test_progress_names_each_check_and_the_time_left(run):
    _, _, err = run()
    assert "toy: 2 checks" in err
    assert "[1/2] data.balance" in err or "[1/2] fit.accuracy" in err
    assert "s left" in err


def test_the_policy_decides_the_exit_code(files, run):
    policy = files.folder / "mine.yaml"
    for bound, expected in ((0.5, 0), (0.999, 1)):
        policy.write_text(f"name: mine\ngates:\n  - {{estimate: fit.accuracy/accuracy, at_least: {bound}}}\n")
        assert run("--policy", policy)[0] == expected


def test_a_record_is_judged_again_without_measuring(files, run, cli):
    run()
    policy = files.folder / "mine.yaml"
    policy.write_text("name: mine\ngates:\n  - {estimate: fit.accuracy/accuracy, at_least: 0.999}\n")
    code, out, _ = cli(
        "judge", files.folder / "run" / "record.json", "--policy", policy, "--out", files.folder / "again"
    )
    assert code == 1
    assert "FAIL" in out
    assert read_record(files.folder / "again" / "record.json").policy == "mine"


def test_a_fault_of_ours_exits_with_70_and_keeps_the_evidence(files, run, monkeypatch):
    import reports.artefacts

    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(reports.artefacts, "write_all", broken)
    code, _, err = run()
    assert code == 70
    assert "no ink" in err
    assert len(list((files.folder / "run" / "evidence").iterdir())) == 2


@pytest.mark.parametrize("change", ["mean", "output", "factory"])
def test_what_is_declared_of_the_model_counts_too(files, change):
    """Equal weights behind another normalisation, head or network are another model."""
    from audit.plan import read_plan
    from audit.runner import choose, units
    from audit.setup import subject_and_data

    def key() -> str:
        subject, dataset = subject_and_data(read_plan(files.plan), files.folder)
        ((unit, _),) = units(subject, dataset, choose(["fit.accuracy"], "quick"), 0)
        return unit.key

    before = key()
    if change == "mean":
        files.change(model__mean=[0.5], model__std=[2.0])
    elif change == "output":
        files.change(model__output="log_probabilities")
    else:
        network = files.folder / "toy_network.py"
        network.write_text(
            "import torch\nclass Turned(torch.nn.Linear):\n    def forward(self, x):\n        return -super().forward(x)\n"
            "def build():\n    return Turned(3, 2)\n"
        )
    assert key() != before


def test_a_column_that_the_model_does_not_read_counts_in_the_checks_of_the_data(files, run):
    run(only=("data.missing",))
    (before,) = read_record(files.folder / "run" / "record.json").evidence
    frame = files.rows()
    frame["note"] = None
    frame.to_csv(files.test, index=False)
    run(only=("data.missing",))
    (after,) = read_record(files.folder / "run" / "record.json").evidence
    assert before.unit.key != after.unit.key


def test_evidence_changed_by_hand_is_told(files, run):
    run(only=("fit.accuracy",))
    (path,) = (files.folder / "run" / "evidence").iterdir()
    text = path.read_text()
    value = read_record(files.folder / "run" / "record.json").evidence[0].evidence.estimates["accuracy"].value
    assert str(value) in text
    path.write_text(text.replace(f'"value": {value}', f'"value": {value - 0.0001}', 1))
    code, _, err = run(only=("fit.accuracy",))
    assert code == 4
    assert path.name in err
