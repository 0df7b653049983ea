"""Attention weighted by what the score would gain from it: gradients of the maps, layer by layer from the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from audit.explainers.attention_capture import ModelInputs, guard, intercept
from audit.explainers.attention_rollout import examine, padding
from audit.explainers.attention_site import Site

#: the model's scores (n, outputs) and each example's target (n,), to one number an example (n,)
ClassScore: TypeAlias = Callable[[Tensor, Tensor], Tensor]

UNRELATED = "model: Expected a score that depends on its attention, found one that does not; try attention_rollout."


@dataclass(frozen=True)
class GradientRollout:
    """What `gradient_rollout` finds.

    Attributes:
        relevance: (n, query, key) float64; row q says what the token q of the last layer rests on.
        readout: (n, query) float64, sums to 1: how much the score reads of each token of the last layer, as the share of
            the gradient at its output. One for [CLS] or the last token where the model reads only that.
    """

    relevance: Tensor
    readout: Tensor

    @property
    def values(self) -> Tensor:
        """(n, key): relevance of each token to the score."""
        return (self.readout.unsqueeze(1) @ self.relevance).squeeze(1)


def gradient_rollout(
    model: nn.Module,
    inputs: ModelInputs,
    targets: int | Sequence[int] | Tensor,
    score: ClassScore | None = None,
) -> GradientRollout:
    """Attention weighted by its gradient and followed through the layers, for one class an example.

    R = (I + Ā_L) ... (I + Ā_1) with Ā the mean over heads of the positive part of gradient times map (Chefer, Gur and
    Wolf 2021, eq. 5 and 6). Gradients are those of the whole model, the kernels' outputs stay their own. Maps of fused
    kernels are computed anew in the backward pass, a few queries at a time, and folded in as they come; maps that the
    model itself holds stay until then, as in training. Rows and columns of padding are those of I.

    Args:
        model: see `attention_maps`; its scores are its output, or the output's `logits`.
        inputs: see `attention_maps`.
        targets: the class explained, one for all or one an example.
        score: what is differentiated, from scores (n, outputs) and targets (n,); None takes the target's own score.

    Raises:
        ValueError: see `attention_rollout`; or the score does not depend on any map, or a target is out of range.
    """
    tape = _Tape(padding(inputs))

    def visit(site: Site) -> Tensor:
        examine(site, inputs, tape.shape)
        return tape.watch(site)

    with torch.enable_grad(), guard(model), closing(tape):
        output = intercept(model, _detached(inputs), visit)
        scores = scores_of(output)
        wanted = targets_of(targets, scores)
        found = scores.gather(1, wanted[:, None]).squeeze(1) if score is None else score(scores, wanted)
        if not found.requires_grad:
            raise ValueError(UNRELATED)
        found.sum().backward()  # type: ignore[no-untyped-call]
    return tape.result()


def scores_of(output: Any) -> Tensor:
    """The scores (n, outputs) in what a model returns.

    Raises:
        ValueError: there are none.
    """
    found = getattr(output, "logits", output)
    found = found[0] if isinstance(found, tuple) and found else found
    if not isinstance(found, Tensor) or found.ndim != 2:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"model: Expected scores (n, outputs), found {shape}; try a module that returns them.")
    return found


def targets_of(targets: int | Sequence[int] | Tensor, scores: Tensor) -> Tensor:
    """One target an example, (n,) int64 beside the scores.

    Raises:
        ValueError: their number does not fit, or one is out of range.
    """
    found = torch.as_tensor(targets, device=scores.device)
    found = found.expand(len(scores)) if found.ndim == 0 else found
    if found.shape != (len(scores),) or found.is_floating_point():
        raise ValueError(f"targets: Expected one class for each of {len(scores)} examples, found {tuple(found.shape)}.")
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < scores.shape[1]:
        raise ValueError(f"targets: Expected classes below {scores.shape[1]}, found {found.tolist()}.")
    return found.long()


class _Tape:
    """I + Ā of each layer, multiplied from the left as the gradients arrive."""

    def __init__(self, real: Tensor | None) -> None:
        self.real = real
        self.count = 0
        self.shape: tuple[int, int] | None = None
        self.joint: Tensor | None = None
        self.read: Tensor | None = None
        #: Ā of layers that wait for a later one
        self.waiting: dict[int, Tensor] = {}
        self.complete: set[int] = set()
        self.handles: list[RemovableHandle] = []

    def watch(self, site: Site) -> Tensor:
        """Run a layer so that its gradients come here."""
        self.shape = (site.shape[0], site.shape[2])
        self.count = site.index + 1
        if site.fused is not None:
            part = site.fused
            probe = torch.zeros(
                (), device=part.query.device, requires_grad=True
            )  # else the first layer has no gradient
            output: Tensor = _Recomputed.apply(  # type: ignore[no-untyped-call]
                self, site, probe, part.query, part.key, part.value, part.mask
            )
        else:
            assert site.operand is not None
            operand = site.operand if site.operand.requires_grad else site.operand.requires_grad_()
            self._listen(operand, lambda gradient: self._explicit(site, gradient))
            output = site.run()
        self._listen(output, lambda gradient: self._reads(site, gradient))
        return output

    def close(self) -> None:
        """Forget the tensors listened to, which would else keep themselves alive."""
        for handle in self.handles:
            handle.remove()

    def add(self, site: Site, start: int, gradient: Tensor, weights: Tensor) -> None:
        """Rows of a layer's Ā from `start` on, from gradient and map, (n, heads, rows, key)."""
        rows = (gradient.to(torch.float64) * weights).clamp_min(0).mean(dim=1).cpu()
        stop = start + rows.shape[1]
        if self.real is not None:
            rows = rows * self.real[:, None, :] * self.real[:, start:stop, None]
        if site.index not in self.waiting:
            n, _, queries, keys = site.shape
            self.waiting[site.index] = torch.zeros(n, queries, keys, dtype=torch.float64)
        self.waiting[site.index][:, start:stop] = rows

    def finish(self, site: Site) -> None:
        """A layer's rows are all there: fold it in, unless a later layer is still to come."""
        self.complete.add(site.index)
        while self.count - 1 in self.complete:
            self.count -= 1
            self._fold(self.count)

    def result(self) -> GradientRollout:
        for index in sorted(self.waiting, reverse=True):  # a later layer never reached the score
            self._fold(index)
        if self.joint is None or self.read is None:
            raise ValueError(
                "model: Expected a score that depends on its attention, found none; try attention_rollout."
            )
        total = self.read.sum(dim=1, keepdim=True)
        # a score that is flat reads nothing in particular
        even = torch.ones_like(self.read) if self.real is None else self.real.to(self.read)
        read = torch.where(total > 0, self.read / total, even / even.sum(dim=1, keepdim=True))
        return GradientRollout(self.joint, read)

    def _listen(self, tensor: Tensor, hear: Callable[[Tensor], None]) -> None:
        self.handles.append(tensor.register_hook(hear))  # type: ignore[no-untyped-call]

    def _explicit(self, site: Site, gradient: Tensor) -> None:
        gradient = gradient.reshape(site.shape)
        for start, stop in site.chunks():
            self.add(site, start, gradient[:, :, start:stop], site.rows(start, stop).detach())
        self.finish(site)

    def _reads(self, site: Site, gradient: Tensor) -> None:
        if self.read is None:  # the last layer's gradient comes first
            self.read = site.by_head(gradient).to("cpu", torch.float64).square().sum(dim=(1, 3)).sqrt()

    def _fold(self, index: int) -> None:
        layer = self.waiting.pop(index)
        layer.diagonal(dim1=1, dim2=2).add_(1.0)
        self.joint = layer if self.joint is None else self.joint @ layer


