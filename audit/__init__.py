"""Assay: load a Subject, measure Evidence, judge it into Verdicts, render the Record.

The Python face of the audit; everything is imported on first use, so that `import audit` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit.datasets import read as data
    from audit.judgement import judge
    from audit.loading import load
    from audit.runner import run

__all__ = ["data", "judge", "load", "run"]
__version__ = "0.1.0"

_HOMES = {
    "load": ("audit.loading", "load"),
    "data": ("audit.datasets", "read"),
    "run": ("audit.runner", "run"),
    "judge": ("audit.judgement", "judge"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'audit' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
