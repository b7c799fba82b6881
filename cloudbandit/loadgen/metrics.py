"""From request records to metrics. Every formula of serving performance in this package is here, and only here.

A record has ``id``, ``status`` (`client.OK`, one of `FAILURES`, or `client.LIMITED`), ``scheduled_s``, ``sent_s``, ``chunk_s``
(arrival of each chunk with text), ``end_s``, ``max_tokens``, ``input_tokens`` and ``output_tokens`` (of the server's usage;
absent where it sent none), ``http_status``, ``error``; its times are seconds on a monotonic clock that starts with the run.

Times of a request: ``scheduled`` (when it should have been sent), ``first`` and ``last`` (arrival of the first and last chunk
with text). ``n_in`` and ``n_out`` are token counts by the server's usage, never by counting chunks: engines put several
tokens into one.

* TTFT = first − scheduled. In a closed loop a request is sent when it is scheduled; in an open one the wait for sending counts.
* nTTFT = TTFT / n_in.
* ITL: the gaps between successive chunks, a distribution pooled over requests. A gap before a chunk of several tokens is one gap.
* TPOT = (last − first) / (n_out − 1), per request, n_out > 1. (aiperf calls this inter-token latency.)
* E2E = last − scheduled.
* Throughput: output tokens, and finished requests, per second of the steady window.
* Goodput: requests per second of the window that meet every SLO on TTFT, nTTFT, TPOT and E2E, each judged by its own figures.
* Failure rate: failed / all.

The **steady window** leaves out a warm-up at the start, and the end, from when no more requests came. (Where that would leave
less than a fifth of the run, as with one request per user, it reaches to the end.) A request belongs to the window it was
scheduled in; a token to the moment its chunk arrived.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.loadgen.client import LIMITED, OK

Floats = npt.NDArray[np.float64]
Record = Mapping[str, Any]

FAILURES = {
    "refused": "no connection",
    "timeout": "no end in time; connecting counts",
    "truncated": "the stream broke off, or the engine ended it early",
    "empty": "it ended without a token",
    "http": "another HTTP status than 200",
    "garbage": "not the protocol's, beyond `client.HEAD_BYTES` or `client.EVENT_BYTES`, or an impossible usage",
    "overrun": "more tokens than were asked for, by the usage or, without one, by the chunks with text",
}
"""How a request can fail: each fails for one reason."""
PERCENTILES = (50, 90, 95, 99)
PER_REQUEST = ("ttft", "nttft", "tpot", "e2e")
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Timing:
    """One successful request's figures in ms; None where it has none (TPOT of a single token, nTTFT without usage)."""

    ttft_ms: float
    e2e_ms: float
    tpot_ms: float | None
    nttft_ms: float | None
    itl_ms: tuple[float, ...]


def timing(record: Record) -> Timing:
    """The figures of one successful request.

    Raises:
        UsageError: the request failed; a failed request has no latency.
    """
    chunks = record["chunk_s"]
    if record["status"] != OK or not chunks:
        raise UsageError(f"request {record['id']} ended {record['status']!r}; only a successful one has latencies")
    first, last, scheduled = chunks[0], chunks[-1], record["scheduled_s"]
    n_in, n_out = record.get("input_tokens"), record.get("output_tokens")
    ttft = 1e3 * (first - scheduled)
    return Timing(
        ttft,
        1e3 * (last - scheduled),
        1e3 * (last - first) / (n_out - 1) if n_out is not None and n_out > 1 else None,
        ttft / n_in if n_in else None,
        tuple(1e3 * (b - a) for a, b in pairwise(chunks)),
    )


def check_request_slos(slos: Sequence[SLO]) -> None:
    """SLOs of single requests name metrics without a statistic, e.g. ``ttft_ms``.

    Raises:
        UsageError: an SLO is not on a request's own figures.
    """
    for slo in slos:
        if slo.metric.removesuffix("_ms") not in PER_REQUEST:
            known = ", ".join(f"{m}_ms" for m in PER_REQUEST)
            raise UsageError(f"goodput judges single requests, by {known}; got {slo}")


def request_meets(record: Record, slos: Sequence[SLO]) -> bool:
    """Whether one request meets every SLO. A failed request meets none.

    Raises:
        UsageError: see `check_request_slos`.
    """
    check_request_slos(slos)
    if record["status"] != OK or not record["chunk_s"]:
        return False
    own = timing(record)
    values = {s.metric: getattr(own, s.metric) for s in slos}
    return all(v is None or slo.violation({slo.metric: v}) == 0 for slo, v in ((s, values[s.metric]) for s in slos))


