"""Checks that attack, on linear models whose distances are known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.checks.robustness.evasion import Evasion
from audit.checks.robustness.groups import Groups
from audit.datasets import Dataset
from audit.subject import Modality
from reports.record import Curves, Images, Measured
from tests.checks.robustness.known import linear, pictures, subject_of, table

#: height and weight may move; age may not, though it counts most; colours count too
WEIGHTS = [2.0, -1.0, 5.0, 0.5, -0.5, 0.0]
MODEL = linear([[0.0] * 6, WEIGHTS], [0.0, 0.3])


def rows(n: int = 150) -> Dataset:
    """Rows labelled by the model itself, but for some; the training data leave all room."""
    data = table(n)
    x = data.inputs
    assert isinstance(x, Tensor)
    labels = MODEL(x).argmax(1)
    labels[:10] = 1 - labels[:10]
    # two rows 50 from the mean among 4,998 on it: room to move, and a deviation of exactly 1
    wide = torch.cat([torch.full((1, 6), -50.0), torch.full((1, 6), 50.0), torch.zeros(4998, 6)])
    train = replace(data, inputs=wide, labels=torch.zeros(5000, dtype=torch.int64), split="train")
    return replace(data, labels=labels, train=train)


def distances(data: Dataset, weight: float) -> np.ndarray:
    """To the boundary, over what may move, whose dual norm is `weight`; 0 where the model is wrong."""
    x = data.inputs
    assert isinstance(x, Tensor)
    scores = MODEL(x)
    margin = (scores[:, 1] - scores[:, 0]).abs() / weight
    return np.where(scores.argmax(1) == data.labels, margin, 0.0)


def value(found: Measured, name: str) -> float:
    """An estimate that must be defined."""
    estimate = found.estimates[name]
    assert estimate.value is not None
    return estimate.value


def test_tables_have_the_exact_robust_accuracy() -> None:
    data = rows()
    check = Evasion(rows=150, effort="quick")
    found = check.run(subject_of(MODEL, Modality.TABULAR), data, np.random.default_rng(0))
    linf, l2 = distances(data, 3.0), distances(data, 5**0.5)
    assert value(found, "clean_accuracy") == pytest.approx(140 / 150)
    for eps in check.linf_table:
        assert value(found, f"robust_accuracy@linf:{eps:.4g}") == pytest.approx((linf > eps).mean())
    for eps in check.l2_table:
        assert value(found, f"robust_accuracy@l2:{eps:.4g}") == pytest.approx((l2 > eps).mean())
    assert value(found, "median_distance@linf") == pytest.approx(np.median(linf[linf > 0]), rel=0.01)
    assert value(found, "median_distance@l2") == pytest.approx(np.median(l2[l2 > 0]), rel=0.01)


def test_a_budget_is_in_deviations_whatever_the_unit() -> None:
    plain = rows()
    assert plain.train is not None
    assert isinstance(plain.inputs, Tensor)
    assert isinstance(plain.train.inputs, Tensor)
    factor = torch.tensor([1000.0, 0.01, 1.0, 1.0, 1.0, 1.0])
    grams = replace(plain, inputs=plain.inputs * factor, train=replace(plain.train, inputs=plain.train.inputs * factor))
    weights = (torch.tensor(WEIGHTS) / factor).tolist()
    found = [
        Evasion(rows=150, effort="quick").run(subject_of(model, Modality.TABULAR), data, np.random.default_rng(0))
        for model, data in ((MODEL, plain), (linear([[0.0] * 6, weights], [0.0, 0.3]), grams))
    ]
    for name in found[0].estimates:
        if name.startswith(("robust_accuracy", "clean_accuracy")):
            assert value(found[0], name) == pytest.approx(value(found[1], name), abs=0.01), name


def test_tables_show_rows_and_what_never_moves() -> None:
    data = rows()
    found = Evasion(rows=150, effort="quick").run(subject_of(MODEL, Modality.TABULAR), data, np.random.default_rng(0))
    trust, examples = found.tables
    assert [row[:2] for row in trust.rows] == [
        (norm, line) for norm in ("linf", "l2") for line in ("control: found", "no sign of a blinded attack")
    ]
    assert value(found, "control_hit_rate@linf") == 1
    assert found.estimates["control_hit_rate@l2"].n == 32
    assert examples.columns == ("example", "", "answer", "height", "weight")
    assert len(examples.rows) == 8
    for before, after in zip(examples.rows[::2], examples.rows[1::2], strict=True):
        assert before[2] != after[2]
        height, weight = (abs(float(a) - float(b)) for a, b in zip(before[3:], after[3:], strict=True))  # type: ignore[arg-type]
        assert height <= 0.5 * 10 + 0.1  # half a deviation of 10
        assert weight <= 0.5 * 5 + 0.1
    assert any("age, colour" in note for note in found.notes)


def test_immutable_columns_and_the_training_box_hold() -> None:
    from audit.checks.robustness._space import space

    data = rows()
    assert data.train is not None
    x = data.inputs
    assert isinstance(x, Tensor)
    tight = replace(data, train=replace(data.train, inputs=torch.cat([x.amin(0)[None], x.amax(0)[None] * 0.5])))
    subject = subject_of(MODEL, Modality.TABULAR)
    here = space(subject, tight, tight)
    found = here.curve(subject, "linf", (0.1, 0.5), "quick", 0)
    assert torch.equal(found.adversarial[:, 2:], x[:, 2:])
    assert not torch.equal(found.adversarial[:, :2], x[:, :2])
    assert bool((found.adversarial <= x.amax(0) + 1e-6).all())
    assert bool((found.adversarial >= x.amin(0) - 1e-6).all())
    # what an element can add within the budget and the box, exactly
    scores = MODEL(x)
    sign = torch.where(scores[:, 1] > scores[:, 0], -1.0, 1.0)[:, None]
    weights = torch.tensor(WEIGHTS[:2])
    room = torch.where(sign * weights > 0, x[:, :2].amax(0) - x[:, :2], x[:, :2] - x[:, :2].amin(0))
    for j, eps in enumerate(found.epsilons):
        assert here.scale is not None
        reach = (weights.abs() * room.minimum(eps * here.scale[:2])).sum(1)
        expected = ((scores[:, 1] - scores[:, 0]).abs() > reach) & found.clean_correct
        assert (found.robust[:, j] == expected).double().mean() > 0.99  # a boundary case may round either way
    assert bool((found.robust[:, 0] >= found.robust[:, 1]).all())


def test_images_have_the_exact_robust_accuracy() -> None:
    data = pictures(40, size=8)
    x = data.inputs
    assert isinstance(x, Tensor)
    model = linear([[0.0] * 64, [1.0] * 64], [0.0, -32.0], flatten=True)
    check = Evasion(rows=40, effort="quick", linf_image=(0.01, 0.05), l2_image=(0.1, 0.4))
    found = check.run(subject_of(model, Modality.IMAGE, ("dark", "light")), data, np.random.default_rng(0))
    off = (x.mean((1, 2, 3)) - 0.5).abs().numpy()
    for eps in (0.01, 0.05):
        assert value(found, f"robust_accuracy@linf:{eps:.4g}") == pytest.approx((off > eps).mean(), abs=0.026)
    for eps in (0.1, 0.4):  # 64 equal pixels: the mean moves by eps / 8
        assert value(found, f"robust_accuracy@l2:{eps:.4g}") == pytest.approx((off > eps / 8).mean(), abs=0.026)
    linf, _, shown = found.figures
    assert isinstance(linf, Curves)
    assert isinstance(shown, Images)
    assert [p.x for p in linf.points] == [0.0, 0.01, 0.05]
    assert [p.y for p in linf.points] == sorted((p.y for p in linf.points), reverse=True)
    assert len(shown.panels) % 3 == 0
    assert shown.panels[0].image is not None
    assert shown.panels[1].heat is not None
    assert shown.panels[0].caption.split(": ")[1] != shown.panels[2].caption.split(": ")[1]
    assert len(found.model_dump_json()) < 150_000


def test_nothing_breaks_a_constant_model() -> None:
    data = replace(rows(20), labels=torch.ones(20, dtype=torch.int64))
    model = linear([[0.0] * 6, [0.0] * 6], [0.0, 1.0])
    found = Evasion(rows=20, effort="quick").run(subject_of(model, Modality.TABULAR), data, np.random.default_rng(0))
    assert value(found, "robust_accuracy@linf:0.5") == 1
    assert found.estimates["median_distance@l2"].value is None
    assert value(found, "untrusted_findings@linf") > 0  # its gradient is 0 everywhere
    assert any("blinded" in note for note in found.notes)
    assert found.estimates["control_hit_rate@linf"].value is None
    (trust,) = found.tables
    assert ("linf", "zero gradients") in [row[:2] for row in trust.rows]


def test_what_cannot_be_attacked_is_skipped() -> None:
    data = rows(20)
    subject = subject_of(MODEL, Modality.TABULAR)
    frozen = replace(data, features=tuple(replace(f, mutable=False) for f in data.features))
    assert "immutable" in (Evasion().skip_reason(subject, frozen) or "")
    assert "input_gradient" in (Evasion().skip_reason(subject_of(MODEL, Modality.TABULAR, gradient=False), data) or "")
    assert Evasion(linf_table=(), l2_table=()).skip_reason(subject, data) == "no budget is given"
    assert Evasion(linf_table=()).run(subject, data, np.random.default_rng(0)).headline[1] == "robust_accuracy@l2:0.5"
    images = replace(pictures(5), bounds=None)
    assert "bounds" in (Evasion().skip_reason(subject_of(MODEL, Modality.IMAGE), images) or "")
    assert "protected" in (Groups().skip_reason(subject, data) or "")


def grouped() -> Dataset:
    """Group "near" lies 0.1 from the boundary in linf, group "far" 1; a few values are missing."""
    data = rows(200)
    x = torch.zeros(200, 6)
    near = torch.arange(200) % 2 == 0
    side = torch.where(torch.arange(200) % 4 < 2, 1.0, -1.0)
    distance = torch.where(near, 0.1, 1.0) * side
    # the margin is 2 height - weight + 0.3; along the gradient's signs it falls by 3 a unit
    x[:, 0] = (3 * distance - 0.3) / 2
    values = np.array(["near" if n else "far" for n in near], dtype=object)
    values[-6:] = None
    return replace(
        data,
        inputs=x,
        labels=MODEL(x).argmax(1),
        groups={"place": values, "all": np.array(["one"] * 200, dtype=object)},
    )


def test_groups_differ_by_what_they_should() -> None:
    data = grouped()
    found = Groups(per_group=50, effort="quick").run(
        subject_of(MODEL, Modality.TABULAR), data, np.random.default_rng(0)
    )
    assert value(found, "clean_accuracy@place=near") == 1
    assert value(found, "robust_accuracy@place=near") == 0
    assert value(found, "robust_accuracy@place=far") == 1
    assert value(found, "robust_accuracy_difference@place") == 1
    low = found.estimates["robust_accuracy_difference@place"].low
    assert low is not None
    assert low > 0.7
    assert value(found, "clean_accuracy_difference@place") == 0
    assert found.estimates["robust_accuracy@place=near"].n == 50
    assert found.estimates["robust_accuracy@place=missing"].n == 6
    assert found.estimates["robust_accuracy_difference@all"].value is None
    assert found.headline[0] == "robust_accuracy_difference@place"
    for group, distance in (("near", 0.1), ("far", 1.0)):
        assert value(found, f"median_distance@place={group}") == pytest.approx(distance, rel=1e-3)
        assert found.estimates[f"median_distance@place={group}"].n == 50


def test_attack_checks_repeat_themselves() -> None:
    data = grouped()
    subject = subject_of(MODEL, Modality.TABULAR)
    for check in (Groups(per_group=20, effort="quick"), Evasion(rows=30, effort="quick")):
        one, two = (check.run(subject, data, np.random.default_rng(3)) for _ in range(2))
        assert one == two
