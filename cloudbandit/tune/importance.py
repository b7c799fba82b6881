"""What each knob was worth: the share of the model's variation that it explains by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate, Observation

Array = np.ndarray[Any, np.dtype[np.float64]]


def importance(problem: Problem, observations: Sequence[Observation]) -> dict[str, float]:
    """First-order shares of variance of what the model (`cloudbandit.optimizers.joint_forest`) expects of the first objective,
    the largest first; together at most about 1, the rest is interplay. Empty where nothing was measured. In a listing that is no
    full grid a knob takes some of what others cause.
    """
    from cloudbandit.optimizers.joint_forest import JointForest

    model = JointForest(problem)
    informative = [o for o in observations if o.score is not None]
    model.tell(informative)
    if sum(o.score is not None and o.score.rank == 0 for o in informative) < 2:
        return {}
    candidates, expected = model.predicted()
    return shares(candidates, expected)


def shares(candidates: Sequence[Candidate], values: Array) -> dict[str, float]:
    """Var(E[value | knob]) / Var(value) over the candidates; a knob that is not active counts as a value of its own."""
    total = float(values.var())
    out: dict[str, float] = {}
    for name in sorted({name for c in candidates for name in c.config}):
        groups: dict[object, list[float]] = {}
        for c, value in zip(candidates, values.tolist(), strict=True):
            groups.setdefault(c.config.get(name), []).append(value)
        if len(groups) > 1:
            means = np.array([np.mean(some) for some in groups.values()])
            weights = np.array([len(some) for some in groups.values()]) / len(values)
            between = float(weights @ (means - weights @ means) ** 2)
            out[name] = between / total if total > 0 else 0.0
    return dict(sorted(out.items(), key=lambda item: (-item[1], item[0])))
