"""Measured points: one engine serving one model on some GPUs under some load, and what was measured there.

Every source of measurements reads as points (`cloudbandit.surrogate.points_file`, `cloudbandit.surrogate.points_known`), and the
surrogate learns from nothing else. docs/points.md describes the format for those who write such files.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import GPU, Profile
from cloudbandit.catalogue.precision import PRECISIONS
from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.fleet import SERVING
from cloudbandit.core.metrics import DICTIONARY, FAILURES, STATISTICS

REQUIRED = ("model", "gpu", "gpus", "engine", "precision", "input_tokens", "output_tokens", "users")
PARALLELISM = ("tensor_parallel", "data_parallel", "expert_parallel")
OPTIONAL = ("source", "date", "engine_version", "prefix_cached_share", *PARALLELISM)
_TEXTS = ("model", "gpu", "engine", "precision", "source", "date", "engine_version")
_ORDERED = tuple(s for s in STATISTICS if s != "mean")
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of one deployment under one load.

    Args:
        model: its name; what it is, is told elsewhere (a config).
        profile: the GPUs of one engine.
        engine: e.g. ``vllm``.
        precision: of the weights, one of `PRECISIONS`.
        input_tokens, output_tokens: of a request, > 0; means where they differ.
        users: concurrent requests, > 0; of a closed loop, or by Little's law (`users_by_littles_law`).
        metrics: as in `cloudbandit.core.fleet.SERVING` (ms, tokens and requests per second, shares); what was not measured is
            absent.
        source: who measured, or in which study; a level that may have an error of its own.
        date: ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.
        engine_version: as the engine says it.
        prefix_cached_share: of the input tokens, found in the cache of prefixes, 0 to 1; None: unknown.
        tensor_parallel, data_parallel: their product is the number of GPUs. Data parallel is the attention: each GPU, or group of
            GPUs, has requests of its own. Deployments that differ here alone take different times. None: unknown.
        expert_parallel: GPUs that whole experts are spread over; 1: each expert is split. None: unknown.

    Raises:
        UsageError: a value is out of its range, or percentiles of a metric are out of order; the message names the column.
    """

    model: str
    profile: Profile
    engine: str
    precision: str
    input_tokens: float
    output_tokens: float
    users: float
    metrics: Mapping[str, float]
    source: str = ""
    date: str = ""
    engine_version: str = ""
    prefix_cached_share: float | None = None
    tensor_parallel: int | None = None
    data_parallel: int | None = None
    expert_parallel: int | None = None

    def __post_init__(self) -> None:
        for name in ("model", "engine"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty; allowed: a name")
        if self.precision not in PRECISIONS:
            raise UnknownNameError("precision", self.precision, PRECISIONS)
        for name in ("gpus", *PARALLELISM):
            _at_least_one(name, self.profile.gpus if name == "gpus" else getattr(self, name))
        for name in ("input_tokens", "output_tokens", "users"):
            _positive(name, getattr(self, name))
        share = self.prefix_cached_share
        if share is not None and not 0 <= share <= 1:
            raise UsageError(
                f"prefix_cached_share is {share:g}; allowed: a share from 0 to 1, or nothing where it is unknown"
            )
        if self.date and not _is_date(self.date):
            raise UsageError(
                f"date is {self.date!r}; allowed: YYYY, YYYY-MM or YYYY-MM-DD, or nothing where it is unknown"
            )
        self._check_parallelism()
        self._check_metrics()

    def _check_parallelism(self) -> None:
        tensor, data = self.tensor_parallel, self.data_parallel
        if tensor is not None and data is not None and tensor * data != self.gpus:
            raise UsageError(
                f"tensor_parallel {tensor} × data_parallel {data} are {tensor * data} GPUs, and gpus is {self.gpus}; "
                "cure: gpus are those of one engine, not of the machine"
            )

    def _check_metrics(self) -> None:
        for name, value in self.metrics.items():
            if name not in SERVING:
                raise UnknownNameError("metric", name, SERVING)
            if name in FAILURES:
                if not 0 <= value <= 1:
                    raise UsageError(
                        f"{name} is {value:g}; allowed: a share from 0 to 1, or nothing where it was not measured"
                    )
            else:
                _positive(name, value)
        for entry in DICTIONARY.values():
            known = [(n, self.metrics[n]) for s in _ORDERED if (n := f"{entry.name}_{s}_{entry.unit}") in self.metrics]
            for (low, a), (high, b) in itertools.pairwise(known):
                if a > b:
                    raise UsageError(
                        f"{low} is {a:g} and {high} only {b:g}; a higher percentile cannot be the lower one"
                    )

    @property
    def gpu(self) -> GPU:
        return self.profile.gpu

    @property
    def gpus(self) -> int:
        """Of one engine."""
        return self.profile.gpus

    def value(self, column: str) -> str | float | None:
        """The cell of a column: a required or optional one, or a metric; None where it is unknown.

        Raises:
            UnknownNameError: no such column.
        """
        if column == "gpu":
            return self.gpu.part
        if column in SERVING:
            return self.metrics.get(column)
        if column not in (*REQUIRED, *OPTIONAL):
            raise UnknownNameError("column", column, (*REQUIRED, *OPTIONAL, *SERVING))
        found: str | float | None = getattr(self, column)
        return found


@dataclass(frozen=True)
class Points(Sequence[Point]):
    """Points, in any order; several may be of one deployment and load (measured again).

    Args:
        warnings: what looks wrong in the file that they were read from, one sentence each.
    """

    points: tuple[Point, ...]
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> Points: ...
    def __getitem__(self, index: int | slice) -> Point | Points:
        return Points(self.points[index], self.warnings) if isinstance(index, slice) else self.points[index]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __add__(self, other: Points) -> Points:
        return Points(self.points + other.points, self.warnings + other.warnings)

    def where(self, keep: Callable[[Point], bool]) -> Points:
        """Those that are to be kept."""
        return Points(tuple(p for p in self.points if keep(p)), self.warnings)

    def column(self, name: str) -> npt.NDArray[Any]:
        """One value per point, (n,): texts as they are, numbers as float64 with NaN where unknown.

        Raises:
            UnknownNameError: no such column.
        """
        values = [p.value(name) for p in self.points]
        if name in _TEXTS:
            return np.array(values, dtype=object)
        return np.array([math.nan if v is None else v for v in values], dtype=float)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was measured at any point, in the dictionary's order."""
        known = {m for p in self.points for m in p.metrics}
        return tuple(m for m in SERVING if m in known)


def users_by_littles_law(requests_per_s: float, metrics: Mapping[str, float], output_tokens: float) -> float | None:
    """Requests in flight on average = requests per second × seconds that a request takes (Little, 1961).

    The law is about means; where the mean time end to end is unknown, the median stands for it, and where that is unknown,
    TTFT + TPOT × (output tokens − 1).

    Args:
        metrics: as of a `Point`.

    Returns:
        None where no time is known.
    """
    for statistic in ("mean", "p50"):
        if (e2e := metrics.get(f"e2e_{statistic}_ms")) is not None:
            return requests_per_s * e2e / 1000
    for statistic in ("mean", "p50"):
        if (e2e := end_to_end_ms(metrics, output_tokens, statistic)) is not None:
            return requests_per_s * e2e / 1000
    return None


def end_to_end_ms(metrics: Mapping[str, float], output_tokens: float, statistic: str = "p50") -> float | None:
    """TTFT + TPOT × (output tokens − 1), in ms; None where one is unknown."""
    first, each = metrics.get(f"ttft_{statistic}_ms"), metrics.get(f"tpot_{statistic}_ms")
    return None if first is None or each is None else first + each * (output_tokens - 1)


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} is {value:g}; allowed: a finite number > 0")


def _at_least_one(name: str, value: float | None) -> None:
    if value is not None and not (value >= 1 and value == int(value)):
        raise UsageError(f"{name} is {value:g}; allowed: a whole number ≥ 1")


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat((text + "-01-01")[:10])
    except ValueError:
        return False
    return True
