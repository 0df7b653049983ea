"""How much memory a prediction needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.cost._measure import (
    Workload,
    best_batch,
    circumstances,
    memory_method,
    peak_bytes,
    sweep,
    threads,
    workload,
)
from reports.record import Bar, Bars, Measured, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Memory(Check):
    """Peak memory of a prediction.

    What it measures:
        The most bytes the forward pass holds at once for its intermediate results, at batch size 1 and at the batch
        with the best throughput, and the same with the weights and buffers added.
    Why it matters:
        The peak, not the size of the checkpoint, decides whether a model fits on a device, and how many copies or how
        large a batch fit beside it.
    How to read it:
        The total is what the device must have free for the model and one call; the runtime itself (Python, torch, the
        CUDA context) needs some hundred MB on top. Intermediate results grow with the batch, weights do not.

    References:
        None; on CUDA the allocator's own peak, elsewhere the tensors alive at once, without an operator's scratch space.
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"seconds": 1.0},
    }

    #: spent on finding the batch with the best throughput
    seconds: float = 3.0
    largest_batch: int = 1024
    #: of the processor; 0 takes as many as torch would. One is what a busy server gives a request, and repeats best
    threads: int = 1

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        with threads(self.threads):
            return self._run(subject, workload(subject, data))

    def _run(self, subject: Subject, work: Workload) -> Measured:
        best = best_batch(sweep(work, self.seconds, self.largest_batch))
        tensors = [*subject.model.parameters(), *subject.model.buffers()]
        held = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
        method = memory_method(work.device)
        estimates, rows, bars = {}, [], [Bar(label="weights and buffers", value=held)]
        for name, size in {"1": 1, "best": best}.items():
            peak = peak_bytes(work.forward(size), work.device) / 1e6
            activations = statistics.exact(peak, 1, "MB", method)
            total = statistics.exact(peak + held, 1, "MB", method)
            estimates[f"activations@batch={name}"] = activations
            estimates[f"total@batch={name}"] = total
            rows.append((size, activations, total))
            bars.append(Bar(label=f"intermediate results, batch of {size}", value=peak))
        return Measured(
            estimates=estimates,
            headline=("total@batch=1", "total@batch=best"),
            tables=(
                Table(
                    title="Peak memory by batch size",
                    columns=("batch size", "intermediate results", "with weights and buffers"),
                    rows=tuple(rows),
                ),
            ),
            figures=(Bars(title="What takes the memory", x_title="MB", bars=tuple(bars)),),
            notes=(circumstances(work), f"Measured as the {method}; the inputs themselves are not counted."),
        )
