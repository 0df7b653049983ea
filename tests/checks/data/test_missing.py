"""Planted gaps are counted, each once."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from audit.checks.data.missing import Missing
from audit.datasets import Dataset
from audit.subject import Modality, Subject

RNG = np.random.default_rng(0)


def test_a_table(table: Callable[..., Dataset], subject: Subject) -> None:
    frame = pd.DataFrame(
        {
            "x": [1.0, None, 3.0, None, 5.0],
            "flat": [7.0] * 5,
            "c": ["u", None, "w", "v", "new"],
            "y": [0, 1, 0, 1, 0],
        }
    )
    test = table(frame, {"c": ["u", "v"]})
    complete = frame.assign(x=1.5, c="u", flat=[1.0, 2, 3, 4, 5])
    measured = Missing().run(subject, replace(test, train=table(complete, {"c": ["u", "v"]})), RNG)
    found = {name: e.value for name, e in measured.estimates.items()}
    assert found["rows_with_missing@test"] == 2 / 5  # rows 1 and 3; row 1 twice over
    assert found["missing@column=x"] == 2 / 5
    assert found["missing@column=c"] == 1 / 5
    assert "missing@column=flat" not in found
    assert found["rows_with_unknown_category@test"] == 2 / 5  # "w" and "new"; the missing one is not unknown
    assert found["constant_columns@test"] == 1
    assert found["rows_with_missing@train"] == 0
    assert found["constant_columns@train"] == 2
    assert "Constant in the test data: flat." in measured.notes
    assert [row[0] for row in measured.tables[0].rows] == ["x", "c"]  # the worst first


def test_texts_images_and_groups(make: Callable[..., Dataset], subject: Subject) -> None:
    groups = {"sex": np.array(["f", None, "m"], dtype=object)}
    texts = make(["words", " \n", ""], [0, 1, 0], Modality.TEXT, groups=groups)
    found = Missing().run(subject, texts, RNG).estimates
    assert found["blank_inputs@test"].value == 2 / 3
    assert found["missing@column=sex"].value == 1 / 3
    images = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    images[2] = 0.4
    found = Missing().run(subject, make(images, [0, 1, 0, 1], Modality.IMAGE), RNG).estimates
    assert found["blank_inputs@test"].value == 1 / 4
    assert found["rows_with_missing@test"].value == 0
