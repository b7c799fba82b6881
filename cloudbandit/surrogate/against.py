"""Predictions held against measurements: how wrong they are, how often intervals hold the truth, where both are worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from cloudbandit.surrogate.serving import TIMES, Estimate

GROUPED_BY = ("model", "gpu", "engine")


@dataclass(frozen=True, slots=True)
class Held:
    """One measured point and what was predicted of it.

    Args:
        labels: ``model``, ``gpu``, ``engine`` → name.
        measured: metric → value; what was not measured is absent.
        predicted: metric → estimate; empty where the question was refused.
    """

    labels: Mapping[str, str]
    measured: Mapping[str, float]
    predicted: Mapping[str, Estimate]


def report(held: Sequence[Held]) -> dict[str, Any]:
    """Errors over all points, and by model, GPU and engine, the worst group first.

    ``mape_percent``: mean of 100·|predicted/measured − 1|, of the median prediction; ``median_ratio``: predicted ÷ measured;
    ``coverage_percent``: how often the 80 % interval holds the measurement; ``median_high_over_low``: how wide it is.
    """
    answered = [h for h in held if h.predicted]
    groups: list[dict[str, Any]] = []
    for by in GROUPED_BY:
        for name in sorted({h.labels[by] for h in answered}):
            mine = [h for h in answered if h.labels[by] == name]
            groups.append({"by": by, "name": name, "n": len(mine), "metrics": _errors(mine)})
    groups.sort(key=lambda g: -_worst(g["metrics"]))
    return {"n": len(answered), "refused": len(held) - len(answered), "metrics": _errors(answered), "groups": groups}


def _errors(held: Sequence[Held]) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    others = sorted({m for h in held for m in h.predicted} - set(TIMES))
    for name in (*TIMES, *others):
        pairs = [(h.predicted[name], h.measured[name]) for h in held if name in h.measured and name in h.predicted]
        if pairs:
            out[name] = {
                "n": len(pairs),
                "mape_percent": 100 * fmean(abs(p.median / m - 1) for p, m in pairs),
                "median_ratio": median(p.median / m for p, m in pairs),
                "coverage_percent": 100 * fmean(p.low <= m <= p.high for p, m in pairs),
                "median_high_over_low": median(p.high / p.low for p, _ in pairs),
            }
    return out


def _worst(metrics: Mapping[str, Mapping[str, float]]) -> float:
    return max((m["mape_percent"] for m in metrics.values()), default=-math.inf)
