"""A substitute trained on the model's own answers, attacked in its place.

Papernot et al. 2017 (https://arxiv.org/abs/1602.02697) train a substitute on labels alone, with new queries where the
last substitute was unsure; gradients of the model are never asked for, so nothing that hides them helps. Here each
round's queries are the attacks on the last round's substitute, which are at once attempts and the most telling places
to learn from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks import noise
from attacks.guard import Guard
from attacks.points import Points
from attacks.search import Hunt, lead, margin

_STREAM = 9
_ROUNDS = 8  # of attack, query and training
_REACH = 3.0  # first queries lie within so many budgets
_TEMPERATURE = 3.0  # scores are taught as probabilities at this multiple of their spread
_BATCH, _RATE = 64, 2e-3
_EPOCHS, _UPDATES = 12, (100, 600)  # of the first training: passes, and least and most updates
_LATER = 5  # a later training is so many times shorter
_CLIMB = 16  # gradients of an attack on the substitute


def search(guard: Guard, points: Points, shape: tuple[int, ...], queries: int) -> Hunt:
    """Run on points none of which is broken; all of them teach one substitute, so their answers hang together.

    Args:
        guard: of the model; asked for scores only.
        points: rows to break.
        shape: of one input, which chooses the substitute: convolutions for images, else dense layers.
        queries: of the model for each point.
    """
    order = points.key.argsort()  # whatever order the rows came in
    everyone = points.take(order)
    hunt = Hunt(everyone)
    seed = int(everyone.key[0]) & (1 << 62) - 1
    generator = torch.Generator().manual_seed(seed)
    lessons = _Lessons(everyone)
    rounds = min(_ROUNDS, max(queries // 2, 1))
    for query in range(queries - rounds):
        near = everyone.within(everyone.eps * _REACH * (query + 1) / (queries - rounds))
        delta = near.sample((_STREAM, query)) if query % 2 else near.vertex(_noise(near, query))
        lessons.add(everyone.x + delta, guard.scores(everyone.at(delta)))
    student = _student(shape, everyone.scores.shape[1], generator).to(everyone.x)
    for lesson in range(rounds):
        if not len(hunt.points):
            break
        _teach(student, lessons, shape, lesson == 0, generator)
        here = hunt.points
        with Guard(student, shape, here.x.dtype, None) as copy:
            delta = _climb(copy, here, lesson)
        scores = guard.scores(here.at(delta))
        lessons.add(here.x + delta, scores)
        hunt.see(delta, scores)
    back = order.argsort()
    found = Hunt(points)
    found.delta, found.loss = hunt.delta[back], hunt.loss[back]
    return found


class _Lessons:
    """Inputs (k, d) and what the model said, (k, classes), as probabilities to learn."""

    def __init__(self, points: Points) -> None:
        self._scale = points.scale.median()
        self.inputs = points.x
        self.answers = self._probabilities(points.scores)

    def _probabilities(self, scores: Tensor) -> Tensor:
        """Probabilities that are alike for any scale of the scores, and keep the decision even where they tie."""
        soft = (_TEMPERATURE * (scores - scores.amax(1, keepdim=True)) / self._scale).softmax(1)
        hard = functional.one_hot(scores.argmax(1), scores.shape[1]).to(soft)
        return (soft + hard) / 2

    def add(self, inputs: Tensor, scores: Tensor) -> None:
        sound = scores.isfinite().all(1)
        self.inputs = torch.cat([self.inputs, inputs[sound]])
        self.answers = torch.cat([self.answers, self._probabilities(scores[sound])])


def _noise(points: Points, query: int) -> Tensor:
    return noise.normal(points.key, (_STREAM, query, 0), points.x.shape[1], points.x.dtype)


class _Fixed(nn.Module):
    """Every input less the mean, over the deviation, that the first lessons had."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor = torch.zeros(1)
        self.deviation: Tensor = torch.ones(1)

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.deviation


def _student(shape: tuple[int, ...], classes: int, generator: torch.Generator) -> nn.Sequential:
    """A small net with weights of its own generator (He et al. 2015); no global one is touched."""
    image = len(shape) == 3 and min(shape[1:]) >= 6
    with torch.random.fork_rng(devices=[]):  # layers draw weights as they are made; these are drawn again below
        net = nn.Sequential(*(_Fixed(), *(_convolutions(shape, classes) if image else _dense(shape, classes))))
    for weight in net.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, 0, math.sqrt(2 / weight[0].numel()), generator)
        else:
            nn.init.zeros_(weight)
    return net


def _convolutions(shape: tuple[int, ...], classes: int) -> list[nn.Module]:
    half = math.ceil(shape[1] / 2) * math.ceil(shape[2] / 2)
    first, second = nn.Conv2d(shape[0], 16, 3, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
    return [first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(32 * half, classes)]


def _dense(shape: tuple[int, ...], classes: int) -> list[nn.Module]:
    first, second = nn.Linear(math.prod(shape), 128), nn.Linear(128, 64)
    return [nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(64, classes)]


def _teach(
    student: nn.Sequential, lessons: _Lessons, shape: tuple[int, ...], fresh: bool, generator: torch.Generator
) -> None:
    """Adam on the cross-entropy of all lessons so far, the learning rate falling to 0."""
    first = student[0]
    assert isinstance(first, _Fixed)
    least, most = _UPDATES
    updates = min(max(_EPOCHS * len(lessons.inputs) // _BATCH, least), most)
    if not fresh:
        updates //= _LATER
    else:
        first.mean = lessons.inputs.mean(0).view(shape)
        first.deviation = lessons.inputs.std(correction=0).clamp(min=1e-6)
    optimiser = torch.optim.Adam(student.parameters(), _RATE)
    for update in range(updates):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - update / updates)
        rows = torch.randint(len(lessons.inputs), (_BATCH,), generator=generator).to(lessons.inputs.device)
        with torch.enable_grad():
            said = student(lessons.inputs[rows].view(-1, *shape))
            loss = functional.cross_entropy(said, lessons.answers[rows])
            slopes = torch.autograd.grad(loss, list(student.parameters()))
        for weight, slope in zip(student.parameters(), slopes, strict=True):
            weight.grad = slope
        optimiser.step()


def _climb(copy: Guard, points: Points, lesson: int) -> Tensor:
    """As wrong as ball and box allow in the substitute's eyes: conditional gradients (Frank and Wolfe 1956).

    Even lessons aim at any wrong class, odd ones at the likeliest in turn, for the sake of variety.
    """
    objective = margin(points)
    if points.goal is None and lesson % 2:
        wrong = points.scores.scatter(1, points.label[:, None], -torch.inf)
        rank = min(lesson // 2, wrong.shape[1] - 2)
        points = points.aiming(wrong.argsort(dim=1, descending=True, stable=True)[:, rank])
        objective = lead(points)
    delta, best = torch.zeros_like(points.x), torch.full_like(points.x[:, 0], -torch.inf)
    answer = delta
    for step in range(_CLIMB):
        _, loss, gradient = copy.gradient(points.at(delta), objective)
        better = loss > best
        answer, best = torch.where(better[:, None], delta, answer), torch.where(better, loss, best)
        corner = points.vertex(points.usable(gradient, (_STREAM, lesson, step)))
        delta = points.project(delta + 2 / (step + 2) * (corner - delta))
    loss = objective(copy.scores(points.at(delta)), slice(None))
    return torch.where((loss > best)[:, None], delta, answer)
