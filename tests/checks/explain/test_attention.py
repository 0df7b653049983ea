"""Attention beside interventions, on a model whose attention and whose answer can be set apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audit.checks.explain._heads import heads_of
from audit.checks.explain.attention import Attention
from audit.explaining.attention import portions
from audit.explaining.attributions import attribute
from audit.explaining.methods import applicable
from audit.subject import Capability, Encoded, Modality, Subject
from tests.explaining.subjects import WORDS, Bag, dataset, subject

#: how hard each word pulls attention, in both heads; special tokens and the mask do not
PULL = torch.tensor([-9.0, -9.0, -9.0, -9.0, 2.0, 0.5, 1.0, 1.5, 2.5])
TEXTS = [" ".join(np.random.default_rng(i).permutation(WORDS[4:])[: 3 + i % 3]) for i in range(30)]


class Attending(Bag):
    """[CLS] looks at words by their pull and adds up their worth; the second head finds nothing. `aside` goes around it."""

    def __init__(self, worth: Tensor, aside: Tensor) -> None:
        super().__init__()
        self.worth = nn.Parameter(torch.stack([worth, 0 * worth]), requires_grad=False)
        self.aside = aside

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        pull = PULL[input_ids][:, None, :, None].expand(-1, 2, -1, 1)
        value = self.worth[:, input_ids].transpose(0, 1)[..., None]
        seen = nn.functional.scaled_dot_product_attention(
            torch.ones_like(pull), pull, value, attn_mask=attention_mask[:, None, None].bool(), scale=1.0
        )
        one = seen[:, :, 0, 0].sum(1) + self.aside[input_ids].sum(1)
        return torch.stack([torch.zeros_like(one), one], dim=1)

    def from_ids(self, encoded: Encoded) -> Tensor:
        return self(encoded.ids, encoded.mask)


def attending(worth: Tensor, aside: Tensor) -> Subject:
    model = Attending(worth, aside)
    found = subject(model, Modality.TEXT, model)
    found.capabilities = frozenset({Capability.ATTENTION})
    return found


WORD = (PULL > -9).float()
#: every word is worth the same, so that what is looked at matters; or the less is looked at, the more goes around
FAITHFUL, CONTRARY = (WORD, 0 * WORD), (1e-3 * WORD, WORD * torch.exp(-PULL))


def measure(model, **parameters):
    data = dataset(TEXTS, torch.ones(len(TEXTS), dtype=torch.long), Modality.TEXT)
    return Attention(texts=30, **parameters).run(attending(*model), data, np.random.default_rng(0))


def test_attention_that_matters_is_told_from_attention_that_does_not():
    good, bad = measure(FAITHFUL).estimates, measure(CONTRARY).estimates
    for way in ("attention_rollout", "last_layer"):
        assert good[f"causal_agreement@{way},mask"].value == pytest.approx(1.0)
        assert bad[f"causal_agreement@{way},mask"].value == pytest.approx(-1.0)
    assert good["causal_agreement@attention_rollout,mask"].n == 30
    # every word pulls the answer to the class, so the order of the changes is that of their sizes
    assert good["speaks_for@attention_rollout,mask"].value == pytest.approx(1.0)


def test_chance_is_where_shuffled_words_are():
    found = measure(FAITHFUL).tables[0]
    (row,) = [r for r in found.rows if r[:2] == ("attention rollout", "mask")]
    reach, p = row[3:5]
    # 30 texts of 3, 4 and 5 words: the variance of one correlation is 1 / (words - 1)
    sigma = np.sqrt(np.mean([1 / (len(t.split()) - 1) for t in TEXTS]) / 30)
    assert reach == pytest.approx(1.96 * sigma, rel=0.15)
    assert p == 1 / 1000


def test_heads_are_silenced():
    one, two = measure(FAITHFUL).tables[1].rows
    assert (one[0], two[0]) == ("layer 1, head 1", "layer 1, head 2")
    assert one[1].value > 0
    assert (two[1].value, two[1].low, two[1].high) == (0, 0, 0)
    assert one[3] == two[3]  # though both look at the same


def test_what_a_head_looks_at():
    """Against entropy, distance and share written out for one text."""
    data = dataset(["dull the film", "great"], torch.tensor([1, 1]), Modality.TEXT)
    known = attending(*FAITHFUL)
    found = heads_of(known, list(portions(known, data, torch.tensor([1, 1]))), 8, np.random.default_rng(0))
    pull = np.array([-9.0, 2.0, 0.5, 1.0, -9.0])
    a = np.exp(pull) / np.exp(pull).sum()
    assert found.tokens[0, 0] == pytest.approx(np.exp(-(a * np.log(a)).sum()), rel=1e-5)
    assert found.special[0, 0] == pytest.approx(a[0] + a[4], rel=1e-4)
    place = np.arange(5)
    assert found.distance[0, 0] == pytest.approx((np.abs(place[:, None] - place) @ a).mean(), rel=1e-5)
    # the second text is padded, which counts for nothing
    alone = dataset(["great"], torch.tensor([1]), Modality.TEXT)
    own = heads_of(known, list(portions(known, alone, torch.tensor([1]))), 8, np.random.default_rng(0))
    np.testing.assert_allclose(found.tokens[1], own.tokens[0], rtol=1e-6)
    np.testing.assert_allclose(found.distance[1], own.distance[0], rtol=1e-6)


def test_some_heads_only(attentive):
    known, data = attentive
    parts = list(portions(known, data, torch.tensor([1, 0])))
    every = heads_of(known, parts, 8, np.random.default_rng(0))
    some = heads_of(known, parts, 3, np.random.default_rng(0))
    silenced = np.isfinite(some.effect[0])
    assert silenced.sum() == 3
    np.testing.assert_array_equal(some.effect[:, silenced], every.effect[:, silenced])
    assert np.isfinite(every.effect).all()
    assert every.labels == ((1, 1), (1, 2), (2, 1), (2, 2))


def test_gradient_rollout_is_a_method(attentive):
    from audit import explainers

    known, data = attentive
    assert applicable("gradient_rollout", known)
    targets = torch.tensor([1, 0])
    found = attribute("gradient_rollout", known, data, targets, np.random.default_rng(0), data, 8)
    encoded = known.text.encode(data.inputs)
    inputs = {"input_ids": encoded.ids, "attention_mask": encoded.mask}
    # two classes: the log-odds are the difference of the logits
    truth = explainers.gradient_rollout(
        known.model, inputs, targets, lambda scores, at: scores.gather(1, at[:, None])[:, 0] * 2 - scores.sum(1)
    )
    np.testing.assert_allclose(found.values[0], truth.relevance[0, 0, 1:4], rtol=1e-5)
    np.testing.assert_allclose(found.values[1], truth.relevance[1, 0, 1:2], rtol=1e-5)


def test_the_figures_fit_the_texts():
    found = measure(CONTRARY)
    bars, words, heads = found.figures
    assert (bars.kind, words.kind, heads.kind) == ("bars", "tokens", "heads")
    shown = [text for text in TEXTS if len(text.split()) > 3]
    assert {" ".join(line.tokens) for line in words.lines} <= set(shown)
    assert heads.tokens[0] == "[CLS]"
    assert [len(layer.heads) for layer in heads.layers] == [2]
    for row in heads.layers[0].heads[0].weights:
        assert sum(row) == pytest.approx(1, abs=0.01)


def test_texts_without_words_do_no_harm():
    data = dataset(["", "dull", "great film the", ""], torch.tensor([1, 1, 1, 1]), Modality.TEXT)
    found = Attention(texts=4).run(attending(*FAITHFUL), data, np.random.default_rng(0))
    assert found.estimates["causal_agreement@attention_rollout,mask"].value is None
    assert len(found.figures) == 0
    again = Attention(texts=4).run(attending(*FAITHFUL), data, np.random.default_rng(0))
    assert again == found
