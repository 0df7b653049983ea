"""Valid data at the edge of what can be measured: a figure, or none and why, but never a crash or a false certainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.explain.attention import Attention
from audit.checks.explain.battery import Battery
from audit.checks.explain.faithfulness import Faithfulness
from audit.checks.explain.global_importance import GlobalImportance
from audit.checks.explain.groups import Groups
from audit.checks.explain.localisation import Localisation
from audit.checks.explain.proxies import Proxies
from audit.checks.explain.sanity import Sanity
from audit.checks.explain.selftest import Selftest
from audit.checks.explain.shortcuts import Shortcuts
from audit.checks.explain.steadiness import Steadiness
from audit.subject import Modality
from tests.checks.explain.known_models import Linear, numbers, subject
from tests.explaining.subjects import dataset

FEW = {"evaluations": 32, "background": 8}


def reviews(texts: list[str], **more):
    return dataset(texts, torch.arange(len(texts)) % 2, Modality.TEXT, **more)


def sex(n: int) -> dict[str, np.ndarray]:
    return {"sex": np.where(np.arange(n) % 2, "F", "M").astype(object)}


class Steps(nn.Module):
    """A rule of thresholds: its scores have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, x):
        return (self.layer(x) > 0).float()


def steps() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Steps()


@pytest.mark.parametrize("texts", [["", "great film"] * 20, [""] * 40, ["great", ""] * 20])
def test_a_text_without_words_is_left_out(words, texts):
    model, _ = words
    found = Faithfulness(methods=("kernel_shap",), media=8, evaluations=16).run(
        model, reviews(texts), np.random.default_rng(0)
    )
    assert (found.estimates["faithfulness@kernel_shap"].value is None) == ("great film" not in texts)
    data = replace(reviews(texts), groups=sex(len(texts)))
    of_groups = Groups(each=8, permutations=19, **FEW).run(model, data, np.random.default_rng(0))
    assert of_groups.estimates["faithfulness_difference@sex=M"].value is None  # one group is all without words, or both


@pytest.mark.parametrize(
    "texts",
    [
        ["great", ""] * 30,  # no second word to compare with
        ["dull the film"] * 50 + ["", "great fine"] * 4,  # no frequent word stands in texts of one answer
    ],
)
def test_words_that_cannot_be_compared(words, texts):
    found = Shortcuts(donors=4, recipients=4, trials=20, words=16).run(
        words[0], reviews(texts), np.random.default_rng(1)
    )
    assert found.estimates["strongest_transfer"].high is None or found.estimates["strongest_transfer"].high < 1


def test_rows_that_are_all_alike_have_no_neighbours():
    data = numbers(np.ones((30, 5)))
    found = Faithfulness(methods=("kernel_shap",), rows=10, **FEW).run(
        subject(Linear([1.0] * 5)), data, np.random.default_rng(0)
    )
    assert any("nearest rows" in note for note in found.notes)
    assert "faithfulness@kernel_shap,mean" in found.estimates
    assert "faithfulness@kernel_shap,neighbours" not in found.estimates


def test_methods_are_no_sample_of_methods():
    data = numbers(np.random.default_rng(0).normal(size=(40, 5)))
    found = Faithfulness(methods=("kernel_shap", "lime"), rows=20, **FEW).run(
        subject(Linear([3.0, -2.0, 1.0, 0.5, 0.0])), data, np.random.default_rng(0)
    )
    share = found.estimates["better_under_every_operator"]
    assert (share.value, share.low, share.high, share.n) == (1, 1, 1, 2)
    one = numbers(np.random.default_rng(0).normal(size=(40, 1)))
    found = Faithfulness(methods=("kernel_shap",), rows=20, **FEW).run(
        subject(Linear([1.0])), one, np.random.default_rng(0)
    )
    assert found.estimates["better_under_every_operator"].value is None


def test_the_attribute_as_the_only_column():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 1))
    data = replace(numbers(x), groups={"x0": np.where(x[:, 0] > 0, "a", "b").astype(object)})
    found = Proxies(permutations=19).run(subject(Linear([1.0])), data, rng)
    assert "only input" in found.estimates["attribute_in_inputs@x0"].reason
    assert found.estimates["attribute_in_answers@x0"].value > 0.9


