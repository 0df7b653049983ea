"""Where in a picture the last convolution found what speaks for an output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from audit.explainers.gradients import Score, each_output, examine, guarded, points_per_pass, unsaturated

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SMOOTH = {3: "linear", 4: "bilinear", 5: "trilinear"}


def grad_cam(
    model: nn.Module,
    inputs: Tensor,
    targets: int | Sequence[int] | Tensor | None = None,
    layer: str | None = None,
) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, eq. 1 and 2), (n, elements, outputs) float64.

    A layer's channels, weighted by their mean gradients and added up; negative sums are cut to 0. The map is resized
    to the input, linearly, and shared equally by the input's channels, so that their sum is the map. It has no sign
    and promises no completeness.

    Args:
        model: module from a float batch (m, channels, ...) to (m, outputs) scores; explain logits or log-odds.
        inputs: (n, channels, ...) examples with one to three spatial dimensions.
        targets: which outputs to explain; None explains all.
        layer: name of the submodule; None takes the last convolution to run whose output has more than one position.

    Raises:
        ValueError: there is no such layer, or an argument does not fit; the message names it.
    """
    examine(inputs)
    if inputs.ndim not in _SMOOTH:
        raise ValueError(f"inputs: Expected shape (n, channels, ...) with 1 to 3 more, found {tuple(inputs.shape)}.")
    with guarded(model, inputs):
        unsaturated(model, inputs)
        scores = each_output(model, inputs, targets)
        where = find_layer(model, lambda: model(inputs[:1].clone()), layer)
        maps = [cam(score, inputs, where).flatten(1) for score in scores]
    return torch.stack(maps, dim=2)


def find_layer(model: nn.Module, run: Callable[[], object], layer: str | None = None) -> nn.Module:
    """The named layer, or the last convolution to run whose output has more than one position.

    Args:
        model: whose submodules are looked at.
        run: calls the model once.
        layer: name of the submodule.

    Raises:
        ValueError: there is none.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if layer is not None:
        if layer not in modules:
            raise ValueError(
                f"layer: Expected the name of a submodule, found {layer!r}; try one of {list(modules)[1:9]}."
            )
        return modules[layer]
    ran: list[nn.Module] = []

    def note(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output[0, 0].numel() > 1:
            ran.append(module)

    handles = [m.register_forward_hook(note) for m in modules.values() if isinstance(m, _CONVOLUTIONS)]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        raise ValueError("model: Expected a convolution with more than one position, found none; try naming a layer.")
    return ran[-1]


def cam(score: Score, inputs: Tensor, layer: nn.Module) -> Tensor:
    """Grad-CAM of one score, shaped like the inputs, float64 on the CPU.

    Raises:
        ValueError: the layer's output is no map (m, channels, ...), or the score does not depend on it.
    """
    rows = torch.arange(len(inputs), device=inputs.device)
    size = points_per_pass(inputs)
    parts = [_pass(score, inputs[i : i + size], rows[i : i + size], layer) for i in range(0, len(rows), size)]
    return torch.cat(parts)


def _pass(score: Score, points: Tensor, rows: Tensor, layer: nn.Module) -> Tensor:
    with torch.enable_grad(), _watched(layer) as outputs:
        total = score(
            (points.clone() if points.is_inference() else points).detach().requires_grad_(True).clone(), rows
        ).sum()
        if not outputs or outputs[-1].ndim != points.ndim or len(outputs[-1]) != len(points):
            raise ValueError(f"layer: Expected one that returns a map with {points.ndim - 2} spatial dimensions.")
        activation = outputs[-1]
        (gradient,) = torch.autograd.grad(total, activation, allow_unused=True)
    if gradient is None:
        raise ValueError("layer: Expected one that the scores depend on.")
    weights = gradient.double().flatten(2).mean(2)
    sums = torch.einsum("nc,nc...->n...", weights, activation.detach().double()).relu().unsqueeze(1)
    resized = nn.functional.interpolate(sums, points.shape[2:], mode=_SMOOTH[points.ndim], align_corners=False)
    found = resized.expand(points.shape) / points.shape[1]
    if not bool(torch.isfinite(found).all()):
        raise ValueError("model: Expected finite activations and gradients, found NaN or infinity.")
    return found.cpu()


@contextmanager
def _watched(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Outputs of the layer, in the order of its calls."""
    outputs: list[Tensor] = []

    def note(_: nn.Module, __: object, output: object) -> object:
        if not isinstance(output, Tensor):
            return output
        outputs.append(output)
        # what follows may write into its input
        return output.clone()

    handle = layer.register_forward_hook(note)
    try:
        yield outputs
    finally:
        handle.remove()
