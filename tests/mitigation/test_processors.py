import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attacks import Threat, pgd
from audit import explainers
from audit.errors import ModelError
from audit.loading.wrapping import Head, Output, Wrapped
from audit.mitigation.processors import Mixture, Place, Reader, attach
from audit.mitigation.remedy import Processor
from tests.mitigation.biased import subject

READER = Reader(3, (Place("sex", (3, 4)),), (0, 1, 2), 2)


def net(inputs=3, classes=3, seed=0):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, classes))


def rows(n=12, width=3, seed=1):
    x = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return torch.cat([x, F.one_hot(torch.arange(n) % 2, 2).float()], 1)


def grouped(classes=3):
    return Processor(
        "grouped",
        {"reader": READER.plain(), "classes": classes, "favourable": 1},
        {"scale": torch.tensor([2.0, 0.5, 1.0]), "shift": torch.tensor([0.3, -0.7, 0.1])},
    )


def mixture(classes=3, favourable=1, heads=3):
    g = torch.Generator().manual_seed(5)
    return Processor(
        "mixture",
        {"layer": "2", "favourable": favourable},
        {
            "weight": torch.randn(heads, 8, generator=g),
            "bias": torch.randn(heads, generator=g),
            "mix": torch.tensor([0.5, 0.3, 0.2])[:heads],
        },
    )


def decorrelated():
    return Processor(
        "decorrelated",
        {"reader": READER.plain(), "classes": 3},
        {
            "moves": torch.tensor([[0.5, 0.0, 0.0], [-0.5, 0.2, 0.0], [0.0, 0.0, 0.0]]),
            "fill": torch.tensor([0.0, 0.0, 0.25]),
            "own": torch.tensor([0.0, 0.0, 1.0]),
        },
    )


def test_grouped_moves_log_odds_by_scale_and_shift():
    base, x = subject(net(), 3).model, rows()
    before, after = base(x[:, :3]), attach(grouped(), base)(x)
    odds = lambda s: s[:, 1:2] - s[:, [0, 2]]  # noqa: E731
    scale, shift = torch.tensor([2.0, 0.5])[torch.arange(12) % 2], torch.tensor([0.3, -0.7])[torch.arange(12) % 2]
    assert torch.allclose(odds(after), scale[:, None] * odds(before) + shift[:, None], atol=1e-5)


def test_a_row_of_no_known_group_gets_the_last_line():
    base, x = subject(net(), 3).model, rows()
    x[:, 3:] = 0
    before, after = base(x[:, :3]), attach(grouped(), base)(x)
    assert torch.allclose(after[:, 1] - after[:, 0], before[:, 1] - before[:, 0] + 0.1, atol=1e-5)


@pytest.mark.parametrize("favourable", [0, 1, 2])
def test_mixture_predicts_where_the_mean_probability_passes_a_half(favourable):
    base, x = subject(net(), 3).model, rows(200)[:, :3]
    said, parts = mixture(favourable=favourable), mixture().tensors
    out = attach(said, base)(x)
    embedding = base.network[:2](x)
    p = (torch.sigmoid(embedding @ parts["weight"].T + parts["bias"]) * parts["mix"]).sum(1)
    assert ((out.argmax(1) == favourable) == (p > 0.5)).all() and 0 < (p > 0.5).sum() < 200
    others = [k for k in range(3) if k != favourable]
    assert torch.equal(out[:, others], base(x)[:, others])
    ahead = out[:, favourable] - out[:, others].amax(1)
    assert torch.allclose(torch.sigmoid(ahead), p, atol=1e-6)


@pytest.mark.parametrize("favourable", [0, 1])
def test_mixture_of_a_single_output(favourable):
    network = net(classes=1)
    base = Wrapped(network, Head(Output.LOGITS, 2)).eval()
    x, parts = rows(50)[:, :3], mixture().tensors
    p = (torch.sigmoid(network[:2](x) @ parts["weight"].T + parts["bias"]) * parts["mix"]).sum(1)
    out = attach(mixture(favourable=favourable), base)(x).softmax(1)[:, favourable]
    assert torch.allclose(out, p, atol=1e-6)


