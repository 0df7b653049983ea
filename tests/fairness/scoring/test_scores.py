"""Score histograms against scikit-learn, sums over rows, and refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from audit.errors import DataError
from audit.fairness import Cube, Scores
from audit.fairness.scoring.measures import NAMES


def rows(n: int, digits: int | None = None, groups: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    s = rng.beta(1 + y, 2, n)
    return y, s if digits is None else s.round(digits), rng.integers(0, groups, n), rng.random(n)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "digits"), [(500, None), (20_000, 3), (300_000, 2)])
def test_few_different_scores_give_what_scikit_learn_gives(n, digits, weighted):
    y, s, g, w = rows(n, digits)
    scores = Scores.count(y, s, g, w if weighted else None)
    auc, precision, brier = (scores.measure(name) for name in ("auc", "average_precision", "brier"))
    for group in range(3):
        of = g == group
        weight = w[of] if weighted else None
        assert auc[group].value == pytest.approx(roc_auc_score(y[of], s[of], sample_weight=weight), abs=1e-12)
        truth = average_precision_score(y[of], s[of], sample_weight=weight)
        assert precision[group].value == pytest.approx(truth, abs=1e-12)
        assert brier[group].value == pytest.approx(brier_score_loss(y[of], s[of], sample_weight=weight), abs=1e-12)
    assert scores.bound("auc") == scores.bound("average_precision") == {0: 0.0, 1: 0.0, 2: 0.0}


@pytest.mark.parametrize("bins", [1, 7, 60, 4000])
def test_binned_scores_are_off_by_no_more_than_the_bound(bins):
    y, s, g, w = rows(30_000)
    scores = Scores.count(y, s, g, w, bins=bins, thresholds=())
    for name, truth in (("auc", roc_auc_score), ("average_precision", average_precision_score)):
        found, bound = scores.measure(name), scores.bound(name)
        for group in range(3):
            of = g == group
            exact = truth(y[of], s[of], sample_weight=w[of])
            assert bound[group] > 0
            assert abs(found[group].value - exact) <= bound[group]
            assert found[group].low <= exact <= found[group].high
            assert bins < 4000 or bound[group] < 0.01


def test_the_bound_is_reached_by_the_worst_order_within_a_bin():
    y = np.array([0, 0, 1, 1])
    for s in ([0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.1, 0.2]):
        scores = Scores.count(y, np.array(s), np.zeros(4), bins=np.array([0.0]))
        assert scores.measure("auc")[0.0].value == 0.5
        assert scores.bound("auc")[0.0] == 0.5
        exact = average_precision_score(y, s)
        assert abs(scores.measure("average_precision")[0.0].value - exact) <= scores.bound("average_precision")[0.0]


def test_a_value_too_rare_for_the_sample_still_has_a_bin_of_its_own():
    y, s, g, _ = rows(400_000, 2)
    s[12_345] = 0.123456
    scores = Scores.count(y, s, g)
    assert scores.bound("auc") == {0: 0.0, 1: 0.0, 2: 0.0}


def test_the_cube_at_a_threshold_is_that_of_the_predictions():
    y, s, g, w = rows(50_000)
    scores = Scores.count(y, s, {"a": g, "b": g % 2}, w, bins=50, thresholds=(0.3, 0.5))
    for threshold in (0.3, 0.5):
        for strict in (False, True):
            predicted = (s > threshold if strict else s >= threshold).astype(int)
            cube, truth = scores.at(threshold, strict), Cube.count(y, predicted, {"a": g, "b": g % 2}, w)
            assert (cube.groups, cube.attributes) == (truth.groups, truth.attributes)
            np.testing.assert_array_equal(cube.rows, truth.rows)
            np.testing.assert_allclose(cube.counts, truth.counts, rtol=1e-12)
            np.testing.assert_allclose(cube.squares, truth.squares, rtol=1e-12)
    with pytest.raises(DataError, match=r"thresholds=\[0.41\]"):
        scores.at(0.41)


def test_ties_at_the_threshold_are_told_from_rows_above_it():
    scores = Scores.count([0, 1, 1, 1], [0.2, 0.5, 0.5, 0.8], ["a"] * 4)
    assert scores.at(0.5).rows[0, :, 1].sum() == 3
    assert scores.at(0.5, strict=True).rows[0, :, 1].sum() == 1


def test_parts_add_up_and_files_stream(tmp_path):
    y, s, g, w = rows(9_000, 3)
    names = np.array(["x", "y", None], dtype=object)[g]
    whole = Scores.count(y, s, names, w)
    ends = whole.edges
    parts = [Scores.count(y[i::3], s[i::3], names[i::3], w[i::3], bins=ends) for i in range(3)]
    pq.write_table(pa.table({"y": y, "s": s, "g": names, "w": w}), tmp_path / "rows.parquet")
    scanned = Scores.scan(tmp_path / "rows.parquet", label="y", score="s", groups="g", weights="w")
    frames = (pd.DataFrame({"y": y[i::3], "s": s[i::3], "g": names[i::3], "w": w[i::3]}) for i in range(3))
    streamed = Scores.scan(frames, label="y", score="s", groups="g", weights="w", bins=ends)
    for other in (parts[0] + parts[1] + parts[2], scanned, streamed):
        assert other.groups == whole.groups == ("x", "y", None)
        np.testing.assert_allclose(other.counts, whole.counts, rtol=1e-12)
        np.testing.assert_allclose(other.sums, whole.sums, rtol=1e-12)
        np.testing.assert_array_equal(other.rows, whole.rows)
        assert other.measure("auc")["x"].value == pytest.approx(whole.measure("auc")["x"].value, abs=1e-12)
    with pytest.raises(DataError, match=r"bins=first.edges"):
        whole + Scores.count(y, s, names, w, bins=5)


def test_groups_of_either_part_appear_and_keys_of_two_types_stay_apart():
    ends = np.array([0.0, 0.5])
    one = Scores.count([0, 1], [0.2, 0.6], np.array([1, 2], dtype=object), bins=ends)
    two = Scores.count([0, 1], [0.7, 0.1], np.array(["1", 2], dtype=object), bins=ends)
    both = one + two
    assert both.groups == (1, 2, "1")
    assert both.rows.sum((1, 2)).tolist() == [1, 2, 1]


def test_means_do_not_depend_on_the_bins():
    y, s, g, w = rows(5_000)
    coarse, fine = (Scores.count(y, s, g, w, bins=bins, thresholds=()) for bins in (3, 5_000))
    for name in ("mean_score", "calibration_gap", "brier"):
        for group in range(3):
            assert coarse.measure(name)[group].value == pytest.approx(fine.measure(name)[group].value, abs=1e-12)
    of = g == 1
    truth = np.average(s[of] - y[of], weights=w[of])
    assert fine.measure("calibration_gap")[1].value == pytest.approx(truth, abs=1e-12)


def test_several_classes_are_held_against_the_rest():
    y, s, g, _ = rows(400)
    names = np.array(["no", "yes"])[y]
    names[::7] = "maybe"
    scores = Scores.count(names, s, g, positive="yes")
    assert scores.classes == ("other classes", "yes")
    of = g == 0
    assert scores.measure("auc")[0].value == pytest.approx(roc_auc_score(names[of] == "yes", s[of]), abs=1e-12)


def test_a_group_without_a_class_is_undefined_with_a_reason():
    scores = Scores.count([0, 1, 1, 1, 1], [0.1, 0.9, 0.4, 0.6, 0.7], ["a", "a", "b", "b", "b"])
    for name in ("auc", "average_precision"):
        assert scores.measure(name)["a"].value == 1.0
        assert scores.measure(name)["b"].value is None
        assert "both classes" in scores.measure(name)["b"].reason
        assert scores.disparity(name).value is None
    for name in NAMES:
        empty = Scores.count([0, 1], [0.1, 0.9], pd.Categorical(["a", "a"], categories=["a", "z"])).measure(name)["z"]
        assert empty.value is None
        assert empty.n == 0


def test_ten_times_all_weights_change_nothing_and_the_seed_makes_the_bits():
    y, s, g, w = rows(2_000)
    one, ten = Scores.count(y, s, g, w), Scores.count(y, s, g, 10 * w)
    for name in NAMES:
        for group in range(3):
            a, b = one.measure(name, seed=3)[group], ten.measure(name, seed=3)[group]
            assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), rel=1e-9, abs=1e-12)
    again = Scores.count(y, s, g, w)
    assert again.measure("average_precision", seed=3) == one.measure("average_precision", seed=3)
    assert again.measure("average_precision", seed=4) != one.measure("average_precision", seed=3)


def test_differences_hold_for_all_pairs_and_find_what_is_planted():
    rng = np.random.default_rng(1)
    g, y = np.repeat(np.arange(6), 800), rng.integers(0, 2, 4_800)
    same = Scores.count(y, rng.normal(y), g).disparity("auc")
    assert same.low == 0.0
    apart = Scores.count(y, rng.normal(y * np.where(g == 4, 0.0, 1.0)), g).disparity("auc")
    assert apart.low > 0.1
    assert apart.low <= apart.value <= apart.high


def test_how_rows_are_cut_into_batches_changes_nothing():
    y, s = np.arange(40) % 2, np.linspace(0.05, 0.95, 40)
    s[-2:] = 0, 1
    whole = pa.table({"y": y, "s": s, "g": pa.array([1] * 20 + [2, None] * 10)})
    # whole numbers only, none, some missing, and a batch of scores that look like labels
    cut = [whole.slice(0, 20), whole.slice(0, 0), whole.slice(20, 18), whole.slice(38)]
    expected = Scores.count(y, s, whole["g"])
    found = Scores.scan(cut, label="y", score="s", groups="g", bins=expected.edges)
    assert [(type(key), key) for key in found.groups] == [(int, 1), (int, 2), (type(None), None)]
    np.testing.assert_array_equal(found.rows, expected.rows)
    with pytest.raises(DataError, match="labels"):
        Scores.scan([whole.slice(38), whole.slice(38)], label="y", score="s", groups="g")


def test_what_few_rows_do_not_show_is_not_taken_for_certain():
    for n in (2, 10, 40):
        found = Scores.count(np.arange(2 * n) % 2, np.tile([0.1, 0.9], n), ["a"] * 2 * n).measure("average_precision")
        # n positive rows in perfect order: Wilson's limit of n out of n
        assert found["a"].low == pytest.approx(n / (n + 1.959964**2), abs=1e-6)
    for name in ("calibration_gap", "calibration_error", "brier"):
        for y in (0, 1):
            # one class only: the other may have some share all the same
            found = Scores.count([y] * 20, [0.2, 0.21] * 10, ["a"] * 20, classes=[0, 1]).measure(name)["a"]
            assert found.high - found.low > 1.959964**2 / (20 + 1.959964**2) > 0.16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.array([0, 1, 1, 0])}, "labels"),
        ({"score": np.array([0.1, np.nan, 0.3, 0.4])}, "nan in row 1"),
        ({"score": np.array(["a", "b", "c", "d"])}, "score to hold one number"),
        ({"score": np.array([0.1, 0.2, 0.3])}, "one length"),
        ({"y_true": np.array([0.3, 0.2, 0.9, 0.1])}, r"y_true to hold classes, found the score 0\.3"),
        ({"y_true": np.array([0, 1, 2, 1])}, "two classes in y_true, found 3; try positive="),
        ({"y_true": np.array(["a"] * 4)}, "two classes"),
        ({"positive": 7}, "positive to be a class"),
        ({"weights": [1, -1, 1, 1]}, "weights >= 0"),
        ({"weights": [1, 1, 1]}, "4 values of weights"),
        ({"weights": [0, 0, 0, 0]}, "not all 0"),
        ({"weights": [1, 1, 1, 1e200]}, r"below 1e\+100"),
        ({"groups": ["a", "b"]}, "group value"),
        ({"bins": 0}, "at least 1 bin"),
        ({"bins": [0.5, 0.2]}, "ascend"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    given = {"y_true": np.array([0, 1, 0, 1]), "score": np.array([0.1, 0.2, 0.3, 0.4]), "groups": ["a", "a", "b", "b"]}
    with pytest.raises(DataError, match=message):
        Scores.count(**(given | change))


def test_scores_that_are_no_probabilities_and_unknown_names_are_refused():
    y, s, g, _ = rows(100)
    scores = Scores.count(y, 10 * s, g)
    with pytest.raises(DataError, match="threshold to be a number"):
        scores.at(float("nan"))
    assert scores.measure("auc")[0].value is not None
    for name in ("calibration_gap", "calibration_error", "brier", "calibration_slope", "squared_calibration_error"):
        with pytest.raises(DataError, match=r"probabilities in \[0, 1\]"):
            scores.measure(name)
    with pytest.raises(DataError, match="did you mean 'auc'"):
        scores.measure("auk")


def test_an_identifier_is_refused_and_thousands_of_groups_are_not():
    y, s, _, _ = rows(20_000)
    with pytest.raises(DataError, match="identifier"):
        Scores.count(y[:2_000], s[:2_000], np.arange(2_000))
    scores = Scores.count(y, s, np.arange(20_000) % 2_500)
    assert scores.counts.size < 1 << 24
    assert scores.disparity("auc").value is not None
