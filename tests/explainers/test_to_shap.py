"""Attributions as `shap.Explanation`: the package's own plots draw them."""

from __future__ import annotations

import sys
import warnings

import matplotlib
import numpy as np
import pytest
import torch

from audit.explainers import kernel_shap
from tests.explainers.test_kernel_shap import network, rows

matplotlib.use("Agg")
NAMES = ["age", "sex", "job", "hours", "zone"]


@pytest.fixture(scope="module")
def found():
    return kernel_shap(network(5), rows(6, 5), rows(3, 5, seed=1), evaluations=12)


@pytest.fixture
def plots():
    import shap
    from matplotlib import pyplot

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # raised inside shap
        yield shap.plots
    pyplot.close("all")


def texts(axes) -> str:
    return " ".join(text.get_text() for text in axes.figure.findobj(matplotlib.text.Text))


def test_several_outputs_draw_one_at_a_time(found, plots):
    explanation = found.to_shap(NAMES, rows(6, 5), outputs=["no", "yes", "maybe"])
    assert explanation.shape == (6, 5, 3)
    one = explanation[0, :, 1]
    np.testing.assert_array_equal(one.values, found.values[0, :, 1])
    assert one.base_values == float(found.base[0, 1])
    np.testing.assert_array_equal(one.lower_bounds, found.low[0, :, 1])
    np.testing.assert_array_equal(one.upper_bounds, found.high[0, :, 1])
    for draw in (plots.bar, plots.beeswarm):
        drawn = texts(draw(explanation[..., 2], show=False))
        assert all(name in drawn for name in NAMES)
    assert all(name in texts(plots.waterfall(one, show=False)) for name in NAMES)


def test_one_output_draws_as_it_is(found, plots):
    alone = kernel_shap(network(5), rows(6, 5), rows(3, 5, seed=1), evaluations=12, targets=1)
    explanation = alone.to_shap()
    assert explanation.shape == (6, 5)
    assert "player 4" in texts(plots.waterfall(explanation[2], show=False))
    assert "player 4" in texts(plots.bar(explanation, show=False))
    assert "player 4" in texts(plots.beeswarm(explanation, show=False))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"names": ["a"]}, "names"), ({"outputs": ["a"]}, "outputs"), ({"data": np.zeros((6, 4))}, "data")],
)
def test_refusals_name_the_argument(found, arguments, named):
    with pytest.raises(ValueError, match=f"^{named}: Expected"):
        found.to_shap(**arguments)


def test_a_missing_package_is_named(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(ValueError, match="pip install shap"):
        found.to_shap()


def test_what_is_drawn_is_a_copy(found):
    before = found.values.clone()
    explanation = found.to_shap()
    np.testing.assert_array_equal(explanation.values, before)
    explanation.values[:] = 0
    assert torch.equal(found.values, before)
