"""How much the agent may remember, and which of its maps gets how much of that.

The shares follow what compiles of different projects leave behind: with 325 inputs each, a scan takes 27 KB,
a job that was moved to a neutral place 33 KB, and a file on the disk 1.7 KB. What is on its way (frames to be
sent, outputs that wait for their result) has bounds of its own: it goes by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

# Some 4,000 C++ sources with their headers. The interpreter and what it has loaded take 40 MB besides.
DEFAULT_BYTES = 256 << 20
_SCANS, _DISK, _JOBS, _RESULTS, _OFFERS, _COMMANDS = 0.40, 0.25, 0.20, 0.05, 0.06, 0.04


@dataclass(frozen=True, slots=True)
class MemoryShares:
    """Bytes in all, shared out."""

    limit_bytes: int = DEFAULT_BYTES

    @property
    def scans(self) -> int:
        return int(self.limit_bytes * _SCANS)

    @property
    def disk(self) -> int:
        return int(self.limit_bytes * _DISK)

    @property
    def jobs(self) -> int:
        return int(self.limit_bytes * _JOBS)

    @property
    def results(self) -> int:
        return int(self.limit_bytes * _RESULTS)

    @property
    def offers(self) -> int:
        return int(self.limit_bytes * _OFFERS)

    @property
    def commands(self) -> int:
        return int(self.limit_bytes * _COMMANDS)


def resident_bytes() -> int:
    """What this process has in memory now, by the kernel's account; 0 where /proc does not say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            lines = [line for line in file if line.startswith("VmRSS:")]
    except OSError:
        return 0
    return int(lines[0].split()[1]) << 10 if lines else 0
