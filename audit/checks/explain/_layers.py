"""A subject's model as concept sensitivity wants it: log-odds, and layers to look at. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.explaining.players import log_odds

#: layers that pass on what they get, or an affine map of it, to which the score is as sensitive, to first order
_PLAIN = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Identity, nn.Flatten, nn.Unflatten)
_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class LogOdds(nn.Module):
    """A classifier's scores as log-odds of each class against the others, (n, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        scores = self.model(inputs)
        classes = torch.arange(scores.shape[1], device=scores.device)
        return torch.stack([log_odds(scores, c.expand(len(scores))) for c in classes], dim=1)


def hidden_layers(model: nn.Module, inputs: Tensor, most: int) -> list[str]:
    """Names of at most so many layers, evenly deep, the last before the scores among them.

    A layer is a module without children that runs once and returns floats, one row an input.

    Args:
        model: whose submodules are looked at.
        inputs: (n, ...) a few inputs.
        most: how many layers.
    """
    names = {module: name for name, module in model.named_modules() if not list(module.children())}
    ran: list[nn.Module] = []

    def note(module: nn.Module, _: object, output: object) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(first, Tensor) and first.is_floating_point() and first.ndim > 1 and len(first) == len(inputs):
            ran.append(module)

    handles = [module.register_forward_hook(note) for module in names]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    # the last layer to run gives the scores themselves
    once = [m for m in ran[:-1] if ran.count(m) == 1 and not isinstance(m, _PLAIN)]
    once = [m for m in once if not isinstance(m, _AFFINE)] or once
    at = torch.linspace(len(once), 0, most + 1)[:-1].round().long() - 1 if once else torch.zeros(0, dtype=torch.int64)
    return [names[once[i]] for i in sorted(set(at.clamp(min=0).tolist()))]
