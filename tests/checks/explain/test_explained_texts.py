"""The audits of explanations on a real text model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import audit
from audit.checks.explain.agreement import Agreement
from audit.checks.explain.faithfulness import Faithfulness
from audit.checks.explain.sanity import Sanity
from audit.explaining.copies import Copy

MOVIES = Path(__file__).parents[3] / "examples" / "movies"


@pytest.fixture(scope="module")
def movies():
    subject = audit.load(MOVIES / "model", modality="text", classes=["negative", "positive"], device="cpu")
    data = audit.data(MOVIES / "test.parquet", label="label", text="text", classes=subject.classes, modality="text")
    return subject, data.take(range(12))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_attributions_of_words_beat_chance(movies):
    methods = ("kernel_shap", "integrated_gradients", "attention_rollout")
    found = Faithfulness(methods=methods, media=8, evaluations=96, random=3).run(*movies, np.random.default_rng(0))
    assert found.estimates["faithfulness@kernel_shap"].low > 0
    assert found.estimates["faithfulness@integrated_gradients"].low > 0
    assert "faithfulness@attention_rollout" in found.estimates


def test_methods_agree_more_than_by_chance(movies):
    methods = ("kernel_shap", "integrated_gradients", "attention_rollout")
    found = Agreement(methods=methods, media=8, evaluations=96).run(*movies, np.random.default_rng(0))
    assert found.estimates["agreement"].low > 0
    assert len(found.tables[0].rows) == 3


def test_a_transformer_forgets_and_the_audited_one_does_not(movies):
    subject, data = movies
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    found = Sanity(methods=("integrated_gradients",), media=4, evaluations=16, draws=2, stages=2).run(
        subject, data, np.random.default_rng(0)
    )
    # a table row a stage, then random labels: half of the layers leaves the embeddings as they are, all do not
    half, whole, _ = (row[1].value for row in found.tables[0].rows)
    assert abs(whole) < half
    assert all(torch.equal(before[name], value) for name, value in subject.model.state_dict().items())


def test_the_copied_adapter_reaches_the_copied_model(movies):
    subject, data = movies
    copy = Copy(subject)
    forgetful = copy.randomise(len(copy.layers), np.random.default_rng(0))
    encoded = forgetful.text.encode(data.inputs)
    assert torch.allclose(forgetful.predict(data.inputs), forgetful.text.from_ids(encoded))
    assert not torch.allclose(forgetful.predict(data.inputs), subject.predict(data.inputs), atol=1e-3)
