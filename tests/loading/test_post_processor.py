"""Post-processors: every part is as it was written, or nothing is run."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

import audit
from audit.errors import ModelError
from audit.loading import Format, look, post_processor, sniff
from audit.loading.digest import digest
from audit.loading.post_processor import Base, Document, tensors_digest
from audit.loading.sniffing import PROCESSOR_KEY
from audit.mitigation.reading import Place, Reader
from audit.subject import Modality

SOURCE = """
import pathlib
import torch

pathlib.Path({marker!r}).mkdir(exist_ok=True)

def build():
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3)
    )
"""
BUILD = "shape:build"
SHIFT = torch.tensor([0.5, -0.25, 0.125])


@pytest.fixture
def reader():
    """Two one-hot columns behind the network's four."""
    return Reader(4, (Place("sex", (4, 5)),), (0, 1, 2), 2)


@pytest.fixture
def written(tmp_path, net, marker, reader):
    """A post-processor that moves class 2 by the group, its base and the module of its factory beside it."""

    def write(tensors=None, **changes):
        save_file(net.state_dict(), tmp_path / "base.safetensors")
        (tmp_path / "shape.py").write_text(SOURCE.format(marker=str(marker)))
        tensors = tensors or {"scale": torch.ones(3), "shift": SHIFT}
        base = {
            "file": "base.safetensors",
            "sha256": digest(tmp_path / "base.safetensors"),
            "factory": "shape:build",
            "modules": {"shape.py": digest(tmp_path / "shape.py")},
            "output": "logits",
            "mean": None,
            "std": None,
            "modality": "tabular",
            "classes": ["a", "b", "c"],
        } | changes.pop("base", {})
        document = {
            "kind": "grouped",
            "settings": {"reader": json.loads(json.dumps(reader.plain())), "classes": 3, "favourable": 2},
            "tensors": tensors_digest(tensors),
        } | changes
        path = tmp_path / "model.safetensors"
        post_processor.write(path, Document(base=Base(**base), **document), tensors)
        return path

    return write


def grouped(inputs, members):
    return torch.cat([inputs, torch.nn.functional.one_hot(members, 3)[:, :2].float()], 1)


def test_it_knows_its_base_and_adds_the_groups_shift(written, net, inputs):
    path = written()
    assert sniff(path) is Format.POST_PROCESSOR
    facts = look(path)
    assert (facts.classes, facts.modality, facts.outputs, facts.needs_factory) == (
        ("a", "b", "c"), Modality.TABULAR, 3, True,
    )  # fmt: skip
    subject = audit.load(path, device="cpu", factory=BUILD)
    assert subject.format == "post-processor" and subject.classes == ("a", "b", "c")
    members = torch.arange(11) % 3  # the third kind has no column set
    found = subject.predict(grouped(inputs, members)).log_softmax(1)
    expected = net(inputs).detach()
    expected[:, 2] += SHIFT[members]
    torch.testing.assert_close(found, expected.log_softmax(1), atol=1e-6, rtol=1e-5)
    content = path.read_bytes()
    assert written().read_bytes() == content
    # and the same bits from a second load
    again = audit.load(path, device="cpu", factory=BUILD).predict(grouped(inputs, members))
    assert torch.equal(again, subject.predict(grouped(inputs, members)))


@pytest.mark.parametrize("kind", [Format.TORCH_EXPORT, Format.TORCHSCRIPT, Format.TORCH])
def test_the_base_may_be_of_another_format(written, tmp_path, net, inputs, exported, kind):
    written()
    if kind is Format.TORCH_EXPORT:
        exported(net, torch.zeros(2, 4)).rename(tmp_path / "base.any")
    elif kind is Format.TORCHSCRIPT:
        torch.jit.script(net).save(str(tmp_path / "base.any"))
    else:
        torch.save(net.state_dict(), tmp_path / "base.any")
    changes = {"file": "base.any", "sha256": digest(tmp_path / "base.any")}
    if kind is not Format.TORCH:
        changes |= {"factory": None, "modules": {}}
    subject = audit.load(written(base=changes), device="cpu", factory=changes.get("factory", BUILD))
    members = torch.arange(11) % 2
    expected = net(inputs).detach()
    expected[:, 2] += SHIFT[members]
    found = subject.predict(grouped(inputs, members)).log_softmax(1)
    torch.testing.assert_close(found, expected.log_softmax(1), atol=1e-6, rtol=1e-5)


