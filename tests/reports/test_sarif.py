"""SARIF: the schema, what a viewer sees, and fingerprints that last."""

import json

import jsonschema
import pytest

from reports.sarif import to_sarif

TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
#: the part of sarif-schema-2.1.0.json that the log uses, closed against unknown properties as that schema is
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/run"}},
    },
    "definitions": {
        "artifactLocation": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "uri": {"type": "string", "format": "uri-reference", "pattern": "^[!-~]+$"},
                "index": {"type": "integer", "minimum": -1},
            },
        },
        "rule": {
            "type": "object",
            "additionalProperties": False,
            "required": ["id"],
            "properties": {
                "id": {"type": "string", "minLength": 1},
                "name": {"type": "string", "pattern": "^[0-9A-Za-z]+$"},
                "shortDescription": TEXT,
                "fullDescription": TEXT,
                "help": TEXT,
                "defaultConfiguration": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"level": LEVEL},
                },
                "properties": {"type": "object"},
            },
        },
        "result": {
            "type": "object",
            "additionalProperties": False,
            "required": ["message"],
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": -1},
                "level": LEVEL,
                "message": TEXT,
                "locations": {"type": "array", "items": {"$ref": "#/definitions/location"}},
                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                "properties": {"type": "object"},
            },
        },
        "location": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "physicalLocation": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["artifactLocation"],
                    "properties": {
                        "artifactLocation": {"$ref": "#/definitions/artifactLocation"},
                        "region": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"startLine": {"type": "integer", "minimum": 1}},
                        },
                    },
                },
                "logicalLocations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "fullyQualifiedName": {"type": "string"},
                            "kind": {"type": "string"},
                        },
                    },
                },
            },
        },
        "run": {
            "type": "object",
            "additionalProperties": False,
            "required": ["tool"],
            "properties": {
                "tool": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["driver"],
                    "properties": {
                        "driver": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["name"],
                            "properties": {
                                "name": {"type": "string"},
                                "semanticVersion": {"type": "string"},
                                "rules": {
                                    "type": "array",
                                    "uniqueItems": True,
                                    "items": {"$ref": "#/definitions/rule"},
                                },
                            },
                        }
                    },
                },
                "invocations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["executionSuccessful"],
                        "properties": {
                            "executionSuccessful": {"type": "boolean"},
                            "exitCode": {"type": "integer"},
                        },
                    },
                },
                "artifacts": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "location": {"$ref": "#/definitions/artifactLocation"},
                            "roles": {"type": "array", "uniqueItems": True, "items": {"enum": ["analysisTarget"]}},
                        },
                    },
                },
                "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                "results": {"type": "array", "items": {"$ref": "#/definitions/result"}},
                "properties": {"type": "object"},
            },
        },
    },
}


@pytest.mark.parametrize("which", ["record", "hostile"])
def test_sarif_fits_the_schema(which, request):
    text = to_sarif(request.getfixturevalue(which))
    jsonschema.validate(json.loads(text), SCHEMA, cls=jsonschema.Draft7Validator)
    assert not set(text) & {"\x1b", "\x00", "\u202e"}


def test_sarif_levels_and_rules(record):
    run = json.loads(to_sarif(record))["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    results = run["results"]
    for result in results:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    levels = {(r["ruleId"], r["properties"]["outcome"]): r["level"] for r in results}
    assert levels == {
        ("robustness.evasion/robust_accuracy@linf:0.1", "FAIL"): "error",
        ("robustness.evasion/robust_accuracy@l2:0.5", "FAIL"): "warning",
        ("fit.accuracy/macro_f1", "INSUFFICIENT"): "warning",
        ("fit.accuracy/recall@class=unseen", "INSUFFICIENT"): "warning",
        ("fairness.rates/*", "INSUFFICIENT"): "warning",
        ("fairness.rates", "BROKEN"): "error",
    }
    helps = {rule["id"]: rule["help"]["text"] for rule in rules}
    assert "What fit.accuracy measures" in helps["fit.accuracy/macro_f1"]
    assert run["invocations"] == [{"executionSuccessful": False, "exitCode": 1}]


def test_fingerprints_tell_results_apart_and_outlive_new_numbers(record):
    def prints(record):
        return [
            r["partialFingerprints"]["assayEstimate/v1"] for r in json.loads(to_sarif(record))["runs"][0]["results"]
        ]

    found = prints(record)
    assert len(set(found)) == len(found)
    moved = [v.model_copy(update={"observed": None, "evidence": None}) for v in record.verdicts]
    assert prints(record.model_copy(update={"verdicts": tuple(moved)})) == found


@pytest.mark.parametrize(
    ("source", "uri"),
    [
        ("model.safetensors", "model.safetensors"),
        ("./a b/model#1.pt", "a%20b/model%231.pt"),
        ("/srv/model.pt", "file:///srv/model.pt"),
        ("C:\\models\\m.pt", "file:///C:/models/m.pt"),
        ("", "model"),
    ],
)
def test_the_checkpoint_is_the_place(record, source, uri):
    subject = record.subject.model_copy(update={"source": source})
    run = json.loads(to_sarif(record.model_copy(update={"subject": subject})))["runs"][0]
    assert run["artifacts"][0]["location"]["uri"] == uri
