"""What is known before the first trial: facts of candidates, earlier studies, and estimates of metrics.

Facts are known free of charge and taken as true (a price, a GPU part); a history was measured, elsewhere; an estimate is a claim.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cloudbandit.core.errors import UnknownNameError
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Observation

Fact = float | str
"""A number, or a label."""
Facts = Callable[[Candidate], Mapping[str, Fact]]
Estimate = Callable[[Candidate], Mapping[str, float]]
"""Candidate → metrics it is believed to have; empty where nothing is believed."""

ALL, NONE = "all", "none"
_PROBES, _DRAWN = 256, 32


def no_facts(candidate: Candidate) -> Mapping[str, Fact]:
    """Nothing is known about any candidate before it is tried."""
    return {}


@dataclass(frozen=True, slots=True)
class History:
    """What another study observed. Iterating goes over its observations.

    Args:
        observations: in the order told; their candidates need not lie in the present domain.
        facts: what is known of those candidates.
        units: metric → unit, where it is not told by the name.
    """

    observations: Sequence[Observation]
    facts: Facts = no_facts
    units: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Observation]:
        return iter(self.observations)

    def __len__(self) -> int:
        return len(self.observations)


def histories(given: Mapping[str, History | Sequence[Observation]] | None) -> Mapping[str, History]:
    """Bare observations become a `History`; a mapping that holds only those is returned as it is."""
    if not given:
        return {}
    if all(isinstance(h, History) for h in given.values()):
        return given  # type: ignore[return-value]
    return {name: h if isinstance(h, History) else History(tuple(h)) for name, h in given.items()}


def probes(domain: Domain) -> Sequence[Candidate]:
    """Some candidates that stand for all, always the same: at most 256 evenly spaced ones of a listed domain, else 32 draws."""
    if not domain.enumerable:
        return domain.sample(np.random.default_rng(0), _DRAWN)
    every = domain.candidates
    return [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(len(every), _PROBES)).astype(int))]


def choose_facts(facts: Facts, chosen: str | Iterable[str], domain: Domain) -> Facts:
    """The facts an optimizer is told.

    Args:
        chosen: ``"all"``, ``"none"``, or names: a comma-separated text or several texts.

    Raises:
        UnknownNameError: no candidate that was asked about has such a fact.
    """
    if chosen == ALL:
        return facts
    if chosen == NONE:
        return no_facts
    names = fact_names(chosen)
    known = {name for candidate in probes(domain) for name in facts(candidate)}
    for name in names:
        if name not in known:
            raise UnknownNameError("fact", name, known, "Or write all, or none.")

    def some(candidate: Candidate) -> Mapping[str, Fact]:
        return {name: value for name, value in facts(candidate).items() if name in names}

    return some


def fact_names(chosen: str | Iterable[str]) -> tuple[str, ...]:
    """``chosen`` of `choose_facts` in one form: ``("all",)``, ``("none",)``, or sorted names."""
    parts = chosen.split(",") if isinstance(chosen, str) else list(chosen)
    return tuple(sorted({part.strip() for part in parts if part.strip()}))


def digest_of_history(history: Mapping[str, History]) -> str:
    """The same for the same observations under the same names, in the same order."""
    told = {
        name: [[o.candidate.key, o.result.to_dict(), dict(h.facts(o.candidate))] for o in h.observations]
        for name, h in history.items()
    }
    return _digest([told, {name: dict(h.units) for name, h in history.items()}])


def digest_of_estimate(estimate: Estimate, domain: Domain) -> str:
    """The same for estimates that agree on the domain's `probes`."""
    return _digest([[c.key, dict(estimate(c))] for c in probes(domain)])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
