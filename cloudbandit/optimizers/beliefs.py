"""What a posterior says about the answer: which arm has the best candidate, how near the incumbent is, what a trial would gain.

The chance of being best is worked out on draws from the joint posterior of the candidates that may be it, pair of hypotheses by
pair of hypotheses; a draw counts a candidate in where it runs and meets the SLOs, by their probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cloudbandit.core.stop import Belief
from cloudbandit.core.trial import Candidate, Observation
from cloudbandit.optimizers.columns import Points
from cloudbandit.optimizers.gaussian_process import Posterior
from cloudbandit.optimizers.hypotheses import Fit, HypothesesGP
from cloudbandit.optimizers.outlook import Field, JointModel

Array = np.ndarray[Any, np.dtype[np.float64]]
Positions = np.ndarray[Any, np.dtype[np.intp]]

DRAWS = 256
NEAR = 0.05
"""Within this share of the best counts as near."""
_CONTENDERS = 40
_JITTER = 1e-6  # of the prior variance, so that rounding leaves a square root
_MOST_SD = 3.0  # on a log scale; beyond, the mean of what is exponentiated says nothing


def believe(
    model: JointModel, field: Field, told: Sequence[Observation], incumbent: Candidate, rng: np.random.Generator
) -> Belief:
    """About the candidates of the field, the incumbent and everything told among them."""
    outlook = model.outlook(field, np.arange(len(field)))
    p, target = outlook.objectives[0], model.target_of(0, outlook.known.logs[0])
    position = {c.key: i for i, c in enumerate(field.candidates)}
    chance, untried = outlook.meets.astype(float), np.ones(len(field), bool)
    for o in told:
        at = position.get(o.candidate.key)
        if at is not None and o.score is not None:
            chance[at], untried[at] = float(o.score.feasible), False
    here = position[incumbent.key]
    level = float(outlook.tried[outlook.known.feasible[outlook.rows], 0].min())
    gains = expected_gain(p, level, target.sign, target.log) * chance
    chosen = np.union1d(contenders(p, chance), [here])
    drawn = draw_values(model.values, field.points.at(chosen), outlook.fits[0], p.at(chosen), rng)
    serves = rng.random(drawn.shape) < chance[chosen]
    arms = [field.candidates[i].arm[0] for i in chosen.tolist()]
    slack = slack_of(level, target.log)
    shares, near = best_and_near(drawn, serves, arms, int(np.searchsorted(chosen, here)), slack)
    every = dict.fromkeys(c.arm[0] for c in field.candidates)
    mean, sd = moments(p, target.sign, target.log)
    gain = float(gains[untried].max(initial=0.0))
    return Belief(field.candidates, mean, sd, {arm: shares.get(arm, 0.0) for arm in every}, near, gain)


def contenders(p: Posterior, chance: Array) -> Positions:
    """The candidates that may be best: the lowest confidence bounds, a little higher where they may not serve."""
    bound = p.weight @ (p.mean - 2.0 * p.sd) - np.log(np.maximum(chance, 1e-12))
    return np.sort(np.argsort(bound, kind="stable")[:_CONTENDERS])


def draw_values(
    model: HypothesesGP, points: Points, fit: Fit, p: Posterior, rng: np.random.Generator, draws: int = DRAWS
) -> Array:
    """Joint draws at the points, ``(draws, N)``; ``p`` are the posteriors there. Each pair has draws by its weight."""
    edges = np.searchsorted(np.cumsum(fit.weight), (np.arange(draws) + 0.5) / draws)
    pairs = np.minimum(edges, len(fit.weight) - 1)
    out = np.empty((draws, len(points)))
    used = np.unique(pairs)
    kernels, root_of = np.unique(fit.kernel[used], return_inverse=True)
    roots = np.linalg.cholesky(model.covariances(points, kernels) + _JITTER * np.eye(len(points)))
    for pair, root in zip(used.tolist(), root_of.tolist(), strict=True):
        rows = np.flatnonzero(pairs == pair)
        scale = fit.scale * math.sqrt(fit.variance[pair])
        out[rows] = p.mean[pair] + scale * (rng.standard_normal((len(rows), len(points))) @ roots[root].T)
    return out


def best_and_near(
    drawn: Array, serves: np.ndarray[Any, np.dtype[np.bool_]], arms: Sequence[str], incumbent: int | None, slack: float
) -> tuple[Mapping[str, float], float]:
    """The share of draws in which each arm has the best, and in which the incumbent is within ``slack`` of it.

    Args:
        drawn: ``(draws, N)``, smaller is better.
        serves: ``(draws, N)``.
        arms: of the N.
        incumbent: its position; None: there is none.
    """
    values = np.where(serves, drawn, np.inf)
    some = np.isfinite(values).any(axis=1)
    shares = dict.fromkeys(arms, 0.0)
    if not some.any():
        return {arm: 1.0 / len(shares) for arm in shares}, 0.0
    values = values[some]
    for winner in values.argmin(axis=1).tolist():
        shares[arms[winner]] += 1.0 / len(values)
    if incumbent is None:
        return shares, 0.0
    return shares, float((drawn[some, incumbent] <= values.min(axis=1) + slack).mean())


def slack_of(value: float, log: bool) -> float:
    """5 % of a value, on the scale that is modelled."""
    return math.log1p(NEAR) if log else NEAR * abs(value)


def moments(p: Posterior, sign: float, log: bool) -> tuple[Array, Array]:
    """Mean and standard deviation in the score's own unit, ``(N,)`` each."""
    mean, sd = p.mean, p.sd
    if log:
        spread = np.minimum(sd, _MOST_SD)
        first = np.exp(sign * mean + 0.5 * spread**2)
        mean, sd = sign * first, first * np.sqrt(np.expm1(spread**2))
    average = p.weight @ mean
    return average, np.sqrt(np.maximum(p.weight @ (sd**2 + mean**2) - average**2, 0.0))


def expected_gain(p: Posterior, incumbent: float, sign: float, log: bool) -> Array:
    """By how much each candidate is expected to improve on the incumbent, in the score's own unit, ``(N,)``.

    Args:
        incumbent: on the modelled scale.
    """
    from scipy.special import ndtr

    z = (incumbent - p.mean) / p.sd
    if not log:
        density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        return np.asarray(p.weight @ (p.sd * (z * ndtr(z) + density)))
    spread = np.minimum(p.sd, _MOST_SD)
    value = np.exp(sign * p.mean + 0.5 * spread**2)
    gain = sign * (math.exp(sign * incumbent) * ndtr(z) - value * ndtr(z - sign * spread))
    return np.asarray(p.weight @ np.maximum(gain, 0.0))
