"""Concept sensitivity: closed forms, a slow plain re-implementation, captum, false alarms, hygiene."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audit.explainers import activations, concepts
from audit.explainers.activations import Layers

WIDTH = 6


def rows(n: int, seed: int = 0) -> Tensor:
    """Normal columns, the first two of them signs."""
    x = torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))
    x[:, :2] = torch.where(x[:, :2] > 0, 1.0, -1.0)
    return x


class Net(nn.Module):
    """Two hidden layers; the middle one returns a tuple, and what follows writes into its input."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            return self.inner(x), "state"

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first, self.pair, self.last = nn.Linear(WIDTH, 8), self.Pair(), nn.Linear(8, 3)
        self.tanh = nn.Tanh()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.pair(self.tanh(self.first(x)))
        return self.last(found.sigmoid_())


class Linear(nn.Module):
    """A layer that copies the input, and scores (0, w · x)."""

    def __init__(self, weight: list[float]) -> None:
        super().__init__()
        self.copy = nn.Identity()
        self.register_buffer("weight", torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        score = self.copy(x) @ self.weight
        return torch.stack([torch.zeros_like(score), score], dim=1)


def test_a_linear_model_by_hand():
    x, inputs = rows(200), rows(50, seed=1)
    member = x[:, 0] > 0
    (up,) = concepts(Linear([2.0, 0, 0, 0, 0, 0]), ["copy"], {"c": member}, x, inputs, 1)
    assert up.effect == pytest.approx(4.0, rel=1e-5)  # from -1 to 1, times 2
    assert up.share == up.low == up.high == 1.0
    assert up.p == pytest.approx(1 / 1000)
    assert up.accuracy == 1 and up.accuracy_low > 0.95
    (down,) = concepts(Linear([-2.0, 0, 0, 0, 0, 0]), ["copy"], {"c": member}, x, inputs, 1)
    assert down.share == 0 and down.effect == pytest.approx(-4.0, rel=1e-5)


def test_equals_a_slow_plain_reimplementation():
    model, x, inputs = Net().eval(), rows(80), rows(30, seed=1)
    goal = torch.arange(30) % 3
    member = (x[:, 0] + 0.3 * x[:, 2]) > 0
    found = {s.layer: s for s in concepts(model, ["first", "pair"], {"c": member}, x, inputs, goal)}

    def after_first(hidden: Tensor) -> Tensor:
        return after_pair(model.pair(model.tanh(hidden))[0])

    def after_pair(hidden: Tensor) -> Tensor:
        return model.last(hidden.sigmoid())

    with torch.no_grad():
        first = {"x": model.first(x), "inputs": model.first(inputs)}
        pair = {name: model.pair(model.tanh(value))[0] for name, value in first.items()}
    for layer, held, rest in (("first", first, after_first), ("pair", pair, after_pair)):
        vector = held["x"][member].mean(0) - held["x"][~member].mean(0)
        gradients = torch.stack([_gradient(rest, row, c) for row, c in zip(held["inputs"], goal.tolist(), strict=True)])
        slopes = gradients @ vector
        assert found[layer].share == pytest.approx(float((slopes > 0).double().mean()))
        assert found[layer].effect == pytest.approx(float(slopes.mean()), rel=1e-4)
        rng, null = np.random.default_rng(0), []
        for _ in range(400):
            mixed = torch.from_numpy(rng.permuted(member.numpy()))
            other = held["x"][mixed].mean(0) - held["x"][~mixed].mean(0)
            null.append(abs(float((gradients @ other).mean())) >= abs(float(slopes.mean())))
        assert found[layer].p == pytest.approx(np.mean(null), abs=0.06)


def _gradient(rest, row: Tensor, c: int) -> Tensor:
    point = row.clone().requires_grad_(True)
    return torch.autograd.grad(rest(point[None])[0, c], point)[0]


def test_the_share_is_what_captum_finds_with_the_same_vectors(tmp_path):
    from captum.attr import LayerGradientXActivation
    from captum.concept import TCAV, Classifier, Concept

    class Means(Classifier):
        def __init__(self) -> None:
            self.vector = torch.zeros(0)

        def train_and_eval(self, dataloader, **kwargs):
            batches = list(dataloader)
            held, labels = torch.cat([b for b, _ in batches]), torch.cat([label for _, label in batches])
            self.vector = held[labels == 0].mean(0) - held[labels == 1].mean(0)
            return {"accs": torch.tensor(1.0)}

        def weights(self):
            return torch.stack([self.vector, -self.vector])

        def classes(self):
            return [0, 1]

    model, x, inputs = Net().eval(), rows(80), rows(40, seed=1)
    member = x[:, 0] > 0
    sets = [
        Concept(i, name, torch.utils.data.DataLoader(x[part], batch_size=len(x)))
        for i, (name, part) in enumerate((("c", member), ("others", ~member)))
    ]
    peer = TCAV(
        model,
        ["first"],
        model_id="net",
        classifier=Means(),
        layer_attr_method=LayerGradientXActivation(model, None, multiply_by_inputs=False),
        save_path=str(tmp_path),
    )
    theirs = peer.interpret(inputs, [sets], target=2)["0-1"]["first"]["sign_count"]
    (mine,) = concepts(model, ["first"], {"c": member}, x, inputs, 2)
    assert mine.share == pytest.approx(float(theirs[0]))


def test_a_concept_that_is_encoded_but_unused_is_no_false_alarm():
    """Random layers, of which the model reads the direction of the first column alone."""
    alarms, used = [], []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        mix = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
        model = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 2, bias=False))
        with torch.no_grad():
            model[0].weight.copy_(mix)
            model[1].weight.copy_(torch.stack([-mix[:, 0], mix[:, 0]]))
        x, inputs = rows(120, seed=seed), rows(20, seed=1000 + seed)
        unused, read = concepts(
            model, ["0"], {"unused": x[:, 1] > 0, "read": x[:, 0] > 0}, x, inputs, 1, permutations=199, resamples=19
        )
        assert unused.accuracy_low > 0.8
        alarms.append(unused.p < 0.05)
        used.append(read.p < 0.05 and read.adjusted < 0.05)
    assert np.mean(alarms) <= 0.15 and all(used)


