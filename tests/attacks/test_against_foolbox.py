"""On a trained net, never weaker than the peer at the same threat."""

from __future__ import annotations

import foolbox
import pytest
import torch

import attacks
from attacks import Threat

RULES = {"linf": (foolbox.attacks.LinfPGD, 0.15), "l2": (foolbox.attacks.L2PGD, 0.8)}


@pytest.mark.parametrize("effort", ["quick", "standard"])
@pytest.mark.parametrize("norm", RULES)
def test_robust_accuracy_is_at_most_foolbox_s(digits, norm, effort):
    model, inputs, labels = digits
    peer, eps = RULES[norm]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _, moved, _ = peer(steps=40)(foolbox.PyTorchModel(model, bounds=(0, 1)), inputs, labels, epsilons=eps)
    theirs = float((model(moved).argmax(1) == labels).double().mean())
    e = attacks.evaluate(model, inputs, labels, Threat(norm, eps), effort=effort)
    assert e.robust_accuracy <= theirs
    assert float((model(e.adversarial).argmax(1) == labels)[e.robust].double().mean()) == 1
    assert 0 < e.robust_accuracy < 1, "a case both must work on"


@pytest.mark.parametrize(
    ("norm", "peer"),
    [
        ("linf", foolbox.attacks.LInfFMNAttack(steps=40)),
        ("l2", foolbox.attacks.DDNAttack(steps=40)),
        ("l1", foolbox.attacks.L1FMNAttack(steps=40)),
        ("l0", foolbox.attacks.L0FMNAttack(steps=40)),
    ],
)
def test_the_median_distance_is_level_with_foolbox_s(digits, norm, peer):
    model, inputs, labels = digits
    right = model(inputs).argmax(1) == labels
    order = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}[norm]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _, moved, _ = peer(foolbox.PyTorchModel(model, bounds=(0, 1)), inputs, labels, epsilons=None)
    sizes = torch.linalg.vector_norm((moved - inputs).flatten(1), order, dim=1)
    sizes = sizes.where(model(moved).argmax(1) != labels, torch.inf)
    m = attacks.minimal(model, inputs, labels, norm=norm, steps=40)
    assert bool(m.success.all())
    assert float(m.distance[right].median()) <= 1.02 * float(sizes[right].median())
    assert m.backwards <= 40 * int(right.sum())
