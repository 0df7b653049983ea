"""What is kept between runs, and what is measured anew."""

from __future__ import annotations

import warnings

from audit.mitigation import trials

ONE = ("--method", "calibration", "--only", "fit.accuracy", "--effort", "quick")


def test_figures_of_other_draws_are_not_taken_over(biased, cli, monkeypatch):
    """The seed draws the rows to choose on and those under attack: the model as it was is measured on them again."""
    arguments = ("mitigate", biased.plan, "--out", biased.folder / "out", *ONE)
    measured: list[bool] = []
    whole = trials.measuring.whole
    monkeypatch.setattr(
        trials.measuring, "whole", lambda old, new, *a: measured.append(old is new) or whole(old, new, *a)
    )
    assert cli(*arguments)[0] in (0, 1, 3) and measured == [True, False]
    assert cli(*arguments)[0] in (0, 1, 3) and len(measured) == 2
    assert cli(*arguments, "--seed", "1")[0] in (0, 1, 3) and measured[2:] == [True, False]
    biased.change(mitigate__held=0.5)
    assert cli(*arguments)[0] in (0, 1, 3) and measured[4:] == [True, False]


def test_a_model_is_not_written_over_the_one_it_is_made_from(biased, cli):
    content = (biased.folder / "model.safetensors").read_bytes(), biased.plan.read_bytes()
    for command in (("mitigate",), ("harden", "--eps", "0.1")):
        code, _, err = cli(*command, biased.plan, "--out", biased.folder)
        assert code == 2 and "where the audited model or its plan lies" in err
    assert content == ((biased.folder / "model.safetensors").read_bytes(), biased.plan.read_bytes())


def test_nothing_is_warned_of_a_plan_in_order(biased, cli):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        code, _, err = cli("mitigate", biased.plan, "--out", biased.folder / "out", *ONE)
    assert code in (0, 1, 3), err
