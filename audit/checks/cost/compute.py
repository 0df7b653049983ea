"""How many operations one prediction takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit import statistics
from audit.check import Check
from audit.checks.cost._measure import peak_bytes, workload
from reports.record import Bar, Bars, Measured, Table

if TYPE_CHECKING:
    from audit.datasets import Dataset
    from audit.subject import Subject


@dataclass(frozen=True)
class Compute(Check):
    """Operations in one prediction.

    What it measures:
        Floating-point operations of one forward pass at batch size 1: two for each multiply-add of a matrix product,
        convolution or attention, counted from the shapes that really occur. Element-wise work (activations,
        normalisation, pooling, softmax) is not counted. Also the operations for each byte of weights and
        activations touched.
    Why it matters:
        Operations do not depend on the machine, so they compare models where times cannot, and they bound the energy
        a prediction needs.
    How to read it:
        For images and tables every input costs the same; for text the figure is for a text of the median length,
        and attention grows with the square of the length. A prediction with fewer than about ten operations a byte is
        limited by memory, not arithmetic: larger batches help it more than a faster processor does.

    References:
        Williams et al. 2009 (operations a byte, the roofline); torch.utils.flop_counter (the counting).
    """

    operators: int = 10

    def run(self, subject: Subject, data: Dataset, rng: np.random.Generator) -> Measured:
        """See the class."""
        from audit.checks.cost._operators import count

        work = workload(subject, data)
        forward = work.forward(1)
        counts, uncounted = count(forward, subject.model)
        total = sum(counts.values())
        tensors = [*subject.model.parameters(), *subject.model.buffers()]
        touched = sum(t.numel() * t.element_size() for t in tensors) + peak_bytes(forward, work.device)
        method = "counted from operator shapes"
        names = ", ".join(sorted(uncounted))
        if uncounted:
            reason = f"the counter has no formula for {names}"
            flops = statistics.undefined(reason, unit="FLOP/prediction")
            intensity = statistics.undefined(reason, unit="FLOP/byte")
        else:
            flops = statistics.exact(total, 1, "FLOP/prediction", method)
            intensity = statistics.exact(total / max(touched, 1), 1, "FLOP/byte", method)
        ranked = sorted(counts.items(), key=lambda item: -item[1])[: self.operators]
        return Measured(
            estimates={"flops": flops, "flops_per_byte": intensity},
            headline=("flops",),
            tables=(
                Table(
                    title="Operations by operator",
                    columns=("operator", "FLOP", "share"),
                    rows=tuple((name, count, f"{count / total:.1%}") for name, count in ranked if total),
                ),
            ),
            figures=(
                Bars(
                    title="Which operators do the work",
                    x_title="share of all operations",
                    bars=tuple(Bar(label=name, value=count / total) for name, count in ranked),
                    percent=True,
                ),
            )
            if total
            else (),
            notes=(
                f"Counted on {work.typical}, at batch size 1.",
                "Matrix products, convolutions and attention are counted exactly; element-wise work is left out.",
            ),
        )
