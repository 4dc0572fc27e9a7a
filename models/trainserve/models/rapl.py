"""The processor's energy counters (RAPL) in the kernel's powercap: /sys/class/powercap/intel-rapl:*.

They count the whole machine, including other processes; AMD's have the same names.
Source: the kernel's Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Rapl:
    """Counts processor packages and DRAM from its construction. `reason`: why there is nothing to read."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self.reason: str | None = None
        self._zones: list[_Zone] = []
        if not powercap.is_dir():
            self.reason = f"no RAPL counter: {powercap} is absent"
            return
        try:
            self._zones = [_Zone(folder) for folder in sorted(powercap.glob("intel-rapl:*")) if _counts(folder)]
        except OSError as error:
            self._unreadable(error)
        else:
            if not self._zones:
                self.reason = f"no RAPL counter: {powercap} has no intel-rapl package"

    def update(self) -> None:
        """Read the counters. Call at least every few minutes: they wrap."""
        try:
            for zone in self._zones:
                zone.advance()
        except OSError as error:
            self._unreadable(error)

    def joules(self) -> float | None:
        """Joules since construction; None if there is a `reason`."""
        self.update()
        return sum(zone.microjoules for zone in self._zones) / 1e6 if self._zones else None

    def _unreadable(self, error: OSError) -> None:
        # Since CVE-2020-8694 only root may read them.
        self.reason, self._zones = f"RAPL cannot be read: {error.filename}: {error.strerror}", []


class _Zone:
    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = self._read()
        self.microjoules = 0

    def advance(self) -> None:
        now = self._read()
        self.microjoules += (now - self._last) % self._range
        self._last = now

    def _read(self) -> int:
        return int(self._counter.read_text())


def _counts(zone: Path) -> bool:
    """Whether to count a zone: packages and DRAM. core and uncore are parts of a package; psys includes packages."""
    name = (zone / "name").read_text().strip()
    return name.startswith("package-") or name == "dram"
