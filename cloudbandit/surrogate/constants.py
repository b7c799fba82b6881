"""The constants of `formula`, learned from measured points on a log scale.

Each constant has a weak prior around a stated start, so that what the points do not tell stays where it was. Groups of points
(families of models) weigh by the root of their size: a table of one model is not the world. Errors upwards weigh a little
more than errors downwards: a relative error is bounded below by −1, and has no bound above."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudbandit.surrogate.formula import FIRST_START, STEP_START, Columns, Floats, first_token_s, step_s

_STEP_SD, _FIRST_SD = 0.2, 0.5
"""Typical errors of the logarithm, in which residuals are counted."""
_STEP_SKEW, _FIRST_SKEW = 0.5, 0.8
_MOST_EVALUATIONS = 60


@dataclass(frozen=True)
class Constants:
    """Constants of a step and of the first token; see `formula`."""

    step: Mapping[str, float]
    first: Mapping[str, float]

    def log_times_ms(self, c: Columns) -> tuple[Floats, Floats]:
        """Logarithms of the time per output token and of the time to first token, in ms, (N,) each."""
        step = step_s(self.step, c)
        return np.log(1e3 * step), np.log(1e3 * first_token_s(self.first, c, step))


def fit(c: Columns, log_tpot_ms: Floats, log_ttft_ms: Floats, groups: Sequence[Any]) -> Constants:
    """Learn from points; NaN where a time was not measured.

    Args:
        groups: (N,) the family of each point's model.
    """
    weights = _weights(groups)

    def step_error(v: Mapping[str, float], rows: Any) -> Floats:
        return np.asarray(np.log(1e3 * step_s(v, c[rows])) - log_tpot_ms[rows])

    step = _learn(STEP_START, step_error, np.flatnonzero(np.isfinite(log_tpot_ms)), weights, _STEP_SD, _STEP_SKEW)
    steps = step_s(step, c)

    def first_error(v: Mapping[str, float], rows: Any) -> Floats:
        return np.asarray(np.log(1e3 * first_token_s(v, c[rows], steps[rows])) - log_ttft_ms[rows])

    first = _learn(FIRST_START, first_error, np.flatnonzero(np.isfinite(log_ttft_ms)), weights, _FIRST_SD, _FIRST_SKEW)
    return Constants(step, first)


def fit_engine(known: Constants, engine: str, c: Columns, times: Floats, groups: Sequence[Any]) -> Constants:
    """Learn one engine's ratios from its points, everything else as it is.

    Args:
        times: (N, 2) logarithms of TPOT and TTFT in ms; NaN: not measured.
    """
    weights, ending = _weights(groups), f"_{engine}"

    def step_error(v: Mapping[str, float], rows: Any) -> Floats:
        return np.asarray(np.log(1e3 * step_s({**known.step, **v}, c[rows])) - times[rows, 0])

    own = {name: 1.0 for name in STEP_START if name.endswith(ending)}
    step = {
        **known.step,
        **_learn(own, step_error, np.flatnonzero(np.isfinite(times[:, 0])), weights, _STEP_SD, _STEP_SKEW),
    }
    steps = step_s(step, c)

    def first_error(v: Mapping[str, float], rows: Any) -> Floats:
        return np.asarray(np.log(1e3 * first_token_s({**known.first, **v}, c[rows], steps[rows])) - times[rows, 1])

    own = {name: 1.0 for name in FIRST_START if name.endswith(ending)}
    rows = np.flatnonzero(np.isfinite(times[:, 1]))
    return Constants(step, {**known.first, **_learn(own, first_error, rows, weights, _FIRST_SD, _FIRST_SKEW)})


def _learn(
    start: Mapping[str, float],
    error: Callable[[Mapping[str, float], Any], Floats],
    rows: np.ndarray[Any, Any],
    weights: Floats,
    sd: float,
    skew: float,
) -> dict[str, float]:
    from scipy.optimize import least_squares

    names, centre = list(start), np.log(list(start.values()))

    def residuals(theta: Floats) -> Floats:
        r = error(dict(zip(names, np.exp(theta), strict=True)), rows)
        r = np.where(r > 0, np.expm1(np.minimum(r, 3.0) * skew) / skew, r)
        return np.concatenate([weights[rows] * r / sd, theta - centre])

    if not len(rows):
        return dict(start)
    found = least_squares(residuals, centre, loss="soft_l1", max_nfev=_MOST_EVALUATIONS)
    return {name: float(value) for name, value in zip(names, np.exp(found.x), strict=True)}


def _weights(groups: Sequence[Any]) -> Floats:
    """(N,): the fourth root of 1 / the group's size, squared in the loss."""
    _, index, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return np.asarray(sizes[index] ** -0.25, float)
