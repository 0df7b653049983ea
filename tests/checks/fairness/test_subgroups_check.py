"""The subgroup check on people of whom one subgroup is served badly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from audit.checks.fairness.subgroups import Subgroups
from audit.datasets import Dataset, Feature, FeatureKind
from audit.subject import Modality
from tests.checks.explain.known_models import Linear, numbers, subject

CHECK = Subgroups(draws=199)


def people(wrong, n: int = 6000) -> Dataset:
    """The model answers by the sign of x0; so does the truth, but for the share of rows that `wrong` gives."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x0": rng.normal(size=n),
            "age": rng.integers(18, 80, n),
            "town": rng.choice(["here", "there", "far"], n),
            "id": np.arange(n),
        }
    )
    sex = np.where(rng.random(n) < 0.5, "F", "M").astype(object)
    answer = frame["x0"].to_numpy() > 0
    labels = answer ^ (rng.random(n) < wrong(frame, sex))
    data = numbers(frame[["x0"]].to_numpy(copy=True), labels.astype(np.int64))
    # what the model answers by is no attribute here: it tells who is answered how, and so who is denied
    features = tuple(Feature(name, FeatureKind.NUMERIC, (i,)) for i, name in enumerate(frame) if name != "x0")
    return replace(data, frame=frame, features=features, groups={"sex": sex}, favourable=1)


def test_the_subgroup_served_badly_is_named_with_its_excess():
    data = people(lambda f, sex: np.where((f["town"] == "far") & (sex == "F"), 0.3, 0.05))
    found = CHECK.run(subject(Linear([1.0])), data, np.random.default_rng(0))
    assert found.tables[0].rows[0][0] in ("town = far and sex = F", "sex = F and town = far")
    assert found.estimates["subgroups_confirmed@error"].value == 1
    largest = found.estimates["largest_excess@error"]
    assert largest.low < 0.25 < largest.high
    assert f"excess@error={found.tables[0].rows[0][0]}" in found.estimates
    assert any("id: every row has its own whole number" in note for note in found.notes)
    assert "four of five" in found.tables[1].title


def test_denials_are_looked_for_among_those_who_deserve():
    def wrong(f, sex):
        return np.where((f["town"] == "far") & (f["x0"] < 0), 0.4, 0.05)

    found = CHECK.run(subject(Linear([1.0])), people(wrong), np.random.default_rng(0))
    denied = next(table for table in found.tables if "denial" in table.title)
    assert "town = far" in [row[0] for row in denied.rows]
    assert found.headline[2:] == ("subgroups_confirmed@denied", "largest_excess@denied")


def test_an_even_model_has_no_worst_subgroup_and_what_would_have_been_found_is_said():
    found = CHECK.run(subject(Linear([1.0])), people(lambda f, sex: 0.05), np.random.default_rng(1))
    assert found.estimates["subgroups_confirmed@error"].value == 0
    largest = found.estimates["largest_excess@error"]
    assert largest.value is None or largest.low <= 0
    assert found.figures == ()


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.TEXT])
def test_pictures_and_texts_are_searched_by_their_attributes(modality):
    table = people(lambda f, sex: np.where(sex == "F", 0.3, 0.05))
    size = table.frame["age"].to_numpy().astype(object)
    groups = {"sex": table.groups["sex"], "size": size}
    data = replace(table, frame=None, features=(), modality=modality, groups=groups)
    model = replace(subject(Linear([1.0])), modality=modality)
    if modality is Modality.TEXT:
        values = table.inputs.flatten().tolist()
        data = replace(data, inputs=[str(value) for value in values])
        model = replace(model, predict=lambda texts: model.model(torch.tensor([[float(t)] for t in texts])))
    found = CHECK.run(model, data, np.random.default_rng(0))
    assert [row[0] for row in found.tables[0].rows] == ["sex = F"]


def test_nobody_to_deny_is_undefined():
    data = people(lambda f, sex: 0.05, 500)
    found = CHECK.run(
        subject(Linear([1.0])), replace(data, labels=torch.zeros_like(data.labels)), np.random.default_rng(0)
    )
    assert found.estimates["largest_excess@denied"].value is None
    assert "two rows" in found.estimates["subgroups_confirmed@denied"].reason


def test_without_attributes_it_is_skipped():
    data = replace(people(lambda f, sex: 0.05, 100), features=(), groups={})
    assert "data.protected" in CHECK.skip_reason(subject(Linear([1.0])), data)
