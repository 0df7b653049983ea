"""What no check tells where `data.smallest_group` forbids it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from audit.checks.data.representation import Representation
from audit.checks.fairness.calibration import Calibration
from audit.checks.fairness.counterfactual import Counterfactual
from audit.checks.fairness.definitions import Definitions
from audit.checks.fairness.disparity import Disparity
from audit.checks.fairness.individual import Individual
from audit.checks.fairness.label_noise import LabelNoise
from audit.checks.fairness.rates import Rates
from audit.checks.fairness.strata import Strata
from audit.checks.fairness.subgroups import Subgroups
from audit.checks.fairness.thresholds import Thresholds
from audit.checks.fairness.traces import Traces
from tests.checks.fairness.known_people import judged, people, with_groups

CHECKS = (
    Calibration(),
    Counterfactual(permutations=99),
    Definitions(),
    Disparity(),
    Individual(people=200, each=50, shuffles=9, replicates=50),
    LabelNoise(replicates=20),
    Rates(),
    Strata(draws=200),
    Subgroups(draws=99),
    Thresholds(),
    Traces(permutations=19, waves=0),
    Representation(),
)
SMALLEST = 60


def town(n: int) -> np.ndarray:
    """Few live in the village, and some more in the hamlet."""
    sizes = {"city": n - 240, "port": 140, "hamlet": 70, "village": 30}
    return np.random.default_rng(0).permutation(np.repeat(list(sizes), list(sizes.values()))).astype(object)


@pytest.fixture(scope="module")
def data():
    test = people()
    test = with_groups(test, sex=test.groups["sex"], race=test.groups["race"], town=town(len(test)))
    return replace(test, smallest_group=SMALLEST, train=replace(test, split="train"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: type(check).__name__)
def test_nobody_in_a_small_group_is_found_again(check, data):
    measured = check.run(judged(lambda x: x[:, 0] - 0.5 * x[:, 2]), data, np.random.default_rng(0))
    said = measured.model_dump_json()
    assert "village" not in said
    assert 'F x c"' not in said
    for table in measured.tables:
        # what would have been found is of no group
        if "rows" in table.columns and not table.title.startswith("Smallest excess"):
            at = table.columns.index("rows")
            assert min((row[at] for row in table.rows), default=SMALLEST) >= SMALLEST, table.title
    assert any(f"fewer than {SMALLEST} rows" in note for note in measured.notes)


def test_a_row_in_doubt_does_not_say_whom_it_is_about(data):
    subject = judged(lambda x: 3 * x[:, 0])
    listed = LabelNoise(replicates=20).run(subject, data, np.random.default_rng(0)).tables[1]
    assert not set(data.groups) & set(listed.columns)
    open_ = replace(data, smallest_group=0)
    listed = LabelNoise(replicates=20).run(subject, open_, np.random.default_rng(0)).tables[1]
    assert set(data.groups) < set(listed.columns)


def test_joined_groups_of_a_sample_stay_joined(data):
    measured = Traces(permutations=19, waves=0, people=300).run(
        judged(lambda x: x[:, 0]), data, np.random.default_rng(0)
    )
    assert not any(name.endswith(("=village", "=hamlet")) for name in measured.estimates)
