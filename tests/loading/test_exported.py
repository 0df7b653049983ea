"""Exported programs: same scores, true capabilities, and every door for code in the archive is shut."""

from __future__ import annotations

import json
import logging
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

import audit
from audit.errors import ModelError
from audit.subject import Capability, Modality

CLASSES = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


class Rich(nn.Module):
    """Attention, symbolic sizes, strings, a constant: what real programs hold."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 16)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.head = nn.Linear(16, 3)
        self.scale = torch.full((3,), 2.0)

    def forward(self, x):
        h = self.layer(self.embed(x.unflatten(1, (-1, 4))))
        h = nn.functional.interpolate(h.transpose(1, 2), scale_factor=2.0).transpose(1, 2)
        h = nn.functional.gelu(torch.einsum("bij,j->bij", h, torch.ones(16)), approximate="tanh")
        with torch.no_grad():
            shift = x.mean() / x.shape[0]
        return self.head(h.flatten(0, 1)).view(x.shape[0], -1, 3).mean(1) * self.scale + shift


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_same_scores_for_any_number_of_rows(exported, net, dynamic, n):
    """Also where the program was exported for two rows only."""
    subject = audit.load(exported(net, torch.zeros(2, 4), dynamic), classes=CLASSES, device="cpu", batch_size=4)
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(n))
    assert torch.allclose(subject.predict(x), net(x).detach(), atol=1e-6)
    assert torch.allclose(subject.model(x), net(x), atol=1e-6)


def test_rich_programs_pass_the_vetting(exported):
    torch.manual_seed(0)
    module = Rich().eval()
    subject = audit.load(exported(module, torch.randn(2, 8)), classes=CLASSES, modality="tabular", device="cpu")
    x = torch.randn(5, 8)
    assert torch.allclose(subject.predict(x), module(x).detach(), atol=1e-5)


def test_facts_are_read_from_the_graph(exported, net):
    subject = audit.load(exported(net, torch.zeros(2, 4)), device="cpu")
    assert subject.classes == ("0", "1", "2")
    assert subject.modality is Modality.TABULAR
    assert subject.format == "torch.export"
    image = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 36, 5))
    assert audit.load(exported(image, torch.zeros(2, 1, 8, 8)), device="cpu").modality is Modality.IMAGE


def test_declared_capabilities_are_true(exported, net, inputs):
    subject = audit.load(exported(net, torch.zeros(2, 4)), classes=CLASSES, device="cpu")
    assert subject.capabilities == {Capability.INPUT_GRADIENT}
    x, y = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    subject.model(x).sum().backward()
    net(y).sum().backward()
    assert torch.allclose(x.grad, y.grad, atol=1e-6)
    # not declared, and rightly so: hooks on its modules never fire and it cannot train
    fired = []
    for name, module in subject.model.network.program.named_modules():
        if name and name != "_guards_fn":
            module.register_forward_hook(lambda *a: fired.append(1))
    subject.model(inputs)
    assert fired == []
    with pytest.raises(ModelError, match="can be trained"):
        subject.model.train()
    subject.model.eval()
    assert not any(m.training for m in subject.model.modules())


def test_two_inputs_are_refused(tmp_path):
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    torch.export.save(torch.export.export(Two(), (torch.zeros(2, 3), torch.zeros(2, 3))), tmp_path / "m.pt2")
    with pytest.raises(ModelError, match="one input, found 2"):
        audit.load(tmp_path / "m.pt2", classes=CLASSES, modality="tabular")


# ------------------------------------------------------------------------------------------------------- the doors


def edit(change):
    """A member rewrite that changes a JSON document."""

    def rewrite(content):
        document = json.loads(content)
        change(document)
        return json.dumps(document)

    return rewrite


def graph(document):
    return document["graph_module"]["graph"]


def code(marker):
    return f"__import__('os').mkdir({str(marker)!r})"


def sample_inputs(marker, bad):
    return {"sample_inputs/model.pt": bad}, {}


def pickled_weight(marker, bad):
    def change(document):
        next(iter(document["config"].values()))["use_pickle"] = True

    return {"model_weights_config.json": edit(change), "weights/weight_0": bad}, {}


def legacy_weights(marker, bad):
    return {}, {"data/weights/model.pt": bad}


def legacy_constants(marker, bad):
    return {}, {"data/constants/model.pt": bad}


def opaque_constant(marker, bad):
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    import pickle

    from tests.loading.conftest import Payload

    changes = {"model_constants_config.json": edit(lambda d: d["config"].update(x=entry))}
    return changes, {"data/constants/opaque_obj_0": pickle.dumps(Payload(marker))}


def size_expression(marker, bad):
    def change(document):
        for meta in graph(document)["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code(marker)

    return {"models/model.json": edit(change)}, {}


def operation(marker, bad):
    def change(document):
        node = graph(document)["nodes"][0]
        node["target"] = "torch.os.mkdir"
        node["inputs"] = [{"name": "path", "arg": {"as_string": str(marker)}, "kind": 1}]

    return {"models/model.json": edit(change)}, {}


def node_name(marker, bad):
    def change(document):
        old, new = graph(document)["nodes"][0]["name"], f"x = {code(marker)} #"
        text = json.dumps(document).replace(json.dumps(old), json.dumps(new))
        document.clear()
        document.update(json.loads(text))

    return {"models/model.json": edit(change)}, {}


def guard(marker, bad):
    return {"models/model.json": edit(lambda d: d.update(guards_code=[f"{code(marker)} is None"]))}, {}


def tree(marker, bad):
    def change(document):
        signature = document["graph_module"]["module_call_graph"][0]["signature"]
        spec = json.loads(signature["in_spec"])
        spec[1]["children_spec"][0]["type"] = "collections.defaultdict"
        spec[1]["children_spec"][0]["context"] = json.dumps(
            {"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}
        )
        signature["in_spec"] = json.dumps(spec)

    return {"models/model.json": edit(change)}, {}


DOORS = [
    sample_inputs, pickled_weight, legacy_weights, legacy_constants, opaque_constant, size_expression, operation,
    node_name, guard, tree,
]  # fmt: skip
#: what is simply left behind, so that the rest loads
DROPPED = {sample_inputs, guard}


@pytest.fixture
def attacked(exported, net, rewritten, tmp_path, marker, payload, saved):
    def attack(door):
        changes, extra = door(marker, saved({"x": payload}))
        return rewritten(exported(net, torch.zeros(2, 4)), tmp_path / "bad.pt2", changes, extra)

    return attack


@pytest.mark.parametrize("door", DOORS)
def test_no_door_lets_code_in(attacked, door, marker, inputs, net):
    path = attacked(door)
    if door in DROPPED:
        subject = audit.load(path, classes=CLASSES, device="cpu")
        assert torch.allclose(subject.predict(inputs), net(inputs).detach(), atol=1e-6)
    else:
        with pytest.raises(ModelError, match=r"^Expected .*, found .*; try .*\.$") as refusal:
            audit.load(path, classes=CLASSES, modality="tabular", device="cpu")
        assert "\n" not in str(refusal.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "door", [sample_inputs, pickled_weight, legacy_weights, legacy_constants, opaque_constant, size_expression]
)
def test_the_attack_is_real(attacked, door, marker, inputs):
    """torch itself runs it: the test above tests something."""
    path = attacked(door)
    with suppress(Exception):
        torch.export.load(path).module()(inputs)
    assert marker.exists()


def test_trusted_archives_go_to_torch_as_they_are(attacked, exported, marker, net, inputs):
    subject = audit.load(exported(net, torch.zeros(2, 4)), classes=CLASSES, device="cpu", trust_pickle=True)
    assert torch.allclose(subject.predict(inputs), net(inputs).detach(), atol=1e-6)
    with pytest.raises(ModelError, match="damaged"):  # these sample inputs are none
        audit.load(attacked(sample_inputs), classes=CLASSES, device="cpu", trust_pickle=True)
    assert marker.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_cannot_fool_the_vetting(exported, net, tmp_path, marker, payload, saved):
    """zip readers differ in which of them they take; what is vetted here is what torch reads."""
    path = exported(net, torch.zeros(2, 4))
    bad = saved({"x": payload})
    for order in (0, 1):
        target = tmp_path / "two.pt2"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
            for item in old.infolist():
                contents = [old.read(item)]
                if item.filename.endswith("sample_inputs/model.pt"):
                    contents.insert(order, bad)
                for content in contents:
                    new.writestr(item.filename, content)
        with suppress(ModelError):
            audit.load(target, classes=CLASSES, device="cpu")
        assert not marker.exists()


def test_compiled_libraries_are_refused(exported, net, rewritten, tmp_path):
    path = rewritten(
        exported(net, torch.zeros(2, 4)),
        tmp_path / "bad.pt2",
        {"models/model.json": None},
        {"data/aotinductor/model/x.so": b"\x7fELF"},
    )
    with pytest.raises(ModelError, match="compiled library"):
        audit.load(path, classes=CLASSES, modality="tabular")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"graph_module": 3}', b"\xff\xfe"])
def test_a_damaged_program_is_one_sentence(exported, net, rewritten, tmp_path, content):
    path = rewritten(exported(net, torch.zeros(2, 4)), tmp_path / "bad.pt2", {"models/model.json": content})
    with pytest.raises(ModelError, match=r"damaged \(.*; try saving it again\.$"):
        audit.load(path, classes=CLASSES, modality="tabular")


def test_the_bundled_program_gives_the_scores_of_its_weights():
    folder = Path(__file__).parents[2] / "examples" / "fashion"
    options = {"mean": [0.286], "std": [0.353], "classes": [str(i) for i in range(10)], "device": "cpu"}
    program = audit.load(folder / "model.pt2", **options)
    weights = audit.load(folder / "model.safetensors", factory="model:build", root=folder, **options)
    x = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(program.predict(x), weights.predict(x), atol=1e-4)
