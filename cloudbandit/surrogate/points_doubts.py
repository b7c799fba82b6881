"""What looks wrong in measured points although every number may be one: units that do not go together.

Each doubt is about a whole column, told by a quantile over its rows, so that one odd row raises none. TTFT / TPOT of the bundled
points (2,709 of today's engines, 526 of LLM-Pilot) is at least 1.6, and at most 1000 for ninety-nine of a hundred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cloudbandit.core.metrics import STATISTICS
from cloudbandit.surrogate.points import Point, Points, end_to_end_ms

_FEW = 0.1
_LEAST_RATIO = 0.3
"""The first token needs a step of the model, as every other does."""
_MOST_RATIO = 1e4
_FASTEST_MS = {"ttft": 1.0, "tpot": 0.1, "itl": 0.1, "e2e": 5.0}
"""No language model on a GPU has been served faster."""
_OFF = 4.0


def doubts(points: Sequence[Point], spelled: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """One sentence per column whose numbers do not go together with the others'; none: nothing looks wrong.

    Args:
        spelled: metric → the column's name in the file, where it differs.
    """
    some, names = Points(tuple(points)), dict(spelled or {})
    out = []
    for statistic in STATISTICS:
        out += _of_latencies(some, statistic, names)
    out += _of_end_to_end(some, names)
    return tuple(out)


def _of_latencies(points: Points, statistic: str, names: Mapping[str, str]) -> list[str]:
    out = []
    short = set()
    for stem, fastest in _FASTEST_MS.items():
        metric = f"{stem}_{statistic}_ms"
        values = points.column(metric)
        values = values[np.isfinite(values)]
        if len(values) and np.median(values) < fastest:
            short.add(stem)
            out.append(
                f"the column {names.get(metric, metric)!r} is {np.median(values):.3g} ms in the median, and no engine is that "
                "fast; is it in seconds? Cure: multiply by 1000"
            )
    first, each = f"ttft_{statistic}_ms", f"tpot_{statistic}_ms"
    ratio = points.column(first) / points.column(each)
    ratio = ratio[np.isfinite(ratio)]
    if not len(ratio) or short & {"ttft", "tpot"}:
        return out
    told = f"the column {names.get(first, first)!r} is {np.median(ratio):.3g} times {names.get(each, each)!r} in the median"
    if np.quantile(ratio, _FEW) < _LEAST_RATIO:
        out.append(f"{told}, and a first token takes no less than the next. Is it in seconds? Cure: multiply by 1000")
    elif np.median(ratio) > _MOST_RATIO:
        out.append(f"{told}; is one of them in another unit?")
    return out


def _of_end_to_end(points: Points, names: Mapping[str, str]) -> list[str]:
    """What follows from TTFT and TPOT: time end to end, and of a closed loop the throughput."""
    whole = [end_to_end_ms(p.metrics, p.output_tokens) for p in points]
    e2e_ms = np.array([np.nan if e is None else e for e in whole])
    tokens = points.column("users") * points.column("output_tokens") / e2e_ms * 1000
    out = []
    for metric, expected in (("e2e_p50_ms", e2e_ms), ("output_tok_per_s", tokens)):
        ratio = points.column(metric) / expected
        ratio = ratio[np.isfinite(ratio)]
        if len(ratio) and not 1 / _OFF <= np.median(ratio) <= _OFF:
            out.append(
                f"the column {names.get(metric, metric)!r} is {np.median(ratio):.3g} times (in the median) what follows from "
                "TTFT, TPOT, output_tokens and users; is it in another unit, per GPU, or per user?"
            )
    return out
