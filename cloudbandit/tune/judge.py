"""Which of several settings is better: a number per trial, and the best few of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from cloudbandit.core.goal import Goal
from cloudbandit.core.trial import Candidate, Observation, Result

Rank = tuple[float, float, float]
"""Share of trials that failed, violation of the SLOs, mean loss; smaller is better."""


def loss(values: Sequence[float]) -> float:
    """Of a score's values: the mean logarithm, so that several objectives count alike and a halved one weighs the same in any
    unit; of values that are not all of one sign, the mean."""
    if all(v > 0 for v in values):
        return fmean(map(math.log, values))
    if all(v != 0 for v in values):  # maximised ones are negated
        return fmean(math.copysign(1.0, v) * math.log(abs(v)) for v in values)
    return fmean(values)


def means(observations: Sequence[Observation]) -> dict[str, float]:
    """Of each metric over the trials that ran, as far as all of them measured it."""
    ran = [o.result.metrics for o in observations if o.score is not None and o.score.rank == 0]
    return {m: fmean(r[m] for r in ran) for m in (ran[0] if ran else ()) if all(m in r for r in ran)}


def rank(observations: Sequence[Observation], goal: Goal) -> Rank:
    """Of the informative trials of one config, at least one. SLOs are held against means: one noisy repeat proves nothing."""
    scores = [o.score for o in observations if o.score is not None]
    ran = [s for s in scores if s.rank == 0]
    if not ran:
        return 1.0, math.inf, math.inf
    judged = goal.score(Result(metrics=means(observations)))
    assert judged is not None
    return 1.0 - len(ran) / len(scores), judged.violation, fmean(loss(s.values) for s in ran)


def best_few(
    observations: Sequence[Observation], goal: Goal, count: int, but: Candidate | None = None
) -> list[Candidate]:
    """The best configs that met every SLO whenever they were tried, the best first.

    Args:
        but: left out.
    """
    tried: dict[Candidate, list[Observation]] = {}
    for o in observations:
        if o.score is not None and o.candidate != but:
            tried.setdefault(o.candidate, []).append(o)
    served = {c: some for c, some in tried.items() if all(o.score is not None and o.score.feasible for o in some)}
    return sorted(served, key=lambda c: (rank(served[c], goal), c.key))[:count]


def names_of(goal: Goal) -> tuple[tuple[str, float], ...]:
    """The goal's metrics, each with 1 where it is minimised and −1 where it is maximised."""
    signs = getattr(goal, "signs", (1.0,) * len(goal.metrics))
    return tuple(zip(goal.metrics, signs, strict=True))
