"""captum's methods behind our guards: what must add up does, or is refused by name, and nothing stays behind in the model."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audit.explainers.attribution import Attribution, CompletenessError
from audit.explainers.gradients import complete, each_output, examine, guarded, relative, rounding

#: method of `captum.attr` -> whether it promises f(x) − f(baseline); the last two look at a layer
METHODS: Mapping[str, bool] = {
    "IntegratedGradients": True,
    "GradientShap": True,
    "DeepLift": True,
    "DeepLiftShap": True,
    "Saliency": False,
    "InputXGradient": False,
    "GuidedBackprop": False,
    "Deconvolution": False,
    "FeatureAblation": False,
    "Occlusion": False,
    "GuidedGradCam": False,
    "LayerGradCam": False,
}
#: those that compare with the mean over all rows, however many
MEANS = ("GradientShap", "DeepLiftShap")
#: everything in which a module keeps hooks
HOOKS = tuple(name for name, value in vars(nn.Module()).items() if "hooks" in name and isinstance(value, dict))
#: standard errors by which a sampled method may miss what it promises
ERRORS = 4.0


def captum(
    method: str,
    model: nn.Module,
    inputs: Tensor,
    baselines: Tensor | None = None,
    targets: int | Sequence[int] | Tensor | None = None,
    layer: str | None = None,
    noise: Mapping[str, Any] | None = None,
    tolerance: float = 1e-3,
    seed: int = 0,
    **settings: Any,
) -> Attribution:
    """Attributions by a method of captum (Kokhlikyan et al. 2020, https://arxiv.org/abs/2009.07896).

    captum returns without complaint where a rule does not fit the model (DeepLift of functional activations or LayerNorm).
    Here completeness is measured on the answer, so that such a model is refused. All examples go in one call.

    Args:
        method: name of a class of `captum.attr`, one of `METHODS`.
        model: differentiable map from a float batch (m, ...) to (m, outputs) scores; explain logits or log-odds.
        inputs: (n, ...) examples.
        baselines: (n, ...) or (1, ...) rows to compare with, for the methods that take them; GradientShap and
            DeepLiftShap take any number, and what is promised is the mean over them.
        targets: which outputs to explain; None explains all.
        layer: name of the submodule, for the methods that look at one; their maps are resized to the input, linearly,
            and shared equally by its channels.
        noise: arguments of captum's NoiseTunnel (`nt_type`, `nt_samples`, `stdevs`), which then wraps the method;
            completeness is no longer promised.
        tolerance: largest relative completeness error.
        seed: of captum's draws; the global generators are put back.
        settings: further arguments of the method's `attribute`, such as `n_steps` or `sliding_window_shapes`.

    Returns:
        An `Attribution` with values (n, elements, outputs) and intervals without width; `error` for methods that
        promise completeness; `base` is NaN for the others.

    Raises:
        CompletenessError: the values do not add up on this model.
        ValueError: an argument does not fit, or captum says so; the message names it.
    """
    if method not in METHODS:
        raise ValueError(f"method: Expected one of {', '.join(METHODS)}, found {method!r}.")
    examine(inputs)
    promised = METHODS[method] and noise is None
    if promised and baselines is None:
        raise ValueError(f"baselines: Expected rows to compare with for {method}, found none.")
    with guarded(model, inputs), _no_trace(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = each_output(model, inputs, targets)
        wanted = range(len(scores)) if targets is None else torch.as_tensor(targets).reshape(-1).tolist()
        explain = _explainer(method, model, layer, noise)
        given = dict(settings) if baselines is None else {**settings, "baselines": baselines}
        if noise is not None:
            given |= noise
        columns, errors, bases = [], [], []
        for target in wanted:
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 - captum draws from it too
            values, deltas = _attribute(explain, method, inputs, int(target), given, promised)
            columns.append(_like(values, inputs).flatten(1).to("cpu", torch.float64))
            if promised:
                assert baselines is not None
                base, error = _missed(method, model, inputs, baselines, int(target), columns[-1], deltas)
                bases.append(base)
                errors.append(error)
    found = torch.stack(columns, dim=2)
    if not bool(torch.isfinite(found).all()):
        raise ValueError("model: Expected finite attributions, found NaN or infinity; try logits.")
    if not promised:
        return Attribution(found, found, found, torch.full((len(inputs), len(columns)), torch.nan).double(), 1)
    error = torch.stack(errors, dim=1)
    complete(f"captum {method}", error, tolerance, "try integrated_gradients or deep_lift, which fit any operation.")
    return Attribution(found, found, found, torch.stack(bases, dim=1), 1, error=error)


def _explainer(method: str, model: nn.Module, layer: str | None, noise: Mapping[str, Any] | None) -> Any:
    from captum import attr

    build = getattr(attr, method)
    if "layer" in inspect.signature(build).parameters:
        modules = dict(model.named_modules())
        if layer not in modules:
            raise ValueError(f"layer: Expected a submodule of the model for {method}, found {layer!r}.")
        explainer = build(model, modules[layer])
    else:
        explainer = build(model)
    return explainer if noise is None else attr.NoiseTunnel(explainer)


def _attribute(
    explain: Any, method: str, inputs: Tensor, target: int, given: dict[str, Any], promised: bool
) -> tuple[Tensor, Tensor | None]:
    sampled = method == "GradientShap" and promised
    try:
        found = explain.attribute(
            inputs.clone().requires_grad_(),
            target=target,
            **given,
            **({"return_convergence_delta": True} if sampled else {}),
        )
    except (TypeError, AssertionError) as error:
        raise ValueError(f"{method}: captum refuses these arguments: {str(error).splitlines()[0]}") from error
    except RuntimeError as error:
        if not _is_captums(error):
            raise
        raise CompletenessError(
            f"captum {method}: Expected a model whose modules it can treat, found: {str(error).split('.')[0].strip()}; "
            "try deep_lift, which fits any operation."
        ) from error
    values, deltas = found if sampled else (found, None)
    return values.detach(), None if deltas is None else deltas.detach().to("cpu", torch.float64)


def _is_captums(error: BaseException) -> bool:
    """Whether captum raised it, not the model."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return "captum" in Path(trace.tb_frame.f_code.co_filename).parts


def _missed(
    method: str,
    model: nn.Module,
    inputs: Tensor,
    baselines: Tensor,
    target: int,
    values: Tensor,
    deltas: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """What the values start from (n,), and the relative error by which they miss the change, beyond sampling (n,)."""
    with torch.no_grad():
        full = model(inputs.clone())[:, target].to("cpu", torch.float64)
        of_rows = model(baselines.clone())[:, target].to("cpu", torch.float64)
    own = len(baselines) == len(inputs) and method not in MEANS
    base = of_rows if own else of_rows.mean().expand(len(inputs))
    slack = rounding(base, full, inputs.dtype)
    if deltas is not None:
        each = deltas.reshape(len(inputs), -1)
        # a lone draw does not say how far it may be off
        spread = (each.var(1) if each.shape[1] > 1 else torch.zeros(len(each)).double()) / each.shape[1]
        spread += of_rows.var() / each.shape[1] if len(of_rows) > 1 else 0
        slack = slack + ERRORS * spread.sqrt()
    return base, relative((values.sum(1) - (full - base)).abs() - slack, full - base)


def _like(values: Tensor, inputs: Tensor) -> Tensor:
    """A layer's map as one shaped like the inputs."""
    if values.shape == inputs.shape:
        return values
    if values.ndim != inputs.ndim or values.ndim < 3:
        raise ValueError(
            f"layer: Expected one that gives a map, found {tuple(values.shape)} for {tuple(inputs.shape)}."
        )
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[values.ndim]
    resized = nn.functional.interpolate(values.sum(1, keepdim=True), inputs.shape[2:], mode=mode, align_corners=False)
    return (resized / inputs.shape[1]).expand_as(inputs)


@contextmanager
def _no_trace(model: nn.Module) -> Iterator[None]:
    """Hooks and attributes that captum leaves behind, after an exception too, are taken away."""
    before = {
        module: (set(vars(module)), {name: dict(getattr(module, name)) for name in HOOKS}) for module in model.modules()
    }
    try:
        yield
    finally:
        for module, (names, hooks) in before.items():
            for name in set(vars(module)) - names:
                delattr(module, name)
            for name, kept in hooks.items():
                found = getattr(module, name)
                found.clear()
                found.update(kept)
