"""Attacks on linear models, whose robust accuracy and smallest perturbations have closed forms, and on masked ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import attacks
from attacks import Threat

FREE = (float("-inf"), float("inf"))


@pytest.fixture
def linear() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Two classes in 12 dimensions; about a tenth of the labels are wrong on purpose."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(12, 2)
    with torch.no_grad():
        model.weight.copy_(torch.randn(2, 12, generator=generator))
        model.bias.zero_()
    inputs = torch.randn(300, 12, generator=generator)
    labels = model(inputs).argmax(1)
    labels[::10] = 1 - labels[::10]
    return model, inputs, labels


def distances(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, norm: str) -> torch.Tensor:
    """Distance to the plane between the two classes; 0 where the answer is wrong already."""
    w = (model.weight[0] - model.weight[1]).detach()
    scores = model(inputs).detach()
    margin = torch.where(labels == 0, scores[:, 0] - scores[:, 1], scores[:, 1] - scores[:, 0])
    dual = w.abs().sum() if norm == "linf" else w.norm() if norm == "l2" else w.abs().max()
    return (margin / dual).clamp(min=0)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_robust_accuracy_is_the_closed_form(linear, norm, effort):
    model, inputs, labels = linear
    truth = distances(model, inputs, labels, norm)
    eps = float(truth[truth > 0].median())
    e = attacks.evaluate(model, inputs, labels, Threat(norm, eps, FREE), effort=effort)
    clear = (truth - eps).abs() > 1e-3 * eps  # a point on the boundary may round either way
    assert torch.equal(e.robust[clear], (truth > eps)[clear])
    assert e.trustworthy
    assert torch.equal(e.clean_correct, model(inputs).argmax(1) == labels)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_smallest_perturbation_is_the_projection(linear, norm):
    model, inputs, labels = linear
    truth = distances(model, inputs, labels, norm)
    m = attacks.minimal(model, inputs, labels, norm=norm, bounds=FREE)
    right = truth > 0
    assert bool(m.success.all())
    assert bool((m.distance[~right] == 0).all())
    ratio = m.distance[right] / truth[right]
    assert float(ratio.min()) > 0.999
    assert float(ratio.median()) < 1.01
    assert float(ratio.quantile(0.99)) < 1.1


def test_the_whole_curve_equals_single_runs_for_little_more_than_one(linear):
    model, inputs, labels = linear
    truth = distances(model, inputs, labels, "l2")
    epsilons = tuple(float(q) for q in truth[truth > 0].quantile(torch.tensor([0.2, 0.4, 0.6, 0.8])))
    c = attacks.curve(model, inputs, labels, "l2", epsilons, bounds=FREE)
    for j, eps in enumerate(epsilons):
        clear = (truth - eps).abs() > 1e-3 * eps
        assert torch.equal(c.robust[clear, j], (truth > eps)[clear])
    assert list(c.robust_accuracy) == sorted(c.robust_accuracy, reverse=True)
    single = [attacks.evaluate(model, inputs, labels, Threat("l2", eps, FREE)) for eps in epsilons]
    assert c.forwards < sum(e.forwards for e in single)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "square"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_contracts_of_every_attack(linear, name, norm):
    model, inputs, labels = linear
    inputs = inputs.sigmoid()
    labels = model(inputs).argmax(1)
    labels[::10] = 1 - labels[::10]
    mutable = torch.arange(12) % 3 > 0
    threat = Threat(norm, 0.3, (0.0, 1.0), mutable)
    attack = getattr(attacks, name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one must stay as it is
    found = attack(model, inputs, labels, threat)
    size = (found - inputs).abs().amax(1) if norm == "linf" else (found - inputs).norm(dim=1)
    assert float(size.max()) <= 0.3 * (1 + 1e-4)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert torch.equal(found[:, ~mutable], inputs[:, ~mutable])
    wrong = model(inputs).argmax(1) != labels
    assert torch.equal(found[wrong], inputs[wrong])
    # it does something: some of the points near the plane fall
    assert bool((model(found).argmax(1) != labels)[~wrong].any())
    # the model and the generators are as they were
    assert model.training
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    assert torch.equal(found, attack(model, inputs, labels, threat))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_neither_batch_size_nor_order_changes_the_answer(linear, norm):
    model, inputs, labels = linear
    eps = float(distances(model, inputs, labels, norm).median())
    whole = attacks.evaluate(model, inputs, labels, Threat(norm, eps, FREE), effort="quick")
    small = attacks.evaluate(model, inputs, labels, Threat(norm, eps, FREE), effort="quick", batch_size=7)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    turned = attacks.evaluate(model, inputs[order], labels[order], Threat(norm, eps, FREE), effort="quick")
    assert torch.equal(whole.robust, small.robust)
    assert torch.equal(whole.robust[order], turned.robust)


class Wrapped(nn.Module):
    """The linear model behind something that hides its gradient but not its answers."""

    def __init__(self, inner: nn.Module, how: str) -> None:
        super().__init__()
        self.inner, self.how = inner, how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "rounded":
            return (self.inner(x) * 2).round() / 2 + 1e-6 * self.inner(x).detach()
        scores = self.inner(x)
        if self.how == "times 1000":
            return scores * 1000
        if self.how == "detached":
            return scores.detach() + 0 * x.sum()
        if scores.requires_grad and self.how == "nan":
            scores.register_hook(lambda g: g * float("nan"))
        if scores.requires_grad and self.how == "random":
            scores.register_hook(lambda g: torch.randn(g.shape, generator=torch.Generator().manual_seed(0)))
        return scores


@pytest.mark.parametrize("how", ["times 1000", "detached", "nan", "random", "rounded"])
def test_a_hidden_gradient_is_seen_through_or_told(linear, how):
    model, inputs, labels = linear
    truth = distances(model, inputs, labels, "linf")
    eps = float(truth[truth > 0].quantile(0.6))
    right = float((truth > eps).double().mean())
    e = attacks.evaluate(Wrapped(model, how), inputs, labels, Threat("linf", eps, FREE), effort="standard")
    assert not e.trustworthy or abs(e.robust_accuracy - right) <= 0.03, (e.robust_accuracy, right)
    if how == "times 1000":  # a scale hides nothing
        assert e.trustworthy


def test_it_breaks_whatever_foolbox_breaks():
    import foolbox
    from sklearn.datasets import load_digits

    digits = load_digits()
    inputs = torch.from_numpy(digits.images).float()[:, None] / 16
    labels = torch.from_numpy(digits.target).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(inputs[300:]), labels[300:]).backward()
            optimiser.step()
    model.eval()
    x, y = inputs[:200], labels[:200]
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, _, broken = foolbox.attacks.LinfPGD(steps=40)(wrapped, x, y, epsilons=0.1)
    e = attacks.evaluate(model, x, y, Threat("linf", 0.1), effort="standard")
    assert float((~broken).double().mean()) < 0.95  # the attack is no formality here
    assert not bool((broken & e.robust).any())
    assert e.trustworthy


def test_images_and_many_classes():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    inputs = torch.rand(40, 1, 8, 8, generator=generator)
    labels = model(inputs).argmax(1)
    e = attacks.evaluate(model, inputs, labels, Threat("linf", 0.3), effort="quick")
    assert float(e.robust_accuracy) < 0.5
    broken = ~e.robust
    assert bool((model(e.adversarial[broken]).argmax(1) != labels[broken]).all())
    assert float((e.adversarial - inputs).abs().max()) <= 0.3 + 1e-6
    assert all((name is None) == bool(stands) for name, stands in zip(e.broken_by, e.robust, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": torch.full((2, 3), 7.0)}, "bounds"),
        ({"inputs": torch.full((2, 3), float("nan"))}, "NaN|finite"),
        ({"labels": torch.tensor([0, 9])}, "labels"),
        ({"labels": torch.tensor([0])}, "labels"),
        ({"effort": "heroic"}, "effort"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {"inputs": torch.rand(2, 3), "labels": torch.tensor([0, 1]), "effort": "quick"} | change
    with pytest.raises((ValueError, TypeError), match=message):
        attacks.evaluate(
            nn.Linear(3, 2), arguments["inputs"], arguments["labels"], Threat("linf", 0.1), effort=arguments["effort"]
        )


def test_integer_inputs_are_refused():
    with pytest.raises((ValueError, TypeError), match="float"):
        attacks.evaluate(nn.Linear(3, 2), torch.ones(2, 3).long(), torch.tensor([0, 1]), Threat("linf", 0.1))


@pytest.mark.parametrize("field", [{"norm": "l3"}, {"eps": -1.0}, {"eps": float("nan")}, {"bounds": (1.0, 0.0)}])
def test_a_threat_that_cannot_be_is_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Threat(**({"norm": "linf", "eps": 0.1} | field))
