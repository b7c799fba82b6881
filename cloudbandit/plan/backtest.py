"""How good forecasts were: made again at past origins, from what was known there, and held against what came."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudbandit.core.errors import UsageError
from cloudbandit.plan.forecast import Floats, forecast_series, method_of


@dataclass(frozen=True, slots=True)
class Backtest:
    """Of one method on one or more series.

    Args:
        wape_percent: Σ|load − forecast| / Σ load.
        bias_percent: Σ(forecast − load) / Σ load.
        coverage_percent: steps whose load is at most the buffered forecast.
        asked_percent: what the quantile asked for.
        buffer_percent: Σ(buffered − forecast) / Σ load: what the buffer costs in capacity.
        unserved_percent: Σ max(0, load − buffered) / Σ load.
        n: steps that were forecast.
        origins: forecasts that were made.
    """

    method: str
    wape_percent: float
    bias_percent: float
    coverage_percent: float
    asked_percent: float
    buffer_percent: float
    unserved_percent: float
    n: int
    origins: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {name: getattr(self, name) for name in self.__slots__}


def backtest(
    series: Iterable[Floats],
    horizon: int,
    day: int,
    method: str,
    quantile: float,
    *,
    first: int | None = None,
    lead: int = 0,
) -> Backtest:
    """Forecast the end of each series again, a horizon at a time.

    Args:
        first: the first origin; by default the middle of the series, but no sooner than the method needs.

    Raises:
        UsageError: nothing is left to be forecast.
    """
    came, made, high, origins = [], [], [], 0
    _, days = method_of(method)
    for values in series:
        least = math.ceil(days * day) + horizon + lead
        known: dict[int, Floats] = {}
        start = max(len(values) // 2, least) if first is None else first
        for origin in range(start, len(values) - horizon - lead + 1, horizon):
            found = forecast_series(values[:origin], horizon, day, method, quantile, lead, known)
            came.append(values[origin + lead : origin + lead + horizon])
            made.append(found.point)
            high.append(found.buffered)
            origins += 1
    if not origins:
        raise UsageError(
            f"no series is long enough to hold {method} against it; cure: more history, or a shorter horizon"
        )
    y, f, b = np.concatenate(came), np.concatenate(made), np.concatenate(high)
    total = float(y.sum()) or 1.0
    return Backtest(
        method,
        100 * float(np.abs(y - f).sum()) / total,
        100 * float((f - y).sum()) / total,
        100 * float((y <= b * (1 + 1e-9)).mean()),
        100 * quantile,
        100 * float((b - f).sum()) / total,
        100 * float(np.maximum(0.0, y - b).sum()) / total,
        len(y),
        origins,
    )
