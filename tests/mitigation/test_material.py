"""Groups, columns that show them, and three kinds of training rows that share none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from audit.errors import DataError
from audit.mitigation.material import gather, groups_of
from audit.plan import read_plan
from audit.setup import subject_and_data


@pytest.fixture
def data(biased):
    def read(**changes):
        biased.change(**changes)
        return subject_and_data(read_plan(biased.plan), biased.folder)[1]

    return read


def test_rows_are_shared_out_once(data):
    found = gather(data(), "sex", 0.4, 0)
    together = np.concatenate([found.learn, found.held, found.choice])
    assert sorted(together) == list(range(1200))
    assert len(found.learn) == pytest.approx(720, abs=5) and len(found.held) == pytest.approx(240, abs=5)
    again = gather(data(), "sex", 0.4, 0)
    assert np.array_equal(found.choice, again.choice)
    assert not np.array_equal(found.choice, gather(data(), "sex", 0.4, 1).choice)


@pytest.mark.parametrize("attribute", ["sex", "age", "sex x age"])
def test_the_reader_tells_every_group_from_the_row(data, attribute):
    found = gather(data(), attribute, 0.4, 0)
    assert np.array_equal(found.reader.codes(found.wide.train.inputs), found.levels.code)
    assert np.array_equal(found.wide.inputs[:, :3].numpy(), found.own.inputs.numpy())
    assert found.reader.width == 3 and found.wide.inputs.shape[1] > 3
    # on the test rows too, whose groups have the same names unless a number was cut elsewhere
    if attribute == "sex":
        test = groups_of(found.own, "sex")
        names = np.array(test.names)[test.code]
        assert np.array_equal(np.array(found.levels.names)[found.reader.codes(found.wide.inputs)], names)
        assert set(names) == {"f", "m", "missing"}


def test_many_small_values_get_no_column(data, biased):
    for split in ("train", "test"):
        path = biased.folder / f"{split}.csv"
        frame = pd.read_csv(path)
        n = len(frame)
        codes = np.where(np.arange(n) % 2 == 0, "big", [f"small {i % 600}" for i in range(n)])
        frame.assign(sex=codes).to_csv(path, index=False)
    found = gather(data(data__protected=["sex"]), None, 0.4, 0)
    assert found.attribute == "sex"
    assert found.added[0].categories == ("big",)
    assert found.levels.names == ("big", "others")
    assert np.array_equal(found.reader.codes(found.wide.train.inputs), found.levels.code)


def test_refusals(data):
    with pytest.raises(DataError, match="sex"):
        groups_of(data(), "sexx")
    with pytest.raises(DataError, match="two groups"):
        gather(data(), "sex", 0.4, 0, least=2000)
