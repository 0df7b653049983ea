"""Group metrics, ours against fairlearn and aif360, in one run.

    benchmarks/.venv/bin/python benchmarks/fairness.py            # about four minutes
    benchmarks/.venv/bin/python benchmarks/fairness.py --whole    # fairlearn on all ten million rows too: about ten more

Every measurement has a process of its own, so that the peak of its memory is its own: what the process held at most, less
what it held with the data in memory. Groups are Python strings. Figures:

- twelve rates of fifty groups, seconds and rows a second, and the largest difference from fairlearn's numbers;
- 2,000 bootstrap replicates of every rate, and what fairlearn needs for one;
- aif360's four metrics of each group against the rest;
- what both say of equal groups: how often a difference is called significant, in data sets without any.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path[0] = str(Path(__file__).parent.parent)  # from its own folder this file would hide the package of its name

RATES = (
    "selection_rate",
    "base_rate",
    "true_positive_rate",
    "false_positive_rate",
    "true_negative_rate",
    "false_negative_rate",
    "positive_predictive_value",
    "negative_predictive_value",
    "accuracy",
    "error_rate",
    "balanced_accuracy",
    "f1",
)
GROUPS = 50
LINE = "{:<34}{:>12}{:>10}{:>16}{:>8}{:>10}"


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and groups of n rows; groups are Python strings, each string one object."""
    rng = np.random.default_rng(seed)
    names = np.array([f"group {i:02d}" for i in range(GROUPS)], dtype=object)
    return rng.integers(0, 2, n), rng.integers(0, 2, n), names[rng.integers(0, GROUPS, n)]


def ours(n: int) -> dict[str, Any]:
    from audit.fairness import Cube

    y, p, g = rows(n)
    Cube.count(y[:100], p[:100], g[:100])  # imports
    with Watch() as watch:
        cube = Cube.count(y, p, g)
        found = {name: cube.rate(name) for name in RATES}
    return watch.seen | {"values": {name: {k: e.value for k, e in by.items()} for name, by in found.items()}}


def ours_bootstrap(n: int, replicates: int = 2000) -> dict[str, Any]:
    from audit.fairness import Cube
    from audit.fairness.inference import bootstrap

    cube = Cube.count(*rows(n))
    with Watch() as watch:
        bootstrap.resample(cube, RATES, replicates=replicates)  # rates, largest differences, smallest ratios
    return watch.seen


def ours_scores(n: int) -> dict[str, Any]:
    from audit.fairness import Scores

    y, p, g = rows(n)
    score = np.random.default_rng(1).beta(2 + p, 3 - p)
    with Watch() as watch:
        scores = Scores.count(y, score, g)
        scores.measure("auc")
        scores.thresholds()
    return watch.seen


def fairlearn(n: int, replicates: int = 0) -> dict[str, Any]:
    from fairlearn import metrics
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_score, zero_one_loss

    y, p, g = rows(n)
    measured: dict[str, Callable[..., float]] = {
        "selection_rate": metrics.selection_rate,
        "base_rate": lambda y_true, y_pred: metrics.selection_rate(y_true, y_true),
        "true_positive_rate": metrics.true_positive_rate,
        "false_positive_rate": metrics.false_positive_rate,
        "true_negative_rate": metrics.true_negative_rate,
        "false_negative_rate": metrics.false_negative_rate,
        "positive_predictive_value": precision_score,
        "negative_predictive_value": partial(precision_score, pos_label=0),
        "accuracy": accuracy_score,
        "error_rate": zero_one_loss,
        "balanced_accuracy": balanced_accuracy_score,
        "f1": f1_score,
    }
    more = {"n_boot": replicates, "ci_quantiles": [0.025, 0.975], "random_state": 0} if replicates else {}
    with Watch() as watch:
        frame = metrics.MetricFrame(metrics=measured, y_true=y, y_pred=p, sensitive_features=g, **more)
        table = frame.by_group
    return watch.seen | {"values": {name: table[name].to_dict() for name in RATES}}


def aif360(n: int) -> dict[str, Any]:
    from aif360.datasets import BinaryLabelDataset
    from aif360.metrics import ClassificationMetric

    y, p, g = rows(n)
    code = pd.factorize(g, sort=True)[0].astype(float)

    def built(labels: np.ndarray) -> Any:
        frame = pd.DataFrame({"group": code, "y": labels.astype(float)})
        return BinaryLabelDataset(df=frame, label_names=["y"], protected_attribute_names=["group"])

    with Watch() as watch:
        true, told = built(y), built(p)
        values: dict[str, dict[str, float]] = {name: {} for name in ("selection_rate", *RATES[2:4], "accuracy")}
        for group in range(GROUPS):
            rest = [{"group": float(other)} for other in range(GROUPS) if other != group]
            metric = ClassificationMetric(true, told, [{"group": float(group)}], rest)
            key = f"group {group:02d}"
            values["selection_rate"][key] = metric.selection_rate(privileged=False)
            values["true_positive_rate"][key] = metric.true_positive_rate(privileged=False)
            values["false_positive_rate"][key] = metric.false_positive_rate(privileged=False)
            values["accuracy"][key] = metric.accuracy(privileged=False)
    return watch.seen | {"values": values}