def test_a_concept_that_is_not_there_is_undefined():
    x, inputs = rows(200), rows(20, seed=1)
    member = torch.rand(200, generator=torch.Generator().manual_seed(5)) < 0.4
    there, gone = concepts(Net().eval(), ["first"], {"there": x[:, 0] > 0, "gone": member}, x, inputs, 0)
    assert there.defined and not gone.defined
    assert gone.accuracy_low <= 0.5 and np.isnan([gone.share, gone.effect, gone.p, gone.adjusted]).all()
    assert there.adjusted == there.p  # a test that was not made does not count


def test_adjusted_by_holm():
    x, inputs = rows(200), rows(20, seed=1)
    members = {"a": x[:, 0] > 0, "b": x[:, 1] > 0, "c": x[:, 2] > 0.3}
    found = [s for s in concepts(Net().eval(), ["first", "pair"], members, x, inputs, 0) if s.defined]
    order = sorted(found, key=lambda s: s.p)
    expected = np.maximum.accumulate([min(1.0, (len(order) - i) * s.p) for i, s in enumerate(order)])
    assert len(found) > 3
    np.testing.assert_allclose([s.adjusted for s in order], expected)


def test_intervals_of_the_effect_cover_it():
    weight = [1.0, 0.5, -1.0, 0, 0, 0]
    covered = []
    for seed in range(60):
        x, inputs = rows(100, seed), rows(10, seed=1000 + seed)
        (found,) = concepts(
            Linear(weight), ["copy"], {"c": x[:, 0] > 0}, x, inputs, 1, permutations=19, resamples=200, seed=seed
        )
        covered.append(found.effect_low <= 2.0 <= found.effect_high)
    assert 0.86 <= np.mean(covered) <= 1.0


