"""What among measured points was something else than it says: speculative decoding that nobody stated.

Both signs hold measurements against measurements or against the memory's speed, never against a prediction, and neither knows
a model's name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from cloudbandit.surrogate.points import Point

_FASTER = 0.75
"""Of other dates' time per token at equal load; the bundled campaigns leave a gap from 0.66 to 0.83."""
_AS_LATE = 0.9
"""Of their first token: a faster engine or machine would be earlier here too, a draft model is not."""
_LOADS = 5
_BOTH = frozenset(("tpot_p50_ms", "ttft_p50_ms"))


def speculative(points: Sequence[Point]) -> npt.NDArray[np.bool_]:
    """(N,): which points were measured with several tokens a step, as far as others of the same loads show it.

    A campaign is what one source measured of one model and engine on one date. Over five or more loads that other dates measured
    too (same deployment, parallelism, lengths and users) its median time per token is at most 0.75 of theirs, and its
    median first token is no earlier. The campaign is marked as a whole.
    """
    campaigns: dict[object, list[int]] = defaultdict(list)
    for i, p in enumerate(points):
        campaigns[p.source, p.date, p.model, p.engine].append(i)
    shares = _against_other_dates(points)
    out = np.zeros(len(points), bool)
    for rows in campaigns.values():
        compared = [shares[i] for i in rows if i in shares]
        if len(compared) >= _LOADS:
            each, first = np.median(compared, axis=0)
            out[rows] = each <= _FASTER and first >= _AS_LATE
    return out


def _against_other_dates(points: Sequence[Point]) -> dict[int, tuple[float, float]]:
    """Point → its TPOT and TTFT as shares of the medians of other dates at the same load, where there are any."""
    loads: dict[object, list[int]] = defaultdict(list)
    for i, p in enumerate(points):
        if p.date and p.metrics.keys() >= _BOTH:
            loads[_load(p)].append(i)
    out = {}
    for rows in loads.values():
        for i in rows:
            others = [points[j] for j in rows if points[j].date != points[i].date]
            if others:
                out[i] = (_share(points[i], others, "tpot_p50_ms"), _share(points[i], others, "ttft_p50_ms"))
    return out


def _load(p: Point) -> object:
    where = p.model, p.gpu.part, p.gpus, p.precision, p.engine, p.tensor_parallel, p.data_parallel, p.expert_parallel
    return *where, p.input_tokens, p.output_tokens, p.users


def _share(p: Point, others: Sequence[Point], metric: str) -> float:
    return p.metrics[metric] / float(np.median([o.metrics[metric] for o in others]))


def faster_than_memory(point: Point, streaming_ms: Callable[[float], float]) -> bool:
    """Whether a time per token is shorter than its batch's weights and cache take at the memory's full speed.

    Args:
        streaming_ms: of so many decoding requests. As many decode as Little's law says: users × the share of a request's time
            that lies after its first token; the others wait in a queue.
    """
    each, first = point.metrics.get("tpot_p50_ms"), point.metrics.get("ttft_p50_ms")
    if each is None:
        return False
    after = each * max(point.output_tokens - 1, 1)
    decoding = point.users * (1.0 if first is None else after / (after + first))
    return each < streaming_ms(max(1.0, decoding))
