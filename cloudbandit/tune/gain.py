"""By how much the chosen setting is better than the default, from trials in turns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Gain:
    """In percent of the default's value, positive where it is better.

    Attributes:
        median: the pseudo-median of the paired differences (Hodges & Lehmann 1963).
        low, high: by Wilcoxon's signed ranks: no assumption but that differences are symmetric.
        pairs: how many.
        level: the interval's exact level.
        wanted: what it should be, for 95 % in all; fewer than six pairs cannot reach that (eight, where the best of three was
            chosen by the same pairs).
    """

    median: float
    low: float
    high: float
    pairs: int
    level: float
    wanted: float = 0.95

    @property
    def better(self) -> bool:
        """Whether the whole interval is, at the level wanted."""
        return self.low > 0 and self.level >= self.wanted


def gain(chosen: Sequence[float], default: Sequence[float], sign: float = 1.0, among: int = 1) -> Gain | None:
    """Of measurements in pairs; None: there is none, or a value ≤ 0, of which no share can be taken.

    Args:
        sign: 1 for a metric that is minimised, −1 for one that is maximised.
        among: of so many the chosen one was the best by these very measurements; the interval holds for all of them (Bonferroni).
    """
    pairs = list(zip(chosen, default, strict=False))
    if not pairs or any(a <= 0 or b <= 0 for a, b in pairs):
        return None
    logs = [sign * (math.log(b) - math.log(a)) for a, b in pairs]
    walsh = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    wanted = 1.0 - 0.05 / among
    cut, level = _signed_ranks(len(logs), wanted)
    middle, low, high = (_percent(x, sign) for x in (median(walsh), walsh[cut], walsh[-1 - cut]))
    return Gain(middle, low, high, len(logs), level, wanted)


def _percent(log_gain: float, sign: float) -> float:
    """Of a minimised metric what is saved, of a maximised one what is added."""
    return 100.0 * (-math.expm1(-log_gain) if sign > 0 else math.expm1(log_gain))


def _signed_ranks(n: int, wanted: float = 0.95) -> tuple[int, float]:
    """How many of the sorted Walsh averages are cut off at each end, as many as leave the level wanted, and the exact level; none
    are where even that leaves less."""
    ways = [1]
    for r in range(1, n + 1):  # distribution of the sum of ranks with a plus
        longer = ways + [0] * r
        for s, count in enumerate(ways):
            longer[s + r] += count
        ways = longer
    below, cut = 0, 0
    while 2 * (below + ways[cut]) <= (1.0 - wanted) * 2**n and cut < len(ways) // 2:
        below += ways[cut]
        cut += 1
    cut = max(0, cut - 1)
    return cut, 1.0 - 2.0 * sum(ways[: cut + 1]) / 2**n
