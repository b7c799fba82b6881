"""Causal forecasts of load: a point forecast from the past alone, and a buffer that is an empirical quantile of its own errors.

`naive-daily`, `naive-weekly` and `fourier` need numpy alone; `ets`, `theta`, `mstl` and `sarimax` need statsmodels (extra
``forecast``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.plan.demand import Demand
from cloudbandit.plan.smoothing import SMOOTHED

Floats = npt.NDArray[np.float64]
Method = Callable[[Floats, int, int], Floats]
"""History (n,), horizon, steps per day → forecast (horizon,)."""
DAYS = 7
_HARMONICS = (4, 3)
_ORIGINS, _ORIGINS_SLOW = 28, 10
_FLOOR = 0.05


def naive_daily(history: Floats, horizon: int, day: int) -> Floats:
    """Yesterday again."""
    return _again(history, horizon, day)


def naive_weekly(history: Floats, horizon: int, day: int) -> Floats:
    """Last week again."""
    return _again(history, horizon, DAYS * day)


def _again(history: Floats, horizon: int, season: int) -> Floats:
    return np.resize(history[-season:], horizon)


def fourier(history: Floats, horizon: int, day: int) -> Floats:
    """Least squares on a line and harmonics of the day and, with two weeks of history, of the week; of the last four weeks."""
    past = history[-4 * DAYS * day :]
    n = len(past)
    times = np.arange(n + horizon, dtype=float)
    columns = [np.ones(n + horizon)]
    weekly = n >= 2 * DAYS * day
    periods = [(day, _HARMONICS[0])] + ([(DAYS * day, _HARMONICS[1])] if weekly else [])
    for period, harmonics in periods:
        for k in range(1, min(harmonics, period // 2) + 1):
            angle = 2 * np.pi * k * times / period
            columns += [np.cos(angle), np.sin(angle)]
    x = np.column_stack(columns)
    level = np.linalg.lstsq(x[:n], past, rcond=None)[0]
    return np.asarray(np.maximum(0.0, x[n:] @ level))


METHODS: Mapping[str, tuple[Method, float]] = {
    "naive-daily": (naive_daily, 1.0),
    "naive-weekly": (naive_weekly, float(DAYS)),
    "fourier": (fourier, 2.0),
    **SMOOTHED,
}
"""Name → method, and the days of history that it needs."""
_SLOW = (*SMOOTHED,)


def method_of(name: str) -> tuple[Method, float]:
    """A method by name, and the days of history it needs.

    Raises:
        UnknownNameError: none is called so.
    """
    if name not in METHODS:
        raise UnknownNameError("forecast method", name, METHODS)
    return METHODS[name]


@dataclass(frozen=True)
class Series:
    """A forecast of one series.

    Args:
        point: (H,) what is expected.
        buffered: (H,) what the load will not exceed with the probability asked for; the point forecast where none was.
        errors: relative errors of past forecasts from which the buffer was taken.
    """

    point: Floats
    buffered: Floats
    errors: Floats


def forecast_series(
    history: Floats,
    horizon: int,
    day: int,
    method: str = "naive-weekly",
    quantile: float | None = None,
    lead: int = 0,
    known: dict[int, Floats] | None = None,
) -> Series:
    """Forecast one series, and the quantile of what really comes.

    The buffer is taken from the method's own errors: forecasts are made at past origins, from what was known there, and the
    quantile of (load − forecast) / (forecast + a twentieth of the mean load) is added to the new one. With the usual correction
    for a finite sample: of n errors the ⌈(n + 1)·q⌉-th, the largest where that is beyond them all.

    Args:
        history: (n,), the last step the newest.
        horizon: steps that are wanted.
        day: steps per day.
        quantile: 0.95: the buffered forecast holds with 95 %; None: no buffer.
        lead: steps between the last one known and the first one wanted.
        known: forecasts of this very series that were made already, by origin; it is added to.

    Raises:
        UsageError: too little history for the method, or for the buffer; or no such quantile.
    """
    forecast, days = method_of(method)
    history = np.asarray(history, float)
    needs = math.ceil(days * day)
    if len(history) < needs:
        raise UsageError(
            f"{method} needs {days:g} days of history, and there are {len(history) / day:.1f}; cure: more of it, or another "
            f"method ({', '.join(m for m, (_, d) in METHODS.items() if d * day <= len(history)) or 'none does with so little'})"
        )
    if horizon < 1 or day < 1 or lead < 0:
        raise UsageError(f"horizon {horizon} and day {day} must be ≥ 1, lead {lead} ≥ 0")
    known = {} if known is None else known
    point = _made(forecast, history, len(history), horizon, day, lead, known)
    if quantile is None:
        return Series(point, point, np.zeros(0))
    if not 0 < quantile < 1:
        raise UsageError(f"quantile is {quantile!r}; it must be between 0 and 1, such as 0.95")
    errors = past_errors(history, horizon, day, method, lead, known)
    place = math.ceil((len(errors) + 1) * quantile)
    if not len(errors):
        raise UsageError(
            f"no history is left to see how wrong {method} is; cure: {days + 1:g} days of it, or no quantile"
        )
    buffer = float(np.sort(errors)[min(place, len(errors)) - 1])
    floor = _FLOOR * float(history.mean())
    return Series(point, np.maximum(0.0, point + buffer * (point + floor)), errors)


def past_errors(
    history: Floats, horizon: int, day: int, method: str, lead: int = 0, known: dict[int, Floats] | None = None
) -> Floats:
    """Relative errors of forecasts made at past origins, a day apart, the newest last; each from what was known there."""
    forecast, days = method_of(method)
    known = {} if known is None else known
    needs = math.ceil(days * day)
    out = []
    origins = range(len(history) - horizon - lead, needs - 1, -day)
    for origin in origins[: _ORIGINS_SLOW if method in _SLOW else _ORIGINS]:
        made = _made(forecast, history, origin, horizon, day, lead, known)
        came = history[origin + lead : origin + lead + horizon]
        out.append((came - made) / (made + _FLOOR * float(history[:origin].mean()) + 1e-12))
    return np.concatenate(out[::-1]) if out else np.zeros(0)


def _made(
    forecast: Method, history: Floats, origin: int, horizon: int, day: int, lead: int, known: dict[int, Floats]
) -> Floats:
    if origin not in known:
        known[origin] = np.maximum(0.0, np.asarray(forecast(history[:origin], lead + horizon, day), float)[lead:])
    return known[origin]


def forecast_demand(
    history: Demand,
    horizon: int,
    *,
    method: str = "naive-weekly",
    quantile: float | None = None,
    lead: int = 0,
    only: Sequence[str] | None = None,
) -> Demand:
    """What comes after a demand that was seen: every series forecast by itself, each with its buffer.

    Args:
        horizon: steps.
        only: workloads to forecast; None: all.

    Raises:
        UsageError: see `forecast_series`; or a day is no whole number of steps.
    """
    day = 86400 / history.step_s
    if abs(day - round(day)) > 1e-9:
        raise UsageError(f"a day is no whole number of steps of {history.step_s:g} s; cure: steps that divide a day")
    load = {
        key: forecast_series(values, horizon, round(day), method, quantile, lead).buffered
        for key, values in history.load.items()
        if only is None or key[0] in only
    }
    said = f"{method}, {'no buffer' if quantile is None else f'the {quantile:.0%} quantile of its past errors added'}"
    start = history.start + timedelta(seconds=history.step_s * (len(history) + lead))
    return replace(history, start=start, load=load, notes=(*history.notes, f"demand forecast by {said}"))
