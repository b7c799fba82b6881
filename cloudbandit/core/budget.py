"""Money: held before it is spent, settled after. Spent plus held never exceeds the budget."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from cloudbandit.core.errors import BudgetError

_TOLERANCE_USD = 1e-9


@dataclass(frozen=True, slots=True)
class Budget:
    """When a study stops: after so many informative trials, so many USD, or so many seconds on the pool's clock.

    Raises:
        BudgetError: nothing is limited, or a limit is not positive.
    """

    trials: int | None = None
    usd: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        limits = {"trials": self.trials, "usd": self.usd, "seconds": self.seconds}
        if all(v is None for v in limits.values()):
            raise BudgetError("a budget limits trials, usd or seconds; got none of them. Cure: Budget(trials=33)")
        for name, value in limits.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise BudgetError(f"a budget of {name} must be a finite number > 0, got {value!r}")

    @classmethod
    def of(cls, budget: int | Budget) -> Budget:
        """An int means trials."""
        return budget if isinstance(budget, Budget) else cls(trials=budget)


class Ledger:
    """Hold → settle, safe to call from several threads.

    A hold covers a trial and its host; what is settled is both. ``spent_usd`` can exceed the cap only if an objective charged
    more than it quoted; ``overrun_usd`` says by how much.
    """

    def __init__(self, cap_usd: float | None = None) -> None:
        self.cap_usd = cap_usd
        self._lock = threading.Lock()
        self._held: dict[int, float] = {}
        self._settled: list[float] = []
        self.overrun_usd = 0.0

    @property
    def spent_usd(self) -> float:
        return math.fsum(self._settled)

    @property
    def held_usd(self) -> float:
        return math.fsum(self._held.values())

    def hold(self, number: int, usd: float) -> bool:
        """Reserve a trial's worst case; False, and nothing held, where the cap would be exceeded."""
        if not (math.isfinite(usd) and usd >= 0):
            raise BudgetError(f"a quote must be a finite number of USD ≥ 0, got {usd!r} for trial {number}")
        with self._lock:
            if number in self._held:
                raise BudgetError(f"trial {number} already holds {self._held[number]} USD")
            committed = self.spent_usd + self.held_usd + usd
            if self.cap_usd is not None and committed > self.cap_usd + _TOLERANCE_USD:
                return False
            self._held[number] = usd
            return True

    def settle(self, number: int, trial_usd: float, hosts_usd: float = 0.0) -> None:
        """Replace a trial's hold by what it and its host really cost; idempotent."""
        with self._lock:
            held = self._held.pop(number, None)
            if held is None:  # settled before
                return
            self.overrun_usd += max(0.0, trial_usd + hosts_usd - held)
            self._settled += [trial_usd, hosts_usd]

    def restore(self, trial_usd: float, hosts_usd: float = 0.0, quote_usd: float = math.inf) -> None:
        """Money that an earlier run of the same study settled, against what it held."""
        with self._lock:
            self.overrun_usd += max(0.0, trial_usd + hosts_usd - quote_usd)
            self._settled += [trial_usd, hosts_usd]
