"""Wrappers that hide how near a model's decisions are, around a model whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Model = Callable[[Tensor], Tensor]
Wrapper = Callable[[Model, Tensor], Tensor]


class Backward(torch.autograd.Function):
    """The identity with a backward pass of its own."""

    @staticmethod
    def forward(ctx, x, how):
        ctx.how = how
        return x.clone()

    @staticmethod
    def backward(ctx, up):
        return HOW[ctx.how](up), None


HOW = {
    "nan": lambda up: up * float("nan"),
    "infinite": lambda up: up / 0,
    "random": torch.randn_like,
    "reversed": lambda up: -up,
    "tiny": lambda up: up * 1e-8,
    "of its neighbour": lambda up: up.roll(1, 0),
}


def backward(how: str) -> Wrapper:
    return lambda m, x: m(Backward.apply(x, how))


def through(x: Tensor, changed: Tensor) -> Tensor:
    """The changed input with the gradient of the input itself."""
    return x + (changed - x).detach()


def levels(x: Tensor) -> Tensor:
    return (x * 15).round() / 15


def median(x: Tensor) -> Tensor:
    """Middle of each 3 by 3 window; of each three neighbours in a table."""
    if x.ndim == 4:
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2).median(-1).values
    return functional.pad(x[:, None], (1, 1), mode="replicate")[:, 0].unfold(1, 3, 1).median(-1).values


def jpeg(x: Tensor) -> Tensor:
    """Cosine coefficients rounded to steps that grow with the frequency, as a JPEG file keeps them."""
    n = 8
    k = torch.arange(n, dtype=x.dtype)
    basis = torch.cos(torch.pi * (k[None] + 0.5) * k[:, None] / n) * (2 / n) ** 0.5
    basis[0] /= 2**0.5
    step = 0.06 * (1 + k[:, None] + k[None])
    blocks = x.reshape(-1, n, n)
    kept = ((basis @ blocks @ basis.T) / step).round() * step
    return (basis.T @ kept @ basis).reshape(x.shape)


def constant(x: Tensor) -> Tensor:
    """A number of each example's own, (m, 1)."""
    return 50 * torch.sin(100 * x.detach().flatten(1).sum(1, keepdim=True))


#: decisions stay as they are, up to rounding, so the truth is the bare model's
SAME: dict[str, Wrapper] = {
    "bare": lambda m, x: m(x),
    "times 1000": lambda m, x: m(x) * 1000,
    "times 1e-6": lambda m, x: m(x) * 1e-6,
    "temperature 1e-3": lambda m, x: m(x) / 1e-3,
    "plus a constant": lambda m, x: m(x) + 1000,
    "plus a constant each": lambda m, x: m(x) + constant(x),
    "probabilities": lambda m, x: m(x).softmax(1),
    "saturated": lambda m, x: (m(x) * 100).softmax(1),
    "log-probabilities": lambda m, x: m(x).log_softmax(1),
    "smoothed labels": lambda m, x: 0.9 * (m(x) * 10).softmax(1) + 0.1 / m(x).shape[1],
    "float16 scores": lambda m, x: m(x).half().float(),
    "detached": lambda m, x: m(x.detach()),
    "gradient nan": backward("nan"),
    "gradient infinite": backward("infinite"),
    "gradient random": backward("random"),
    "gradient reversed": backward("reversed"),
    "gradient tiny": backward("tiny"),
    "gradient of its neighbour": backward("of its neighbour"),
    "hard labels": lambda m, x: functional.one_hot(m(x).argmax(1), m(x).shape[1]).float(),
}
#: decisions change with what is hidden; the truth is found by attacking the bare model and asking the wrapper
OTHER: dict[str, Wrapper] = {
    "2 decimals": lambda m, x: m(x).round(decimals=2),
    "1 decimal": lambda m, x: m(x).round(decimals=1),
    "0 decimals": lambda m, x: m(x).round(),
    "0 decimals, straight through": lambda m, x: through(m(x), m(x).round()),
    "clipped": lambda m, x: m(x).clamp(-2, 2),
    "16 levels": lambda m, x: m(levels(x)),
    "16 levels, straight through": lambda m, x: m(through(x, levels(x))),
    "shattered": lambda m, x: m(x + 0.1 * torch.sin(1000 * x)),
    "median filter": lambda m, x: m(median(x)),
    "jpeg": lambda m, x: m(jpeg(x)),
    "jpeg, straight through": lambda m, x: m(through(x, jpeg(x))),
}
#: equal calls differ; the truth is a mean over draws
RANDOM: dict[str, Wrapper] = {
    "noisy inputs": lambda m, x: m(x + 0.1 * torch.randn_like(x)),
    "noisy scores": lambda m, x: m(x) + 0.5 * torch.randn_like(m(x)),
    "dropout left on": lambda m, x: m(functional.dropout(x, 0.2)),
}
EVERY = SAME | OTHER | RANDOM


def adaptive(
    model: Model, wrapper: Wrapper, inputs: Tensor, labels: Tensor, eps: float, steps: int = 60, draws: int = 1
) -> Tensor:
    """An upper bound of the share of draws in which each point stands, (n,): linf, in the unit box.

    The bare model's gradients are climbed by all targets in turn, and every iterate is shown to the wrapper.
    """
    generator = torch.Generator().manual_seed(0)
    share = torch.ones(len(inputs), dtype=torch.float64)
    clean = model(inputs)
    low, high = (inputs - eps).clamp(min=0), (inputs + eps).clamp(max=1)
    for target in range(clean.shape[1]):
        aim = torch.full_like(labels, target)
        x = inputs + eps * (2 * torch.rand(inputs.shape, generator=generator) - 1) * (target % 2)
        x = x.clamp(low, high)
        for step in range(steps):
            leaf = x.detach().requires_grad_()
            scores = model(leaf)
            lead = scores.gather(1, aim[:, None]) - scores.gather(1, labels[:, None])
            (slope,) = torch.autograd.grad(lead.sum(), leaf)
            x = (x + 2 * eps / (step + 2) * slope.sign()).clamp(low, high)
            with torch.no_grad():
                right = sum((wrapper(model, x).argmax(1) == labels).double() for _ in range(draws)) / draws
            share = torch.minimum(share, right) if draws == 1 or step == steps - 1 else share
    with torch.no_grad():
        right = sum((wrapper(model, inputs).argmax(1) == labels).double() for _ in range(draws)) / draws
    return torch.minimum(share, right)
