"""The dictionary of metrics: what a name means, its unit, which way is better, and what a failed trial is charged in it.

A metric is named ``<name>_<statistic>_<unit>`` (``ttft_p95_ms``) where it is a distribution, and as its entry says otherwise.
Every other list of metrics in this package is derived from this one. A table may hold metrics that are not listed here: of these
only what the name's ending tells is known (``…_usd``, ``…_s``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cloudbandit.core.errors import UnknownNameError, UsageError

Better = Literal["lower", "higher"]
Charge = Literal["spent_usd", "seconds"]

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
"""Of a distribution; without one in its name a metric is the median."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of the dictionary.

    Args:
        name: without statistic and unit.
        unit: as in the metric's name.
        better: which way.
        title: what a figure's axis says, without statistic and unit.
        summary: the definition in one line; formulas are in `cloudbandit.loadgen.metrics`.
        statistics: of a distribution; empty for a single number.
        charge: what of its result a failed trial is charged in place of the metric; None: nothing has that unit.
        of_fleet: adds up over the engines of a fleet: a throughput.
        stand_in: the entry that answers where only that was measured.
    """

    name: str
    unit: str
    better: Better
    summary: str
    statistics: tuple[str, ...] = ()
    charge: Charge | None = None
    of_fleet: bool = False
    stand_in: str = ""
    title: str = field(kw_only=True)

    @property
    def names(self) -> tuple[str, ...]:
        """The full names: one per statistic."""
        if not self.statistics:
            return (self.name,)
        return tuple(f"{self.name}_{s}_{self.unit}" for s in self.statistics)


DICTIONARY: Mapping[str, Metric] = {
    m.name: m
    for m in [
        # ── latencies of requests ──
        Metric(
            "ttft",
            "ms",
            "lower",
            "request sent → first token, the wait for acceptance included",
            STATISTICS,
            stand_in="ttft_excl_accept",
            title="time to first token",
        ),
        Metric(
            "ttft_excl_accept",
            "ms",
            "lower",
            "request accepted → first token (what LLM-Pilot measured)",
            STATISTICS,
            title="time to first token, acceptance excluded",
        ),
        Metric("nttft", "ms", "lower", "ttft / input tokens", STATISTICS, title="time to first token per input token"),
        Metric("itl", "ms", "lower", "gaps between successive tokens", STATISTICS, title="inter-token latency"),
        Metric(
            "tpot",
            "ms",
            "lower",
            "(last − first token) / (output tokens − 1), per request",
            STATISTICS,
            title="time per output token",
        ),
        Metric("e2e", "ms", "lower", "request sent → last token", STATISTICS, title="end-to-end latency"),
        # ── rates of an engine ──
        Metric(
            "output_tok_per_s", "tok/s", "higher", "output tokens per second", of_fleet=True, title="output throughput"
        ),
        Metric(
            "requests_per_s",
            "requests/s",
            "higher",
            "finished requests per second",
            of_fleet=True,
            title="request throughput",
        ),
        Metric(
            "goodput_requests_per_s",
            "requests/s",
            "higher",
            "requests per second that meet every SLO",
            of_fleet=True,
            title="goodput",
        ),
        Metric("failure_rate", "1", "lower", "failed requests / all", title="failed requests"),
        Metric(
            "failure_rate_excess",
            "1",
            "lower",
            "failure rate beyond a single user's: for want of capacity",
            title="failed requests beyond a single user's",
        ),
        Metric("start_s", "s", "lower", "start of the engine → ready", charge="seconds", title="start of the engine"),
        # ── money and time ──
        Metric(
            "cost_usd",
            "USD",
            "lower",
            "what a run of the config costs in production",
            charge="spent_usd",
            title="cost of a run",
        ),
        Metric(
            "runtime_s", "s", "lower", "how long a run of the config takes", charge="seconds", title="time of a run"
        ),
        Metric("usd_per_h", "USD/h", "lower", "price of the fleet that serves the demand", title="price of the fleet"),
        Metric("price_usd_per_h", "USD/h", "lower", "price of one machine", title="price of one machine"),
        Metric(
            "usd_per_million_output_tokens",
            "USD/Mtok",
            "lower",
            "price / output tokens, one engine kept busy",
            title="price of the output",
        ),
    ]
}
"""By name without statistic and unit."""

_BY_FULL_NAME: Mapping[str, Metric] = {full: m for m in DICTIONARY.values() for full in m.names}
FAILURES = ("failure_rate_excess", "failure_rate")
"""Shares of requests that fail; the first is preferred where both are known."""


def names(*entries: str) -> tuple[str, ...]:
    """The full names of some entries, in the order given."""
    return tuple(full for entry in entries for full in DICTIONARY[entry].names)


def entry(metric: str) -> Metric | None:
    """The dictionary's entry of a full name; None: it is not listed."""
    return _BY_FULL_NAME.get(metric) or _BY_FULL_NAME.get(_with_median(metric))


