"""What may stand for a part that is taken away."""

import pytest
import torch

from audit.explainers.removal import (
    DELETED,
    deleted,
    mean_colour,
    neighbours,
    other_words,
    typical,
    without_deleted,
)

SPECIAL = (0, 1)


def test_the_mean_colour_is_one_colour():
    image = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    grey = mean_colour(image)
    assert grey.shape == image.shape
    assert torch.allclose(grey[1, 2], image[1, 2].mean().expand(5, 4))


def test_the_typical_row_has_one_category():
    rows = torch.tensor([[1.0, 1, 0, 0], [2.0, 0, 1, 0], [6.0, 0, 1, 0]])
    assert typical(rows, [(1, 2, 3)]).tolist() == [[3.0, 0.0, 1.0, 0.0]]
    assert rows[0].tolist() == [1.0, 1, 0, 0]  # the rows stay


def test_the_typical_row_keeps_standardised_one_hots():
    rows = torch.tensor([[-1.0, 2.0], [-1.0, 2.0], [3.0, -0.5]])
    assert typical(rows, [(0, 1)]).tolist() == [[-1.0, 2.0]]


def test_neighbours_are_the_nearest_others():
    pool = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    found = neighbours(torch.tensor([[1.0], [9.0]]), pool, 2)
    assert found.squeeze(2).tolist() == [[0.0, 2.0], [10.0, 2.0]]


def test_neighbours_refuse_a_pool_of_the_example_alone():
    with pytest.raises(ValueError, match="pool: Expected rows other than the example itself"):
        neighbours(torch.ones(1, 2), torch.ones(3, 2), 2)


def test_a_deleted_word_closes_up():
    ids = torch.tensor([0, 5, 6, 1])
    assert deleted(ids, SPECIAL).tolist() == [0, DELETED, DELETED, 1]
    seen = []

    def predict(batch):
        seen.append(tuple(batch.shape))
        return torch.stack([batch.sum(1), batch[:, -1]], dim=1).float()

    rows = torch.tensor([[0, 5, 6, 1], [0, DELETED, 6, 1], [0, 5, DELETED, 1], [0, DELETED, DELETED, 1]])
    assert without_deleted(predict)(rows).tolist() == [[12, 1], [7, 1], [6, 1], [1, 1]]
    assert sorted(seen) == [(1, 2), (1, 4), (2, 3)]


def test_other_words_come_from_the_pool_and_depend_on_the_text_alone():
    ids, pool = torch.tensor([0, 5, 6, 7, 1]), torch.tensor([8, 9, 9, 0, 1])
    found = other_words(ids, SPECIAL, pool, 50, seed=3)
    assert (found[:, 0] == 0).all() and (found[:, 4] == 1).all()
    assert set(found[:, 1:4].flatten().tolist()) == {8, 9}
    assert 0.5 < (found[:, 1:4] == 9).double().mean() < 0.8  # as often as it is used
    assert torch.equal(found, other_words(ids, SPECIAL, pool, 50, seed=3))
    with pytest.raises(ValueError, match="pool: Expected words"):
        other_words(ids, SPECIAL, torch.tensor([0, 1]), 2, seed=0)
