"""Bare weights (safetensors, or `torch.save` of a state_dict) in a network that a factory builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file
from torch import Tensor, nn

from audit.errors import ModelError
from audit.loading import pickles
from audit.loading.factory import build, importable
from audit.loading.sniffing import Format
from audit.subject import Capability

CAPABILITIES = frozenset({Capability.INPUT_GRADIENT, Capability.HOOKS, Capability.TRAIN})

#: where training scripts put the weights among other things
_WRAPPERS = ("state_dict", "model_state_dict", "model")
#: what DistributedDataParallel and torch.compile put before every name
_PREFIXES = ("module.", "_orig_mod.")


def load(
    path: Path,
    kind: Format,
    factory: str | Callable[[], nn.Module] | None,
    root: Path | None = None,
    trust_pickle: bool = False,
) -> nn.Module:
    """Return the network with the weights in `path`.

    Args:
        path: the checkpoint.
        kind: SAFETENSORS, TORCH or PICKLE.
        factory: builds the untrained network; needed unless a trusted pickle holds the whole network.
        root: folder where the factory's module is looked for first.
        trust_pickle: run whatever code a pickle asks for.

    Raises:
        ModelError: the file is damaged or no state_dict, or does not fit the network; a pickle is not trusted.
    """
    found: Any
    if kind is Format.SAFETENSORS:
        try:
            found = load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise pickles.damaged(str(path), error) from None
    else:
        with importable(root):
            found = pickles.read(path, trust_pickle)
    if isinstance(found, nn.Module):
        return found
    weights = unwrap(found, path)
    if factory is None:
        raise ModelError(
            f"Expected a factory that builds the network, found bare weights in {path}; try factory: package.module:name."
        )
    network = build(factory, root)
    fit(network, weights, path)
    return network


def unwrap(found: object, path: Path) -> dict[str, Tensor]:
    """Return the state_dict in what a checkpoint holds.

    Raises:
        ModelError: there is none.
    """
    if isinstance(found, Mapping):
        for key in _WRAPPERS:
            if isinstance(found.get(key), Mapping):
                return unwrap(found[key], path)
        weights = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
        if weights and len(weights) == len(found):
            for prefix in _PREFIXES:
                if all(name.startswith(prefix) for name in weights):
                    weights = {name.removeprefix(prefix): v for name, v in weights.items()}
            return weights
        shown = ", ".join(repr(str(k)) for k in list(found)[:5]) or "nothing"
        raise ModelError(f"Expected a state_dict in {path}, found {shown}; try torch.save(model.state_dict(), ...).")
    raise ModelError(
        f"Expected a state_dict in {path}, found {type(found).__name__}; try torch.save(model.state_dict(), ...)."
    )


def fit(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy `weights` into `network`.

    Raises:
        ModelError: names or shapes differ; the message gives the first few of each kind.
    """
    expected = network.state_dict()
    # safetensors keeps one name of tensors that share memory
    present = {expected[name].data_ptr() for name in weights if name in expected and expected[name].numel()}
    missing = [n for n, v in expected.items() if n not in weights and v.data_ptr() not in present]
    unexpected = [n for n in weights if n not in expected]
    misshapen = [
        f"{n} {tuple(weights[n].shape)} instead of {tuple(v.shape)}"
        for n, v in expected.items()
        if n in weights and weights[n].shape != v.shape
    ]
    problems = [
        f"{what} {_few(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", misshapen))
        if names
    ]
    if problems:
        raise ModelError(
            f"Expected weights that fit the factory's network, found in {path}: {'; '.join(problems)}; try the factory "
            "that the weights were trained with."
        )
    network.load_state_dict(weights, strict=False)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