def rewritten(path, change):
    """The file with another document, whose digest is right."""
    with safe_open(path, "pt") as file:
        document = json.loads(file.metadata()[PROCESSOR_KEY].partition(" ")[2])
    change(document)
    text = json.dumps(document)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    path.write_bytes(save(load_file(path), {PROCESSOR_KEY: f"{sha256} {text}"}))


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def moved(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"favourable\\":2', b'\\"favourable\\":1'))
    assert path.read_bytes() != content


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (cut, "cut short"),
        (flipped, "changed since"),
        (moved, "changed since"),
        (lambda p: (p.parent / "base.safetensors").unlink(), "nothing there"),
        (lambda p: flipped(p.parent / "base.safetensors"), "is not the one it was made for"),
        (lambda p: (p.parent / "shape.py").write_text("print('other')"), "is not the one it was made for"),
        (lambda p: rewritten(p, lambda d: d["base"].update(file="../base.safetensors")), "beside it"),
        (lambda p: rewritten(p, lambda d: d["base"].update(file="/etc/hostname")), "beside it"),
        (lambda p: rewritten(p, lambda d: d["base"].update(factory="os:getcwd", modules={})), "os:getcwd"),
        (lambda p: rewritten(p, lambda d: d["base"].update(factory="antigravity:fly")), "antigravity"),
        (lambda p: rewritten(p, lambda d: d["base"].update(modules={"../x.py": "0" * 64})), "beside it"),
        (lambda p: rewritten(p, lambda d: d.update(version=2)), "version"),
        (lambda p: rewritten(p, lambda d: d.update(surprise=1)), "surprise"),
        (lambda p: rewritten(p, lambda d: d["base"].pop("sha256")), "sha256"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_was_written_is_refused_before_anything_runs(written, marker, harm, words):
    path = written()
    harm(path)
    with pytest.raises(ModelError, match=words) as refusal:
        audit.load(path, device="cpu", factory=BUILD)
    assert not marker.exists()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda d: d.update(kind="magic"), "kind of post-processor"),
        (lambda d: d.update(settings={}), "settings"),
        (lambda d: d["settings"]["reader"].update(places=3), "fits the checkpoint|settings"),
        (lambda d: d["base"].update(classes=["a"]), "two different classes"),
    ],
)
def test_settings_that_fit_nothing_are_refused(written, harm, words):
    path = written()
    rewritten(path, harm)
    with pytest.raises(ModelError, match=words):
        audit.load(path, device="cpu", factory=BUILD)


def test_numbers_that_are_none_are_refused(written):
    path = written(tensors={"scale": torch.ones(3), "shift": torch.full((3,), torch.nan)})
    with pytest.raises(ModelError, match="finite"):
        audit.load(path, device="cpu", factory=BUILD)


def test_tensors_of_other_shapes_are_refused(written):
    path = written(tensors={"scale": torch.ones(2), "shift": torch.ones(3)})
    with pytest.raises(ModelError, match="of shapes"):
        audit.load(path, device="cpu", factory=BUILD)


def test_a_post_processor_around_a_post_processor_is_refused(written, tmp_path):
    path = written()
    path.rename(tmp_path / "inner.safetensors")
    again = written(base={"file": "inner.safetensors", "sha256": digest(tmp_path / "inner.safetensors")})
    with pytest.raises(ModelError, match="another post-processor"):
        audit.load(again, device="cpu", factory=BUILD)


def test_a_link_out_of_the_folder_is_refused(written, tmp_path):
    path = written()
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("model.safetensors", "shape.py"):
        (tmp_path / name).rename(inner / name)
    (inner / "base.safetensors").symlink_to(tmp_path / "base.safetensors")
    with pytest.raises(ModelError, match="link"):
        audit.load(inner / path.name, device="cpu", factory=BUILD)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"classes": ["c", "b", "a"]}, "classes"),
        ({"output": "probabilities"}, "output"),
        ({"mean": [0.0], "std": [1.0]}, "mean"),
        ({"modality": "image"}, "modality"),
        ({"factory": "other:build"}, "factory"),
    ],
)
def test_arguments_that_contradict_it_are_refused(written, arguments, words):
    with pytest.raises(ModelError, match=words):
        audit.load(written(), device="cpu", **{"factory": BUILD} | arguments)


def test_arguments_that_agree_are_fine(written):
    subject = audit.load(
        written(), device="cpu", classes=["a", "b", "c"], modality="tabular", factory="shape:build", name="fair"
    )
    assert subject.name == "fair"


def test_code_is_run_only_where_the_caller_names_it(written, marker):
    path = written()
    with pytest.raises(ModelError, match="factory='shape:build'"):
        audit.load(path, device="cpu")
    assert not marker.exists()
    path = written(base={"factory": "tests.loading.conftest:network", "modules": {}})
    with pytest.raises(ModelError, match="factory='tests"):
        audit.load(path, device="cpu")
    assert audit.load(path, device="cpu", factory="tests.loading.conftest:network").classes == ("a", "b", "c")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(favourable=3),
        lambda s: s.update(favourable=-1),
        lambda s: s.update(classes=10**9),
        lambda s: s["reader"].update(table=[0]),
        lambda s: s["reader"].update(table=[0, 1, 99]),
        lambda s: s["reader"].update(table=[0.0, 1.0, 2.0]),
        lambda s: s["reader"].update(groups=5),
        lambda s: s["reader"].update(width=-4),
        lambda s: s["reader"].update(places=[]),
        lambda s: s["reader"].update(places=s["reader"]["places"] * 24),
        lambda s: s["reader"]["places"][0].update(columns=[-1, -2]),
    ],
)
def test_settings_that_say_what_cannot_be_are_refused_before_a_row_is_seen(written, reader, change):
    settings = {"reader": json.loads(json.dumps(reader.plain())), "classes": 3, "favourable": 2}
    change(settings)
    with pytest.raises(ModelError):
        audit.load(written(settings=settings), factory=BUILD)


@pytest.mark.parametrize("shape", [(1,), (3, 1), (4,)])
def test_tensors_of_another_shape_are_refused(written, shape):
    with pytest.raises(ModelError, match="shapes"):
        audit.load(written({"scale": torch.ones(shape), "shift": torch.zeros(shape)}), factory=BUILD)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.float8_e4m3fn])
def test_numbers_of_another_kind_are_refused(written, dtype):
    with pytest.raises(ModelError, match="Expected numbers of"):
        audit.load(written({"scale": torch.ones(3).to(dtype), "shift": torch.zeros(3).to(dtype)}), factory=BUILD)
