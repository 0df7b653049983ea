"""The searches for near twins, against comparing everything with everything."""

import numpy as np
import pytest
import torch

from audit.checks.data._near import near_images, near_points, near_texts, shingles
from audit.checks.data._rows import plain

WORDS = ["audit", "model", "gradient", "fair", "noise", "robust", "film", "night", "river", "stone", "paper", "clock"]


def texts(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 12))) for _ in range(n)]


def slow_jaccard(a: str, b: str) -> float:
    x, y = ({plain(t)[i : i + 5] for i in range(len(plain(t)) - 4)} for t in (a, b))
    return len(x & y) / len(x | y) if x | y else 0.0


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_texts_agree_with_comparing_all_pairs(threshold: float) -> None:
    references = list(dict.fromkeys(texts(80, 1)))
    queries = [*texts(60, 2), references[3] + " end", "x" + references[5][1:], "", "abc"]
    none = np.full(len(queries), -1)
    partner, closeness = near_texts(queries, references, none, threshold, 10_000)
    for i, query in enumerate(queries):
        all_of_them = [slow_jaccard(query, r) for r in references]
        best = max(all_of_them)
        if best >= threshold:
            assert closeness[i] == pytest.approx(best)
            assert all_of_them[partner[i]] == pytest.approx(best)
        else:
            assert partner[i] == -1
    assert (partner >= 0).sum() > 5, "the comparison is about something"


def test_shingles_do_not_cross_texts() -> None:
    owner, hashed = shingles(["abcdef", "abc", "", "ABCDE  F"], 100)
    assert np.bincount(owner, minlength=4).tolist() == [2, 0, 0, 3]  # "abcde f" has three
    assert len(set(hashed.tolist())) == 4  # abcde, bcdef, bcde_, cde_f


def test_points_agree_with_comparing_all_pairs() -> None:
    rng = np.random.default_rng(0)
    references = np.unique(rng.integers(0, 12, (150, 3)) / 10, axis=0)
    queries = np.concatenate([references[:40], rng.random((60, 3))])
    identical = np.concatenate([np.arange(40), np.full(60, -1)])
    partner, closeness = near_points(queries, references, identical, 0.1)
    distance = np.linalg.norm(queries[:, None] - references[None], axis=2)
    distance[np.arange(40), np.arange(40)] = np.inf
    near = distance.min(axis=1) <= 0.1
    assert ((partner >= 0) == near).all()
    assert 10 < near.sum() < 90
    assert np.allclose(closeness[near], distance.min(axis=1)[near])


def test_images_are_found_under_brightness_and_contrast() -> None:
    generator = torch.Generator().manual_seed(0)
    references = torch.rand(300, 3, 20, 20, generator=generator)
    noise = 0.02 * torch.randn(5, 3, 20, 20, generator=generator)
    queries = torch.cat([0.5 * references[10:15] + 0.2 + noise, torch.rand(5, 3, 20, 20, generator=generator)])
    queries = torch.cat([queries, references[7:8], torch.full((1, 3, 20, 20), 0.5)])
    identical = np.array([-1] * 10 + [7, -1])
    partner, closeness = near_images(queries, references, identical, 0.9)
    assert partner.tolist() == [10, 11, 12, 13, 14] + [-1] * 7  # its identical one is passed over
    assert (closeness[:5] > 0.9).all()