def percentile_interval(values: Sequence[float] | Floats, q: float) -> tuple[float, float]:
    """95 % interval of a percentile by order statistics (no distribution assumed; values taken as independent)."""
    x = np.sort(np.asarray(values, float))
    n, p = len(x), q / 100
    half = _Z95 * math.sqrt(n * p * (1 - p))
    low, high = math.floor(n * p - half), math.ceil(n * p + half)
    return float(x[max(0, low - 1)]), float(x[min(n - 1, high)])


def steady_window(records: Sequence[Record], warmup_s: float) -> tuple[float, float]:
    """From the end of the warm-up to the last time a request was scheduled; after that the load only drains. See the module.

    Raises:
        UsageError: nothing was scheduled after the warm-up.
    """
    if not records:
        raise UsageError("there are no requests to measure")
    end, over = max(r["scheduled_s"] for r in records), max(r["end_s"] for r in records)
    if end < warmup_s or over <= warmup_s:
        raise UsageError(f"the last request was scheduled at {end:.3g} s, in the warm-up of {warmup_s:g} s; send more")
    return warmup_s, end if end - warmup_s >= 0.2 * (over - warmup_s) else over


@dataclass(frozen=True)
class LoadSummary:
    """What a load test measured.

    Attributes:
        metrics: ``<name>_<statistic>_<unit>`` → value; what was not measured is absent.
        intervals: 95 % intervals of the percentiles.
        failures: kind → count, over all requests of the window.
        window_s: begin and end of the steady window.
        requests: scheduled in the window.
        tokens_per_chunk: mean; far above 1, ITL describes chunks rather than tokens.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    failures: Mapping[str, int]
    window_s: tuple[float, float]
    requests: int
    tokens_per_chunk: float | None

    @property
    def stderr(self) -> Mapping[str, float]:
        """Standard errors of the percentiles, as far as their intervals tell (half their width over 1.96)."""
        return {name: (high - low) / (2 * _Z95) for name, (low, high) in self.intervals.items()}


def summarize(records: Sequence[Record], *, warmup_s: float = 0.0, slos: Sequence[SLO] = ()) -> LoadSummary:
    """Metrics of the steady window.

    Args:
        records: of `client.run`.
        warmup_s: left out at the start.
        slos: for the goodput; see `request_meets`.

    Raises:
        UsageError: the window holds no request, or the client ran into a limit of its own.
    """
    limited = [r for r in records if r["status"] == LIMITED]
    if limited:
        raise UsageError(
            f"the load generator ran into a limit of its own in {len(limited)} of {len(records)} requests "
            f"({limited[0]['error']}), so that the server was not under this load; cure: ulimit -n, or fewer users"
        )
    begin, end = steady_window(records, warmup_s)
    inside = [r for r in records if begin <= r["scheduled_s"] <= end]
    good = [r for r in inside if r["status"] == OK and r["chunk_s"]]
    timings = [timing(r) for r in good]
    series: dict[str, list[float]] = {
        "ttft": [t.ttft_ms for t in timings],
        "nttft": [t.nttft_ms for t in timings if t.nttft_ms is not None],
        "itl": [gap for t in timings for gap in t.itl_ms],
        "tpot": [t.tpot_ms for t in timings if t.tpot_ms is not None],
        "e2e": [t.e2e_ms for t in timings],
    }
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name, values in series.items():
        if values:
            metrics[f"{name}_mean_ms"] = float(np.mean(values))
            for q in PERCENTILES:
                metrics[f"{name}_p{q}_ms"] = float(np.percentile(values, q))
                intervals[f"{name}_p{q}_ms"] = percentile_interval(values, q)
    # one with tokens whose text is empty has no latency either
    failures = Counter(
        "empty" if r["status"] == OK else r["status"] for r in inside if r["status"] != OK or not r["chunk_s"]
    )
    metrics["failure_rate"] = 1.0 - len(good) / len(inside)
    metrics |= _rates(records, begin, end)
    if slos:
        metrics["goodput_requests_per_s"] = sum(request_meets(r, slos) for r in inside) / (end - begin)
    counted = [r for r in good if r.get("output_tokens")]
    chunks = sum(len(r["chunk_s"]) for r in counted)
    return LoadSummary(
        metrics,
        intervals,
        dict(sorted(failures.items())),
        (begin, end),
        len(inside),
        sum(r["output_tokens"] for r in counted) / chunks if chunks else None,
    )


def _rates(records: Sequence[Record], begin: float, end: float) -> dict[str, float]:
    """Throughput of the window: tokens by the arrival of their chunks, whatever window their request belongs to."""
    span = end - begin
    good = [r for r in records if r["status"] == OK and r["chunk_s"]]
    out = {"requests_per_s": sum(begin < r["chunk_s"][-1] <= end for r in good) / span}
    if good and all(r.get("output_tokens") is not None for r in good):
        tokens = sum(r["output_tokens"] * sum(begin < t <= end for t in r["chunk_s"]) / len(r["chunk_s"]) for r in good)
        out["output_tok_per_s"] = tokens / span
    return out
