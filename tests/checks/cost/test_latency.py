"""Times of models that sleep for a known while."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.cost._measure import best_batch, peak_bytes, seconds, sweep, throughput, workload
from audit.checks.cost.latency import Latency
from reports.record import Estimate

RNG = np.random.default_rng(0)
CPU = torch.device("cpu")


class Sleeper(nn.Module):
    """Takes `fixed` seconds a call and `each` seconds an input."""

    def __init__(self, fixed: float, each: float):
        super().__init__()
        self.fixed, self.each = fixed, each
        self.calls: list[int] = []

    def forward(self, x):
        self.calls.append(len(x))
        time.sleep(self.fixed + self.each * len(x))
        return x


def test_latency_is_the_time_it_takes(pair):
    found = Latency(seconds=0.4, largest_batch=4).run(*pair(Sleeper(0.01, 0.0), (2,)), RNG)
    p50, p95 = found.estimates["latency_p50"], found.estimates["latency_p95"]
    assert 10 <= p50.value <= p95.value  # sleeping longer than asked is the machine's right, shorter is not
    assert p50.low >= 10
    assert p50.unit == "ms"


def test_throughput_grows_with_the_batch_when_the_cost_is_fixed(pair):
    found = Latency(seconds=0.6, largest_batch=8).run(*pair(Sleeper(0.01, 0.0), (2,)), RNG)
    e = found.estimates
    assert e["best_batch"].value == 8
    assert e["throughput"].value > 3 * e["throughput@batch=1"].value
    assert e["throughput"].high <= 8 / 0.01
    assert [point.x for point in found.figures[0].points] == [1, 2, 4, 8]


def test_the_sweep_ends_when_nothing_is_gained(pair):
    model = Sleeper(0.0, 0.002)
    work = workload(*pair(model, (2,)))
    sweep(work, budget=12.0, largest=1 << 20)
    assert max(model.calls) <= 64  # by the third stalled doubling; noise may grant a few more


def test_the_sweep_ends_when_the_time_is_spent(pair):
    model = Sleeper(0.02, 0.02)
    start = time.perf_counter()
    rates = sweep(workload(*pair(model, (2,))), budget=0.3, largest=1 << 20)
    assert next(iter(rates)) == 1
    assert time.perf_counter() - start < 3


def test_out_of_memory_ends_the_sweep(pair):
    class Small(nn.Module):
        def forward(self, x):
            if len(x) > 4:
                raise torch.OutOfMemoryError("no room")
            return x

    assert max(sweep(workload(*pair(Small(), (2,))), budget=2.0, largest=64)) <= 4


def test_calls_stay_within_budget_and_number():
    assert len(seconds(lambda: time.sleep(0.001), CPU, budget=10, most=7)) == 7
    assert len(seconds(lambda: time.sleep(0.05), CPU, budget=0.01, most=100, least=3)) == 3


def test_throughput_turns_the_interval_over():
    found = throughput(np.array([0.1, 0.2, 0.4]), batch=2)
    assert found.value == pytest.approx(2 / 0.2)
    assert (found.low, found.high) == (pytest.approx(2 / 0.4), pytest.approx(2 / 0.1))


def test_the_best_batch_is_the_smallest_of_the_fast():
    def rate(value: float) -> Estimate:
        return Estimate(value=value, low=value, high=value, n=1, method="made up")

    assert best_batch({1: rate(10), 2: rate(19.8), 4: rate(20), 8: rate(5)}) == 2


def test_batches_are_rows_of_the_data_again_and_again(pair):
    seen: list[torch.Tensor] = []

    class Keeper(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x

    subject, data = pair(Keeper(), (2,))
    workload(subject, data).forward(19)()
    assert torch.equal(seen[0], torch.cat([data.inputs, data.inputs, data.inputs[:3]]))


def test_texts_have_the_median_length_and_no_padding(text_pair):
    subject, data = text_pair
    workload(subject, data).forward(5)()
    assert subject.text.seen == [(5, 3)]


@pytest.mark.parametrize("batch", [1, 16])
def test_peak_memory_of_a_chain(pair, batch):
    # layer by layer, input and output of one layer are alive together: 100 and 50 values, then 50 and 200
    model = nn.Sequential(nn.Linear(10, 100), nn.Linear(100, 50), nn.Linear(50, 200))
    work = workload(*pair(model, (10,)))
    assert peak_bytes(work.forward(batch), CPU) == 4 * (50 + 200) * batch


def test_views_and_in_place_work_cost_no_memory():
    x = torch.ones(1000)
    assert peak_bytes(lambda: x.view(10, 100).t(), CPU) == 0
    assert peak_bytes(lambda: x.add_(1), CPU) == 0
    assert peak_bytes(lambda: [torch.zeros(1000) for _ in range(5)], CPU) == 5 * 4000


@pytest.mark.parametrize(("asked", "seen"), [(1, {1}), (2, {2}), (0, {3})])
def test_threads_are_as_asked_inside_and_as_before_afterwards(pair, asked, seen):
    torch.set_num_threads(3)
    counts: set[int] = set()

    class Counter(nn.Module):
        def forward(self, x):
            counts.add(torch.get_num_threads())
            return x

    found = Latency(seconds=0.05, largest_batch=2, threads=asked).run(*pair(Counter(), (2,)), RNG)
    assert counts == seen
    assert torch.get_num_threads() == 3
    assert f"with {min(seen)} thread" in found.notes[0]
