"""What every method makes, written and loaded again: the same scores to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import audit
from audit.loading.processed import around
from audit.mitigation import aim_of, writing
from audit.mitigation.applying import apply
from audit.mitigation.material import gather
from audit.mitigation.methods import NAMES
from audit.mitigation.remedy import Bench
from audit.mitigation.writing import Origin, read, write, write_audit
from audit.plan import read_plan
from audit.setup import subject_and_data


@pytest.fixture
def ready(biased):
    """Origin, material and bench of the table."""

    def make(attribute="sex", **changes):
        biased.change(**changes)
        plan = read_plan(biased.plan)
        subject, data = subject_and_data(plan, biased.folder)
        material = gather(data, attribute, 0.4, 0)
        bench = Bench(
            subject, material.part(material.learn), material.part(material.held), material.levels.names,
            subject.classes, aim_of(plan, material), material.reader, epochs=1,
        )  # fmt: skip
        return Origin(plan, biased.folder, subject), material, bench

    return make


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("attribute", ["sex", "sex x age"])
def test_loaded_again_it_gives_the_same_bits(ready, tmp_path, method, attribute):
    origin, material, bench = ready(attribute)
    remedy = apply(method, bench)
    out = tmp_path / "out"
    name = write(origin, remedy, out)
    data = material.data(remedy.group_at_prediction)
    expected = around(origin.subject, remedy.model).scores(data)
    assert torch.equal(read(origin, out / name).scores(data), expected)
    # and from the plan beside it, whose encoder shows the group where the model reads it
    plan = write_audit(origin, name, material.added, material.attribute, remedy.group_at_prediction, out)
    subject, found = subject_and_data(read_plan(plan), out)
    assert torch.equal(subject.scores(found), expected)
    assert torch.equal(found.inputs, data.inputs)
    assert ("reads a person's" in plan.read_text()) is remedy.group_at_prediction
    # the audited model is as it was
    assert torch.equal(origin.subject.predict(material.own.inputs), origin.subject.scores(material.own))


def test_a_post_processor_knows_its_base_wherever_its_folder_lies(ready, tmp_path):
    origin, material, bench = ready()
    name = write(origin, apply("thresholds", bench), tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    for source in ("toy_network.py", "toy_layers.py", "model.safetensors"):
        (tmp_path / source).unlink()
    subject = audit.load(tmp_path / "elsewhere" / name, device="cpu", factory="toy_network:build")
    assert subject.classes == ("no", "yes")
    assert len(subject.predict(material.wide.inputs)) == 700


def test_new_columns_may_not_be_attacked(ready, tmp_path):
    origin, material, bench = ready(data__immutable=["debt"])
    remedy = apply("thresholds", bench)
    name = write(origin, remedy, tmp_path / "out")
    plan = read_plan(write_audit(origin, name, material.added, "sex", True, tmp_path / "out"))
    assert plan.data.immutable == ["debt", "sex"]
    data = subject_and_data(plan, tmp_path / "out")[1]
    assert [f.name for f in data.features if not f.mutable] == ["debt", "sex"]
    assert (
        plan.model.factory == "toy_network:build"
        and plan.model.classes is None
        and plan.data.encoder == Path(tmp_path / "out" / "encoder.json")
    )


def test_a_feature_that_is_there_is_read_where_it_stands(ready, biased, tmp_path):
    import json

    encoder = json.loads((biased.folder / "encoder.json").read_text())
    encoder["features"][2] = {"name": "sex", "kind": "categorical", "categories": ["f"]}
    (biased.folder / "encoder.json").write_text(json.dumps(encoder))
    origin, material, bench = ready()
    assert material.wide is material.own and material.added == ()
    assert material.reader.places[0].columns == (2,)
    name = write(origin, apply("thresholds", bench), tmp_path / "out")
    write_audit(origin, name, material.added, "sex", True, tmp_path / "out")
    assert not (tmp_path / "out" / "encoder.json").exists()


def test_an_exported_program_gets_a_post_processor(ready, biased, tmp_path):
    network = ready()[0].subject.model.network
    program = torch.export.export(network, (torch.zeros(4, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, biased.folder / "model.pt2")
    origin, material, bench = ready(model__path="model.pt2", model__factory=None)
    remedy = apply("thresholds", bench)
    name = write(origin, remedy, tmp_path / "out")
    assert (tmp_path / "out" / "base.pt2").is_file()
    subject = audit.load(tmp_path / "out" / name, device="cpu")
    assert torch.equal(subject.scores(material.wide), around(origin.subject, remedy.model).scores(material.wide))
    assert subject.capabilities == origin.subject.capabilities


def test_other_outputs_and_normalisation_are_inside(ready, biased, tmp_path):
    source = (biased.folder / "toy_network.py").read_text()
    (biased.folder / "toy_network.py").write_text(source.replace("2))", "2), torch.nn.Softmax(1))"))
    origin, material, bench = ready(model__output="probabilities", model__mean=[0.1], model__std=[1.5])
    remedy = apply("thresholds", bench)
    name = write(origin, remedy, tmp_path / "out")
    subject = audit.load(tmp_path / "out" / name, device="cpu", factory="toy_network:build")
    assert torch.equal(subject.scores(material.wide), around(origin.subject, remedy.model).scores(material.wide))
    moved = subject.scores(material.wide).log_softmax(1) - origin.subject.scores(material.own).log_softmax(1)
    shifts = (moved[:, 1] - moved[:, 0]).numpy()
    groups = material.reader.codes(material.wide.inputs)
    for group in np.unique(groups):
        assert np.ptp(shifts[groups == group]) < 1e-4


def test_what_is_installed_twice_leaves_nothing_behind(tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "model.py").write_text("x = 1\n")
    for _ in range(2):
        writing.install(tmp_path / "from", tmp_path / "to")
    assert [file.name for file in (tmp_path / "to").iterdir()] == ["model.py"]
