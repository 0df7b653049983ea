"""`audit harden`, end to end: what it writes, that it goes on, that before and after compare, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import attacks
from audit.cli import hardening as command
from audit.comparison import change
from reports.record import Measured, read_record
from tests.conftest import Files

ONLY = ("--only", "fit.accuracy", "--only", "fit.calibration", "--only", "fairness.disparity")

IMAGE_FACTORY = """
import torch
from layers import head

def build():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten(), head()
    )
"""


@pytest.fixture
def brittle(files):
    """The toy table again, with columns of little but certain worth that the model leans on."""
    rng = np.random.default_rng(1)
    for split, n in (("train", 400), ("test", 300)):
        y = rng.integers(0, 2, n)
        sign = 2 * y - 1
        frame = pd.DataFrame({"earnings": np.where(rng.random(n) < 0.9, sign, -sign) + rng.normal(0, 0.1, n)})
        for name in ("debt", "noise"):
            frame[name] = 0.2 * sign + rng.normal(0, 1e-3, n)
        frame["sex"] = rng.integers(0, 2, n)
        frame["granted"] = np.where(y, "yes", "no")
        frame.to_csv(files.folder / f"{split}.csv", index=False)
    weight = torch.tensor([[-1.0, -20.0, -20.0], [1.0, 20.0, 20.0]])
    save_file({"weight": weight, "bias": torch.zeros(2)}, files.model)
    return files


@pytest.fixture
def images(tmp_path):
    """A small convolutional net on digits, its layers in two modules."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels * 15.9375).round().astype(np.uint8).reshape(-1, 8, 8)
    np.savez(
        tmp_path / "data.npz",
        train_images=pixels[:500], train_labels=labels[:500], test_images=pixels[-200:], test_labels=labels[-200:],
    )  # fmt: skip
    (tmp_path / "net.py").write_text(IMAGE_FACTORY)
    (tmp_path / "layers.py").write_text("import torch\n\ndef head():\n    return torch.nn.Linear(512, 10)\n")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten(),
            torch.nn.Linear(512, 10),
        )  # fmt: skip
        optimiser = torch.optim.Adam(network.parameters(), 5e-3)
        x, y = torch.from_numpy(pixels[:500]).float()[:, None] / 255, torch.from_numpy(labels[:500])
        for _ in range(30):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network((x - 0.3) / 0.4), y).backward()
            optimiser.step()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    plan = {
        "name": "digits",
        "model": {
            "path": "model.safetensors", "factory": "net:build", "modality": "image", "mean": [0.3], "std": [0.4],
            "classes": [str(i) for i in range(10)],
        },
        "data": {"test": "data.npz", "train": "data.npz", "label": "labels"},
        "effort": "quick",
        "device": "cpu",
        "harden": {"recipe": "fast", "eps": 0.1, "epochs": 6, "batch_size": 50},
    }  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    return Files(tmp_path)


@pytest.fixture
def harden(cli, files):
    def call(*arguments: object) -> tuple[int, str, str]:
        return cli("harden", files.plan, "--out", files.folder / "hard", *ONLY, *arguments)

    return call


def comparison(folder):
    record = read_record(folder / "after" / "record.json")
    (found,) = [e.evidence for e in record.evidence if e.unit.check == "robustness.hardening"]
    assert isinstance(found, Measured)
    return found


