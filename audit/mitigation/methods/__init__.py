"""Methods of mitigation: one a file, each one function of the file's name from a `Bench` to a `Remedy`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from audit.errors import PlanError, nearest

if TYPE_CHECKING:
    from audit.mitigation.remedy import Method

NAMES = ("thresholds", "calibration", "reductions", "reweighing", "decorrelation", "erasure", "adversarial")


def find(name: str) -> Method:
    """The method of that name.

    Raises:
        PlanError: there is none.
    """
    if name not in NAMES:
        raise PlanError(f"Expected a method of mitigation, found {name!r}{nearest(name, NAMES)}")
    return cast("Method", getattr(import_module(f"{__name__}.{name}"), name))