def test_constant_models_and_dead_layers_have_no_sensitivity():
    x, inputs = rows(60), rows(5, seed=1)
    (found,) = concepts(Linear([0.0] * WIDTH), ["copy"], {"c": x[:, 0] > 0}, x, inputs, 1)
    assert not found.defined and np.isnan(found.share) and found.accuracy == 1


@pytest.mark.parametrize("memory", [2**9, 2**12])
def test_memory_does_not_change_what_is_found(monkeypatch, memory):
    x, inputs = rows(40), rows(11, seed=1)
    members = {"a": x[:, 0] > 0, "b": x[:, 1] > 0}
    whole = concepts(Net().eval(), ["first", "pair"], members, x, inputs, 1)
    monkeypatch.setattr(activations, "MEMORY", memory)
    cut = concepts(Net().eval(), ["first", "pair"], members, x, inputs, 1)
    for a, b in zip(whole, cut, strict=True):
        assert a.share == b.share and a.p == b.p
        assert a.effect == pytest.approx(b.effect, rel=1e-4)


def test_a_seed_gives_the_same_and_concepts_do_not_change_each_other():
    x, inputs = rows(60), rows(9, seed=1)
    members = {"a": x[:, 0] > 0, "b": x[:, 1] > 0}
    both = concepts(Net().eval(), ["first"], members, x, inputs, 1, seed=3)
    assert both == concepts(Net().eval(), ["first"], members, x, inputs, 1, seed=3)
    (alone,) = concepts(Net().eval(), ["first"], {"b": members["b"]}, x, inputs, 1, seed=3)
    assert (alone.p, alone.low, alone.accuracy) == (both[1].p, both[1].low, both[1].accuracy)


def test_nothing_is_left_behind():
    model, x, inputs = Net().train(), rows(40), rows(5, seed=1)
    model.pair.eval()
    modes = [m.training for m in model.modules()]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - watched, not used
    concepts(model, ["first", "pair"], {"c": x[:, 0] > 0}, x, inputs, 0)
    with pytest.raises(ValueError, match="targets"):
        concepts(model, ["first"], {"c": x[:, 0] > 0}, x, inputs, 7)
    assert [m.training for m in model.modules()] == modes
    assert all(not m._forward_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002 - watched, not used


def test_recurrent_layers_and_named_tuples():
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x)[0][:, -1])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tagger().eval()
    x = torch.randn(60, 5, 2, generator=torch.Generator().manual_seed(0))
    assert Layers(model, ["lstm"], x[:1]).width == {"lstm": 20}
    (found,) = concepts(model, ["lstm"], {"late": x[:, -1, 0] > 0}, x, x[:9], 0)
    # only the last moment is read, so moving there is all that counts
    assert found.defined and np.isfinite(found.effect)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"layers": ["nowhere"]}, "layers"),
        ({"layers": []}, "layers"),
        ({"concepts": {"c": torch.ones(40, dtype=torch.bool)}}, "concepts"),
        ({"concepts": {"c": torch.ones(40)}}, "concepts"),
        ({"examples": torch.zeros(0, WIDTH)}, "examples"),
        ({"targets": [0, 1]}, "targets"),
        ({"permutations": 3}, "permutations"),
    ],
)
def test_refusals_name_the_argument(change, named):
    x = rows(40)
    arguments = {
        "model": Net().eval(),
        "layers": ["first"],
        "concepts": {"c": x[:, 0] > 0},
        "examples": x,
        "inputs": x[:4],
        "targets": 0,
    } | change
    with pytest.raises(ValueError, match=named):
        concepts(**arguments)


def test_a_layer_that_runs_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return self.same(self.same(x))

    x = rows(40)
    with pytest.raises(ValueError, match="once"):
        concepts(Twice(), ["same"], {"c": x[:, 0] > 0}, x, x[:4], 0)


def test_a_model_may_write_into_its_input():
    class Writes(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(0.5))

    examples, inputs = rows(60), rows(20, seed=1)
    concepts(Writes([1.0] * WIDTH), ["copy"], {"first": examples[:, 0] > 0}, examples, inputs, 1)
    assert torch.equal(examples, rows(60)) and torch.equal(inputs, rows(20, seed=1))
