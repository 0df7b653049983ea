"""Each method against what it rests on: fairlearn on the same scores, or the formula it is named for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit

from audit.mitigation.methods import _network, calibration, erasure, reductions, reweighing, thresholds
from audit.mitigation.methods._rates import difference, margin, strata
from audit.mitigation.methods.adversarial import ALPHA, Duel
from audit.mitigation.methods.calibration import calibration as calibrate
from audit.mitigation.methods.decorrelation import removal
from audit.mitigation.methods.erasure import erasure as erase
from audit.mitigation.methods.thresholds import thresholds as set_thresholds
from audit.mitigation.processors import Decorrelated
from audit.mitigation.remedy import Definition, Part
from tests.mitigation.biased import People, bench, learnt, subject

TRAIN, TEST = People(1600, 0), People(6000, 1)
BOTH = np.array([True, True])


@pytest.fixture(scope="module")
def audited():
    return subject(learnt(TRAIN.inputs, TRAIN.labels))


@pytest.mark.parametrize("definition", list(Definition))
def test_thresholds_are_those_of_fairlearn(audited, definition):
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Net(ClassifierMixin, BaseEstimator):
        def fit(self, x, y):
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, x):
            return audited.predict(torch.from_numpy(x)).double().softmax(1).numpy()

    here = bench(TRAIN, audited, definition)
    held, x = here.held, here.held.inputs.numpy()
    name = {"equal_opportunity": "true_positive_rate_parity", "equalised_odds": "equalized_odds"}.get(
        definition, definition
    )
    plain = ThresholdOptimizer(
        estimator=Net().fit(x, held.labels), constraints=str(name), prefit=True, predict_method="predict_proba"
    )
    plain.fit(x, held.labels, sensitive_features=held.groups)
    expected = plain._pmf_predict(x, sensitive_features=held.groups)[:, 1]
    ahead = margin(audited.predict(held.inputs).double().numpy(), 1)
    found = thresholds.optimise(here, ahead)
    assert np.allclose(found.chosen, expected, atol=1e-12)
    assert difference(here.aim, found.chosen, held.labels, held.groups, BOTH) < 2e-3


@pytest.mark.parametrize("definition", ["demographic_parity", "equal_opportunity"])
def test_one_threshold_a_group_meets_the_rates_to_one_row(audited, definition):
    here = bench(TRAIN, audited, definition)
    found, held = set_thresholds(here), here.held
    with torch.no_grad():
        picked = found.model(held.inputs).argmax(1).numpy() == 1
    (rows,) = strata(here.aim, held.labels)
    for group in (0, 1):
        of = rows & (held.groups == group)
        assert abs(picked[of].mean() - found.figures["rates"][0]) <= 0.5 / of.sum() + 1e-9
    told = found.figures["deterministic"]
    assert told["accuracy"] == pytest.approx((picked == held.labels).mean(), abs=1e-12)
    assert told["accuracy"] > found.figures["randomised"]["accuracy"] - 0.02


def test_equalised_odds_without_the_draw_costs_what_is_told(audited):
    here = bench(TRAIN, audited, "equalised_odds")
    found, held = set_thresholds(here), here.held
    with torch.no_grad():
        picked = found.model(held.inputs).argmax(1).numpy() == 1
    told = {name: found.figures[name]["difference"] for name in ("before", "randomised", "deterministic")}
    assert told["deterministic"] == difference(here.aim, picked, held.labels, held.groups, BOTH)
    assert told["randomised"] < told["deterministic"] < told["before"]


@pytest.mark.parametrize("definition", ["demographic_parity", "equalised_odds"])
def test_heads_are_those_of_fairlearn(audited, definition):
    from fairlearn.reductions import ExponentiatedGradient

    here = bench(TRAIN, audited, definition, margin=0.04)
    z = _network.embeddings(here, here.train.inputs, _network.last_linear(here)).double().numpy()
    truth = here.train.labels == 1
    features = (z - z.mean(0)) / np.where(z.std(0) > 1e-6 * z.std(0).max(), z.std(0), np.inf)
    plain = ExponentiatedGradient(
        reductions._logistic(), reductions.constraint(definition, 0.02), eps=0.04, max_iter=reductions.ROUNDS
    )
    plain.fit(features, truth.astype(int), sensitive_features=here.train.groups)
    heads, allowed = reductions.learn(here, z, truth, here.train.groups, BOTH)
    assert allowed == 0.04
    randomised = (heads.odds(z) > 0) @ heads.mix
    assert np.allclose(randomised, plain._pmf_predict(features)[:, 1], atol=1e-9)
    apart = difference(here.aim, randomised, here.train.labels, here.train.groups, BOTH)
    assert apart < 0.04 + 2 * plain.best_gap_ + 1e-6


def test_weights_are_those_of_the_formula():
    labels, groups = np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 1]), np.array([0, 0, 0, 0, 1, 1, 1, 1, -1, -1])
    part = Part(torch.zeros(10, 1), labels, groups)
    table = reweighing.cells(part, 3, 2)
    assert np.allclose(table[:2], [[0.5 * 0.5 / 0.375, 0.5 * 0.5 / 0.125], [0.5 * 0.5 / 0.125, 0.5 * 0.5 / 0.375]])
    assert (table[2] == 0).all()
    weight = reweighing.of_rows(table, part)
    assert (weight[8:] == 1).all()
    for group in (0, 1):  # under the weights, group and label are independent
        rows = groups == group
        assert np.average(labels[rows], weights=weight[rows]) == pytest.approx(0.5)


def test_weights_follow_the_errors(audited):
    here = bench(TRAIN, audited, "equalised_odds")
    train, table = here.train, np.ones((2, 2))
    chosen = np.where(train.groups == 0, train.labels == 1, False)  # group b is never chosen
    reweighing.follow(table, here, chosen, BOTH)
    assert table[1, 1] > 1 > table[0, 1]  # its deserving rows count more, those of group a less
    assert table[0, 0] == table[1, 0] == 1  # nobody is chosen undeserved
    mean = np.average(table[train.groups, train.labels][train.labels == 1])
    assert mean == pytest.approx(1)


def test_correlation_removed_is_that_of_fairlearn(audited):
    from fairlearn.preprocessing import CorrelationRemover

    for strength in (1.0, 0.6):
        here = bench(TRAIN, audited, "demographic_parity", strength=strength)
        x = here.train.inputs.double().numpy()
        tensors = removal(here, here.reader, BOTH)
        found = Decorrelated(torch.nn.Identity(), here.reader, **tensors).clean(here.train.inputs).numpy()
        plain = CorrelationRemover(sensitive_feature_ids=[3, 4], alpha=strength).fit_transform(x)
        assert np.allclose(found[:, :3], plain, atol=1e-5)
    assert np.abs(np.corrcoef(np.c_[plain, x[:, 3]].T)[3, :3]).max() > 0.05  # less strength leaves some
    whole = bench(TRAIN, audited, "demographic_parity")
    clean = Decorrelated(torch.nn.Identity(), whole.reader, **removal(whole, whole.reader, BOTH)).clean(
        whole.train.inputs
    )
    assert np.abs(np.corrcoef(np.c_[clean[:, :3].numpy(), x[:, 3]].T)[3, :3]).max() < 1e-5
    assert (clean[:, 3:] - clean[0, 3:]).abs().max() < 1e-6


def test_nothing_linear_is_left_after_erasure():
    rng = np.random.default_rng(0)
    group, truth = rng.integers(0, 3, 900), rng.random(900) < 0.5
    z = rng.normal(size=(900, 6)) @ rng.normal(size=(6, 6)) + np.eye(6)[group] * 2 + truth[:, None] * group[:, None]
    member = np.eye(3)[group]
    mean, eraser = erasure.erasing(z, member, [truth, ~truth])
    left = (z - mean) @ (np.eye(6) - eraser).T
    for rows in (truth, ~truth):
        assert np.abs(left[rows].T @ (member[rows] - member[rows].mean(0))).max() / rows.sum() < 1e-10
    assert np.allclose(eraser @ eraser, eraser) and np.linalg.matrix_rank(eraser) == 4
    # of all such changes the one that moves z least: plain least squares against the whitened directions moves it more
    simple, _, _ = np.linalg.svd(np.hstack([z[r].T @ (member[r] - member[r].mean(0)) for r in (truth, ~truth)]))
    assert ((z - mean) @ eraser.T).var() < ((z - mean) @ simple[:, :4] @ simple[:, :4].T).var()


@pytest.mark.parametrize("bias", [True, False])
def test_erasure_is_folded_into_the_last_layer(bias):
    net = learnt(TRAIN.inputs, TRAIN.labels)
    if not bias:
        net[2].bias = None
    model = subject(net)
    found = erase(bench(TRAIN, model, "demographic_parity", epochs=1))
    learn = bench(TRAIN, model, "demographic_parity").train
    with torch.no_grad():
        by_group = [(found.model(learn.inputs))[torch.from_numpy(learn.groups == g)].mean(0) for g in (0, 1)]
    assert torch.allclose(by_group[0], by_group[1], atol=1e-4)  # equal means of scores: nothing linear is left


def test_the_step_leaves_the_adversary_nothing(audited):
    duel = Duel(bench(TRAIN, audited, "demographic_parity"), BOTH)
    g = torch.Generator().manual_seed(0)
    p, a = ([torch.randn(3, 4, generator=g), torch.randn(5, generator=g)] for _ in range(2))
    step = duel.join([p, a], 1.0)
    along, long = (sum((x * y).sum() for x, y in zip(one, a, strict=True)) for one in (step, a))
    assert float(along) == pytest.approx(-ALPHA * float(long), rel=1e-4)  # going down the step harms the adversary
    early = duel.join([p, a], 0.0)
    assert float(sum((x * y).sum() for x, y in zip(early, a, strict=True))) == pytest.approx(0, abs=1e-4)


def test_scale_and_shift_are_found():
    rng = np.random.default_rng(0)
    odds = rng.normal(size=40_000) * 2
    labels = (rng.random(40_000) < expit(odds)).astype(np.int64)
    wrong = (odds + 0.8) / 1.6  # the model's log-odds; the truth is 1.6 z - 0.8
    found = calibration.fit(np.c_[-wrong, wrong] / 2, labels, 1)
    assert np.exp(found[0]) == pytest.approx(1.6, rel=0.03) and found[1] == pytest.approx(-0.8, abs=0.05)
    small = calibration.fit(np.c_[-wrong, wrong][:5] / 2, labels[:5], 1, np.zeros(2), 0.2)
    assert np.abs(small).max() < 0.2  # five rows move little away from the centre


def test_a_perfect_ranking_stays_finite():
    z = np.linspace(-1, 1, 40)
    found = calibration.fit(np.c_[-z, z], (z > 0).astype(np.int64), 1)
    assert np.isfinite(found).all()


def test_groups_are_calibrated_on_new_rows():
    """The model says what people deserve, the records wrong group b: its probabilities are wrong for that group alone."""
    model = subject(learnt(TRAIN.inputs, TRAIN.truth))
    found = calibrate(bench(TRAIN, model, "demographic_parity"))
    gaps = []
    with torch.no_grad():
        for each in (model.model, found.model):
            p = each(TEST.inputs).softmax(1)[:, 1].double().numpy()
            gaps.append([calibration.gap(p[TEST.groups == g], TEST.labels[TEST.groups == g] == 1) for g in (0, 1)])
    assert max(gaps[1]) < 0.4 * max(gaps[0]) and gaps[1][0] < gaps[0][0] + 0.02
    assert found.figures["spread"] > 0


def test_groups_that_do_not_differ_are_left_together():
    fair = People(1600, 0)
    fair.groups = np.random.default_rng(9).integers(0, 2, len(fair.groups))
    found = calibrate(bench(fair, subject(learnt(fair.inputs, fair.labels)), "demographic_parity"))
    assert found.figures["spread"] <= 0.1
    a, b = found.figures["shift"].values()
    assert abs(a - b) < 0.15
