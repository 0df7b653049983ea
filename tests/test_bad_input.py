"""What users get wrong: exit code 2, one sentence that says what to do, no traceback, nothing lost."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


@pytest.fixture
def refused(cli, files):
    """Run the plan; assert the manners every refusal has; return the sentence."""

    def check(*extra: object, plan: bool = True) -> str:
        code, _, err = cli(
            "run", *([files.plan] if plan else []), "--only", "fit.accuracy", "--out", files.folder / "run", *extra
        )
        said = [line for line in err.splitlines() if line.startswith("audit: ")]
        assert code == 2, err
        assert len(said) == 1, err
        assert "Traceback" not in err
        return said[0]

    return check


def test_the_plan_itself_is_good(cli, files):
    code, out, err = cli("run", files.plan, "--only", "fit.accuracy", "--out", files.folder / "run")
    assert code in (0, 3), err
    assert "report.html" in out


def test_missing_checkpoint(files, refused):
    files.model.unlink()
    assert "model.safetensors" in refused()


def test_missing_data(files, refused):
    files.test.unlink()
    assert "test.csv" in refused()


def test_missing_plan(files, refused):
    files.plan.unlink()
    assert "no such file" in refused()


def test_truncated_checkpoint(files, refused):
    files.model.write_bytes(files.model.read_bytes()[:-8])
    assert "cut short" in refused()


@pytest.mark.parametrize("kind", ["bare", "torch", "exported", "npz"])
def test_a_malicious_pickle_does_not_run(files, refused, kind):
    marker = files.folder / "payload-ran"
    payload = pickle.dumps(Payload(marker))
    bad = files.folder / "bad.pt"
    if kind == "bare":
        bad.write_bytes(payload)
    elif kind == "torch":
        torch.save({"weight": Payload(marker)}, bad)
    elif kind == "exported":
        program = torch.export.export(torch.nn.Linear(3, 2), (torch.zeros(4, 3),))
        good = files.folder / "good.pt2"
        torch.export.save(program, good)
        hidden = files.folder / "hidden.pt"
        torch.save(Payload(marker), hidden)
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
            for item in source.infolist():
                content = source.read(item)
                if "sample_inputs" in item.filename:
                    content = hidden.read_bytes()
                target.writestr(item.filename, content)
    else:
        bad = files.folder / "bad.npz"
        np.savez(bad, x=np.array([Payload(marker)], dtype=object), y=np.array([0]))
        files.change(data__test="bad.npz")
    if kind != "npz":
        files.change(model__path=bad.name)
    if kind == "exported":  # it may be read without its sample inputs, as long as nothing in it runs
        files.change(model__factory=None)
        refused_or_run = subprocess.run(
            [
                sys.executable,
                "-m",
                "audit.cli",
                "run",
                str(files.plan),
                "--only",
                "fit.accuracy",
                "--out",
                str(files.folder / "run"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused_or_run.returncode in (0, 1, 2, 3), refused_or_run.stderr
        assert "Traceback" not in refused_or_run.stderr
    else:
        said = refused()
        assert "pickle" in said.lower()
    assert not marker.exists()
    # the attack is real: trusted, it would have run
    pickle.loads(payload)
    assert marker.exists()


def test_a_pickle_says_what_to_do(files, refused):
    (files.folder / "bad.pt").write_bytes(pickle.dumps(Payload(files.folder / "ran")))
    files.change(model__path="bad.pt")
    assert "--trust-pickle" in refused()


def test_a_pickle_is_refused_before_a_factory_is_asked_for(files, cli):
    marker, bad = files.folder / "ran", files.folder / "bad.pt"
    torch.save({"weight": Payload(marker)}, bad)
    for command in (
        ("run", "--model", bad, "--data", files.test),
        ("init", bad, files.test, "-o", files.folder / "p.yaml"),
    ):
        code, _, err = cli(*command)
        assert code == 2
        assert "--trust-pickle" in err
        assert not marker.exists()


def test_a_state_dict_that_does_not_fit_names_the_keys(files, refused):
    save_file({"weight": torch.zeros(2, 3), "offset": torch.zeros(2)}, files.model)
    said = refused()
    assert "bias" in said
    assert "offset" in said


def test_a_state_dict_of_another_shape_names_the_shapes(files, refused):
    save_file({"weight": torch.zeros(2, 5), "bias": torch.zeros(2)}, files.model)
    said = refused()
    assert "weight" in said
    assert "5" in said


@pytest.mark.parametrize(
    ("factory", "word"),
    [("nowhere:build", "nowhere"), ("toy_network:bild", "build"), ("toy_network", "module"), ("os:getcwd", "Module")],
)
def test_a_factory_that_does_not_work(files, refused, factory, word):
    files.change(model__factory=factory)
    assert word in refused()


def test_a_factory_that_raises(files, refused):
    (files.folder / "toy_network.py").write_text("raise RuntimeError('no licence')")
    assert "no licence" in refused()


def test_a_wrong_label_offers_the_nearest(files, refused):
    files.change(data__label="grantd")
    assert "'granted'" in refused()


def test_a_wrong_protected_column_offers_the_nearest(files, refused):
    files.change(data__protected=["sexe"])
    assert "'sex'" in refused()


def test_a_class_count_that_does_not_match(files, refused):
    files.change(model__classes=["no", "yes", "maybe"])
    said = refused()
    assert "3" in said
    assert "2" in said


def test_nan_weights(files, refused):
    save_file({"weight": torch.full((2, 3), float("nan")), "bias": torch.zeros(2)}, files.model)
    said = refused()
    assert "weight" in said
    assert "NaN" in said or "nan" in said


def test_nan_outputs(files, refused):
    (files.folder / "toy_network.py").write_text(
        "import torch\nclass Log(torch.nn.Linear):\n"
        "    def forward(self, x):\n        return super().forward(x).log()\n"
        "def build():\n    return Log(3, 2)\n"
    )
    assert "nan" in refused().lower()


def test_an_empty_data_set(files, refused):
    files.rows().head(0).to_csv(files.test, index=False)
    assert "row" in refused()


def test_labels_outside_the_classes(files, refused):
    frame = files.rows()
    frame.loc[7, "granted"] = "perhaps"
    frame.to_csv(files.test, index=False)
    said = refused()
    assert "perhaps" in said
    assert "7" in said


def test_a_text_column_without_an_encoder(files, refused):
    frame = files.rows().assign(town="Ghent")
    frame.to_csv(files.test, index=False)
    frame.to_csv(files.folder / "train.csv", index=False)
    files.change(data__encoder=None)
    said = refused()
    assert "town" in said
    assert "encoder" in said


def test_inputs_outside_their_bounds(files, refused):
    files.change(data__bounds=[0.0, 1.0])
    said = refused()
    assert "bounds" in said


def test_an_unwritable_output_folder(files, cli):
    (files.folder / "taken").write_text("a file")
    code, _, err = cli("run", files.plan, "--out", files.folder / "taken" / "run")
    assert code == 2
    assert "--out" in err
    assert (files.folder / "taken").read_text() == "a file"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model__clases": ["a"]}, "'classes'"),
        ({"dta": {}}, "'data'"),
        ({"effort": "quik"}, "effort"),
        ({"seed": "seven"}, "seed"),
        ({"checks": {"fit.acuracy": {}}}, "'fit.accuracy'"),
        ({"checks": {"fit.accuracy": {"resample": 3}}}, "'resamples'"),
        ({"only": ["fitt"]}, "fit"),
        ({"policy": "strict.yaml"}, "strict.yaml"),
        ({"model__path": None}, "model.path"),
        ({"data__favourable": "Yes!"}, "'yes'"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_a_plan_with_a_typo(files, cli, change, message):
    files.change(**change)
    code, _, err = cli("run", files.plan, "--out", files.folder / "run")
    assert code == 2, err
    assert message in err
    assert "Traceback" not in err


def test_yaml_tags_build_nothing(files, cli):
    marker = files.folder / "ran"
    files.plan.write_text(f"name: !!python/object/apply:os.mkdir [{marker}]\n")
    code, _, err = cli("run", files.plan)
    assert code == 2
    assert "without tags" in err
    assert not marker.exists()


def test_bad_input_keeps_earlier_evidence(files, cli, refused):
    out = files.folder / "run"
    assert cli("run", files.plan, "--only", "fit.accuracy", "--out", out)[0] in (0, 3)
    before = sorted(p.name for p in (out / "evidence").iterdir()), (out / "record.json").read_bytes()
    files.change(data__label="grantd")
    refused()
    assert (sorted(p.name for p in (out / "evidence").iterdir()), (out / "record.json").read_bytes()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--effort", "heroic"),
        ("judge", "nowhere.json"),
        ("explain", "fit.acuracy"),
        ("run", "a.yaml", "--model", "b"),
    ],
)
def test_wrong_usage(cli, arguments):
    code, _, err = cli(*arguments)
    assert code == 2
    assert "Traceback" not in err


def test_a_record_that_is_none(cli, tmp_path):
    for text in ("", "{}", json.dumps({"schema": 99}), json.dumps({"schema": 1, "subject": 3})):
        (tmp_path / "record.json").write_text(text)
        code, _, err = cli("report", tmp_path, "-o", tmp_path / "r.html")
        assert code == 2
        assert "Expected a record" in err


def test_no_traceback_reaches_a_shell(files):
    pd.DataFrame().to_csv(files.test)
    done = subprocess.run(
        [sys.executable, "-m", "audit.cli", "run", str(files.plan)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp/elsewhere", "", ".", "a\nb", "\x1b[31mred"])
def test_a_name_stays_inside_the_runs_folder(files, cli, monkeypatch, name):
    monkeypatch.chdir(files.folder)
    files.change(name=name)
    before = sorted(p.name for p in files.folder.parent.iterdir())
    code, _, err = cli("run", files.plan)
    assert code == 2
    assert "name" in err
    assert "\x1b" not in err
    assert sorted(p.name for p in files.folder.parent.iterdir()) == before


def test_tables_without_an_encoder_are_read_in_the_order_of_the_training_data(files, cli):
    files.change(data__encoder=None, data__protected=[])
    for split in ("test", "train"):
        pd.read_csv(files.folder / f"{split}.csv").drop(columns="sex").to_csv(
            files.folder / f"{split}.csv", index=False
        )
    assert cli("run", files.plan, "--only", "fit.accuracy", "--out", files.folder / "a")[0] in (0, 3)
    frame = files.rows()
    frame[frame.columns[::-1]].to_csv(files.test, index=False)
    assert cli("run", files.plan, "--only", "fit.accuracy", "--out", files.folder / "b")[0] in (0, 3)
    a, b = (json.loads((files.folder / f / "record.json").read_text())["evidence"][0]["evidence"] for f in "ab")
    assert a["estimates"]["accuracy"] == b["estimates"]["accuracy"]
    frame.rename(columns={"noise": "other"}).to_csv(files.test, index=False)
    code, _, err = cli("run", files.plan, "--out", files.folder / "c")
    assert code == 2
    assert "'noise'" in err or "'other'" in err


@pytest.mark.parametrize("value", ["many", -5, 0, 2.5, [3]])
def test_a_parameter_of_the_wrong_kind(files, cli, value):
    files.change(checks={"fit.calibration": {"bins": value}})
    code, _, err = cli("run", files.plan, "--out", files.folder / "run")
    assert code == 2
    assert "bins" in err
