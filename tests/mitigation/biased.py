"""People whose truth is known, labels that wrong one group, and a network that learnt them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from audit.datasets.types import Feature, FeatureKind
from audit.loading.prediction import Predictor
from audit.loading.wrapping import Head, Output, Wrapped
from audit.mitigation.reading import Reader
from audit.mitigation.remedy import Aim, Bench, Part, held_out
from audit.subject import Capability, Modality, Subject, Task

SEX = Feature("sex", FeatureKind.CATEGORICAL, (3, 4), categories=("a", "b"))
NAMES = ("a", "b")


class People:
    """Rows drawn by a seed: two skills that both groups have alike, a trace of the group, and the group itself.

    Attributes:
        inputs: (n, 5).
        labels: (n,) as recorded: of group b, four in ten of the deserving were refused.
        truth: (n,) as deserved.
        groups: (n,).
    """

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.groups = (rng.random(n) < 0.4).astype(np.int64)
        skills = rng.normal(size=(n, 2))
        trace = rng.normal(size=n) + 1.5 * self.groups
        hot = np.eye(2)[self.groups]
        self.inputs = torch.from_numpy(np.column_stack([skills, trace, hot])).float()
        self.truth = (rng.random(n) < 1 / (1 + np.exp(-2 * skills.sum(1)))).astype(np.int64)
        self.labels = np.where((self.groups == 1) & (rng.random(n) < 0.4), 0, self.truth)

    def part(self, rows: np.ndarray | slice = slice(None)) -> Part:
        return Part(self.inputs[rows], self.labels[rows], self.groups[rows])


def subject(network: nn.Module, classes: int = 2, modality: Modality = Modality.TABULAR) -> Subject:
    """An audited model on the CPU."""
    model = Wrapped(network, Head(Output.LOGITS, classes)).eval().requires_grad_(False)
    return Subject(
        model=model,
        predict=Predictor(model, torch.device("cpu"), 512, None),
        task=Task.CLASSIFICATION,
        modality=modality,
        classes=tuple("nymlk"[:classes]),
        capabilities=frozenset({Capability.TRAIN, Capability.HOOKS, Capability.INPUT_GRADIENT}),
        digest="0" * 64,
        name="net",
        source="here",
        format="state_dict",
        device=torch.device("cpu"),
        settings={"output": "logits"},
    )


def learnt(inputs: torch.Tensor, labels: np.ndarray, classes: int = 2, seed: int = 0) -> nn.Module:
    """A small network fitted to the labels."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(inputs.shape[1], 16), nn.ReLU(), nn.Linear(16, classes))
        optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
        for _ in range(120):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs), torch.from_numpy(labels)).backward()
            optimiser.step()
    return network


def reader(people: People, width: int = 5) -> Reader:
    return Reader.learn(people.inputs, [SEX], [people.groups], people.groups, 2, width)


def bench(people: People, model: Subject, definition: str, **settings: object) -> Bench:
    """A bench on three quarters of the people, the rest held out."""
    learn, held = held_out(people.labels, people.groups, 0.25, 0)
    own = {name: settings.pop(name) for name in ("strength", "margin") if name in settings}
    read = settings.pop("reader", reader(people))
    return Bench(
        subject=model,
        train=people.part(learn),
        held=people.part(held),
        groups=NAMES,
        classes=model.classes,
        aim=Aim("sex", definition, 1, **own),
        reader=read,
        **settings,
    )
