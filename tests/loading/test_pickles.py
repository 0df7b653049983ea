"""No payload runs unasked, whatever it hides in; trusted, it does."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

import audit
from audit.errors import ModelError

SAYS = r"^Expected tensors only, found .* a pickle.*; try this: .*--trust-pickle.*\.$"


def write_torch(path, payload):
    torch.save({"weight": torch.zeros(2, 3), "x": payload}, path)


def write_legacy_torch(path, payload):
    torch.save({"weight": payload}, path, _use_new_zipfile_serialization=False)


def write_bare(path, payload):
    path.write_bytes(pickle.dumps(payload))


def write_bare_oldest(path, payload):
    path.write_bytes(pickle.dumps(payload, 0))


@pytest.mark.parametrize("write", [write_torch, write_legacy_torch, write_bare, write_bare_oldest])
def test_a_payload_does_not_run(tmp_path, payload, marker, write):
    path = tmp_path / "model.pt"
    write(path, payload)
    with pytest.raises(ModelError, match=SAYS):
        audit.load(path, factory=lambda: nn.Linear(3, 2), classes=["a", "b"], modality="tabular")
    assert not marker.exists()


@pytest.mark.parametrize("write", [write_torch, write_legacy_torch, write_bare])
def test_looking_does_not_run_it_either(tmp_path, payload, marker, write):
    from audit.loading import look

    path = tmp_path / "model.pt"
    write(path, payload)
    facts = look(path)
    assert facts.needs_factory
    assert facts.outputs is None
    assert not marker.exists()


@pytest.mark.parametrize("write", [write_torch, write_legacy_torch, write_bare])
def test_the_attack_is_real(tmp_path, payload, marker, write):
    """Trusted, the payload runs: the tests above test something."""
    path = tmp_path / "model.pt"
    write(path, payload)
    with pytest.raises(ModelError):  # it is still no state_dict
        audit.load(path, factory=lambda: nn.Linear(3, 2), classes=["a", "b"], modality="tabular", trust_pickle=True)
    assert marker.exists()


def test_a_whole_module_names_its_class_and_loads_trusted(tmp_path):
    path, module = tmp_path / "model.pt", nn.Linear(3, 2)
    torch.save(module, path)
    options = {"classes": ["a", "b"], "modality": "tabular", "device": "cpu"}
    with pytest.raises(ModelError, match=r"torch\.nn\.modules\.linear\.Linear"):
        audit.load(path, **options)
    subject = audit.load(path, trust_pickle=True, **options)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(subject.predict(x), module(x).detach())


def test_a_whole_module_by_plain_pickle_loads_trusted(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(nn.Linear(3, 2)))
    subject = audit.load(path, trust_pickle=True, classes=["a", "b"], modality="tabular")
    assert subject.predict(torch.zeros(4, 3)).shape == (4, 2)


def test_an_old_state_dict_of_tensors_needs_no_trust(tmp_path, net, build, inputs):
    path = tmp_path / "model.pth"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
    subject = audit.load(path, factory=build, classes=["a", "b", "c"], device="cpu")
    assert torch.equal(subject.predict(inputs), net(inputs).detach())
    assert subject.format == "pickle"
