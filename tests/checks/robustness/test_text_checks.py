"""Checks of noise and attacks in texts, on models whose answers are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import audit
from audit.checks.robustness._text import Below, below
from audit.checks.robustness.text_evasion import TextEvasion
from audit.checks.robustness.text_noise import TextNoise
from audit.datasets import Dataset
from audit.subject import Modality, Subject
from reports.record import Measured, Tokens
from tests.checks.robustness.known import dataset_of, subject_of

MOVIES = Path(__file__).parents[3] / "examples" / "movies"


def value(found: Measured, name: str) -> float:
    """An estimate that must be defined."""
    estimate = found.estimates[name]
    assert estimate.value is not None
    return estimate.value


def keyword(texts: object) -> Tensor:
    """Class 1 where the word "good" stands in the text, whatever its case."""
    assert isinstance(texts, list)
    hit = torch.tensor([float("good" in text.lower().replace(".", " ").split()) for text in texts])
    return torch.stack([torch.full_like(hit, 0.5), hit], 1)


def test_text_noise_knows_the_truth_of_a_keyword() -> None:
    texts = ["It is good"] * 400
    data = dataset_of(texts, torch.ones(400, dtype=torch.int64), Modality.TEXT)
    found = TextNoise(rows=400).run(subject_of(keyword, Modality.TEXT), data, np.random.default_rng(0))
    assert value(found, "clean_accuracy") == 1
    assert value(found, "accuracy@case_noise:0.5") == 1
    # each word is mistyped with the rate; a swap of the two o is made elsewhere, so every slip hits
    for rate in (0.1, 0.5):
        assert value(found, f"accuracy_drop@typos:{rate:.4g}") == pytest.approx(
            rate, abs=4 * (rate * (1 - rate) / 400) ** 0.5
        )
    # only a drop removes the keyword, a third of all word faults
    assert value(found, "accuracy_drop@word_noise:0.3") == pytest.approx(0.1, abs=0.06)
    certain = found.estimates["accuracy_drop@case_noise:0.5"]
    assert certain.low is not None
    assert certain.low < 0 < (certain.high or 0)  # no change in 400 is no proof that there is none
    examples = found.tables[1]
    assert 0 < len(examples.rows) <= 6


ONE, FOUR, NONE = "It is good", "good good good and good it is a long long way to go", "it is bad"


def reviews() -> Dataset:
    """30 texts that hang on one word, 20 on four, and 10 that do not hang on any."""
    return dataset_of([ONE] * 30 + [FOUR] * 20 + [NONE] * 10, torch.tensor([1] * 50 + [0] * 10), Modality.TEXT)


def test_text_evasion_counts_the_texts_that_hang_on_few_words() -> None:
    found = TextEvasion(rows=60).run(subject_of(keyword, Modality.TEXT), reviews(), np.random.default_rng(0))
    assert value(found, "clean_accuracy") == 1
    for name in ("words", "typos", "lookalikes"):
        assert value(found, f"robust_accuracy@{name}:1") == pytest.approx(30 / 60)
        assert value(found, f"robust_accuracy@{name}:3") == pytest.approx(30 / 60)
        assert value(found, f"robust_accuracy@{name}:4") == pytest.approx(10 / 60)
    for name in ("substitutions", "insertions"):  # nothing takes the place of "good", and nothing beside it matters
        assert value(found, f"robust_accuracy@{name}:4") == 1
    assert value(found, "median_words") == 2.5  # of 30 ones, 20 fours, 10 that stand
    assert 0 < value(found, "likeness@characters") <= 1
    assert found.estimates["likeness@meaning"].value is None  # no embeddings to measure it with
    assert value(found, "queries_per_text") > 1
    assert {"clean_accuracy", "robust_accuracy@words:1", "median_words"} <= set(found.headline)
    curve, examples = found.figures
    assert sorted({p.x for p in curve.points}) == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    assert isinstance(examples, Tokens)
    assert examples.lines[0].caption == "as given: yes"
    assert examples.lines[1].caption.startswith("changed: no (")
    for line in examples.lines[::2]:
        marked = [token for token, weight in zip(line.tokens, line.weights, strict=True) if weight]
        assert set(marked) == {"good"}
    worked = found.tables[1]
    assert all("letter" in str(row[0]) or "key" in str(row[0]) or "width" in str(row[0]) for row in worked.rows)
    assert len(found.model_dump_json()) < 150_000


def test_the_share_of_the_words_bounds_the_attack() -> None:
    subject = subject_of(keyword, Modality.TEXT)
    found = TextEvasion(rows=60, families=("typos",), share=0.2).run(subject, reviews(), np.random.default_rng(0))
    assert value(found, "robust_accuracy@words:4") == pytest.approx(30 / 60)  # four of thirteen words are too many
    assert "together" not in {row[0] for row in found.tables[0].rows}


def test_given_synonyms_are_used() -> None:
    check = TextEvasion(rows=60, families=("substitutions",), synonyms=(("good", "fine"),))
    found = check.run(subject_of(keyword, Modality.TEXT), reviews(), np.random.default_rng(0))
    assert value(found, "robust_accuracy@words:1") == pytest.approx(30 / 60)
    examples = found.figures[1]
    assert isinstance(examples, Tokens)
    assert "fine" in examples.lines[1].tokens


def test_text_evasion_shows_nothing_where_nothing_falls() -> None:
    def constant(texts: object) -> Tensor:
        assert isinstance(texts, list)
        return torch.tensor([[0.0, 1.0]]).expand(len(texts), 2)

    data = dataset_of(["some words"] * 5, torch.ones(5, dtype=torch.int64), Modality.TEXT)
    found = TextEvasion(rows=5).run(subject_of(constant, Modality.TEXT), data, np.random.default_rng(0))
    assert value(found, "robust_accuracy@words:4") == 1
    assert found.estimates["median_words"].value is None
    assert found.estimates["likeness@characters"].value is None
    assert len(found.figures) == 1


def test_a_model_that_is_always_wrong_is_not_attacked() -> None:
    data = replace(reviews(), labels=1 - reviews().labels)
    found = TextEvasion(rows=60).run(subject_of(keyword, Modality.TEXT), data, np.random.default_rng(0))
    assert value(found, "robust_accuracy@words:4") == value(found, "clean_accuracy") == 0
    assert found.estimates["median_words"].value is None


# ------------------------------------------------------------------------------------------------ a transformers model


@pytest.fixture(scope="module")
def movies() -> tuple[Subject, Dataset]:
    """The example's model and test data."""
    subject = audit.load(MOVIES / "model", classes=["negative", "positive"])
    data = audit.data(MOVIES / "test.parquet", label="label", text="text").sample(100, np.random.default_rng(0))
    return subject, data


