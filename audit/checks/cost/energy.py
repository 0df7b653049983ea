"""How much energy predictions take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from audit.check import Check, Effort
from audit.checks.cost._measure import Workload, best_batch, circumstances, sweep, threads, workload
from audit.checks.cost._power import Assumed, meter, rounds
from reports.record import Bar, Bars, Measured, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Energy(Check):
    """Energy of 1,000 predictions.

    What it measures:
        The energy of 1,000 forward passes at batch size 1 and at the batch with the best throughput, in joules. Where
        the machine exposes a meter it is read: the processor's counters (Intel and AMD RAPL) for a model on the CPU, the
        driver's power reading for one on an NVIDIA GPU. Elsewhere the busy time is multiplied by an assumed power,
        and the figure says that it is an estimate.
    Why it matters:
        Energy is what running a model costs for as long as it is used; over its life that usually exceeds the cost of
        training it.
    How to read it:
        3,600 J are 1 Wh, and 3.6 million J are 1 kWh on the bill. A measured figure includes whatever else the chip did
        meanwhile, but neither memory, fans nor the power supply: a whole server takes about twice as much. An
        estimate is good for the order of magnitude: its interval multiplies and divides the assumed power by a
        factor.

    References:
        Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3B, section "Platform specific power
        management support" (RAPL); Strubell et al. 2019 and Henderson et al. 2020 (energy of machine learning).
    """

    efforts: ClassVar[Mapping[Effort, Mapping[str, Any]]] = {
        Effort.QUICK: {"seconds": 1.5},
        Effort.EXHAUSTIVE: {"seconds": 20.0},
    }

    #: spent on each of the two batch sizes and on finding the better one
    seconds: float = 5.0
    largest_batch: int = 1024
    #: of the processor; 0 takes as many as torch would. One is what a busy server gives a request, and repeats best
    threads: int = 1
    #: assumed power of one busy core, where nothing is measured
    watts_per_core: float = 10.0
    #: assumed power of a busy accelerator, where nothing is measured
    watts_accelerator: float = 250.0
    #: the assumed power is taken to be right within this factor
    factor: float = 2.0

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        with threads(self.threads):
            return self._run(workload(subject, data))

    def _run(self, work: Workload) -> Measured:
        best = best_batch(sweep(work, self.seconds / 3, self.largest_batch))
        assumed = Assumed(self.watts_per_core, self.watts_accelerator, self.factor)
        reader = meter(work.device, assumed)
        estimates, rows, bars = {}, [], []
        for name, size in {"1": 1, "best": best}.items():
            energy = rounds(work.forward(size), work.device, reader, size, self.seconds / 3)
            estimates[f"energy@batch={name}"] = energy
            rows.append((size, energy))
            if energy.value is not None:
                bars.append(Bar(label=f"batch of {size}", value=energy.value, low=energy.low, high=energy.high))
        return Measured(
            estimates=estimates,
            headline=("energy@batch=best", "energy@batch=1"),
            tables=(
                Table(
                    title="Energy of 1,000 predictions",
                    columns=("batch size", "energy"),
                    rows=tuple(rows),
                ),
            ),
            figures=(Bars(title="Energy of 1,000 predictions", x_title="J", bars=tuple(bars)),),
            notes=(circumstances(work), reader.how),
        )
