"""Models that treat like people alike, and models that draw lots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.checks.fairness.individual import Individual
from audit.subject import Modality
from tests.checks.fairness.known_people import judged, people, pictures, with_groups

CHECK = Individual(people=300, pool=1200, each=60, shuffles=19, replicates=200)


def test_a_smooth_model_is_consistent_and_a_lottery_is_not():
    data = people()
    smooth = CHECK.run(judged(lambda x: x[:, 0]), data, np.random.default_rng(0)).estimates
    lots = torch.from_numpy(np.random.default_rng(1).normal(0, 4, len(data)))
    lottery = CHECK.run(judged(lambda x: lots[: len(x)]), data, np.random.default_rng(0)).estimates
    assert smooth["consistency"].low > smooth["consistency_by_chance"].high
    assert lottery["consistency"].low <= lottery["consistency_by_chance"].high
    assert smooth["lipschitz_violations"].value < 0.05
    assert lottery["lipschitz_violations"].low > 0.5
    assert smooth["generalised_entropy"].high < smooth["generalised_entropy_by_chance"].value


def test_a_group_that_is_drawn_lots_over_has_the_lower_consistency():
    data = people()
    lots = torch.from_numpy(np.random.default_rng(1).normal(0, 9, len(data)))
    odds = judged(lambda x: 20 * x[:, 0] if len(x) != len(data) else 20 * x[:, 0] * x[:, 3] + lots * x[:, 2])
    measured = replace(CHECK, each=300).run(odds, data, np.random.default_rng(0))
    women, men = (measured.estimates[f"consistency@sex={g}"] for g in "FM")
    assert women.high < men.low
    assert women.n == 300
    assert measured.estimates["between_share@sex"].value >= 0


def test_the_protected_attributes_do_not_say_who_is_alike():
    data = people()
    # only sex decides, so that near people, who may be of either sex, are treated unlike
    found = CHECK.run(judged(lambda x: 8 * (x[:, 2] - 0.5)), data, np.random.default_rng(0))
    assert found.estimates["consistency"].value == pytest.approx(
        found.estimates["consistency_by_chance"].value, abs=0.08
    )
    assert any("without" in note and "sex" in note for note in found.notes)


def test_it_is_skipped_where_nobody_can_be_alike():
    table = people()
    subject = judged(lambda x: x[:, 0])
    assert "meant for tabular" in CHECK.skip_reason(judged(lambda x: x, Modality.IMAGE), pictures())
    everything = with_groups(table, **{f.name: table.groups.get(f.name, table.groups["sex"]) for f in table.features})
    assert "every input is a protected attribute" in CHECK.skip_reason(subject, everything)
    assert "at least 7 rows" in CHECK.skip_reason(subject, table.take([0, 1, 2]))
    assert CHECK.skip_reason(subject, with_groups(table)) is None
    assert CHECK.run(subject, with_groups(table), np.random.default_rng(0)).figures == ()


def test_people_who_are_all_alike_are_no_distance_apart():
    data = with_groups(people(50).take([0] * 50))
    measured = CHECK.run(judged(lambda x: x[:, 0]), data, np.random.default_rng(0))
    assert measured.estimates["lipschitz_violations"].value is None
    assert measured.estimates["consistency"].value == 1.0


def test_the_same_seed_gives_the_same_bits():
    first, second = (
        CHECK.run(judged(lambda x: x[:, 0]), people(), np.random.default_rng(3)).model_dump_json() for _ in range(2)
    )
    assert first == second