def better(metric: str) -> Better | None:
    """Which way is better; None where nobody knows."""
    found = entry(metric)
    return found.better if found else None


def unit(metric: str) -> str:
    """The unit of a metric, as far as its name tells."""
    found = entry(metric)
    if found is not None:
        return found.unit
    if "_per_" in metric:
        return metric.rpartition("_per_")[0].rpartition("_")[2] + "/" + metric.rpartition("_per_")[2]
    return {"ms": "ms", "s": "s", "usd": "USD", "rate": "1"}.get(metric.rpartition("_")[2], "")


def title(metric: str, unit_too: bool = True) -> str:
    """What a figure's axis says: ``ttft_p95_ms`` → ``time to first token, 95th percentile [ms]``; the name itself where it is not
    listed."""
    found = entry(metric)
    if found is None:
        return metric
    statistic = next((s for s in found.statistics if f"_{s}_" in metric), "p50" if found.statistics else "")
    words = {"": "", "mean": ", mean", "p50": ", median"}.get(statistic, f", {statistic[1:]}th percentile")
    return found.title + words + (f" [{'share of all' if found.unit == '1' else found.unit}]" if unit_too else "")


def charge(metric: str) -> Charge | None:
    """What of its result a failed trial is charged in place of this metric."""
    found = entry(metric)
    if found is not None:
        return found.charge
    if metric.endswith("_usd"):
        return "spent_usd"
    return "seconds" if metric.endswith(("_s", "_seconds")) and "_per_" not in metric else None


def of_fleet(metric: str) -> bool:
    """Whether it adds up over the engines of a fleet."""
    found = entry(metric)
    return found is not None and found.of_fleet


def stand_in(metric: str) -> str | None:
    """The metric that answers where only that was measured (``ttft_p95_ms`` → ``ttft_excl_accept_p95_ms``), or None."""
    found = entry(metric)
    return metric.replace(found.name, found.stand_in, 1) if found and found.stand_in else None


def check_direction(minimize: Collection[str], maximize: Collection[str]) -> None:
    """Refuse to look for the worst.

    Raises:
        UsageError: a metric of which more is better is minimised, or the other way round.
    """
    for metric in minimize:
        if better(metric) == "higher":
            raise UsageError(
                f"{metric} is better the higher it is, and it is to be minimised; cure: maximize it (--maximize {metric})"
            )
    for metric in maximize:
        if better(metric) == "lower":
            raise UsageError(
                f"{metric} is better the lower it is, and it is to be maximised; cure: minimize it (--minimize {metric})"
            )


def resolve_metric(name: str, available: Collection[str]) -> str:
    """The metric meant by ``name``: without a statistic it is the median (``ttft_ms`` = ``ttft_p50_ms``).

    Raises:
        UnknownNameError: neither form is available.
    """
    if name in available:
        return name
    for alias in (_with_median(name), name.replace("_p50_", "_")):
        if alias in available:
            return alias
    raise UnknownNameError("metric", name, available)


def _with_median(name: str) -> str:
    stem, _, ending = name.rpartition("_")
    return f"{stem}_p50_{ending}"
