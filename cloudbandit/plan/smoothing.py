"""Forecasts by statsmodels: exponential smoothing, Theta, MSTL and SARIMAX."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import need

Floats = npt.NDArray[np.float64]
_DAYS = 7
_WHAT = "forecasting by"


def _quiet(fit: Callable[[], Any]) -> Any:
    """Without the library's advice on optimisers: a forecast is judged by its errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit()


def ets(history: Floats, horizon: int, day: int) -> Floats:
    """Exponential smoothing: additive, a damped trend, a season of a day; of the last four weeks."""
    past = history[-4 * _DAYS * day :]
    module = need("statsmodels.tsa.holtwinters", "forecast", f"{_WHAT} ets")

    def fit() -> Any:
        model = module.ExponentialSmoothing(
            past,
            trend="add",
            damped_trend=True,
            seasonal="add",
            seasonal_periods=day,
            initialization_method="estimated",
        )
        return model.fit(optimized=True).forecast(horizon)

    return np.asarray(_quiet(fit), float)


def theta(history: Floats, horizon: int, day: int) -> Floats:
    """The Theta method on what is left once the season of a day is taken out (additively, so that zeros are allowed)."""
    module = need("statsmodels.tsa.forecasting.theta", "forecast", f"{_WHAT} theta")
    return np.asarray(
        _quiet(lambda: module.ThetaModel(history, period=day, method="additive").fit(use_mle=False).forecast(horizon)),
        float,
    )


def mstl(history: Floats, horizon: int, day: int) -> Floats:
    """Seasons of a day and, with two weeks of history, of a week; each again as it was last, on the last level."""
    module = need("statsmodels.tsa.seasonal", "forecast", f"{_WHAT} mstl")
    periods = [day] + ([_DAYS * day] if len(history) > 2 * _DAYS * day else [])
    found = _quiet(lambda: module.MSTL(history, periods=periods).fit())
    season = np.asarray(found.seasonal, float).reshape(len(history), -1)
    level = float(np.asarray(found.trend, float)[-1])
    out = np.full(horizon, level)
    for i, period in enumerate(periods):
        out += np.resize(season[-period:, i], horizon)
    return out


def sarimax(history: Floats, horizon: int, day: int) -> Floats:
    """ARIMA(3,1,2), SageServe's order, of what harmonics of the day do not explain; of the last four weeks."""
    module = need("statsmodels.tsa.statespace.sarimax", "forecast", f"{_WHAT} sarimax")
    past = history[-4 * _DAYS * day :]
    times = np.arange(len(past) + horizon)
    angles = [2 * np.pi * k * times / day for k in range(1, min(3, day // 2) + 1)]
    x = np.column_stack([f(a) for a in angles for f in (np.cos, np.sin)])

    def fit() -> Any:
        model = module.SARIMAX(
            past, exog=x[: len(past)], order=(3, 1, 2), enforce_stationarity=False, enforce_invertibility=False
        )
        return model.fit(disp=False, maxiter=50).forecast(horizon, exog=x[len(past) :])

    return np.asarray(_quiet(fit), float)


SMOOTHED: Mapping[str, tuple[Callable[[Floats, int, int], Floats], float]] = {
    "ets": (ets, 2.0),
    "theta": (theta, 2.0),
    "mstl": (mstl, 2.0),
    "sarimax": (sarimax, 2.0),
}
"""Name → method, and the days of history that it needs."""
