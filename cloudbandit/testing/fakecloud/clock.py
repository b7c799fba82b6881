"""Time that passes only when somebody sleeps."""

from __future__ import annotations


class VirtualClock:
    """Stands in for the module `time`."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float, /) -> None:
        self.now += max(0.0, seconds)
