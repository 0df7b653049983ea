"""What the cost checks share: typical inputs in batches of any size, timing, peak memory, the best batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.subject import Encoded, Subject
from reports.record import Estimate

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from audit.datasets import Dataset

Forward = Callable[[], object]

#: texts looked at to find the median length
LENGTH_SAMPLE = 256
#: a doubled batch must raise throughput by this share to count as faster
GAIN = 0.05


@dataclass(frozen=True)
class Workload:
    """Forward passes over typical inputs.

    Attributes:
        forward: batch size -> a function that runs the model once on a batch already on the device.
        typical: what one input is, in words.
        device: where the model runs.
    """

    forward: Callable[[int], Forward]
    typical: str
    device: torch.device


def workload(subject: Subject, data: Dataset) -> Workload:
    """Prepare forward passes: rows of the data in order, or, for text, one text of the median length, repeated."""
    import torch

    if subject.text is not None:
        return _text_workload(subject, data)
    inputs = data.inputs
    assert isinstance(inputs, torch.Tensor)

    def forward(size: int) -> Forward:
        batch = inputs[torch.arange(size) % len(inputs)].to(subject.device)

        def once() -> object:
            with torch.no_grad():
                return subject.model(batch)

        return once

    shape = " x ".join(str(side) for side in inputs.shape[1:])
    return Workload(forward, f"one input of {shape} values", subject.device)


def _text_workload(subject: Subject, data: Dataset) -> Workload:
    text, inputs = subject.text, data.inputs
    assert text is not None and isinstance(inputs, list)
    encoded = text.encode(inputs[:LENGTH_SAMPLE])
    lengths = encoded.mask.sum(1)
    row = int(lengths.argsort()[len(lengths) // 2])
    length = int(lengths[row])
    kept = encoded.mask[row].bool()  # padding may stand on either side
    ids, mask = encoded.ids[row : row + 1, kept], encoded.mask[row : row + 1, kept]

    def forward(size: int) -> Forward:
        batch = Encoded(ids.repeat(size, 1), mask.repeat(size, 1))
        return lambda: text.from_ids(batch)

    return Workload(forward, f"one text of the median length, {length} tokens, already tokenised", subject.device)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch use so many threads of the processor inside, and as many as before afterwards; 0 changes nothing.

    Measured on two busy cores: with two threads that wait for each other a call of 0.5 ms takes over 100 ms.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def seconds(forward: Forward, device: torch.device, budget: float, most: int, least: int = 3) -> NDArray[np.float64]:
    """Wall-clock seconds of repeated calls, after a warm-up of up to three calls or a third of the budget.

    Args:
        forward: what to time.
        device: where it runs; waited for before each reading of the clock.
        budget: seconds to spend, exceeded only to reach `least` calls.
        most: most calls to time.
        least: fewest calls to time.
    """
    timed(forward, device, budget / 3, most=3, least=1)
    return timed(forward, device, budget, most, least)


def timed(forward: Forward, device: torch.device, budget: float, most: int, least: int) -> NDArray[np.float64]:
    """`seconds` without a warm-up."""
    synchronise(device)
    taken: list[float] = []
    end = time.perf_counter() + budget
    while len(taken) < most and (len(taken) < least or time.perf_counter() < end):
        start = time.perf_counter()
        forward()
        synchronise(device)
        taken.append(time.perf_counter() - start)
    return np.array(taken)


def throughput(taken: NDArray[np.float64], batch: int) -> Estimate:
    """Predictions a second from the median time of a batch; its interval is that of the median, turned over."""
    median = statistics.quantile(taken, 0.5)
    assert median.value and median.low and median.high
    return Estimate(
        value=batch / median.value,
        low=batch / median.high,
        high=batch / median.low,
        n=median.n,
        method=f"batch of {batch} over the median time, {median.method}",
        unit="predictions/s",
    )


def sweep(work: Workload, budget: float, largest: int) -> dict[int, Estimate]:
    """Throughput at batch sizes 1, 2, 4, ... until three doublings in a row stay below the best by `GAIN`.

    Ends earlier at `largest`, at half of the free memory, or when the time left would not do for the next size.
    """
    import psutil
    import torch

    found: dict[int, Estimate] = {}
    best, stalled, size, next_call = 0.0, 0, 1, 0.0
    end = time.perf_counter() + budget
    bytes_each = max(peak_bytes(work.forward(1), work.device), 1)
    fits = psutil.virtual_memory().available // 2 // bytes_each if work.device.type == "cpu" else largest
    while size <= max(min(largest, fits), 1) and stalled < 3:
        if found and time.perf_counter() + 4 * next_call > end:  # three timed calls and one to warm up
            break
        try:
            taken = seconds(work.forward(size), work.device, budget / 12, most=100)
        except torch.OutOfMemoryError:
            break
        found[size] = throughput(taken, size)
        rate = found[size].value or 0.0
        stalled = 0 if rate > best * (1 + GAIN) else stalled + 1
        best, next_call, size = max(best, rate), 2 * float(np.median(taken)), 2 * size
    return found


def best_batch(rates: dict[int, Estimate]) -> int:
    """The smallest batch within `GAIN` of the highest throughput."""
    top = max(rate.value or 0.0 for rate in rates.values())
    return min(size for size, rate in rates.items() if (rate.value or 0.0) * (1 + GAIN) >= top)


def peak_bytes(forward: Forward, device: torch.device) -> int:
    """Most bytes held at once by what one call allocates, on top of what was held before; see `memory_method`."""
    import torch

    from audit.checks.cost import _tensors

    forward()  # first calls allocate what later ones reuse
    if device.type != "cuda":
        return _tensors.peak(forward)
    synchronise(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    forward()
    synchronise(device)
    return torch.cuda.max_memory_allocated(device) - before


def memory_method(device: torch.device) -> str:
    """How `peak_bytes` measures on this device."""
    return "peak of the CUDA allocator" if device.type == "cuda" else "peak of the live tensors"


def circumstances(work: Workload) -> str:
    """Where and on what was measured, and how busy the machine was with other things, for a note."""
    import psutil
    import torch

    number = torch.get_num_threads()
    own = f" with {number} thread{'s' if number > 1 else ''}" if work.device.type == "cpu" else ""
    name = torch.cuda.get_device_name(work.device) if work.device.type == "cuda" else work.device.type.upper()
    load = f"{psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores"
    return f"Measured on {name}{own}, on {work.typical}; the machine's load over the last minute was {load}."
