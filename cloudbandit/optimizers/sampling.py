"""Candidates to choose among on a space that cannot be listed: uniform ones, and neighbours of the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate

_SAMPLED = 1_200
_CENTRES = 3


def sample_candidates(optimizer: BaseOptimizer) -> list[Candidate]:
    """Different ones that are neither told nor pending nor on a resting offer; a function of the optimizer's tells and turn."""
    rng = optimizer.rng()
    taken = {*(o.candidate for o in optimizer.observations), *optimizer.pending}
    drawn = dict.fromkeys(optimizer.domain.sample(rng, _SAMPLED // 4) + _neighbours(optimizer, rng))
    return [c for c in drawn if c not in taken and not optimizer.rests(c)]


def _neighbours(optimizer: BaseOptimizer, rng: np.random.Generator) -> list[Candidate]:
    """Configs near the best three (of several objectives: under one draw of weights)."""
    losses = optimizer.targets.scalar(optimizer.rng(optimizer.turn, 12))
    best = np.argsort(losses, kind="stable")[:_CENTRES].tolist()
    return neighbours(optimizer.domain, [optimizer.observations[i].candidate for i in best], rng)


def neighbours(
    domain: Domain, centres: Sequence[Candidate], rng: np.random.Generator, step: float = 0.2
) -> list[Candidate]:
    """Configs near the centres: one or two parameters taken from a random config of the same arm, floats at most ``step`` of the
    way."""
    out: list[Candidate] = []
    for centre in centres:
        leaf = domain.leaves[centre.arm]
        for other in leaf.sample(rng, _SAMPLED // 40):
            shared = [k for k in centre.config if k in other]
            swap = rng.permutation(len(shared))[: int(rng.integers(1, 3))]
            config = {
                **centre.config,
                **{shared[i]: _between(centre.config[shared[i]], other[shared[i]], rng, step) for i in swap},
            }
            if leaf.why_not(config) is None:
                out.append(Candidate(centre.arm, config))
    return out


def _between(a: Any, b: Any, rng: np.random.Generator, step: float) -> Any:
    """A float part of the way from a to b; anything else: b."""
    if isinstance(a, float) and isinstance(b, float):
        return a + (b - a) * step * float(rng.random())
    return b
