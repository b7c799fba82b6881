"""Percentiles and gaps between tokens, which today's points lack: by their ratio to the median of a time that is predicted.

A ratio is learnt where both were measured: log ratio = a + b·log users + an error, with b ≥ 0, so that more users never make a
percentile better. Errors are those of groups (models) left out of learning a and b, as they came. Percentiles of one time are
in order in every draw: all take the error of one rank, and a higher one is never drawn below a lower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudbandit.core.errors import UnknownNameError
from cloudbandit.core.metrics import STATISTICS
from cloudbandit.surrogate.formula import Floats

BASES = {
    "ttft": "ttft_p50_ms",
    "nttft": "ttft_p50_ms",
    "tpot": "tpot_p50_ms",
    "itl": "tpot_p50_ms",
    "e2e": "e2e_p50_ms",
}
"""Time → the predicted median that its statistics are ratios to; ``nttft`` also divides by the input tokens."""
_PERCENTILES = tuple(s for s in STATISTICS if s != "mean")
NAMES = tuple(name for time, base in BASES.items() for s in _PERCENTILES if (name := f"{time}_{s}_ms") != base)
"""Metrics that follow by a ratio, percentiles of a time in order."""
_ERRORS = 41
"""Kept of each group, evenly spaced from the least to the largest, so that groups count alike."""
_SEED = 0


@dataclass(frozen=True)
class Ratio:
    """One metric's logarithm of its ratio to its base.

    Args:
        level, slope: at one user, and per unit of log users; slope ≥ 0.
        errors: (M,) sorted, of groups left out.
    """

    level: float
    slope: float
    errors: Floats


@dataclass(frozen=True)
class Ratios:
    """Learnt ratios by metric; users beyond those that were measured count as the most that were."""

    known: Mapping[str, Ratio]
    most_users: float

    def draws(self, metric: str, users: float, base: Floats, input_tokens: float = 1.0) -> tuple[float, Floats]:
        """Median ratio, and draws of the metric in ms, (M,), from as many of its base's median.

        Raises:
            UnknownNameError: nothing gives that metric; the message lists those that are known.
        """
        if metric not in self.known:
            raise UnknownNameError("metric with a learned ratio", metric, self.known)
        at = np.log(np.clip(users, 1.0, self.most_users))
        ranks = (np.random.default_rng(_SEED).permutation(len(base)) + 0.5) / len(base)
        time = metric.split("_")[0]
        least = 0.0 if BASES[time] == f"{time}_p50_ms" else -np.inf  # no percentile lies below the median
        middle, logs = least, np.full(len(base), least)
        for name in (n for n in NAMES if n.startswith(f"{time}_") and n in self.known):
            r = self.known[name]
            typical = r.level + r.slope * at
            middle = max(middle, typical + float(np.median(r.errors)))
            logs = np.maximum(logs, typical + np.quantile(r.errors, ranks))
            if name == metric:
                break
        scale = input_tokens if time == "nttft" else 1.0
        return float(np.exp(middle)) / scale, base * np.exp(logs) / scale

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` undoes it."""
        return {
            "most_users": self.most_users,
            "known": {
                name: {"level": round(r.level, 4), "slope": round(r.slope, 4), "errors": r.errors.round(4).tolist()}
                for name, r in self.known.items()
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Ratios:
        known = {n: Ratio(r["level"], r["slope"], np.array(r["errors"], float)) for n, r in data["known"].items()}
        return cls(known, float(data["most_users"]))


def learn_ratios(users: Floats, logs: Mapping[str, Floats], groups: Sequence[Any]) -> Ratios:
    """From measurements.

    Args:
        users: (N,).
        logs: metric of `NAMES` → (N,) log of its ratio to the base; NaN where one of both was not measured.
        groups: (N,) models; each counts alike.
    """
    at, of = np.log(users), np.asarray(groups)
    known = {}
    for name, y in logs.items():
        use = np.isfinite(y)
        if len(np.unique(of[use])) < 2:
            continue
        level, slope = _line(at[use], y[use], of[use])
        errors = [_spread(_left_out(at[use], y[use], of[use], g)) for g in np.unique(of[use])]
        known[name] = Ratio(level, slope, np.sort(np.concatenate(errors)))
    return Ratios(known, float(np.max(users)))


def _left_out(at: Floats, y: Floats, of: np.ndarray[Any, Any], group: Any) -> Floats:
    held = of == group
    level, slope = _line(at[~held], y[~held], of[~held])
    return np.asarray(y[held] - level - slope * at[held])


def _line(at: Floats, y: Floats, of: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Weighted least squares, every group alike, slope ≥ 0."""
    _, index, sizes = np.unique(of, return_inverse=True, return_counts=True)
    weights = 1.0 / sizes[index]
    mean_at, mean_y = np.average(at, weights=weights), np.average(y, weights=weights)
    spread = np.average((at - mean_at) ** 2, weights=weights)
    slope = max(0.0, float(np.average((at - mean_at) * (y - mean_y), weights=weights) / max(spread, 1e-12)))
    return float(mean_y - slope * mean_at), slope


def _spread(errors: Floats) -> Floats:
    ordered = np.sort(errors)
    return np.asarray(ordered[np.linspace(0, len(ordered) - 1, min(_ERRORS, len(ordered))).astype(int)])
