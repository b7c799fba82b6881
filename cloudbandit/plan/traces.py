"""Recorded traces by name, and weeks made from an hour of one: what is recorded and what is added is said.

The Azure LLM inference traces of 2023 hold about an hour each. `extended` keeps their mean rate and adds what an hour cannot
show: a day, a week, and noise.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from cloudbandit.core.errors import UsageError
from cloudbandit.plan.demand import Demand
from cloudbandit.plan.logs import AccessLog, read_log
from cloudbandit.tables.registry import dataset_path

TRACES = ("azure-llm-2023/code", "azure-llm-2023/conversation")
PEAK_HOUR = {"azure-llm-2023/code": 14.0, "azure-llm-2023/conversation": 15.0}


def read_trace(name: str, source: str = "everywhere") -> AccessLog:
    """A recorded trace by its registered name, its workload called by the last part of it.

    Raises:
        UnknownNameError: no such data set.
        DatasetError: it is not here and cannot be fetched.
    """
    return read_log(dataset_path(name), name.rpartition("/")[2], source)


def extended(
    rate_per_s: float,
    days: int,
    *,
    seed: int,
    peak_hour: float = 14.0,
    day: float = 0.6,
    weekend: float = 0.5,
    noise: float = 0.10,
    memory: float = 0.7,
    start: datetime = datetime(2026, 11, 2, tzinfo=UTC),
    workload: str = "requests",
    source: str = "everywhere",
    step_s: float = 3600.0,
) -> Demand:
    """A made-up demand of so many days around a recorded mean rate: rate × day × week × noise.

    The day is 1 + ``day``·cos(2π(hour − ``peak_hour``)/24); on Saturdays and Sundays all of it is times ``weekend``; the noise is
    lognormal with mean 1, a first-order autoregression of standard deviation ``noise`` and correlation ``memory`` between steps.

    Args:
        rate_per_s: the mean of a working day.
        seed: determines the noise.

    Raises:
        UsageError: fewer than one day, or a number that makes no sense.
    """
    if days < 1 or not (rate_per_s > 0 and 0 <= day < 1 and 0 < weekend <= 1 and noise >= 0 and 0 <= memory < 1):
        raise UsageError(
            "a trace is extended to ≥ 1 days, at a rate > 0, day and memory from 0 to below 1, weekend in 0 … 1"
        )
    steps = round(days * 86400 / step_s)
    hours = start.hour + np.arange(steps) * step_s / 3600
    daily = 1 + day * np.cos(2 * np.pi * (hours - peak_hour) / 24)
    weekly = np.where((start.weekday() + hours // 24) % 7 >= 5, weekend, 1.0)
    rng, level = np.random.default_rng(seed), 0.0
    wander = np.empty(steps)
    for i, fresh in enumerate(rng.standard_normal(steps)):
        level = memory * level + np.sqrt(1 - memory**2) * fresh
        wander[i] = level
    load = rate_per_s * daily * weekly * np.exp(noise * wander - noise**2 / 2)
    said = (
        f"{workload} from {source}: made up from a mean rate of {rate_per_s:.3g}/s "
        f"(day {day:g}, weekend {weekend:g}, noise {noise:g}, seed {seed})"
    )
    return Demand(start, step_s, {(workload, source): load}, (said,))


def merged(parts: list[Demand]) -> Demand:
    """Demands of the same steps as one.

    Raises:
        UsageError: their steps differ, or a series is there twice.
    """
    first = parts[0]
    load: dict[tuple[str, str], np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for part in parts:
        if (part.start, part.step_s, len(part)) != (first.start, first.step_s, len(first)) or set(load) & set(
            part.load
        ):
            raise UsageError("demands that are merged must have the same steps, and each series once")
        load |= {k: np.asarray(v) for k, v in part.load.items()}
    return Demand(first.start, first.step_s, load, tuple(dict.fromkeys(n for p in parts for n in p.notes)))