def test_the_way_below_agrees_with_the_way_above(movies: tuple[Subject, Dataset]) -> None:
    subject, _ = movies
    assert subject.text is not None
    way = below(subject)
    assert isinstance(way, Below)
    texts = ["A Touching, unforgettable film.", "", "Dull! été 🙂 plodding"]
    found = way.differentiate(texts, lambda scores: scores[:, 1] - scores[:, 0])
    encoded = subject.text.encode(texts)
    assert found.spans.shape == (*encoded.ids.shape, 2)
    for text, ids, spans in zip(texts, encoded.ids.tolist(), found.spans.tolist(), strict=True):
        pieces = subject.text.tokens(ids)
        for number, piece, (start, stop) in zip(ids, pieces, spans, strict=True):
            if number in subject.text.special_ids:
                assert start == stop
            elif "UNK" not in piece and text.isascii():
                assert text[start:stop].lower() == piece.replace("##", "").strip().lower()
    # the gradient is that of the scores: a step along it does what it says
    step = 1e-3 * found.gradients / found.gradients.norm()
    before, after = (subject.text.from_embeddings(e, encoded.mask) for e in (found.embeddings, found.embeddings + step))
    gain = ((after - before)[:, 1] - (after - before)[:, 0]).detach()
    expected = (found.gradients * step).sum((1, 2))
    assert torch.allclose(gain, expected, rtol=0.05, atol=1e-5)
    assert torch.allclose(subject.predict(texts), before.detach(), atol=1e-4)
    # one token: its own row of the table
    ids = subject.text.encode(["film"]).ids
    assert torch.allclose(way.embed(["film"])[0], subject.text.embed(ids)[0, 1], atol=1e-6)


def test_a_model_without_a_gradient_is_searched_by_its_scores(movies: tuple[Subject, Dataset]) -> None:
    subject, data = movies
    blind = replace(subject, capabilities=frozenset())
    assert below(blind) is None
    check = TextEvasion(rows=8, words=(1, 2), families=("typos", "insertions"), candidates=4, read=0)
    one, two = (check.run(s, data, np.random.default_rng(0)) for s in (subject, blind))
    assert "gradient" in one.notes[1]
    assert "gradient" not in two.notes[1]
    assert one.estimates["clean_accuracy"] == two.estimates["clean_accuracy"]
    # the scores are asked as well where the gradient is at hand: it finds no less
    assert value(one, "robust_accuracy@words:2") <= value(two, "robust_accuracy@words:2")


def test_equal_seeds_give_equal_evidence(movies: tuple[Subject, Dataset]) -> None:
    subject, data = movies
    check = TextEvasion(rows=8, words=(1, 2), scores_as_well=False, candidates=4, read=200)
    one, two = (check.run(subject, data, np.random.default_rng(5)) for _ in range(2))
    assert one == two
