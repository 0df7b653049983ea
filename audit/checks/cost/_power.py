"""Energy meters: the processor's counters, the GPU driver's reading, or an assumed power that says so."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from audit import statistics
from audit.checks.cost._measure import Forward, timed
from reports.record import Estimate

if TYPE_CHECKING:
    import torch

POWERCAP = Path("/sys/class/powercap")
UNIT = "J/1,000 predictions"
ROUNDS = 6


class Meter(Protocol):
    """Reads the energy taken between two moments."""

    #: how the figures come about, for a note
    how: str
    #: name of the method, for an estimate
    method: str
    #: multiplies and divides the interval: how far an assumption may be off
    factor: float

    def start(self) -> None:
        """Begin a reading."""
        ...

    def stop(self) -> float:
        """Joules since `start`."""
        ...


@dataclass(frozen=True)
class Assumed:
    """Power taken for granted where nothing is measured: watts, and the factor it may be off by."""

    per_core: float
    accelerator: float
    factor: float


def meter(device: torch.device, assumed: Assumed, powercap: Path = POWERCAP) -> Meter:
    """The best meter there is for this device."""
    if device.type == "cpu":
        zones = rapl_zones(powercap)
        return Rapl(zones) if zones else Estimated(assumed, device)
    return Driver(device) if device.type == "cuda" and _driver_reads(device) else Estimated(assumed, device)


def rapl_zones(powercap: Path) -> list[Path]:
    """Readable package counters (`intel-rapl:0`, not its parts `intel-rapl:0:0`); AMD uses the same names."""
    zones = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        if zone.name.count(":") != 1:
            continue
        try:
            int((zone / "energy_uj").read_text())
        except (OSError, ValueError):  # since 2020 kernels let only root read it
            continue
        zones.append(zone)
    return zones


class Rapl:
    """Package energy counters, in microjoules, that wrap around at `max_energy_range_uj`."""

    method = "RAPL counters, Student t 95 %"
    how = "Measured with the processor's energy counters (RAPL), which include everything else the package did."
    factor = 1.0

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._before: list[int] = []

    def start(self) -> None:
        """See `Meter`."""
        self._before = self._read()

    def stop(self) -> float:
        """See `Meter`."""
        total = 0
        for zone, before, after in zip(self._zones, self._before, self._read(), strict=True):
            wraps = int((zone / "max_energy_range_uj").read_text()) if after < before else 0
            total += after - before + wraps
        return total / 1e6

    def _read(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]


class Driver:
    """Power reported by the NVIDIA driver, sampled while the work runs."""

    method = "NVML power, Student t 95 %"
    how = "Measured with the driver's power reading (NVML), sampled twenty times a second; idle power is included."
    factor = 1.0

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._watts: list[float] = []
        self._began = 0.0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """See `Meter`."""
        self._watts, self._done = [], threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._began = time.perf_counter()
        self._thread.start()

    def stop(self) -> float:
        """See `Meter`."""
        took = time.perf_counter() - self._began
        self._done.set()
        assert self._thread is not None
        self._thread.join()
        return float(np.mean(self._watts)) * took

    def _sample(self) -> None:
        import torch

        while True:  # at least one reading, however short the round
            self._watts.append(torch.cuda.power_draw(self._device) / 1e3)
            if self._done.wait(0.05):
                return


def _driver_reads(device: torch.device) -> bool:
    import torch

    try:
        return torch.cuda.power_draw(device) > 0
    except Exception:  # pynvml is optional, and raises its own errors where the driver does not support it
        return False


class Estimated:
    """Busy time multiplied by an assumed power: cores by the processor's clock, accelerators by the wall's."""

    def __init__(self, assumed: Assumed, device: torch.device) -> None:
        on_cpu = device.type == "cpu"
        self._clock = time.process_time if on_cpu else time.perf_counter
        self._watts = assumed.per_core if on_cpu else assumed.accelerator
        self.factor = assumed.factor
        what = "busy core" if on_cpu else "accelerator"
        self.method = f"estimated: time x {self._watts:g} W, Student t 95 %, power right within {self.factor:g}x"
        self.how = (
            f"Estimated, not measured: this machine exposes no energy meter. Assumes {self._watts:g} W for each {what}, "
            f"right within a factor of {self.factor:g}."
        )
        self._began = 0.0

    def start(self) -> None:
        """See `Meter`."""
        self._began = self._clock()

    def stop(self) -> float:
        """See `Meter`."""
        return (self._clock() - self._began) * self._watts


def rounds(forward: Forward, device: torch.device, meter: Meter, batch: int, budget: float) -> Estimate:
    """Joules for 1,000 predictions: the mean of `ROUNDS` rounds that share the time."""
    timed(forward, device, budget / ROUNDS, most=3, least=1)  # warms up
    joules = []
    for _ in range(ROUNDS):
        meter.start()
        calls = len(timed(forward, device, budget / ROUNDS, most=1_000_000, least=1))
        joules.append(meter.stop() * 1000 / (calls * batch))
    mean = statistics.mean(joules, UNIT)
    if not mean.value or mean.low is None or mean.high is None:
        return statistics.undefined("the meter did not advance within the measured time", n=ROUNDS, unit=UNIT)
    low = max(mean.low, 0.0)  # no energy is negative, though the interval of a mean may be
    return mean.model_copy(update={"low": low / meter.factor, "high": mean.high * meter.factor, "method": meter.method})