class _Recomputed(torch.autograd.Function):
    """A fused kernel whose maps exist in the backward pass only, a few queries at a time."""

    @staticmethod
    def forward(
        ctx: Any, tape: _Tape, site: Site, probe: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> Tensor:
        ctx.tape, ctx.site = tape, site
        ctx.save_for_backward(query, key, value, mask)
        return site.run()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        site: Site = ctx.site
        assert site.fused is not None
        query, key, value, mask = (
            t if t is None else t.detach().requires_grad_(t.is_floating_point()) for t in ctx.saved_tensors
        )
        leaves = [t for t in (query, key, value, mask) if t is not None and t.requires_grad]
        fused = replace(site.fused, query=query, key=key, value=value, mask=mask)  # type: ignore[arg-type]
        by_head = site.by_head(outputs[0])
        totals = [torch.zeros_like(leaf) for leaf in leaves]
        for start, stop in site.chunks():
            with torch.enable_grad():
                weights = fused.weights(start, stop)
                mixed = fused.mix(weights)
            gradients = torch.autograd.grad(mixed, [weights, *leaves], by_head[:, :, start:stop].to(mixed.dtype))
            ctx.tape.add(site, start, gradients[0], weights.detach())
            for total, gradient in zip(totals, gradients[1:], strict=True):
                total += gradient
        ctx.tape.finish(site)
        return (None, None, None, *totals, *[None] * (4 - len(totals)))


def _detached(inputs: ModelInputs) -> ModelInputs:
    if isinstance(inputs, Mapping):
        return {name: value.detach() if isinstance(value, Tensor) else value for name, value in inputs.items()}
    return inputs.detach()
