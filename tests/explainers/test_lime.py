"""LIME: linear models, the lime package's own regression, repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.explainers import lime
from audit.explainers.game import Game
from audit.explainers.lime import kernel, surrogate


def rows(n: int, players: int, seed: int = 0) -> Tensor:
    return torch.randn(n, players, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(batch: Tensor) -> Tensor:
    return batch @ torch.arange(1.0, batch.shape[1] + 1).to(batch).unsqueeze(1)


def curved(batch: Tensor) -> Tensor:
    return torch.stack([batch.prod(1), (batch**2).sum(1).sqrt()], dim=1)


@pytest.mark.parametrize("players", [5, 15])
def test_recovers_a_linear_model(players):
    x, background = rows(3, players), rows(4, players, seed=1)
    found = lime(linear, x, background, ridge=0.0)
    truth = (x - background.mean(0)) * torch.arange(1.0, players + 1).double()
    torch.testing.assert_close(found.values[:, :, 0], truth, atol=1e-8, rtol=0)
    torch.testing.assert_close(found.base, linear(background).mean(0).expand(3, 1), atol=1e-8, rtol=0)
    torch.testing.assert_close(found.fit, torch.ones(3, 1, dtype=torch.float64))
    assert float((found.high - found.low).max()) < 1e-7


def test_the_default_ridge_hardly_shrinks():
    x, background = rows(3, 15), rows(4, 15, seed=1)
    truth = (x - background.mean(0)) * torch.arange(1.0, 16).double()
    torch.testing.assert_close(lime(linear, x, background).values[:, :, 0], truth, atol=1e-2, rtol=1e-3)


def test_equals_the_lime_package_on_the_same_coalitions():
    from lime.lime_base import LimeBase

    rng = np.random.default_rng(0)
    keep = rng.random((200, 6)) < 0.5
    scores = np.sin(keep @ rng.standard_normal(6)) + 0.1 * rng.standard_normal(200)
    distance = 1 - np.sqrt(keep.mean(1))
    weigh = lambda d: np.sqrt(np.exp(-((d / 0.25) ** 2)))  # noqa: E731 - the peer's argument
    intercept, pairs, fit, _ = LimeBase(weigh).explain_instance_with_data(
        keep.astype(float), scores[:, None], distance, 0, num_features=6, feature_selection="none"
    )
    coefficients, _, r2 = surrogate(keep, weigh(distance), scores[None, :, None], ridge=1 / weigh(distance).sum())
    assert coefficients[0, 0, 0] == pytest.approx(intercept)
    np.testing.assert_allclose(coefficients[0, 1:, 0], [value for _, value in sorted(pairs)], atol=1e-10)
    assert r2[0, 0] == pytest.approx(fit)


def test_intervals_cover_the_fit_to_all_coalitions():
    x, background = rows(6, 9), rows(2, 9, seed=1)
    exact = lime(curved, x, background, evaluations=2**9, ridge=0.0)
    assert torch.equal(exact.low, exact.high)
    covered = []
    for seed in range(30):
        found = lime(curved, x, background, evaluations=200, ridge=0.0, seed=seed)
        covered.append(((found.low <= exact.values) & (exact.values <= found.high)).double().mean())
    assert 0.9 <= float(torch.stack(covered).mean()) <= 0.99


def test_fit_tells_a_curved_score_from_a_straight_one_and_is_undefined_for_a_constant_one():
    x, background = torch.ones(1, 4), torch.zeros(1, 4)
    assert float(lime(curved, x, background).fit[0, 0]) < 0.9
    assert float(lime(linear, x, background).fit[0, 0]) > 0.999
    constant = lime(lambda b: torch.ones(len(b), 1), x, background)
    assert bool(constant.fit.isnan().all())
    assert float(constant.values.abs().max()) < 1e-12


@pytest.mark.parametrize("removed", ["half", "any"])
def test_listing_all_coalitions_is_what_drawing_many_converges_to(removed):
    x, background = rows(2, 6), rows(2, 6, seed=1)
    exact = lime(curved, x, background, evaluations=2**6, removed=removed)
    assert torch.equal(exact.low, exact.high)
    drawn = lime(curved, x.repeat(1, 2), background.repeat(1, 2), torch.arange(6).repeat(2), evaluations=63)
    assert not torch.equal(drawn.low, drawn.high)
    keep = np.array([[(code >> j) & 1 for j in range(6)] for code in range(64)], dtype=bool)
    rng = np.random.default_rng(0)
    if removed == "half":
        sample = rng.random((200_000, 6)) < 0.5
    else:
        gone = rng.integers(1, 7, 200_000)
        sample = rng.random((200_000, 6)).argsort(1) >= gone[:, None]
    codes = (sample * 2 ** np.arange(6)).sum(1)
    scores = Game(curved, x, background).values(torch.from_numpy(keep)).numpy()[:, codes]
    plain, _, _ = surrogate(sample, kernel(1 - np.sqrt(sample.mean(1)), 0.25), scores, 1e-6)
    np.testing.assert_allclose(exact.values.numpy(), plain[:, 1:], atol=0.02)


@pytest.mark.parametrize("removed", ["half", "any"])
def test_bit_identical_for_any_batch_size_and_order_and_leaves_the_generators_alone(removed):
    x, background = rows(5, 14), rows(2, 14, seed=1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - watched, not used
    one, two, back, alone = (
        lime(curved, batch, background, evaluations=100, seed=3, batch_size=size, removed=removed)
        for batch, size in ((x, None), (x, 33), (x.flip(0), None), (x[2:3], 7))
    )
    for other, at in ((two, slice(None)), (alone, slice(2, 3))):
        assert torch.equal(one.values[at], other.values) and torch.equal(one.low[at], other.low)
    assert torch.equal(one.values.flip(0), back.values) and torch.equal(one.fit.flip(0), back.fit)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002 - watched, not used


@pytest.mark.parametrize("removed", ["half", "any"])
def test_one_player_is_worth_the_whole_change(removed):
    x, background = rows(2, 1), rows(3, 1, seed=1)
    found = lime(linear, x, background, ridge=0.0, removed=removed)
    torch.testing.assert_close(found.values[:, 0], x - background.mean(0))


def test_duplicated_columns_share_their_effect():
    x, background = rows(3, 4), rows(2, 4, seed=1)
    doubled = lambda b: linear(b[:, :4]) + 0 * b[:, 4:5]  # noqa: E731 - the model reads one of the two
    found = lime(
        doubled,
        torch.cat([x, x[:, :1]], 1),
        torch.cat([background, background[:, :1]], 1),
        torch.tensor([0, 1, 2, 3, 0]),
    )
    plain = lime(linear, x, background)
    torch.testing.assert_close(found.values, plain.values, atol=1e-9, rtol=0)
    # two regressors that are always equal: the penalty splits their effect in halves
    keep = np.random.default_rng(0).random((100, 2)) < 0.5
    twice = np.column_stack([keep, keep[:, 0]])
    coefficients, half, _ = surrogate(twice, np.ones(100), (3.0 * keep[:, :1])[None], 1e-9)
    np.testing.assert_allclose(coefficients[0, 1:, 0], [1.5, 0, 1.5], atol=1e-6)
    assert np.isfinite(half).all()


def test_a_bag_of_words_as_lime_text_explains_it():
    from lime.lime_text import LimeTextExplainer

    words = ["the", "plot", "is", "dull", "yet", "great", "acting", "saves", "the", "long", "film"]
    vocabulary = sorted(set(words))
    weight = dict(zip(vocabulary, np.random.default_rng(0).standard_normal(len(vocabulary)), strict=True))

    def score(present: set[str]) -> float:
        total = sum(weight[word] for word in present)
        return float(np.tanh(total) + 0.5 * ("great" in present and "dull" in present))

    peer = LimeTextExplainer(class_names=["no", "yes"], random_state=0)
    answers = lambda texts: np.array([[-score(set(t.split())), score(set(t.split()))] for t in texts])  # noqa: E731
    theirs = peer.explain_instance(" ".join(words), answers, num_features=20, num_samples=5000)
    theirs = dict(theirs.as_list())
    # removed words are 0, words that stay are 1
    predict = lambda b: torch.tensor(  # noqa: E731
        [[score({v for v, here in zip(vocabulary, row, strict=True) if here})] for row in b.tolist()]
    )
    here, gone = torch.ones(1, len(vocabulary)), torch.zeros(1, len(vocabulary))
    found = lime(predict, here, gone, evaluations=1000, removed="any")
    half = (found.high - found.low)[0, :, 0] / 2
    for j, word in enumerate(vocabulary):
        assert theirs[word] == pytest.approx(float(found.values[0, j, 0]), abs=2.5 * float(half[j]) + 2e-3)


def test_a_segmented_picture_as_lime_image_explains_it():
    from lime.lime_image import LimeImageExplainer

    segments = (torch.arange(12) // 4)[:, None] * 3 + (torch.arange(12) // 4)[None]
    picture = torch.rand(12, 12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.randn(12, 12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 10

    def predict(batch: Tensor) -> Tensor:
        score = torch.tanh((batch * weight).flatten(1).sum(1, keepdim=True))
        return torch.cat([score, -score], dim=1)

    peer = LimeImageExplainer(random_state=0).explain_instance(
        picture.numpy(),
        lambda pictures: predict(torch.from_numpy(np.stack(pictures))).numpy(),
        labels=(0,),
        top_labels=None,
        hide_color=0,
        num_samples=1000,
        segmentation_fn=lambda _: segments.numpy(),
    )
    theirs = np.array([value for _, value in sorted(peer.local_exp[0])])
    features = segments[..., None].expand(12, 12, 3)
    found = lime(predict, picture[None], torch.zeros_like(picture)[None], features, evaluations=500, targets=0)
    exact = lime(predict, picture[None], torch.zeros_like(picture)[None], features, evaluations=512, targets=0)
    half = ((found.high - found.low)[0, :, 0] / 2).numpy()
    assert (np.abs(found.values[0, :, 0].numpy() - exact.values[0, :, 0].numpy()) <= 2 * half).all()
    np.testing.assert_allclose(theirs, exact.values[0, :, 0].numpy(), atol=0.01 + 2 * half.max())
    assert peer.score == pytest.approx(float(exact.fit[0, 0]), abs=0.05)


def test_windows_of_time_are_players_of_a_series():
    """Twelve channels over 29 moments, as spoken vowels are; the model hears the third window alone."""
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(8, 12, 29, generator=generator).cumsum(2) / 5
    mean = series.mean((0, 2), keepdim=True).expand(1, 12, 29)
    window = (torch.arange(29) * 6 // 29).expand(12, 29)

    def predict(batch: Tensor) -> Tensor:
        heard = batch[:, :, window[0] == 2].mean(2)
        return torch.stack([heard.square().sum(1), heard[:, 0]], dim=1)

    found = lime(predict, series, mean, window)
    others = [w for w in range(6) if w != 2]
    change = (predict(series) - predict(mean)).double()
    torch.testing.assert_close(found.values[:, 2], change, atol=1e-3, rtol=1e-3)
    assert float(found.values[:, others].abs().max()) < 1e-4
    assert float(found.fit.min()) > 0.999


def test_features_and_targets():
    x, background = rows(2, 6), rows(3, 6, seed=1)
    found = lime(curved, x, background, features=torch.tensor([0, 0, 1, 1, -1, 2]), targets=1)
    assert found.values.shape == (2, 3, 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"evaluations": 3}, "evaluations"),
        ({"width": 0.0}, "width"),
        ({"ridge": -1.0}, "width, ridge"),
        ({"targets": 7}, "targets"),
        ({"removed": "most"}, "removed"),
    ],
)
def test_refusals_name_the_argument(change, named):
    with pytest.raises(ValueError, match=named):
        lime(linear, torch.ones(1, 4), torch.zeros(2, 4), **change)


@pytest.mark.parametrize("evaluations", [20, 2048])
def test_a_kernel_too_narrow_for_any_slope_is_refused(evaluations):
    with pytest.raises(ValueError, match="width: Expected a kernel that reaches samples unlike each other"):
        lime(linear, rows(2, 5), rows(1, 5, seed=1), width=0.005, evaluations=evaluations)
