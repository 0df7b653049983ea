"""`audit mitigate`, end to end: what it writes, that test rows play no part, that it goes on, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

import audit
from audit.mitigation import applying, trials
from reports.record import Measured, Skipped, read_record
from tests.mitigation.conftest import biased, one_thread, people  # noqa: F401  # fixtures

METHODS = ("--method", "thresholds", "--method", "calibration", "--method", "reweighing")
GAP = "demographic_parity_difference"


@pytest.fixture
def mitigate(cli, biased):  # noqa: F811
    def call(*arguments: object) -> tuple[int, str, str]:
        return cli("mitigate", biased.plan, "--out", biased.folder / "out", *arguments)

    return call


@pytest.fixture
def calm(biased):  # noqa: F811
    """The table again, no column of which an attack may change."""
    biased.change(data__immutable=["earnings", "debt", "trace"], mitigate__only=["fit.accuracy"])
    return biased


def evidence(folder, check="fairness.mitigated"):
    record = read_record(folder / "record.json")
    (found,) = [e.evidence for e in record.evidence if e.unit.check == check]
    return found


def checkpoints(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*.safetensors"))}


def test_a_table_end_to_end(biased, cli, mitigate):  # noqa: F811
    out = biased.folder / "out"
    code, said, err = mitigate(*METHODS, "--choose", "thresholds")
    assert code in (0, 1, 3), err
    assert {p.name for p in out.iterdir()} == {
        "model.safetensors", "base.safetensors", "toy_network.py", "toy_layers.py", "plan.yaml", "encoder.json",
        "comparison.json", "methods", "before", "after",
    }  # fmt: skip
    assert "taken: thresholds: the plan names it." in said
    assert "reweighing" in said and "left out" not in said
    found = evidence(out / "after")
    assert isinstance(found, Measured)
    # the difference fell, on the same rows, and the figures are those of the two audits
    before, after = found.estimates[f"{GAP}@as it was"], found.estimates[f"{GAP}@thresholds"]
    assert before.value > 0.2 and found.estimates[f"{GAP}_change"].value < -0.1
    assert found.estimates[f"{GAP}_change"].value == pytest.approx(after.value - before.value)
    for when, name in (("before", "as it was"), ("after", "thresholds")):
        accuracy = evidence(out / when, "fit.accuracy").estimates["accuracy"]
        assert found.estimates[f"accuracy@{name}"].value == accuracy.value
        assert found.estimates[f"robust_accuracy@{name}, linf:0.1"].value <= accuracy.value + 0.1
    assert set(found.headline) == {
        f"{GAP}_change", "accuracy_change", "brier_score_change", "robust_accuracy_change@linf:0.1",
    }  # fmt: skip
    # a picture of all of them, the front in it
    places = {point.label: point for point in found.figures[0].points}
    assert set(places) == {"as it was", "thresholds (taken)", "calibration", "reweighing"}
    assert places["thresholds (taken)"].front
    for one in places.values():
        beaten = any((o.x <= one.x and o.y >= one.y) and (o.x, o.y) != (one.x, one.y) for o in places.values())
        assert one.front is not beaten
    assert "sex" in (out / "plan.yaml").read_text().splitlines()[1]
    assert "Mitigation, before and after" in (out / "after" / "report.html").read_text()
    # the plan audits it from where it lies, to the same figures
    only = ("--only", "fit.accuracy", "--only", "fairness.disparity", "--only", "fairness.mitigation")
    code, _, err = cli("run", out / "plan.yaml", *only, "--out", out / "again")
    assert code in (0, 1, 3), err
    for check in ("fit.accuracy", "fairness.disparity"):
        assert evidence(out / "again", check) == evidence(out / "after", check)
    skipped = evidence(out / "again", "fairness.mitigation")
    assert isinstance(skipped, Skipped) and "remedy already" in skipped.reason
    # a remedy is neither mitigated nor hardened again
    for command in (("mitigate",), ("harden", "--eps", "0.1")):
        code, _, err = cli(*command, out / "plan.yaml", "--out", out / "twice")
        assert code == 2 and "post-processor" in err


def test_test_rows_play_no_part(calm, mitigate):
    code, first, _ = mitigate(*METHODS)
    assert code in (0, 1, 3)
    kept = checkpoints(calm.folder / "out")
    other = people(300, 7)
    other["granted"] = np.where(other["granted"] == "yes", "no", "yes")
    other.to_csv(calm.test, index=False)
    code, second, err = mitigate(*METHODS, "--out", calm.folder / "other")
    assert code in (0, 1, 3), err
    assert checkpoints(calm.folder / "other") == kept
    line = next(line for line in first.splitlines() if line.startswith("taken:"))
    assert line in second.splitlines()


def test_an_interrupt_exits_130_and_the_same_command_goes_on(calm, mitigate, monkeypatch):
    assert mitigate(*METHODS, "--out", calm.folder / "whole")[0] in (0, 1, 3)
    tried: list[str] = []

    def apply(name, bench):
        if name == "reweighing" and len(tried) == 2:
            raise KeyboardInterrupt
        tried.append(name)
        return applying.apply(name, bench)

    monkeypatch.setattr(trials, "apply", apply)
    code, _, err = mitigate(*METHODS)
    assert code == 130 and "goes on from there" in err
    assert tried == ["thresholds", "calibration"]
    tried.append("interrupted")
    assert mitigate(*METHODS)[0] in (0, 1, 3)
    assert tried == ["thresholds", "calibration", "interrupted", "reweighing"]
    assert checkpoints(calm.folder / "out") == checkpoints(calm.folder / "whole")
    assert evidence(calm.folder / "out" / "after") == evidence(calm.folder / "whole" / "after")
    # a third time nothing is learnt or measured
    monkeypatch.setattr(trials, "apply", lambda *_: pytest.fail("learnt again"))
    monkeypatch.setattr(trials.measuring, "whole", lambda *_: pytest.fail("measured again"))
    assert mitigate(*METHODS)[0] in (0, 1, 3)


def test_a_broken_checkpoint_and_other_settings_are_learnt_anew(calm, mitigate):
    one = ("--method", "calibration")
    assert mitigate(*one)[0] in (0, 1, 3)
    path = calm.folder / "out" / "methods" / "calibration" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert mitigate(*one)[0] in (0, 1, 3)
    assert path.read_bytes() == content
    assert mitigate(*one, "--seed", "1")[0] in (0, 1, 3)
    assert path.read_bytes() != content


def test_a_method_that_does_not_fit_is_left_out_and_the_others_go_on(biased, mitigate):  # noqa: F811
    network = torch.nn.Sequential(torch.nn.Linear(3, 2))
    program = torch.export.export(network, (torch.zeros(4, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, biased.folder / "model.pt2")
    biased.change(model__path="model.pt2", model__factory=None)
    code, said, err = mitigate(*METHODS, "--choose", "difference", "--only", "fit.accuracy")
    assert code in (0, 1, 3), err
    assert "left out: reweighing: Expected a checkpoint that can be trained" in said
    found = evidence(biased.folder / "out" / "after")
    assert {row[0] for row in found.tables[0].rows} == {"as it was", "thresholds", "calibration"}
    assert any(note.startswith("reweighing was left out") for note in found.notes)
    code, _, err = mitigate("--method", "reweighing", "--out", biased.folder / "none")
    assert code == 2 and "can be trained" in err


@pytest.fixture
def pictures(tmp_path, one_thread):  # noqa: F811
    """Bright and dark squares; of one group the bright ones are often called dark."""
    rng = np.random.default_rng(0)

    def split(n):
        light, group = rng.integers(0, 2, n), rng.integers(0, 2, n)
        corner = np.zeros((4, 4))
        corner[:2, :2] = 1
        pixels = 90 + 60 * light[:, None, None] + 60 * group[:, None, None] * corner + rng.normal(0, 25, (n, 4, 4))
        said = np.where((group == 1) & (rng.random(n) < 0.8), 0, light)
        return pixels.clip(0, 255).astype(np.uint8), said, np.where(group, "b", "a")

    arrays = {}
    for name, n in (("train", 800), ("test", 400)):
        arrays |= dict(zip((f"{name}_images", f"{name}_labels", f"{name}_group"), split(n), strict=True))
    np.savez(tmp_path / "data.npz", **arrays)
    (tmp_path / "net.py").write_text(
        "import torch\n\ndef build():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))\n"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        x = torch.from_numpy(arrays["train_images"]).float()[:, None] / 255
        optimiser = torch.optim.Adam(network.parameters(), 0.05)
        for _ in range(60):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x), torch.from_numpy(arrays["train_labels"])).backward()
            optimiser.step()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    plan = {
        "name": "squares",
        "model": {
            "path": "model.safetensors", "factory": "net:build", "modality": "image", "classes": ["dark", "light"],
        },
        "data": {"test": "data.npz", "train": "data.npz", "label": "labels", "protected": ["group"]},
        "effort": "quick", "device": "cpu",
        "mitigate": {"epochs": 4, "learning_rate": 0.05, "only": ["fit.accuracy"], "methods": ["reweighing", "thresholds"]},
    }  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    return tmp_path


def test_pictures_do_not_show_the_group_so_only_training_helps(pictures, cli):
    out = pictures / "out"
    code, said, err = cli("mitigate", pictures / "plan.yaml", "--out", out)
    assert code in (0, 1, 3), err
    assert "left out: thresholds: Expected a table" in said
    found = evidence(out / "after")
    assert found.estimates[f"{GAP}_change"].high < 0
    assert found.estimates["robust_accuracy@reweighing, linf:0.01"].n == 120
    subject = audit.load(out / "model.safetensors", factory="net:build", root=out, modality="image", device="cpu")
    assert subject.format == "safetensors" and "factory: net:build" in (out / "plan.yaml").read_text()
    assert cli("run", out / "plan.yaml", "--only", "fit.accuracy", "--out", out / "again")[0] in (0, 1, 3)
    assert evidence(out / "again", "fit.accuracy") == evidence(out / "after", "fit.accuracy")


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"data__protected": []}, (), "data.protected"),
        ({"data__train": None}, (), "data.train"),
        ({}, ("--attribute", "sxe"), "sex"),
        ({}, ("--attribute", "sex x agee"), "age"),
        ({}, ("--method", "treshold"), "thresholds"),
        ({}, ("--definition", "parity"), "--definition"),
        ({"mitigate__definition": "parity"}, (), "mitigate.definition"),
        ({"mitigate__methdos": ["thresholds"]}, (), "'methods'"),
        ({}, ("--choose", "paretto"), "pareto"),
        ({}, ("--choose", "thresholds", "--method", "calibration"), "thresholds"),
        ({}, ("--margin", "1"), "--margin"),
        ({"mitigate__held": 0.95}, (), "mitigate.held"),
        ({}, ("--only", "fitt"), "fitt"),
        ({}, ("--policy", "strictest"), "strictest"),
        ({"data__bounds": [-0.9, 0.9]}, (), "inputs between"),
    ],
)  # fmt: skip
def test_refusals_exit_2_with_one_sentence(biased, mitigate, change, options, words):  # noqa: F811
    biased.change(**change)
    code, _, err = mitigate(*options)
    assert code == 2, err
    assert words in err
    assert "Traceback" not in err
    assert not (biased.folder / "out" / "model.safetensors").exists()


def test_groups_too_small_are_refused(biased, mitigate):  # noqa: F811
    for path in (biased.test, biased.folder / "train.csv"):
        frame = pd.read_csv(path)
        frame["sex"] = "f"
        frame.to_csv(path, index=False)
    code, _, err = mitigate()
    assert code == 2 and "two groups" in err


def test_a_changed_remedy_is_refused_by_the_command_line(biased, cli, mitigate):  # noqa: F811
    out = biased.folder / "out"
    assert mitigate("--method", "thresholds", "--only", "fit.accuracy")[0] in (0, 1, 3)
    (out / "toy_network.py").write_text("raise SystemExit('ran')\n")
    code, _, err = cli("run", out / "plan.yaml", "--out", out / "again")
    assert code == 2 and "changed since" in err and "Traceback" not in err


def test_the_check_says_what_would_help(biased, cli):  # noqa: F811
    code, _, err = cli("run", biased.plan, "--only", "fairness.mitigation", "--out", biased.folder / "run")
    assert code in (0, 1, 3), err
    found = evidence(biased.folder / "run", "fairness.mitigation")
    assert isinstance(found, Measured), found
    before, left = found.estimates[f"{GAP}_before@sex"], found.estimates["smallest_difference@sex"]
    assert left.value < before.value / 2
    change = found.estimates["difference_change@sex"]
    assert change.value == pytest.approx(left.value - before.value) and change.value < -0.1
    assert found.headline == ("smallest_difference@sex", "difference_change@sex", "accuracy_change@sex")
    assert len(found.model_dump_json()) < 60_000
    json.loads((biased.folder / "run" / "record.json").read_text())
    biased.change(data__train=None)
    assert cli("run", biased.plan, "--only", "fairness.mitigation", "--out", biased.folder / "bare")[0] in (0, 3)
    assert "data.train" in evidence(biased.folder / "bare", "fairness.mitigation").reason