def test_pictures_of_fewer_pixels_than_are_asked_for():
    masks = torch.zeros(20, 1, 2, dtype=torch.bool)
    masks[:, 0, 0] = True
    data = replace(numbers(np.random.default_rng(0).random((20, 1, 1, 2))), masks=masks)
    found = Localisation(methods=("saliency",), media=10).run(
        subject(Linear([1.0, 0.5]), Modality.IMAGE), data, np.random.default_rng(0)
    )
    assert found.estimates["pointing_game@saliency"].value == 1


def test_three_hits_of_three_are_no_certainty():
    masks = torch.zeros(3, 1, 49, dtype=torch.bool)
    masks[:, 0, :7] = True
    data = replace(numbers(np.random.default_rng(0).random((3, 1, 1, 49))), masks=masks)
    found = Localisation(methods=("saliency",)).run(
        subject(Linear([1.0] + [0.0] * 48), Modality.IMAGE), data, np.random.default_rng(0)
    )
    hit, lead = (found.estimates[f"pointing_game{kind}@saliency"] for kind in ("", "_lead"))
    assert hit.value == 1 and hit.low < 0.5
    assert lead.low < 0.5


def test_scores_without_a_gradient():
    data = numbers(np.random.default_rng(0).normal(size=(60, 5)))
    data = replace(data, train=replace(data, split="train"))
    rng = np.random.default_rng(0)
    steady = Steadiness(methods=("kernel_shap", "saliency"), rows=8, draws=2, **FEW).run(subject(steps()), data, rng)
    assert "similarity_attack@kernel_shap" in steady.estimates
    assert any("random points only" in note for note in steady.notes)
    assert any("saliency refuses" in note for note in steady.notes)
    planted = Selftest(methods=("kernel_shap",), examples=12, steps=3, **FEW).run(subject(steps()), data, rng)
    assert "did not learn" in planted.estimates["hit_rate@kernel_shap"].reason
    # not a silent pass: what was not tested is said
    sane = Sanity(methods=("integrated_gradients",), rows=8, draws=2, epochs=1, **FEW).run(subject(steps()), data, rng)
    assert "refuses" in sane.estimates["correlation_with_random_weights@integrated_gradients"].reason
    assert sane.headline


def test_the_share_of_the_top_three_is_that_of_the_words_shown(words):
    """A word of one text alone is strong there, but is not ranked; its share must not be counted with the others'."""
    texts = ["fine film"] * 3 + ["the film"] * 3 + ["dull", "great"]
    found = GlobalImportance(media=8, evaluations=16, resamples=50, top=3).run(
        words[0], reviews(texts), np.random.default_rng(0)
    )
    (table,) = found.tables
    assert [row[0] for row in table.rows] == ["fine", "film", "great"]
    effects = {"fine": 3 * 1.0, "film": 6 * 0.25, "great": 3.0, "dull": 2.0}
    shown = sum(effects[row[0]] for row in table.rows)
    assert found.estimates["share_of_top_3"].value == pytest.approx(shown / sum(effects.values()))


def test_an_answer_that_nobody_can_give_a_part_of():
    """Without training data, the one row with an answer may be among those that parts are tried on."""
    inputs = np.full((20, 3), -1.0)
    inputs[7] = 1.0
    model, data = subject(Linear([1.0, 1.0, 1.0])), numbers(inputs)
    found = [Shortcuts(donors=4, recipients=4, trials=8).run(model, data, np.random.default_rng(i)) for i in range(6)]
    assert any("1 of 2 answers could not be tried" in note for of_seed in found for note in of_seed.notes)
    nothing = Shortcuts().run(model, data.take([0, 1, 2, 3]), np.random.default_rng(0))
    assert nothing.estimates["shortcuts"].value is None


def test_three_examples_do_not_correlate_beyond_one():
    data = numbers(np.random.default_rng(0).normal(size=(3, 5)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = subject(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)))
    found = Battery(methods=("kernel_shap", "saliency"), **FEW).run(model, data, np.random.default_rng(0)).estimates
    for name in ("sensitivity_n@kernel_shap", "sensitivity_n@saliency", "explained@saliency"):
        assert -1 <= found[name].low <= found[name].value <= found[name].high <= 1
    assert found["noise@kernel_shap"].low >= 0


def test_attention_on_texts_without_words(attentive):
    model, _ = attentive
    found = Attention(texts=3).run(model, reviews([""] * 3), np.random.default_rng(0))
    assert found.estimates["causal_agreement@attention_rollout,mask"].value is None
    assert any("not removed by 'words'" in note for note in found.notes)
