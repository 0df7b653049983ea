"""Energy with counters that stand in a folder, and with assumed power."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from audit.checks.cost._power import Assumed, Estimated, Rapl, meter, rapl_zones, rounds
from audit.checks.cost.energy import Energy

RNG = np.random.default_rng(0)
CPU = torch.device("cpu")
ASSUMED = Assumed(per_core=10.0, accelerator=250.0, factor=2.0)


@pytest.fixture
def powercap(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text("5000000\n")
        (tmp_path / name / "max_energy_range_uj").write_text("6000000\n")
    return tmp_path


def test_packages_are_read_and_their_parts_are_not(powercap):
    assert [zone.name for zone in rapl_zones(powercap)] == ["intel-rapl:0", "intel-rapl:1"]


def test_counters_are_subtracted_added_up_and_unwrapped(powercap):
    reader = meter(CPU, ASSUMED, powercap)
    assert isinstance(reader, Rapl)
    reader.start()
    (powercap / "intel-rapl:0" / "energy_uj").write_text("5500000")
    (powercap / "intel-rapl:1" / "energy_uj").write_text("250000")  # wrapped at 6 J
    assert reader.stop() == pytest.approx(0.5 + 1.25)


def test_without_counters_the_figure_is_an_estimate_and_says_so(tmp_path):
    reader = meter(CPU, ASSUMED, tmp_path)
    assert isinstance(reader, Estimated)
    assert "not measured" in reader.how
    assert "estimated" in reader.method


def test_unreadable_counters_are_no_counters(powercap):
    for zone in powercap.iterdir():
        (zone / "energy_uj").write_text("")
    assert isinstance(meter(CPU, ASSUMED, powercap), Estimated)


class Constant:
    """One joule a second of the wall clock."""

    how, method, factor = "", "by hand", 3.0

    def start(self):
        self.began = time.perf_counter()

    def stop(self):
        return time.perf_counter() - self.began


def test_energy_of_1000_predictions():
    # 5 ms a call at 1 W, four inputs a call: 1,000 predictions take 250 calls, at least 1.25 J
    found = rounds(lambda: time.sleep(0.005), CPU, Constant(), batch=4, budget=0.3)
    assert found.value >= 1.25
    assert found.low * 3 <= found.value <= found.high / 3  # the factor widens both ends
    assert found.method == "by hand"


def test_a_meter_that_stands_still_gives_no_figure():
    class Still(Constant):
        def stop(self):
            return 0.0

    assert rounds(lambda: None, CPU, Still(), batch=1, budget=0.01).value is None


def test_busy_time_counts_and_sleep_does_not(pair):
    class Idle(nn.Module):
        def forward(self, x):
            time.sleep(0.01)
            return x

    found = Energy(seconds=0.3, watts_per_core=10.0).run(*pair(Idle(), (2,)), RNG).estimates["energy@batch=1"]
    assert "estimated" in found.method
    assert found.value < 0.5 * 0.01 * 10 * 1000  # a core kept busy all the time would take 100 J


def test_twice_the_power_is_twice_the_energy():
    readers = [Estimated(Assumed(watts, 250.0, 2.0), CPU) for watts in (10.0, 20.0)]
    for reader in readers:
        reader._clock = iter([1.0, 4.0]).__next__
        reader.start()
    assert [reader.stop() for reader in readers] == [30.0, 60.0]
