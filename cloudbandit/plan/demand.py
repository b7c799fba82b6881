"""Demand: load per workload and source over equal steps of time, and how it is read and checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.files import read_csv

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Key = tuple[str, str]
"""A workload and a source of load: who asks, from where."""
_SAID = 5
_LATEST = 1e10
"""Seconds since 1970, in the year 2286: a clock in milliseconds is beyond it."""


@dataclass(frozen=True)
class Demand:
    """Load over time; the load of a step is what has to be served all through it.

    Args:
        start: of the first step, in UTC.
        step_s: length of a step.
        load: (workload, source) → (T,), in the workload's unit, ≥ 0.
        notes: what a reader must know of it.

    Raises:
        DataError: it is empty, of unequal lengths, or a load is negative or not finite.
    """

    start: datetime
    step_s: float
    load: Mapping[Key, Floats]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.load or not all(len(v) for v in self.load.values()):
            raise DataError("the demand is empty; cure: give at least one step of load for one workload")
        lengths = {len(v) for v in self.load.values()}
        if len(lengths) > 1:
            raise DataError(f"the series of the demand have different lengths: {sorted(lengths)}")
        if not (math.isfinite(self.step_s) and self.step_s > 0):
            raise DataError(f"the step of the demand is {self.step_s!r} s; it must be a finite number > 0")
        for (workload, source), values in self.load.items():
            bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
            if len(bad):
                raise DataError(
                    f"the load of {workload} from {source} is {values[bad[0]]} at {self.time(int(bad[0]))}; "
                    "it must be a finite number ≥ 0"
                )

    def __len__(self) -> int:
        return len(next(iter(self.load.values())))

    @property
    def workloads(self) -> list[str]:
        return list(dict.fromkeys(w for w, _ in self.load))

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(s for _, s in self.load))

    @property
    def step_h(self) -> float:
        return self.step_s / 3600

    def time(self, step: int) -> str:
        """When a step begins, as ``2026-11-02T08:00Z``."""
        return (self.start + timedelta(seconds=self.step_s * step)).strftime("%Y-%m-%dT%H:%MZ")

    def of(self, workload: str, sources: Sequence[str]) -> Floats:
        """(S, T): zero where a source has none of it."""
        return np.array([self.load.get((workload, s), np.zeros(len(self))) for s in sources])

    def part(self, first: int, end: int) -> Demand:
        """The steps from ``first`` to before ``end``.

        Raises:
            DataError: there are none.
        """
        start = self.start + timedelta(seconds=self.step_s * first)
        return replace(self, start=start, load={k: v[first:end] for k, v in self.load.items()})

    def scaled(self, factor: float) -> Demand:
        """Every load times this."""
        return replace(self, load={k: v * factor for k, v in self.load.items()})

    def coarser(self, step_s: float, how: str = "max") -> Demand:
        """In longer steps, each with the largest load of its parts (``max``, what capacity must serve) or their mean.

        Raises:
            UsageError: the step is no multiple of the present one, or nothing but a part of a step is there.
        """
        ratio = step_s / self.step_s
        if how not in ("max", "mean") or ratio < 1 or abs(ratio - round(ratio)) > 1e-9:
            raise UsageError(
                f"steps of {self.step_s:g} s cannot be made {step_s:g} s by {how!r}; max or mean, multiples"
            )
        n = round(ratio)
        if len(self) < n:
            raise UsageError(f"{len(self)} steps of {self.step_s:g} s are less than one of {step_s:g} s")
        whole = len(self) // n * n
        load = {
            k: (v[:whole].reshape(-1, n).max(1) if how == "max" else v[:whole].reshape(-1, n).mean(1))
            for k, v in self.load.items()
        }
        left = len(self) - whole
        said = (f"the last {left} steps of {self.step_s:g} s are less than one of {step_s:g} s and are left out",)
        return replace(self, step_s=step_s, load=load, notes=(*self.notes, *(said if left else ())))


def read_demand(path: str | Path, gaps: str = "refuse") -> Demand:
    """From a CSV file: ``time``, ``workload`` (or ``model`` and ``tier``), ``source`` and ``load``, a row per step and series.

    Args:
        gaps: what to do where a series lacks steps: ``refuse``, ``zero`` (nothing was asked) or ``line`` (a straight line between
            its neighbours); what was filled is in the notes.

    Raises:
        DataError: the file is wrong, empty or gappy, a load is no number ≥ 0, or its clock jumps.
    """
    path = Path(path)
    rows = read_csv(path, ["time", "source", "load"], f"there is no demand at {path}", DataError)
    out = []
    for line, row in rows:
        where = f"{path} line {line}"
        name = row.get("workload") or "/".join(filter(None, (row.get("model"), row.get("tier"))))
        if not name or not row["source"]:
            raise DataError(f"{where}: it needs a workload (or a model and a tier) and a source")
        try:
            load = float(row["load"])
        except ValueError:
            load = math.nan
        if not (math.isfinite(load) and load >= 0):
            raise DataError(f"{where}: load is {row['load']!r}; it must be a finite number ≥ 0")
        out.append((seconds(row["time"], where), (name, row["source"]), load))
    return _series(out, str(path), gaps)


def demand_of_frame(frame: pd.DataFrame, gaps: str = "refuse") -> Demand:
    """From a data frame with the columns of `read_demand`; times as pandas has them.

    Raises:
        DataError: see `read_demand`.
    """
    lacking = [c for c in ("time", "workload", "source", "load") if c not in frame.columns]
    if lacking:
        raise DataError(
            f"the frame of the demand lacks {', '.join(lacking)}; it has {', '.join(map(str, frame.columns))}"
        )
    rows = []
    for i, (time, workload, source, load) in enumerate(
        zip(frame["time"], frame["workload"], frame["source"], frame["load"], strict=True)
    ):
        rows.append((seconds(str(time), f"row {i} of the frame"), (str(workload), str(source)), float(load)))
    return _series(rows, "the frame", gaps)


def seconds(text: str, where: str) -> float:
    """A time of ISO 8601 (without a zone: UTC) or seconds since 1970, as the latter.

    Raises:
        DataError: neither.
    """
    try:
        since = float(text)
    except ValueError:
        pass
    else:
        if not 0 <= since < _LATEST:
            raise DataError(
                f"{where}: {text!r} is no time in seconds since 1970; are these milliseconds? Cure: seconds, or ISO 8601 in UTC"
            )
        return since
    try:
        stamp = datetime.fromisoformat(text.strip())
    except ValueError:
        raise DataError(f"{where}: {text!r} is no time; write ISO 8601 in UTC, or seconds since 1970") from None
    return stamp.replace(tzinfo=stamp.tzinfo or UTC).timestamp()


def _series(rows: Iterable[tuple[float, Key, float]], source: str, gaps: str) -> Demand:
    if gaps not in ("refuse", "zero", "line"):
        raise UsageError(f"gaps is {gaps!r}; allowed: refuse, zero, line")
    by: dict[Key, dict[float, float]] = {}
    for time, key, load in rows:
        mine = by.setdefault(key, {})
        if time in mine:
            raise DataError(
                f"{source}: {'/'.join(key)} has {_time(time)} twice; does its clock jump (summer time)? "
                "Cure: times in UTC, a row each"
            )
        mine[time] = load
    if not by:
        raise DataError(f"{source}: the demand is empty; cure: give at least one step of load for one workload")
    times = np.array(sorted({t for mine in by.values() for t in mine}))
    step = float(np.median(np.diff(times))) if len(times) > 1 else 3600.0
    index = (times - times[0]) / step
    off = np.flatnonzero(np.abs(index - index.round()) > 1e-6)
    if len(off):
        raise DataError(
            f"{source}: the clock jumps at {_time(times[off[0]])}: it is no whole number of steps of {step:g} s after "
            f"{_time(times[0])}; cure: equal steps"
        )
    length = round(float(index[-1])) + 1
    series: dict[Key, Floats] = {}
    filled = 0
    for key, mine in by.items():
        values = np.full(length, np.nan)
        values[np.round((np.array(list(mine)) - times[0]) / step).astype(int)] = list(mine.values())
        holes = np.flatnonzero(np.isnan(values))
        if len(holes) and gaps == "refuse":
            said = ", ".join(_time(times[0] + step * i) for i in holes[:_SAID])
            raise DataError(
                f"{source}: {'/'.join(key)} lacks {len(holes)} of {length} steps of {step:g} s: {said}"
                f"{', …' if len(holes) > _SAID else ''}; cure: add them, or say what they were (gaps = zero, or line)"
            )
        filled += len(holes)
        there = np.flatnonzero(~np.isnan(values))
        series[key] = np.nan_to_num(values) if gaps == "zero" else np.interp(np.arange(length), there, values[there])
    notes = (f"{filled} steps were missing and are taken as {'0' if gaps == 'zero' else 'a straight line'}",)
    return Demand(datetime.fromtimestamp(times[0], UTC), step, series, notes if filled else ())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
