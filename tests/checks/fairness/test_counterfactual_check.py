"""Models that treat people otherwise because of their group, by how much and in which direction being known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audit.checks.fairness.counterfactual import Counterfactual
from audit.checks.fairness.individual import Individual
from audit.checks.fairness.label_noise import LabelNoise
from audit.errors import DataError
from audit.subject import Modality
from tests.checks.fairness.known_people import judged, people, pictures, texts, with_groups

CHECK = Counterfactual(permutations=499)


def p_values(measured) -> dict[str, tuple[float, float]]:
    def p(cell) -> float:
        assert cell != 0
        return 1e-6 if cell == "< 0.000001" else cell

    return {f"{row[0]}={row[1]}": (p(row[4]), p(row[6])) for row in measured.tables[0].rows}


def test_who_loses_by_membership_is_found_with_its_size():
    data = people()
    measured = CHECK.run(judged(lambda x: x[:, 0] - 0.5 * x[:, 2]), data, np.random.default_rng(0))
    merit, woman = data.inputs[:, 0].numpy(), data.groups["sex"] == "F"
    hit = (merit > 0) & (merit <= 0.5)
    e = measured.estimates
    assert e["answers_changed@sex"].value == pytest.approx(hit.mean())
    assert e["net_favour@sex=F"].value == pytest.approx(-hit[woman].mean())
    assert e["net_favour@sex=M"].value == pytest.approx(hit[~woman].mean())
    assert e["net_favour@sex=F"].high < 0 < e["net_favour@sex=M"].low
    own, other = (1 / (1 + np.exp(-(merit[woman] - shift))) for shift in (0.5, 0.0))
    assert e["probability_effect@sex=F"].value == pytest.approx((own - other).mean(), abs=1e-6)
    assert measured.headline[-1] == "net_favour@sex=F"
    p = p_values(measured)
    assert max(p["sex=F"]) < 0.05
    # neither race nor age does anything
    assert e["answers_changed@race"].value == 0
    assert e["net_favour@race=a"].high > 0
    assert p["race=a"] == (1.0, 1.0)


def test_of_several_groups_each_is_held_against_the_mean_of_the_others():
    data = people()
    measured = CHECK.run(judged(lambda x: x[:, 0] - 9 * x[:, 6]), data, np.random.default_rng(0))
    merit, race = data.inputs[:, 0].numpy(), data.groups["race"]
    e = measured.estimates
    assert e["net_favour@race=c"].value == pytest.approx(-(merit[race == "c"] > 0).mean(), abs=1e-9)
    assert e["net_favour@race=a"].value == pytest.approx((merit[race == "a"] > 0).mean() / 2)
    assert p_values(measured)["race=c"][0] < 0.05


def test_changes_both_ways_cancel_out_and_are_still_seen():
    data = people(4000)
    # being a woman helps the strong and hurts the weak alike
    odds = judged(lambda x: (x[:, 0] - 0.3 * (x[:, 2] - 0.5)) * torch.sign(x[:, 1] - 4.9))
    measured = CHECK.run(odds, data, np.random.default_rng(0))
    assert measured.estimates["answers_changed@sex"].low > 0.05
    net = measured.estimates["net_favour@sex=F"]
    assert net.low < 0 < net.high


def test_numbers_are_flipped_between_quarters_and_small_groups_are_joined():
    data = people()
    measured = CHECK.run(judged(lambda x: x[:, 1] - 4.9), data, np.random.default_rng(0))
    quarters = [name for name in measured.estimates if name.startswith("net_favour@age=")]
    assert len(quarters) == 4
    youngest = next(name for name in quarters if "(-inf" in name)
    assert measured.estimates[youngest].value == pytest.approx(-2 / 3, abs=0.02)
    # a sample is cut where all rows are, so that its groups are called as theirs
    few = Counterfactual(permutations=499, people=150).run(
        judged(lambda x: x[:, 1] - 4.9), data, np.random.default_rng(0)
    )
    assert {name for name in few.estimates if name.startswith("net_favour@age=")} == set(quarters)
    rare = data.groups["race"].copy()
    rare[:5] = "d"
    measured = CHECK.run(judged(lambda x: x[:, 0]), with_groups(data, race=rare), np.random.default_rng(0))
    assert "net_favour@race=d" not in measured.estimates


def test_what_the_model_does_not_see_is_said():
    data = with_groups(people(), sex=people().groups["sex"], faith=np.array(["x", "y"] * 600, dtype=object))
    measured = CHECK.run(judged(lambda x: x[:, 0]), data, np.random.default_rng(0))
    e = measured.estimates["answers_changed@faith"]
    assert e.value is None
    assert "explain.proxies" in e.reason
    assert any("faith" in note for note in measured.notes)
    blind = with_groups(data, faith=data.groups["faith"])
    assert "cannot react" in CHECK.skip_reason(judged(lambda x: x[:, 0]), blind)
    assert "data.protected" in CHECK.skip_reason(judged(lambda x: x[:, 0]), with_groups(data))
    picture = judged(lambda x: x[:, 0, 0, 0], Modality.IMAGE)
    assert "picture" in CHECK.skip_reason(picture, pictures())


@pytest.mark.parametrize("check", [CHECK, LabelNoise(replicates=5), Individual(shuffles=5, replicates=20)])
def test_thousands_of_groups_are_joined_until_they_are_few(check):
    data = people(6000)
    many = with_groups(
        data, sex=np.array([str(i % 2500) if i < 5000 else str(i % 40) for i in range(6000)], dtype=object)
    )
    measured = check.run(judged(lambda x: x[:, 0]), many, np.random.default_rng(0))
    assert len(measured.model_dump_json()) < 60_000
    assert sum("@sex=" in name for name in measured.estimates) <= 4 * 33


def odds_of(weights: dict[str, float]):
    def odds(written: list[str]) -> torch.Tensor:
        return torch.tensor([sum(weights.get(w, 0.0) for w in t.replace(".", "").split()) for t in written])

    return judged(odds, Modality.TEXT)


def written(n: int = 60) -> list[str]:
    rng = np.random.default_rng(1)
    people = ["he", "she", "the king", "the queen"]
    moods = ["good", "bad", "dull", "fine"]
    lines = [f"{people[rng.integers(4)]} is {moods[rng.integers(4)]} and {moods[rng.integers(4)]}." for _ in range(n)]
    return [*lines, "nobody is here", "the weather was fine", "he told her", "a Muslim was here"]


MOODS = {"good": 1.3, "fine": 0.6, "bad": -1.1, "dull": -0.7}


def test_a_model_that_marks_women_down_is_found_in_texts():
    subject = odds_of({**MOODS, "she": -0.8, "queen": -0.8})
    measured = CHECK.run(subject, texts(written()), np.random.default_rng(0))
    e = measured.estimates
    assert e["texts@gender"].value == 61
    assert e["texts_without_terms"].value == 2
    assert e["texts@religion"].value == 1
    assert e["log_odds_effect@gender=women"].value == pytest.approx(-0.8, abs=1e-6)
    assert e["net_favour@gender=women"].high < 0
    assert "net_favour@gender=men" not in e
    assert max(p_values(measured)["gender=women"]) < 0.05
    assert "needs 20 texts" in e["answers_changed@religion"].reason
    assert any("equally often" in note for note in measured.notes)
    table = next(t for t in measured.tables if "moves most" in t.title)
    assert {row[0] for row in table.rows} == {"gender"}


def test_a_model_that_does_not_care_is_not_accused():
    measured = CHECK.run(odds_of(MOODS), texts(written()), np.random.default_rng(0))
    assert measured.estimates["answers_changed@gender"].value == 0
    assert measured.estimates["log_odds_effect@gender=women"].value == 0
    assert p_values(measured)["gender=women"] == (1.0, 1.0)


def test_terms_of_ones_own_are_a_family():
    check = Counterfactual(permutations=499, terms=("caste: brahmin | dalit",))
    lines = [f"a {who} is {mood}." for who in ("brahmin", "dalit") for mood in MOODS for _ in range(4)]
    measured = check.run(odds_of({**MOODS, "dalit": -0.9}), texts(lines), np.random.default_rng(0))
    assert measured.estimates["log_odds_effect@caste=dalit"].value == pytest.approx(-0.9, abs=1e-6)
    with pytest.raises(DataError, match="caste: Brahmin"):
        Counterfactual(terms=("brahmin, dalit",)).run(odds_of({}), texts(lines), np.random.default_rng(0))


def test_texts_without_terms_leave_nothing_to_compare():
    measured = CHECK.run(odds_of({}), texts(["nothing here", "nor there"]), np.random.default_rng(0))
    assert measured.headline == ()
    assert measured.estimates["texts_without_terms"].value == 2


def test_the_same_seed_gives_the_same_bits():
    subject = odds_of({**MOODS, "she": -0.8})
    first, second = (CHECK.run(subject, texts(written()), np.random.default_rng(3)).model_dump_json() for _ in range(2))
    assert first == second