def test_mixture_holds_where_probabilities_are_none_or_all():
    layer = Mixture(nn.Linear(1, 2), 1, torch.tensor([[1.0], [1.0]]), torch.zeros(2), torch.tensor([0.9, 0.1]))
    far = torch.tensor([[-500.0], [500.0]], requires_grad=True)
    out = layer(far)
    out.sum().backward()
    assert out.isfinite().all() and far.grad.isfinite().all()


def test_decorrelated_moves_inputs_before_the_model():
    base, x = subject(net(), 3).model, rows()
    moved = x[:, :3].clone()
    moved[0::2, 0] -= 0.5
    moved[1::2] -= torch.tensor([-0.5, 0.2, 0.0])
    moved[:, 2] = 0.25
    assert torch.allclose(attach(decorrelated(), base)(x).softmax(1), base(moved).softmax(1), atol=1e-6)


@pytest.mark.parametrize("make", [grouped, mixture, decorrelated])
def test_round_trip_through_json_and_tensors_is_exact(make, tmp_path):
    from safetensors.torch import load_file, save_file

    base, x, said = subject(net(), 3).model, rows(), make()
    x = x[:, :3] if said.kind == "mixture" else x
    save_file(dict(said.tensors), tmp_path / "t.safetensors")
    again = Processor(said.kind, json.loads(json.dumps(said.settings)), load_file(tmp_path / "t.safetensors"))
    assert torch.equal(attach(again, base)(x), attach(said, base)(x))


@pytest.mark.parametrize("make", [grouped, mixture, decorrelated])
def test_the_model_itself_stays_as_it_was(make):
    base, x = subject(net(), 3).model, rows()[:, :3]
    before = base(x)
    made = attach(make(), base)
    assert torch.equal(base(x), before) and isinstance(made, Wrapped)
    assert not made.training and not any(w.requires_grad for w in made.parameters())


@pytest.mark.parametrize("make", [grouped, mixture, decorrelated])
def test_attacks_and_explanations_run_on_it(make):
    said = make()
    x = rows() if said.kind != "mixture" else rows()[:, :3]
    model = attach(said, subject(net(), 3).model)
    labels = model(x).argmax(1)
    mutable = torch.arange(x.shape[1]) < 3
    moved = pgd(model, x, labels, Threat("linf", 1.0, (-9.0, 9.0), mutable), steps=5, seed=0)
    assert (model(moved).argmax(1) != labels).any() and torch.equal(moved[:, 3:], x[:, 3:])
    found = explainers.integrated_gradients(model, x, x.mean(0, keepdim=True).expand_as(x), labels)
    assert found.values.isfinite().all()


def test_the_group_is_given_its_share_of_an_explanation():
    model = attach(grouped(2), subject(net(classes=2)).model)
    x = rows()[:2]
    swapped = x.clone()
    swapped[:, 3:] = swapped[:, 3:].flip(1)
    found = explainers.integrated_gradients(model, x, swapped, torch.tensor([1, 1])).values
    assert found[:, :3].abs().max() < 1e-6 and found[:, 3:].abs().sum() > 0.1


def test_nothing_said_is_a_copy():
    base, x = subject(net(), 3).model, rows()[:, :3]
    made = attach(None, base)
    assert made is not base and torch.equal(made(x), base(x))


def test_what_does_not_fit_is_refused():
    base = subject(net(), 3).model
    with pytest.raises(ModelError, match=r"kind of post-processor, found 'groupd'; did you mean 'grouped'"):
        attach(Processor("groupd", {}, {}), base)
    with pytest.raises(ModelError, match=r"settings and tensors of a grouped.*'reader'"):
        attach(Processor("grouped", {}, {}), base)
    with pytest.raises(ModelError, match=r"tensors of shapes .*scale"):
        attach(Processor("grouped", grouped().settings, {"shift": torch.zeros(3)}), base)
    with pytest.raises(ModelError, match=r"linear layer of 8 inputs called '1' in the model, found Tanh"):
        attach(Processor("mixture", {"layer": "1", "favourable": 1}, mixture().tensors), base)
    with pytest.raises(ModelError, match=r"called '7' in the model, found None"):
        attach(Processor("mixture", {"layer": "7", "favourable": 1}, mixture().tensors), base)
