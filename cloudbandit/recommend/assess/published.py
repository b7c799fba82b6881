"""The predictions that LLM-Pilot's artifact publishes for itself and seven other methods, as deciders to be scored.

They are other people's data, found by `cloudbandit.tables.registry`; nothing else in the package needs them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cloudbandit.recommend.assess.evaluation import ITL, NTTFT, Decider, Truth, from_samples
from cloudbandit.surrogate.loads import LOADS
from cloudbandit.tables.registry import dataset_path

Floats = npt.NDArray[np.float64]

PUBLISHED = ("LLM-Pilot", "PARIS", "Selecta", "PerfNetV2", "PerfNet", "RF", "Morphling")
TWO_SHOT = ("PARIS", "Selecta", "Morphling")
"""They measure the two reference profiles, where the LLM fits, and use what they measured there."""
REFERENCES = ("1 x T4", "4 x H100")


def predictions(method: str, truth: Sequence[Truth]) -> dict[str, dict[str, Floats]]:
    """Per model: metric → (1, profiles, loads), references replaced by measurements for the two-shot methods.

    Raises:
        DatasetError: the published predictions are not at hand.
    """
    return from_frame(pd.read_csv(dataset_path(f"llm-pilot/predictions-{method}")), truth, two_shot=method in TWO_SHOT)


def from_frame(frame: pd.DataFrame, truth: Sequence[Truth], *, two_shot: bool) -> dict[str, dict[str, Floats]]:
    """From columns ``model``, ``gpu`` (profile), ``num_users`` and ``prediction_median_nttft``, ``prediction_median_itl``."""
    out = {}
    groups = dict(list(frame.groupby("model")))
    for t in truth:
        index = {o.name: i for i, o in enumerate(t.offers)}
        values = {m: np.full((1, len(t.offers), len(LOADS)), np.nan) for m in (NTTFT, ITL)}
        mine = groups[t.model]
        rows = np.array([index[g] for g in mine["gpu"]])
        columns = np.array([LOADS.index(int(u)) for u in mine["num_users"]])
        for m, column in ((NTTFT, "prediction_median_nttft"), (ITL, "prediction_median_itl")):
            values[m][0, rows, columns] = mine[column].to_numpy(float)
            if two_shot:
                for name in REFERENCES:
                    if name in index:
                        values[m][0, index[name]] = t.metrics[m][0, index[name]]
        out[t.model] = values
    return out


def decider(method: str, truth: Sequence[Truth]) -> Decider:
    """A published method: the cheapest offer its predictions allow."""
    return from_samples(predictions(method, truth), 0.5)
