"""Plans: the schema, relative paths, and what `audit init` proposes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from audit.plan import Plan, read_plan

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/plan*.yaml")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_the_examples_plans_fit_the_published_schema(path):
    jsonschema.validate(yaml.safe_load(path.read_text()), Plan.model_json_schema())
    plan = read_plan(path)
    assert plan.model.path.exists()
    assert plan.data.test.exists()


def test_paths_are_relative_to_the_plan(files, monkeypatch):
    monkeypatch.chdir("/")
    plan = read_plan(files.plan)
    assert plan.model.path == files.model
    assert plan.data.encoder == files.folder / "encoder.json"


def test_every_key_is_described():
    def keys(schema):
        yield from schema.get("properties", {}).items()
        for part in schema.get("$defs", {}).values():
            yield from keys(part)

    for name, value in keys(Plan.model_json_schema()):
        assert value.get("description") or "$ref" in value, name


def test_the_command_prints_a_schema_that_editors_can_use(cli):
    for what in ("plan", "policy", "record"):
        code, out, _ = cli("schema", what)
        assert code == 0
        jsonschema.Draft202012Validator.check_schema(json.loads(out))


def test_init_writes_a_plan_that_runs(files, cli):
    files.plan.unlink()
    code, out, err = cli("init", files.model, files.test, "-o", files.plan)
    assert code == 0, err
    written = yaml.safe_load(files.plan.read_text())
    assert written["model"]["factory"] == "toy_network:build"
    assert written["data"]["label"] == "granted"
    assert written["data"]["protected"] == ["sex"]
    assert written["data"]["train"] == "train.csv"
    assert "# check" in files.plan.read_text()
    assert "data.label is 'granted'" in out
    assert cli("run", files.plan, "--only", "fit.accuracy", "--out", files.folder / "run")[0] in (0, 3)


def test_init_overwrites_nothing(files, cli):
    before = files.plan.read_text()
    code, _, err = cli("init", files.model, files.test, "-o", files.plan)
    assert code == 2
    assert "--force" in err
    assert files.plan.read_text() == before


@pytest.mark.parametrize("example", ["fashion", "movies", "adult"])
def test_init_looks_at_the_examples(example, cli, tmp_path):
    written = yaml.safe_load((EXAMPLES / example / "plan.yaml").read_text())
    model, data = (EXAMPLES / example / written[part][key] for part, key in (("model", "path"), ("data", "test")))
    code, _, err = cli("init", model, data, "-o", tmp_path / "plan.yaml")
    assert code == 0, err
    proposed = read_plan(tmp_path / "plan.yaml")
    assert proposed.model.modality == written["model"]["modality"]
    assert proposed.model.path.resolve() == model.resolve()
    assert proposed.data.train is not None


def test_without_a_plan_model_and_data_are_enough(files, cli):
    code, _, err = cli(
        "run", "--model", files.model, "--data", files.test, "--label", "granted", "--only", "fit.accuracy",
        "--out", files.folder / "run", "--seed", 3,
    )  # fmt: skip
    assert code in (0, 3), err
    record = json.loads((files.folder / "run" / "record.json").read_text())
    assert record["settings"]["seed"] == 3
    assert record["subject"]["classes"] == ["no", "yes"]
