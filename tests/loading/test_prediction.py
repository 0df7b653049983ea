"""Any number of inputs, in batches that shrink where memory runs out; nothing that is not finite gets through."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audit.errors import ModelError, PlanError
from audit.loading.prediction import Predictor, choose_device, choose_precision
from audit.loading.wrapping import Head, Output, Wrapped

CPU = torch.device("cpu")


def predictor(network, batch_size=4, classes=3, precision=None, output=Output.LOGITS):
    return Predictor(Wrapped(network, Head(output, classes)).eval(), CPU, batch_size, precision)


@pytest.mark.parametrize("n", [0, 1, 4, 5, 11])
def test_batches_change_nothing(net, inputs, n):
    scores = predictor(net)(inputs[:n])
    assert scores.shape == (n, 3)
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    assert torch.allclose(scores, net(inputs[:n]).detach(), atol=1e-6)


def test_scores_may_take_part_in_a_gradient_later(net, inputs):
    weight = torch.ones(3, requires_grad=True)
    (predictor(net)(inputs) * weight).sum().backward()
    assert weight.grad is not None


class Small(nn.Module):
    """Runs out of memory above `room` rows, and keeps a diary."""

    def __init__(self, room, error):
        super().__init__()
        self.room, self.error, self.diary = room, error, []

    def forward(self, x):
        self.diary.append(len(x))
        if len(x) > self.room:
            raise self.error
        return x[:, :3] * 2


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    torch.OutOfMemoryError("no words for it"),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_out_of_memory_halves_the_batch_and_remembers(inputs, error):
    network = Small(3, error)
    run = predictor(network, batch_size=8)
    assert torch.equal(run(inputs), inputs[:, :3] * 2)
    assert network.diary == [8, 4, 2, 2, 2, 2, 2, 1]
    network.diary.clear()
    run(inputs)
    assert network.diary == [2, 2, 2, 2, 2, 1]


def test_a_batch_larger_than_the_data_is_halved_from_the_data(inputs):
    network = Small(5, ERRORS[0])
    predictor(network, batch_size=1000)(inputs)
    assert network.diary == [11, 5, 5, 1]


def test_no_room_for_one(inputs):
    with pytest.raises(ModelError, match=r"memory for one input on cpu.*CUDA out of memory"):
        predictor(Small(0, ERRORS[0]))(inputs)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_outputs_that_are_not_finite_name_the_first_row(bad):
    class Bad(nn.Module):
        def forward(self, x):
            return torch.where(x > 6, bad, x)

    x = torch.arange(10.0)[:, None] + torch.tensor([0.0, -1.0, -2.0])
    assert predictor(Bad())(x[:7]).shape == (7, 3)
    with pytest.raises(ModelError, match=r"^Expected finite outputs, found \[.*\] for input row 7; try .*\.$"):
        predictor(Bad())(x)


def test_a_probability_of_zero_has_a_logarithm(inputs):
    class Certain(nn.Module):
        def forward(self, x):
            return torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(len(x), 3)

    scores = predictor(Certain(), output=Output.LOG_PROBABILITIES)(inputs)
    assert scores.isfinite().all()
    assert (scores.argmax(1) == 1).all()


def test_the_first_batch_is_held_against_the_declaration(inputs):
    with pytest.raises(ModelError, match="try output: probabilities"):
        predictor(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)))(inputs)


@pytest.mark.parametrize(("outputs", "classes"), [(4, 3), (2, 3), (1, 3)])
def test_the_number_of_classes_must_match(inputs, outputs, classes):
    with pytest.raises(ModelError, match=rf"found {outputs} outputs for {classes} classes"):
        predictor(nn.Linear(4, outputs), classes=classes)(inputs)


@pytest.mark.parametrize("shape", [(2, 5), (2,), (2, 1, 28, 28)])
def test_inputs_of_another_shape_are_one_sentence(net, shape):
    with pytest.raises(ModelError) as refusal:
        predictor(net)(torch.zeros(shape))
    said = str(refusal.value)
    assert said.startswith(f"Expected inputs that fit the network, found shape {shape} of torch.float32 (")
    assert "\n" not in said


def test_a_network_that_loses_the_batch_dimension():
    class Squeezes(nn.Linear):
        def forward(self, x):
            return super().forward(x).sum(0)

    with pytest.raises(ModelError, match="found 1 outputs for 3 classes"):
        predictor(Squeezes(4, 3))(torch.zeros(2, 4))
    with pytest.raises(ModelError, match=r"one row of outputs an input, found shape \(2,\) for 4 inputs"):
        predictor(Squeezes(4, 2), classes=2)(torch.zeros(4, 4))


def test_strings_are_refused(net):
    with pytest.raises(ModelError, match="found list"):
        predictor(net)(["a"])


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_mixed_precision_is_near_and_gives_float32(net, inputs, name):
    scores = predictor(net, precision=choose_precision(name))(inputs)
    exact = net(inputs).detach()
    assert scores.dtype == torch.float32
    assert torch.allclose(scores, exact, atol=3e-2)
    assert not torch.equal(scores, exact)  # it was used


def test_options():
    assert choose_precision("float32") is None
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cuda", "mps", "cpu")
    with pytest.raises(PlanError, match="did you mean 'bfloat16'"):
        choose_precision("bfloat")
    with pytest.raises(PlanError, match="found 'gpu'"):
        choose_device("gpu")
    with pytest.raises(PlanError, match="at least 1"):
        predictor(nn.Identity(), batch_size=0)
