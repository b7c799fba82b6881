"""A second opinion on the time per token: estimates of another model, with how far off they are by engine, learnt where they can
be held against measurements.

The formula moves towards an estimate by the weight that would have served best (least squares of log errors, every family alike)
on families left out of learning everything: formula, offset and weight. An estimate that is far off moves it no further
than one that disagrees by `_FAR`: there one of both is wrong, and nobody knows which. Estimates of the first token moved nothing
for the better, and are not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudbandit.surrogate.formula import Floats

_FAR = 0.3
"""Of the logarithm; from 0.2 to 0.5 the error of families left out is the same within 0.3 percentage points."""
_FEW = 2
"""Families that an engine's own offset and weight take."""


@dataclass(frozen=True)
class Trust:
    """Of one engine's estimates.

    Args:
        offset: log measured − log estimated, the mean of families' medians.
        weight: 0: the formula alone, 1: the estimate alone.
        spread: standard deviation of its log errors once the offset is off.
        share: typical error of times that it moved, as a share of the formula's.
    """

    offset: float
    weight: float
    spread: float
    share: float


@dataclass(frozen=True)
class Opinion:
    """What to make of estimates.

    Args:
        engines: those with enough families; ``*`` is for every other.
    """

    engines: Mapping[str, Trust]

    def moved(self, formula: Floats, estimate: Floats, engines: Sequence[str]) -> tuple[Floats, Floats]:
        """Log times, and their typical error as a share of the formula's, (N,) each; the formula's own where there is no estimate
        (NaN)."""
        trust = [self.trust(e) for e in engines]
        known = np.isfinite(estimate)
        shift = _shift(formula, estimate, np.array([t.offset for t in trust]), np.array([t.weight for t in trust]))
        return formula + shift, np.where(known, [t.share for t in trust], 1.0)

    def trust(self, engine: str) -> Trust:
        """In the estimates of one engine."""
        return self.engines.get(engine, self.engines["*"])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` undoes it."""
        return {engine: {k: round(v, 4) for k, v in vars(t).items()} for engine, t in self.engines.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Opinion:
        return cls({engine: Trust(**t) for engine, t in data.items()})


def learn_opinion(errors: Floats, estimates: Floats, families: Sequence[Any], engines: Sequence[Any]) -> Opinion | None:
    """From errors of the formula on families left out.

    Args:
        errors: (N,) log measured − log predicted without the point's family; NaN: not measured.
        estimates: (N,) log measured − log estimated; NaN: no estimate.

    Returns:
        None where fewer than three families were estimated.
    """
    use = np.isfinite(errors) & np.isfinite(estimates)
    f, s, of, by = errors[use], estimates[use], np.asarray(families)[use], np.asarray(engines)[use]
    if len(np.unique(of)) < 3:
        return None
    learnt = {"*": _trust(f, s, of)}
    for engine in np.unique(by):
        mine = by == engine
        if len(np.unique(of[mine])) > _FEW:
            learnt[str(engine)] = _trust(f[mine], s[mine], of[mine])
    return Opinion(learnt)


def _trust(f: Floats, s: Floats, of: np.ndarray[Any, Any]) -> Trust:
    """Offset and weight from all families; its errors of each family with what the others taught."""
    alike = _alike(of)
    off, moved = np.empty_like(s), np.empty_like(f)
    for family in np.unique(of):
        held, others = of == family, of != family
        off[held] = offset = _offset(s[others], of[others])
        # an error is log measured − log predicted: the formula stands at −f, the estimate at −s
        moved[held] = f[held] - _shift(-f[held], -s[held], offset, _weight(f[others], s[others], of[others]))
    spread = float(np.sqrt(np.average((s - off) ** 2, weights=alike)))
    before, after = (float(np.average(np.clip(e, -1, 1) ** 2, weights=alike)) for e in (f, moved))
    return Trust(_offset(s, of), _weight(f, s, of), spread, min(1.0, (after / max(before, 1e-12)) ** 0.5))


def _weight(f: Floats, s: Floats, of: np.ndarray[Any, Any]) -> float:
    """For estimates whose offset other families told, as they will be used."""
    off = np.empty_like(s)
    families = np.unique(of)
    for family in families:
        others = of != family if len(families) > 1 else of == family
        off[of == family] = _offset(s[others], of[others])
    towards, alike = np.clip(f - (s - off), -_FAR, _FAR), _alike(of)
    best = (alike * f * towards).sum() / max((alike * towards**2).sum(), 1e-12)
    return round(float(np.clip(best, 0.0, 1.0)), 2)


def _alike(of: np.ndarray[Any, Any]) -> Floats:
    _, index, sizes = np.unique(of, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / sizes[index])


def _offset(s: Floats, of: np.ndarray[Any, Any]) -> float:
    return float(np.mean([np.median(s[of == family]) for family in np.unique(of)]))


def _shift(formula: Floats, estimate: Floats, offset: Any, weight: Any) -> Floats:
    return np.asarray(np.nan_to_num(weight * np.clip(estimate + offset - formula, -_FAR, _FAR)))
