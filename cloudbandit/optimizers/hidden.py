"""SCOOT's hidden constraints: a random forest learns which configs fail, and how sure it must be adapts.

Source: Cheng et al., SCOOT, WWW 2025, and its reference code (second-hand): a regression forest on 1 where a trial served and 0
where it failed; a config is proposed where the forest says at least δ. δ is 0.5; after the initial design each failure makes it
0.05 larger (from 0.5 up to 0.75), and every five successes in a row make it 0.05 smaller (down to 0.25).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cloudbandit.core.errors import need

Array = np.ndarray[Any, np.dtype[np.float64]]

START, MOST, LEAST, STEP, STREAK = 0.5, 0.75, 0.25, 0.05, 5


def threshold(served: Iterable[bool]) -> float:
    """δ after these outcomes, in the order told, initial design left out."""
    delta, streak = START, 0
    for good in served:
        streak = streak + 1 if good else 0
        if not good:
            delta = min(MOST, max(START, delta + STEP))
        elif streak % STREAK == 0:
            delta = max(LEAST, delta - STEP)
    return round(delta, 10)


def forest(features: Array, served: Array, seed: int) -> Any:
    """scikit-learn's defaults, on one core.

    Args:
        features: ``(n, d)`` of all trials.
        served: ``(n,)``, 1 for each that served, else 0.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    ensemble = need("sklearn.ensemble", "tune", "the optimizer scoot")
    model = ensemble.RandomForestRegressor(random_state=seed, n_jobs=1)
    model.fit(features, served)
    return model
