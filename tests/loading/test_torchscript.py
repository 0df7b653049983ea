"""TorchScript: same scores, true capabilities, no script that reaches files."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import audit
from audit.errors import ModelError
from audit.subject import Capability

CLASSES = ["a", "b", "c"]
OPTIONS = {"classes": CLASSES, "modality": "tabular", "device": "cpu"}


@pytest.fixture
def scripted(tmp_path):
    def write(module, trace=None):
        path = tmp_path / "model.ts"
        module = torch.jit.script(module) if trace is None else torch.jit.trace(module, trace)
        module.save(str(path))
        return path

    return write


@pytest.mark.parametrize("traced", [False, True])
def test_same_scores(scripted, net, inputs, traced):
    path = scripted(net, torch.zeros(2, 4) if traced else None)
    subject = audit.load(path, **OPTIONS)
    assert torch.allclose(subject.predict(inputs), net(inputs).detach(), atol=1e-6)
    assert subject.format == "torchscript"


def test_declared_capabilities_are_true(scripted, net, inputs):
    subject = audit.load(scripted(net), **OPTIONS)
    assert subject.capabilities == {Capability.INPUT_GRADIENT, Capability.TRAIN}
    x, y = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    subject.model(x).sum().backward()
    net(y).sum().backward()
    assert torch.allclose(x.grad, y.grad, atol=1e-6)
    with torch.no_grad():
        for p in subject.model.parameters():
            p.zero_()
    assert not subject.model(inputs).any()
    subject.model.train()
    subject.model.eval()
    with pytest.raises(RuntimeError, match="not supported on ScriptModules"):  # not declared, and rightly so
        subject.model.network.register_forward_hook(lambda *a: None)


def test_a_frozen_script_has_nothing_to_train(tmp_path, net):
    torch.jit.freeze(torch.jit.script(net)).save(str(tmp_path / "m"))
    assert audit.load(tmp_path / "m", **OPTIONS).capabilities == {Capability.INPUT_GRADIENT}


def test_classes_must_be_named(scripted, net):
    with pytest.raises(ModelError, match="names of the classes"):
        audit.load(scripted(net), modality="tabular")


class Saves(nn.Module):
    """Writes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return (self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.path)


class Reads(nn.Module):
    def forward(self, x):
        return x + torch.from_file("/etc/hostname", size=1, dtype=torch.uint8).sum()


def test_a_script_that_writes_a_file_does_not(scripted, marker):
    path = scripted(Saves(str(marker)))
    with pytest.raises(ModelError, match=r"'save'.*may reach files"):
        audit.load(path, **OPTIONS)
    assert not marker.exists()
    # the attack is real
    torch.jit.load(str(path))
    assert marker.exists()


def test_a_script_that_reads_a_file_is_refused_unless_trusted(scripted):
    path = scripted(Reads())
    with pytest.raises(ModelError, match="from_file"):
        audit.load(path, **OPTIONS)
    assert audit.load(path, **OPTIONS, trust_pickle=True).format == "torchscript"


def test_a_name_hidden_by_an_escape_is_refused(scripted, rewritten, tmp_path, net):
    hidden = b'  def hidden(self, x: Tensor) -> None:\n    getattr(torch, "s\\x61ve")(x, "f")\n'
    path = rewritten(
        scripted(net),
        tmp_path / "bad.ts",
        # torch renames the file where a class of that name was scripted before
        {".py": lambda c: c.replace(b"  def forward", hidden + b"  def forward", 1)},
    )
    with pytest.raises(ModelError, match="getattr"):
        audit.load(path, **OPTIONS)


def test_a_payload_in_its_pickles_does_not_run(scripted, net, rewritten, tmp_path, payload, marker):
    import pickle

    for member in ("data.pkl", "constants.pkl"):
        path = rewritten(scripted(net), tmp_path / "bad.ts", {f"/{member}": pickle.dumps(payload, 2)})
        with pytest.raises(ModelError, match="damaged"):
            audit.load(path, **OPTIONS)
        with pytest.raises(ModelError):
            audit.load(path, **OPTIONS, trust_pickle=True)
        assert not marker.exists()


def test_damaged_inside(scripted, net, rewritten, tmp_path):
    path = rewritten(scripted(net), tmp_path / "bad.ts", {"data.pkl": b"\x80\x02}q\x00"})
    with pytest.raises(ModelError, match=r"^Expected a readable checkpoint, found .* damaged \(.*\.$"):
        audit.load(path, **OPTIONS)