class Watch:
    """Seconds of the clock and of the processor, and megabytes beyond what was held at the start."""

    def __enter__(self) -> Watch:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        self.held, self.cpu, self.clock = _megabytes("VmRSS"), time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seen: dict[str, Any] = {
            "seconds": time.perf_counter() - self.clock,
            "cpu": time.process_time() - self.cpu,
            "megabytes": _megabytes("VmHWM") - self.held,
        }


def _megabytes(what: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024
    except OSError:  # not Linux: the peak of the whole process
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What a function of this file gives in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_quiet, (measure.__name__, arguments))


def _quiet(name: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    found: dict[str, Any] = globals()[name](*arguments)
    return found


def apart(a: dict[str, dict[str, float | None]], b: dict[str, dict[str, float | None]]) -> float:
    """Largest difference where both hold a number."""
    pairs = ((a[name][key], value) for name in b for key, value in b[name].items())
    return max(abs(x - y) for x, y in pairs if x is not None and y is not None)


def speed(whole: bool) -> None:
    print(LINE.format("", "rows", "seconds", "million rows/s", "MB", "apart"))

    def told(name: str, n: int, found: dict[str, Any], difference: float | None = None) -> float:
        shown = "" if difference is None else f"{difference:.1e}"
        pace = n / found["seconds"] / 1e6
        print(LINE.format(name, f"{n:,}", f"{found['seconds']:.3f}", f"{pace:.2f}", f"{found['megabytes']:.0f}", shown))
        return float(pace)

    mine = {n: alone(ours, n) for n in (100_000, 1_000_000, 10_000_000)}
    pace = {n: told("ours, 12 rates", n, found) for n, found in mine.items()}
    for n in (100_000, 1_000_000, *((10_000_000,) if whole else ())):
        found = alone(fairlearn, n)
        peer = told("fairlearn, 12 metrics", n, found, apart(mine[n]["values"], found["values"]))
        print(f"    ours / fairlearn, rows a second: {pace[n] / peer:,.0f}")
    found = alone(aif360, 1_000_000)
    peer = told("aif360, 4 metrics", 1_000_000, found, apart(mine[1_000_000]["values"], found["values"]))
    print(f"    ours / aif360, rows a second: {pace[1_000_000] / peer:,.0f}")
    told("ours, 2,000 replicates, 12 rates", 10_000_000, alone(ours_bootstrap, 10_000_000))
    told("fairlearn, 2 replicates", 100_000, alone(fairlearn, 100_000, 2))
    told("ours, AUC, every threshold", 10_000_000, alone(ours_scores, 10_000_000))


def false_alarms(sets: int) -> None:
    """Data sets of equal groups of 200 rows: how often a difference is called significant at 5 %."""
    from audit.fairness import Cube
    from reports.record import Outcome

    print(
        f"\nOf data sets without any difference, called unfair at 5 % ({sets} sets, fairlearn on 20 with 100 replicates)"
    )
    for groups in (2, 5, 20, 50):
        rng = np.random.default_rng(groups)
        g = np.repeat([f"g{i:02d}" for i in range(groups)], 200)
        alarms = peers = 0
        for run in range(sets):
            p = (rng.random(len(g)) < 0.3).astype(int)
            alarms += Cube.count(p, p, g).test("selection_rate", margin=0.0).outcome is Outcome.FAIL
            if run < 20:
                from fairlearn.metrics import MetricFrame, selection_rate

                frame = MetricFrame(
                    metrics=selection_rate,
                    y_true=p,
                    y_pred=p,
                    sensitive_features=g,
                    n_boot=100,
                    ci_quantiles=[0.025],
                    random_state=run,
                )
                peers += frame.difference_ci()[0] > 0
        print(f"{groups:>3} groups: ours {100 * alarms / sets:.1f} %, fairlearn's interval {100 * peers / 20:.0f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--whole", action="store_true", help="fairlearn on ten million rows too")
    parser.add_argument("--sets", type=int, default=1000, help="data sets without a difference")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    speed(options.whole)
    false_alarms(options.sets)
