"""Grad-CAM: a closed form, captum, layers found and named, and a model left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from audit.explainers import grad_cam


def pictures(n: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, 2, 12, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Convolutional(nn.Module):
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 5, 3, stride=2)
        self.squeeze = nn.Conv2d(5, 6, (4, 3))
        self.last = nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.second(self.relu(self.first(x))))
        return self.last(self.squeeze(hidden).flatten(1))


def convolutional(inplace: bool = False) -> Convolutional:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Convolutional(inplace).double().eval()


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_pooled_linear_head_is_the_class_activation_map():
    # mean pooling and a linear head: the weight of a channel is the head's own, shared by the positions
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        head = nn.Linear(4, 3).double()
        net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head.float())
    net = net.double()
    x = pictures()
    found = grad_cam(net, x)
    maps = torch.einsum("oc,nchw->nohw", head.weight, net[0](x)).relu() / 120
    torch.testing.assert_close(found.reshape(3, 2, 12, 10, 3).sum(1).movedim(-1, 1), maps.detach())


@pytest.mark.parametrize("layer", [None, "first", "second"])
@pytest.mark.parametrize("inplace", [False, True])
def test_agrees_with_captum(layer, inplace):
    from captum.attr import LayerGradCam

    net, x = convolutional(), pictures()
    found = grad_cam(convolutional(inplace), x, targets=[1], layer=layer)[:, :, 0].reshape(x.shape).sum(1, keepdim=True)
    # what the last convolution makes has a single position, which shows nothing
    chosen = getattr(net, layer or "second")
    reference = LayerGradCam(net, chosen).attribute(x, target=1, relu_attributions=True)
    reference = functional.interpolate(reference, (12, 10), mode="bilinear")
    torch.testing.assert_close(found, reference.detach())


def test_positions_of_sequences_and_volumes():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        line = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)).double()
        space = nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(54, 2)).double()
    assert grad_cam(line, torch.randn(2, 2, 10).double()).shape == (2, 20, 2)
    assert grad_cam(space, torch.randn(2, 1, 4, 4, 4).double()).shape == (2, 64, 2)


def test_a_layer_that_runs_twice_is_read_the_last_time():
    class Twice(Convolutional):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x.flip(3))
            return super().forward(x)

    net = Twice().double().eval()
    net.load_state_dict(convolutional().state_dict())
    torch.testing.assert_close(grad_cam(net, pictures()), grad_cam(convolutional(), pictures()))


def test_no_hook_stays_even_when_the_model_breaks():
    net = convolutional()
    grad_cam(net, pictures())
    assert hooks(net) == 0
    left = 0

    def breaks(module: nn.Module, inputs: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise RuntimeError("the model broke")

    for calls in (1, 2, 3, 4):
        left, handle = calls, net.last.register_forward_pre_hook(breaks)
        with pytest.raises(RuntimeError, match="the model broke"):
            grad_cam(net, pictures())
        handle.remove()
        assert hooks(net) == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"layer": "third"}, "layer: Expected the name of a submodule, found 'third'"),
        ({"layer": "last"}, "layer: Expected one that returns a map"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(240, 2)).double()}, "model: Expected a convolution"),
        ({"inputs": torch.ones(2, 3).double()}, "inputs: Expected shape"),
        ({"targets": 5}, "targets: Expected"),
    ],
)
def test_refusals_name_the_argument(change, named):
    with pytest.raises(ValueError, match=f"^{named}"):
        grad_cam(**({"model": convolutional(), "inputs": pictures()} | change))
