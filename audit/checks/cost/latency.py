"""How long a prediction takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit import statistics
from audit.check import Check, Effort
from audit.checks.cost._measure import Workload, best_batch, circumstances, seconds, sweep, threads, workload
from reports.record import Curves, Measured, Point, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Latency(Check):
    """Latency and throughput.

    What it measures:
        The time of one forward pass at batch size 1, on one processor thread or one accelerator: its median (p50) and
        the time that 95 % of the calls stay below (p95). And the predictions a second at growing batch sizes: the batch
        doubles until three doublings in a row bring less than 5 %, or the time is spent. The first calls, which
        warm caches, are left out; on an accelerator the clock is read only when it has finished.
    Why it matters:
        A person waits for the latency; a bill pays for the throughput. A p95 far above the p50 means that some
        requests wait much longer than the average suggests.
    How to read it:
        Compare only figures from the same machine, shown in the notes; other work on that machine slows them down. The
        intervals speak of this run, not of another machine. Reading data and tokenising text come on top.

    References:
        Hahn and Meeker 1991, section 5.2 (intervals of quantiles).
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"seconds": 1.5},
        Effort.EXHAUSTIVE: {"seconds": 20.0, "calls": 5000},
    }

    #: spent on batch size 1, and again on the larger batches
    seconds: float = 5.0
    #: most calls timed at batch size 1
    calls: int = 1000
    largest_batch: int = 1024
    #: of the processor; 0 takes as many as torch would. One is what a busy server gives a request, and repeats best
    threads: int = 1

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        with threads(self.threads):
            return self._run(workload(subject, data))

    def _run(self, work: Workload) -> Measured:
        single = seconds(work.forward(1), work.device, self.seconds, self.calls) * 1e3
        rates = sweep(work, self.seconds, self.largest_batch)
        best = best_batch(rates)
        return Measured(
            estimates={
                "latency_p50": statistics.quantile(single, 0.5, "ms"),
                "latency_p95": statistics.quantile(single, 0.95, "ms"),
                "throughput": rates[best],
                "throughput@batch=1": rates[1],
                "best_batch": statistics.exact(best, len(rates), "inputs", "smallest batch within 5 % of the fastest"),
            },
            headline=("latency_p50", "latency_p95", "throughput"),
            tables=(
                Table(
                    title="Throughput by batch size",
                    columns=("batch size", "predictions/s"),
                    rows=tuple(rates.items()),
                ),
            ),
            figures=(
                Curves(
                    title="Throughput by batch size",
                    x_title="batch size",
                    y_title="predictions/s",
                    points=tuple(
                        Point(x=size, y=rate.value, low=rate.low, high=rate.high)
                        for size, rate in rates.items()
                        if rate.value is not None
                    ),
                ),
            ),
            notes=(circumstances(work), f"{len(single)} calls at batch size 1 after the warm-up."),
        )
