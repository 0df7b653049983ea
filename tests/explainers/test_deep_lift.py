"""DeepLIFT: every rule adds up, captum agrees where it is right, and refusals name what is in the way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from audit import explainers
from audit.explainers import CompletenessError, deep_lift, deep_lift_shap

N, C, SIDE = 3, 4, 6

# captum warns of the hooks it sets
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def pictures(seed: int, n: int = N) -> Tensor:
    return torch.randn(n, C, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).double()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(9)).double()


MIXER = drawn(SIDE, SIDE)


def flat(x: Tensor) -> Tensor:
    return (x.flatten(1) * torch.arange(1, x[0].numel() + 1).to(x).cos()).sum(1, keepdim=True)


def mixed(x: Tensor) -> Tensor:
    """A linear map across positions, so that rules meet sums of many inputs."""
    return torch.einsum("ncij,ik->nckj", x, MIXER.to(x))


ELEMENTWISE = {
    **{
        name: getattr(functional, name)
        for name in ["relu6", "elu", "selu", "celu", "silu", "mish", "softplus", "hardswish", "hardsigmoid"]
    },
    **{
        name: getattr(functional, name) for name in ["logsigmoid", "softsign", "tanhshrink", "hardshrink", "softshrink"]
    },
    **{
        name: getattr(torch, name)
        for name in ["sigmoid", "tanh", "exp", "sin", "erf", "square", "round", "floor", "sign", "abs"]
    },
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.3),
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "clamp": lambda x: x.clamp(-0.5, 0.8),
    "hardtanh_": lambda x: functional.hardtanh(x * 1, inplace=True),
    "prelu": lambda x: functional.prelu(x, torch.tensor([0.1, 0.2, 0.3, 0.4]).to(x)),
    "threshold": lambda x: functional.threshold(x, 0.2, -1.0),
    "cube": lambda x: x**3,
    "log": lambda x: (x.abs() + 0.1).log(),
    "sqrt": lambda x: (x**2 + 0.1).sqrt().reciprocal(),
}
COMPOSED = {
    "product": lambda x: x * x.flip(2),
    "quotient": lambda x: x / (x.flip(2) ** 2 + 0.5),
    "inverse": lambda x: 2.0 / (x**2 + 0.5),
    "matrix product": lambda x: x @ x.mT.softmax(-1),
    "normalised": lambda x: functional.normalize(x, dim=1),
    "layer norm": lambda x: functional.layer_norm(x, (SIDE,), eps=1e-3),
    "group norm": lambda x: functional.group_norm(x, 2),
    "instance norm": lambda x: functional.instance_norm(x),
    "batch norm": lambda x: functional.batch_norm(x, torch.zeros(C).to(x), torch.ones(C).to(x)),
    "deviation": lambda x: x / x.std(3, keepdim=True),
    "variance": lambda x: x.var((2, 3), keepdim=True) * x,
    "softmax": lambda x: x.softmax(1),
    "log softmax": lambda x: x.log_softmax(3),
    "logsumexp": lambda x: x.logsumexp((2, 3)),
    "masked softmax": lambda x: x.masked_fill(torch.ones(SIDE, SIDE).triu(1).bool(), -torch.inf).softmax(3),
    "max pool": lambda x: functional.max_pool2d(x, 3, 2),
    "max pool 1d": lambda x: functional.max_pool1d(x.flatten(2), 4),
    "max pool 3d": lambda x: functional.max_pool3d(x.unsqueeze(1), 2),
    "adaptive max pool": lambda x: functional.adaptive_max_pool2d(x, 2),
    "tied max pool": lambda x: functional.max_pool2d(x.relu(), 2),
    "average pool": lambda x: functional.avg_pool2d(x, 2).relu(),
    "maximum": lambda x: torch.maximum(x, x.flip(3)) - torch.minimum(x, x.flip(2)),
    "largest": lambda x: x.amax((1, 3)),
    "max over one": lambda x: x.max(dim=2).values,
    "gated": lambda x: functional.glu(x, 1),
    "einsum": lambda x: torch.einsum("ncij,nckj->ncik", x, x),
    "own filter": lambda x: functional.conv2d(
        x.flatten(0, 1)[None], x[:, :, :3, :3].flatten(0, 1)[:, None], groups=len(x) * C
    ).reshape(len(x), -1),
}


@pytest.mark.parametrize("rule", [*ELEMENTWISE, *COMPOSED])
def test_every_rule_adds_up(rule):
    function = (ELEMENTWISE | COMPOSED)[rule]
    x, baseline = pictures(0), pictures(1)
    model = lambda p: flat(function(mixed(p)))  # noqa: E731
    found = deep_lift(model, x, baseline)
    torch.testing.assert_close(found.values.sum(1), model(x) - model(baseline), atol=1e-9, rtol=1e-7)
    assert float(found.error.max()) <= 1e-3


@pytest.mark.parametrize("rule", ELEMENTWISE)
def test_the_rescale_rule_is_the_ratio_of_changes(rule):
    x, baseline = pictures(0), pictures(1)
    found = deep_lift(lambda p: ELEMENTWISE[rule](p).flatten(1).cumsum(1), x, baseline, targets=7)
    truth = (ELEMENTWISE[rule](x) - ELEMENTWISE[rule](baseline)).flatten(1)
    truth[:, 8:] = 0
    torch.testing.assert_close(found.values[:, :, 0], truth)


def test_two_factors_share_their_product_as_shapley_says():
    x, b = torch.tensor([[3.0, 5.0]]).double(), torch.tensor([[1.0, 2.0]]).double()
    found = deep_lift(lambda p: p[:, :1] * p[:, 1:], x, b)
    truth = [((3 - 1) * 2 + (3 - 1) * 5) / 2, ((5 - 2) * 1 + (5 - 2) * 3) / 2]
    torch.testing.assert_close(found.values[0, :, 0], torch.tensor(truth).double())
    torch.testing.assert_close(
        found.values, explainers.kernel_shap(lambda p: p[:, :1] * p[:, 1:], x, b, evaluations=4).values
    )


def test_the_larger_side_of_a_maximum_takes_the_change():
    x, b = torch.tensor([[3.0, 1.0], [0.0, 1.0]]).double(), torch.tensor([[0.0, 2.0], [4.0, 2.0]]).double()
    pooled = deep_lift(lambda p: p.amax(1, keepdim=True), x, b).values[:, :, 0]
    torch.testing.assert_close(pooled, torch.tensor([[1.0, 0.0], [-3.0, 0.0]]).double())


def convolutional(*first: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [
            nn.Conv2d(C, 5, 3),
            *(first or (nn.Tanh(), nn.AvgPool2d(2))),
            nn.Flatten(),
            nn.Linear(20, 8),
            nn.ReLU(),
        ]
        return nn.Sequential(*layers, nn.Linear(8, 3)).double().eval()


@pytest.mark.parametrize("pool", [(), (nn.MaxPool2d(2),)], ids=["average", "maximum"])
def test_agrees_with_captum_on_modules(pool):
    from captum.attr import DeepLift, DeepLiftShap

    net, x, baselines = convolutional(*pool), pictures(0), pictures(1, 4)
    found = deep_lift(net, x, baselines[:1])
    for target in range(3):
        reference = DeepLift(net).attribute(x, baselines[:1], target=target).detach()
        torch.testing.assert_close(found.values[:, :, target], reference.flatten(1))
    mean = deep_lift_shap(net, x, baselines, targets=1)
    reference = DeepLiftShap(net).attribute(x, baselines, target=1).detach()
    torch.testing.assert_close(mean.values[:, :, 0], reference.flatten(1))
    assert mean.evaluations == 4


def test_captum_loses_track_where_a_pool_follows_an_activation_and_this_does_not():
    from captum.attr import DeepLift

    net = convolutional(nn.ReLU(), nn.MaxPool2d(2))
    x, baseline = pictures(0), pictures(1)
    _, delta = DeepLift(net).attribute(x, baseline, target=0, return_convergence_delta=True)
    change = (net(x) - net(baseline)).detach()[:, 0]
    assert float((delta.abs() / change.abs()).max()) > 1e-3
    torch.testing.assert_close(deep_lift(net, x, baseline, 0).values.sum(1)[:, 0], change, atol=1e-12, rtol=1e-9)


def test_exported_and_scripted_models_are_recorded_too():
    net, x, baseline = convolutional(), pictures(0), pictures(1)
    truth = deep_lift(net, x, baseline).values
    scripted = torch.jit.trace(net, x)
    torch.testing.assert_close(deep_lift(scripted, x, baseline).values, truth)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(deep_lift(exported, x, baseline).values, truth)


@pytest.mark.parametrize(
    ("culprit", "function"),
    [
        ("where", lambda x: torch.where(x > 0, x + 1, x)),
        ("sort", lambda x: x.flatten(1).sort(dim=1).values),
        ("where", lambda x: torch.where(x > 0, x + 1, x) * x.tanh()),
        ("index", lambda x: x.flatten(1)[:, x[0].flatten().argsort()]),
    ],
)
def test_the_operation_without_a_rule_is_named(culprit, function):
    with pytest.raises(CompletenessError, match=rf"deep_lift: .*example \d; no rule is known for .*{culprit}"):
        deep_lift(lambda p: flat(function(mixed(p))), pictures(0), pictures(1))


def test_a_branch_on_the_numbers_is_taken_as_it_was_for_the_example():
    def branching(p: Tensor) -> Tensor:
        return flat(p.tanh() if float(p.mean()) > -10 else p)

    x, baseline = pictures(0), pictures(1)
    torch.testing.assert_close(
        deep_lift(branching, x, baseline).values.sum(1), branching(x) - branching(baseline), atol=1e-9, rtol=1e-7
    )
    with pytest.raises(CompletenessError, match="its scores are not its recorded operations'"):
        deep_lift(branching, x, baseline - 20)


def test_several_passes_are_one(monkeypatch):
    from audit.explainers import gradients

    net, x, baseline = convolutional(), pictures(0, 7), pictures(1, 7)
    whole = deep_lift(net, x, baseline)
    monkeypatch.setattr(gradients, "POINTS", 12)
    parts = deep_lift(net, x, baseline)
    torch.testing.assert_close(parts.values, whole.values, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"background": pictures(1)[:, :, :2]}, "background"),
        ({"background": pictures(1).float()}, "background"),
        ({"background": pictures(1) * torch.nan}, "background"),
        ({"inputs": torch.ones(2, 3).long()}, "inputs"),
        ({"targets": 4}, "targets"),
    ],
)
def test_refusals_name_the_argument(change, named):
    arguments = {"model": convolutional(), "inputs": pictures(0), "background": pictures(1)} | change
    with pytest.raises(ValueError, match=f"^{named}: Expected"):
        deep_lift_shap(**arguments)