def test_an_image_model_end_to_end(images, cli):
    out = images.folder / "hard"
    code, said, err = cli("harden", images.plan, "--out", out, "--only", "fit", "--only", "cost.size")
    assert code in (0, 1, 3), err
    assert {p.name for p in out.iterdir()} == {
        "model.safetensors", "plan.yaml", "net.py", "layers.py", "training.json", "training.pt", "comparison.json",
        "before", "after",
    }  # fmt: skip
    assert str(out / "after" / "report.html") in said
    assert "epoch 6/6" in err
    # the same keys, other weights
    old, new = load_file(images.model), load_file(out / "model.safetensors")
    assert {n: v.shape for n, v in old.items()} == {n: v.shape for n, v in new.items()}
    assert any(not torch.equal(old[n], new[n]) for n in old)
    # more robust at the budget, on the same rows
    found = comparison(out)
    gain = found.estimates["robust_accuracy_change@linf:0.1"]
    assert gain.low > 0
    before, after = (found.estimates[f"robust_accuracy_{when}@linf:0.1"] for when in ("before", "after"))
    assert after.value - before.value == pytest.approx(gain.value)
    assert gain.n == before.n == 120
    assert found.estimates["accuracy_change"].n == 200
    accuracies = [
        next(e.evidence.estimates["accuracy"] for e in read_record(out / when / "record.json").evidence
             if e.unit.check == "fit.accuracy")
        for when in ("before", "after")
    ]  # fmt: skip
    assert found.estimates["accuracy_change"].value == pytest.approx(accuracies[1].value - accuracies[0].value)
    # the curve is the history
    history = json.loads((out / "training.json").read_text())["history"]
    assert [line["epoch"] for line in history] == list(range(7))
    curve = [p.y for p in found.figures[0].points if p.series == "after ten steps"]
    assert curve == [line["robust"] for line in history]
    # table and page show it
    assert "fit.accuracy/accuracy" in [row[0] for row in found.tables[0].rows]
    page = (out / "after" / "report.html").read_text()
    assert "Hardening, before and after" in page and "Rows held out while training" in page
    # the plan audits the new model from where it lies, to the same figure
    code, _, err = cli("run", out / "plan.yaml", "--only", "fit.accuracy", "--out", images.folder / "again")
    assert code in (0, 1, 3), err
    (again,) = read_record(images.folder / "again" / "record.json").evidence
    assert again.evidence.estimates["accuracy"] == accuracies[1]


def test_a_table_is_hardened_in_deviations(brittle, cli):
    out = brittle.folder / "hard"
    code, _, err = cli(
        "harden", brittle.plan, "--recipe", "pgd", "--eps", "1.2", "--epochs", "8", "--out", out, *ONLY
    )  # fmt: skip
    assert code in (0, 1, 3), err
    found = comparison(out)
    assert found.estimates["robust_accuracy_before@linf:1.2"].value < 0.1
    assert "standard deviations" in " ".join(found.notes)
    assert {"accuracy_change@sex=0", "accuracy_change@sex=1"} <= set(found.estimates)
    plan = yaml.safe_load((out / "plan.yaml").read_text())
    assert plan["data"]["protected"] == ["sex"] and plan["data"]["favourable"] == "yes"
    assert "harden" not in plan
    rows = json.loads((out / "comparison.json").read_text())["rows"]
    assert {"fairness.disparity", "fit.accuracy"} <= {row["check"] for row in rows}
    for row in rows:
        if row["change"]["value"] is not None:
            assert row["change"]["value"] == pytest.approx(row["after"]["value"] - row["before"]["value"])


