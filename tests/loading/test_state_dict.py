"""Bare weights: they fit the factory's network exactly or the message says what differs."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import audit
from audit.errors import ModelError
from audit.subject import Capability, Modality, Task

CLASSES = ["a", "b", "c"]


@pytest.fixture
def weights(tmp_path, net):
    path = tmp_path / "model.safetensors"
    save_file(net.state_dict(), path)
    return path


def test_every_attribute(weights, net, build, inputs):
    subject = audit.load(weights, factory=build, classes=CLASSES, device="cpu")
    assert torch.equal(subject.predict(inputs), net(inputs).detach())
    assert subject.task is Task.CLASSIFICATION
    assert subject.modality is Modality.TABULAR
    assert subject.classes == ("a", "b", "c")
    assert subject.format == "safetensors"
    assert subject.name == "model"
    assert subject.source == str(weights)
    assert subject.device == torch.device("cpu")
    assert subject.text is None
    assert subject.capabilities == {Capability.INPUT_GRADIENT, Capability.HOOKS, Capability.TRAIN}
    assert not subject.model.training
    assert not any(p.requires_grad for p in subject.model.parameters())


def test_declared_capabilities_are_true(weights, build, inputs):
    model = audit.load(weights, factory=build, device="cpu").model
    x = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    step = 1e-2 * torch.eye(4)[2]
    with torch.no_grad():
        slope = (model(inputs + step)[:, 1] - model(inputs - step)[:, 1]) / 2e-2
    # piecewise linear: equal wherever no kink lies in between
    assert (gradient[:, 2] - slope).abs().median() < 1e-4
    fired = []
    handles = [m.register_forward_hook(lambda *a: fired.append(1)) for m in model.network]
    before = model(inputs)
    assert len(fired) == 4
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.zeros_like(p))
    assert not torch.equal(model(inputs), before)
    model.train()
    assert model.network[2].training


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model_state_dict": s, "optimizer": {"lr": 0.1}},
        lambda s: {"model": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    ],
)
def test_what_training_scripts_write(tmp_path, net, build, inputs, wrap):
    path = tmp_path / "model.pth"
    torch.save(wrap(net.state_dict()), path)
    subject = audit.load(path, factory=build, classes=CLASSES, device="cpu")
    assert torch.equal(subject.predict(inputs), net(inputs).detach())


def test_a_file_cut_inside_is_refused(tmp_path, net, build):
    path = tmp_path / "model.pt"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"damaged|cut short"):
        audit.load(path, factory=build, classes=CLASSES, modality="tabular")


def test_names_and_shapes_that_differ_are_listed(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"0.weight": torch.zeros(8, 5), "0.bias": torch.zeros(8), "head.weight": torch.zeros(3, 8)}, path)
    with pytest.raises(ModelError) as refusal:
        audit.load(path, factory=lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)), classes=CLASSES)
    said = str(refusal.value)
    assert "missing 1.weight, 1.bias" in said
    assert "unexpected head.weight" in said
    assert "wrong shape 0.weight (8, 5) instead of (8, 4)" in said


def test_only_the_first_few_names_are_listed(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match=r"0\.weight, 0\.bias, 1\.weight and 15 more"):
        audit.load(
            path,
            factory=lambda: nn.Sequential(*[nn.Linear(2, 2) for _ in range(9)]),
            classes=CLASSES,
            modality="tabular",
        )


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


def test_tied_weights_are_kept_once_and_fit(tmp_path):
    from safetensors.torch import save_model

    module, path = Tied(), tmp_path / "model.safetensors"
    save_model(module, str(path))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    subject = audit.load(path, factory=Tied, classes=CLASSES, device="cpu")
    assert torch.equal(subject.predict(x), module(x).detach())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(tmp_path, net, build, bad):
    state = net.state_dict()
    state["3.weight"][1, 2] = bad
    save_file(state, tmp_path / "m")
    with pytest.raises(ModelError, match=r"found 1 of 24 NaN or infinite in '3\.weight'"):
        audit.load(tmp_path / "m", factory=build, classes=CLASSES)


def test_buffers_may_hold_minus_infinity_but_no_nan(tmp_path):
    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(4, 3)
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    save_file(Masked().state_dict(), tmp_path / "m")
    assert audit.load(tmp_path / "m", factory=Masked, classes=CLASSES).predict(torch.zeros(2, 4)).shape == (2, 3)
    state = Masked().state_dict()
    state["mask"] = torch.tensor([0.0, torch.nan])
    save_file(state, tmp_path / "m")
    with pytest.raises(ModelError, match="'mask'"):
        audit.load(tmp_path / "m", factory=Masked, classes=CLASSES)


@pytest.mark.parametrize(
    ("value", "word"),
    [(torch.zeros(3), "Tensor"), ({"epoch": 3, "lr": 0.1}, "'epoch', 'lr'"), ({}, "nothing"), ([1], "list")],
)
def test_what_is_no_state_dict(tmp_path, build, value, word):
    torch.save(value, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=f"Expected a state_dict in .*, found {word}"):
        audit.load(tmp_path / "m.pt", factory=build, classes=CLASSES, modality="tabular")


def test_bare_weights_need_a_factory(weights):
    with pytest.raises(ModelError, match=r"try factory: package\.module:name"):
        audit.load(weights, classes=CLASSES)


# ---------------------------------------------------------------------------------------------------------- factory


def module(folder, text, name="model"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return folder


BUILD = """
from torch import nn
from sizes import WIDTH

