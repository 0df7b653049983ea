"""One method at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.mitigation import methods

if TYPE_CHECKING:
    from audit.mitigation.remedy import Bench, Remedy


def apply(name: str, bench: Bench) -> Remedy:
    """What a method makes of the bench.

    The solvers inside work on small matrices, where a second thread costs more than it brings (measured: eight times as
    much on a busy machine) and changes the last bits of what is learnt; networks train on all threads all the same.

    Raises:
        PlanError: there is no such method.
        AssayError: the model or the data do not allow it.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1, "blas"):
        return methods.find(name)(bench)