@pytest.mark.parametrize("when", ["training", "audit"])
def test_an_interrupt_exits_130_and_the_same_command_goes_on(files, harden, monkeypatch, when):
    from audit.checks.fit.calibration import Calibration

    options = ("--eps", "0.3", "--epochs", "3", "--recipe", "fast")
    whole = files.folder / "whole"
    assert harden(*options, "--out", whole)[0] in (0, 1, 3)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if when == "training":
            original = command._Watch.__call__
            patch.setattr(
                command._Watch, "__call__",
                lambda self, at: interrupt() if (at.epoch, at.batch) == (2, 1) else original(self, at),
            )  # fmt: skip
        else:
            patch.setattr(Calibration, "run", interrupt)
        code, _, err = harden(*options)
    assert code == 130
    assert "goes on from there" in err
    assert harden(*options)[0] in (0, 1, 3)
    hard = files.folder / "hard"
    assert (hard / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert comparison(hard) == comparison(whole)
    # a third time nothing is trained or measured
    monkeypatch.setattr(attacks.defence.training.Training, "_epoch", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(Calibration, "run", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr("audit.hardening.comparison.measure", lambda *_: pytest.fail("compared again"))
    assert harden(*options)[0] in (0, 1, 3)


def test_a_transformers_image_folder_stays_one(tmp_path, cli):
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.ViTForImageClassification(
            transformers.ViTConfig(
                hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8,
                patch_size=4, num_labels=2, id2label={0: "cat", 1: "dog"},
            )
        ).save_pretrained(tmp_path / "vit")  # fmt: skip
    processor = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.2] * 3}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 160)
    images = (rng.integers(0, 100, (160, 8, 8, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(
        tmp_path / "data.npz",
        train_images=images[:100], train_labels=labels[:100], test_images=images[100:], test_labels=labels[100:],
    )  # fmt: skip
    plan = {
        "name": "vit", "model": {"path": "vit"}, "effort": "quick", "device": "cpu",
        "data": {"test": "data.npz", "train": "data.npz", "label": "labels"},
        "harden": {"recipe": "fast", "eps": 0.05, "epochs": 4, "batch_size": 20, "only": ["fit.accuracy"]},
    }  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    out = tmp_path / "hard"
    code, _, err = cli("harden", tmp_path / "plan.yaml", "--out", out)
    assert code in (0, 1, 3), err
    assert (out / "model" / "preprocessor_config.json").read_text() == json.dumps(processor)
    assert comparison(out).estimates["robust_accuracy_change@linf:0.05"].low > 0
    assert cli("run", out / "plan.yaml", "--only", "fit.accuracy", "--out", tmp_path / "run")[0] in (0, 1, 3)


def test_other_settings_in_the_same_folder_are_refused(harden):
    assert harden("--eps", "0.3", "--epochs", "1", "--recipe", "fast")[0] in (0, 1, 3)
    code, _, err = harden("--eps", "0.2", "--epochs", "1", "--recipe", "fast")
    assert code == 2
    assert "another" in err and "training.pt" in err


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, (), "--eps"),
        ({"data__train": None}, ("--eps", "1"), "data.train"),
        ({"data__immutable": ["earnings", "debt", "noise"]}, ("--eps", "1"), "immutable"),
        ({"harden__epochs": 0}, ("--eps", "1"), "harden.epochs"),
        ({"harden__epoch": 3}, ("--eps", "1"), "'epochs'"),
        ({"harden__recipe": "magic"}, ("--eps", "1"), "harden.recipe"),
        ({}, ("--eps", "0"), "--eps"),
        ({}, ("--eps", "1", "--only", "fitt"), "fitt"),
        ({}, ("--eps", "1", "--policy", "strictest"), "strictest"),
    ],
)
def test_refusals_exit_2_with_one_sentence(files, harden, change, options, words):
    files.change(**change)
    code, _, err = harden(*options)
    assert code == 2, err
    assert words in err
    assert "Traceback" not in err
    assert not (files.folder / "hard" / "model.safetensors").exists()


def test_an_exported_program_cannot_be_trained(files, harden):
    program = torch.export.export(
        torch.nn.Linear(3, 2), (torch.zeros(4, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, files.folder / "model.pt2")
    files.change(model__path="model.pt2", model__factory=None)
    code, _, err = harden("--eps", "0.3")
    assert code == 2
    assert "can be trained" in err


def test_changes_are_exact_where_both_sides_are():
    from audit import statistics

    assert change(statistics.exact(8, 1), statistics.exact(6, 1)).model_dump(include={"value", "low", "high"}) == {
        "value": -2, "low": -2, "high": -2,
    }  # fmt: skip
    found = change(statistics.proportion(50, 100), statistics.proportion(60, 100))
    assert found.value == pytest.approx(0.1)
    assert found.low < 0 < found.high
    nothing = change(statistics.undefined("no rows"), statistics.proportion(60, 100))
    assert nothing.value is None and nothing.reason == "no rows"