def build():
    return nn.Sequential(nn.Linear(4, WIDTH), nn.ReLU(), nn.Dropout(), nn.Linear(WIDTH, 3))
"""


def test_two_folders_may_have_a_module_of_one_name(tmp_path):
    for width in (8, 16):
        folder = module(tmp_path / str(width), BUILD)
        module(folder, f"WIDTH = {width}", "sizes")
        state = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(), nn.Linear(width, 3)).state_dict()
        save_file(state, folder / "m")
    path, known = list(sys.path), set(sys.modules)
    for width in (8, 16, 8):
        folder = tmp_path / str(width)
        subject = audit.load(folder / "m", factory="model:build", root=folder, classes=CLASSES)
        assert subject.model.network[0].out_features == width
    assert sys.path == path
    assert not {"model", "sizes"} & (set(sys.modules) - known)


def test_a_module_that_is_loaded_already_is_left_alone(tmp_path, net):
    from types import ModuleType

    mine = ModuleType("model")
    sys.modules["model"] = mine
    try:
        folder = module(tmp_path / "a", BUILD.replace("from sizes import WIDTH", "WIDTH = 8"))
        save_file(net.state_dict(), folder / "m")
        audit.load(folder / "m", factory="model:build", root=folder, classes=CLASSES)
        assert sys.modules["model"] is mine
    finally:
        del sys.modules["model"]


def test_packages_with_relative_imports_work(tmp_path, net, weights):
    package = tmp_path / "nets"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sizes.py").write_text("WIDTH = 8")
    (package / "mlp.py").write_text(BUILD.replace("from sizes", "from .sizes"))
    subject = audit.load(weights, factory="nets.mlp:build", root=tmp_path, classes=CLASSES)
    assert subject.predict(torch.zeros(1, 4)).shape == (1, 3)
    assert "nets.mlp" not in sys.modules


def test_a_class_is_a_factory_and_so_is_an_installed_one(tmp_path):
    folder = module(
        tmp_path, "from torch import nn\nclass Net(nn.Linear):\n    def __init__(self): super().__init__(4, 3)"
    )
    save_file(nn.Linear(4, 3).state_dict(), folder / "m")
    assert audit.load(folder / "m", factory="model:Net", root=folder).classes == ("0", "1", "2")
    with pytest.raises(ModelError, match=r"needs no arguments, found torch\.nn:Linear\(in_features"):
        audit.load(folder / "m", factory="torch.nn:Linear", classes=CLASSES)


def test_the_global_random_state_is_left_alone(weights, build):
    before = torch.get_rng_state()
    audit.load(weights, factory=build, classes=CLASSES)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("model", "like 'package.module:name'"),
        ("modle:build", "no module named 'modle'; did you mean 'model'"),
        ("model:bild", "found none; did you mean 'build'"),
        ("model:WIDTH", "to be a function or a class, found int"),
        ("model:sized", r"needs no arguments, found model:sized\(width\)"),
        ("model:nothing", "to return a torch.nn.Module, found NoneType"),
        ("model:breaks", "found ValueError: no licence"),
        ("broken:build", "found SyntaxError"),
        ("exits:build", "found SystemExit"),
        ("needy:build", "found ModuleNotFoundError: No module named 'not_installed_here'"),
    ],
)
def test_factories_that_do_not_work(tmp_path, weights, factory, says):
    folder = module(
        tmp_path / "a",
        BUILD.replace("from sizes import WIDTH", "WIDTH = 8")
        + "def sized(width): ...\ndef nothing(): ...\ndef breaks(): raise ValueError('no licence')",
    )
    module(folder, "def build(:", "broken")
    module(folder, "import sys; sys.exit(3)", "exits")
    module(folder, "import not_installed_here", "needy")
    path = list(sys.path)
    with pytest.raises(ModelError, match=says) as refusal:
        audit.load(weights, factory=factory, root=folder, classes=CLASSES)
    assert "\n" not in str(refusal.value)
    assert sys.path == path
    assert not {"model", "broken", "exits", "needy"} & set(sys.modules)
