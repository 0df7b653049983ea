"""What holds for every format: digests, classes, what a caller leaves out, options with a typo."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import audit
from audit.errors import ModelError, PlanError
from audit.loading import Format, ModelFacts, look
from audit.loading.digest import digest
from audit.subject import Modality


@pytest.fixture
def weights(tmp_path, net):
    path = tmp_path / "model.safetensors"
    save_file(net.state_dict(), path)
    return path


def test_the_digest_of_a_file_is_its_sha256(weights, build):
    expected = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert audit.load(weights, factory=build).digest == digest(weights) == expected


def test_the_digest_of_a_folder_knows_names_and_contents(tmp_path):
    def folder(name, files):
        for path, content in files.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return digest(tmp_path / name)

    one = folder("one", {"a": b"1", "b/c": b"2"})
    assert one == folder("same", {"b/c": b"2", "a": b"1"})
    others = [
        folder("content", {"a": b"1", "b/c": b"3"}),
        folder("name", {"a": b"1", "b/d": b"2"}),
        folder("flat", {"a": b"1", "bc": b"2"}),
        folder("moved", {"a": b"12", "b/c": b""}),
        folder("swapped", {"a": b"2", "b/c": b"1"}),
    ]
    assert len({one, *others}) == 6


def test_normalisation_is_inside(weights, net, build, inputs):
    mean, std = [0.5, -0.5, 1.0, 0.0], [2.0, 1.0, 0.5, 1.0]
    subject = audit.load(weights, factory=build, mean=mean, std=std, device="cpu")
    expected = net((inputs - torch.tensor(mean)) / torch.tensor(std)).detach()
    assert torch.allclose(subject.predict(inputs), expected, atol=1e-6)
    assert torch.allclose(subject.model(inputs), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("output", "last"), [("probabilities", nn.Softmax(1)), ("log_probabilities", nn.LogSoftmax(1))]
)
def test_outputs_are_declared(tmp_path, net, inputs, output, last):
    save_file(net.state_dict(), tmp_path / "m")
    options = {"modality": "tabular", "device": "cpu"}

    def build():
        return nn.Sequential(*net, last)

    subject = audit.load(tmp_path / "m", factory=build, output=output, **options)
    assert torch.allclose(subject.predict(inputs).softmax(1), net(inputs).detach().softmax(1), atol=1e-6)
    with pytest.raises(ModelError, match=f"try output: {output}"):
        audit.load(tmp_path / "m", factory=build, **options).predict(inputs)


def test_a_head_of_one_logit_has_two_classes(tmp_path):
    save_file(nn.Linear(4, 1).state_dict(), tmp_path / "m")
    subject = audit.load(tmp_path / "m", factory=lambda: nn.Linear(4, 1))
    assert subject.classes == ("0", "1")
    assert not subject.predict(torch.randn(5, 4))[:, 0].any()


def test_a_class_too_many_is_told_by_numbers(weights, build, inputs):
    subject = audit.load(weights, factory=build, classes=["a", "b", "c", "d"])
    with pytest.raises(ModelError, match="found 3 outputs for 4 classes"):
        subject.predict(inputs)


@pytest.mark.parametrize("classes", [["a"], ["a", "a", "b"]])
def test_classes_that_make_no_sense(weights, build, classes):
    with pytest.raises(ModelError, match="at least two different classes"):
        audit.load(weights, factory=build, classes=classes)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"task": "clasification"}, "did you mean 'classification'"),
        ({"modality": "images"}, "did you mean 'image'"),
        ({"output": "logit"}, "did you mean 'logits'"),
        ({"precision": "float8"}, "did you mean 'float"),
        ({"device": "gpu"}, "found 'gpu'"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_options_with_a_typo(weights, build, option, says):
    with pytest.raises(PlanError, match=says):
        audit.load(weights, factory=build, **option)


@pytest.mark.parametrize("option", [{"mean": [0.0]}, {"std": [1.0]}, {"modality": "text"}])
def test_options_that_do_not_go_together(weights, build, option):
    with pytest.raises(ModelError, match=r"^Expected .*, found .*; try .*\.$"):
        audit.load(weights, factory=build, **option)


def test_dropout_is_off_and_the_name_may_be_given(weights, build, inputs):
    subject = audit.load(str(weights), factory=build, name="mine", device="cpu")
    assert subject.name == "mine"
    assert torch.equal(subject.predict(inputs), subject.predict(inputs))


# ------------------------------------------------------------------------------------------------------------- look


def test_looking_at_weights(weights):
    assert look(weights) == ModelFacts(Format.SAFETENSORS, (), Modality.TABULAR, 3, needs_factory=True)


@pytest.mark.parametrize(
    ("shapes", "modality", "outputs"),
    [
        ({"0.weight": (16, 4), "2.weight": (8, 16), "10.weight": (5, 8)}, Modality.TABULAR, 5),
        ({"conv.weight": (8, 1, 3, 3), "classifier.weight": (10, 8), "features.0.weight": (8, 8)}, Modality.IMAGE, 10),
        ({"embedding.weight": (100, 8), "fc.weight": (2, 8)}, None, 2),
        ({"layer4.fc1.weight": (64, 8), "stem.weight": (8, 3, 7, 7), "fc.weight": (7, 64)}, Modality.IMAGE, 7),
        ({"scale": (3,)}, None, None),
    ],
)
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_the_head_is_found(tmp_path, shapes, modality, outputs, kind):
    state, path = {name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "m"
    if kind == "torch":
        torch.save(state, path)
    else:
        save_file(state, path)
    facts = look(path)
    assert (facts.modality, facts.outputs, facts.needs_factory) == (modality, outputs, True)


def test_looking_at_programs(tmp_path, exported, net):
    assert look(exported(net, torch.zeros(2, 4))) == ModelFacts(Format.TORCH_EXPORT, (), Modality.TABULAR, 3)
    torch.jit.script(net).save(str(tmp_path / "ts"))
    assert look(tmp_path / "ts") == ModelFacts(Format.TORCHSCRIPT)


def test_looking_at_a_folder(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"architectures": ["BertForSequenceClassification"], "id2label": {"1": "b", "0": "a", "2": "c"}}'
    )
    assert look(tmp_path) == ModelFacts(Format.TRANSFORMERS, ("a", "b", "c"), Modality.TEXT, 3)


def test_what_nothing_tells_is_asked_for(tmp_path):
    save_file({"scale": torch.zeros(3)}, tmp_path / "m")
    with pytest.raises(ModelError, match="try modality"):
        audit.load(tmp_path / "m", factory=nn.Identity, classes=["a", "b"])
    with pytest.raises(ModelError, match="try classes"):
        audit.load(tmp_path / "m", factory=nn.Identity, modality="tabular")
