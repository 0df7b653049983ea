"""What happens to the score when a single attention head falls silent."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from audit.explainers.attention_capture import ModelInputs, Visit, observe
from audit.explainers.attention_gradient import ClassScore, scores_of, targets_of
from audit.explainers.attention_rollout import padding
from audit.explainers.attention_site import Site


def head_ablation(
    model: nn.Module,
    inputs: ModelInputs,
    targets: int | Sequence[int] | Tensor,
    means: Sequence[Tensor] | None = None,
    score: ClassScore | None = None,
    only: Collection[tuple[int, int]] | None = None,
) -> list[Tensor]:
    """By how much the score falls without each head, for each layer (n, heads) float64 on the CPU.

    The head's output is replaced, one head at a time, by zeros (Michel, Levy and Neubig 2019) or by `means`, which the
    layers behind it know better what to do with. The model runs once for each head; a module that runs twice counts as
    two layers.

    Args:
        model: see `attention_maps`; its scores are its output, or the output's `logits`.
        inputs: see `attention_maps`.
        targets: the class explained, one for all or one an example.
        means: for each layer (heads, width), what stands for a silent head; see `head_means`. None takes zeros.
        score: from scores (n, outputs) and targets (n,) to (n,); None takes the target's own score.
        only: (layer, head) of those that are silenced, counted from 0; the others are NaN. None silences all.

    Raises:
        ValueError: see `attention_maps`; a target is out of range, or heads have no outputs of their own.
    """
    heads: list[int] = []

    def count(site: Site) -> Tensor:
        heads.append(site.shape[1])
        return site.run()

    def scored(visit: Visit) -> Tensor:
        scores = scores_of(observe(model, inputs, visit))
        wanted = targets_of(targets, scores)
        found = scores.gather(1, wanted[:, None]).squeeze(1) if score is None else score(scores, wanted)
        return found.to("cpu", torch.float64)

    with torch.no_grad():
        full = scored(count)
        if means is not None and [len(mean) for mean in means] != heads:
            raise ValueError(f"means: Expected one row a head for layers of {heads}, found {[len(m) for m in means]}.")
        effects = [torch.full((len(full), size), torch.nan, dtype=torch.float64) for size in heads]
        every = [(layer, head) for layer, size in enumerate(heads) for head in range(size)]
        for layer, head in every if only is None else sorted(only):
            if (layer, head) not in every:
                raise ValueError(f"only: Expected heads of layers with {heads}, found head {head} of layer {layer}.")
            mean = None if means is None else means[layer][head]
            effects[layer][:, head] = full - scored(_without(layer, head, mean))
        return effects


def head_means(model: nn.Module, inputs: ModelInputs) -> list[Tensor]:
    """The mean output of each head over all tokens that are no padding, for each layer (heads, width) float64.

    Args:
        model: see `attention_maps`.
        inputs: see `attention_maps`.

    Raises:
        ValueError: see `attention_maps`; or heads have no outputs of their own.
    """
    means: list[Tensor] = []
    real = padding(inputs)

    def add(site: Site) -> Tensor:
        output = site.run()
        heads = site.by_head(output).to("cpu", torch.float64).transpose(1, 2)  # (n, query, heads, width)
        means.append(heads[real].mean(dim=0) if _fits(real, heads) else heads.mean(dim=(0, 1)))
        return output

    observe(model, inputs, add)
    return means


def _fits(real: Tensor | None, heads: Tensor) -> bool:
    return real is not None and real.shape == heads.shape[:2]


def _without(layer: int, head: int, mean: Tensor | None) -> Visit:
    def visit(site: Site) -> Tensor:
        output = site.run()
        if site.index != layer:
            return output
        heads = site.by_head(output).clone()
        heads[:, head] = 0.0 if mean is None else mean.to(heads)
        return site.from_heads(heads, output)

    return visit
