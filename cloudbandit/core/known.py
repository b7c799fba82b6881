"""What is known before the first trial: facts of candidates, earlier studies, and estimates of metrics.

Facts are known free of charge and taken as true (a price, a GPU part); a history was measured, elsewhere; an estimate is a claim.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cloudbandit.core.curve import PRICE
from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.goal import Goal, SLOGoal
from cloudbandit.core.metrics import unit
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Observation, Status

Fact = float | str
"""A number, or a label."""
Facts = Callable[[Candidate], Mapping[str, Fact]]
Estimate = Callable[[Candidate], Mapping[str, float]]
"""Candidate → metrics it is believed to have; empty where nothing is believed."""

log = logging.getLogger("cloudbandit")

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


def check_histories(given: Mapping[str, History], goal: Goal, units: Mapping[str, str]) -> None:
    """That earlier studies are about what this one aims at; they may be of another space.

    Args:
        units: metric → unit in this study, where the name does not tell it.

    Raises:
        UsageError: trials of one of them have no such metric, or it is in another unit.
    """
    wanted = (*goal.metrics, *(slo.metric for slo in goal.slos))
    for name, history in given.items():
        for metric in wanted:
            here, there = (u.get(metric) or unit(metric) for u in (units, history.units))
            if here and there and here.upper() != there.upper():
                raise UsageError(
                    f"the history {name!r} has {metric} in {there}, and this study in {here}; cure: leave it out, or convert it"
                )
        ran = next((o.result for o in history.observations if o.result.status is Status.OK), None)
        lacking = [m for m in goal.metrics if ran is not None and m not in ran.metrics]
        if lacking and isinstance(goal, SLOGoal) and ran is not None:  # other goals make their own of what was measured
            raise UsageError(
                f"the history {name!r} has no {lacking[0]}, which this study aims at; it has {', '.join(sorted(ran.metrics))}. "
                "Cure: leave it out, or aim at one of these"
            )


def checked_facts(facts: Facts) -> Facts:
    """The same facts, each looked at when it is told.

    Raises (when called):
        UsageError: a number is not finite, a price is not > 0, or a fact is neither a number nor a label.
    """
    if facts is no_facts:
        return facts

    def checked(candidate: Candidate) -> Mapping[str, Fact]:
        known = facts(candidate)
        for name, value in known.items():
            number = value.__class__ is float and math.isfinite(value) and (name != PRICE or value > 0)
            if number or (value.__class__ is str and name != PRICE):  # the common case, quickly: this is asked often
                continue
            _check_fact(name, value, candidate)
        return known

    return checked


def doubts_of_facts(facts: Facts, domain: Domain) -> list[str]:
    """What of some facts says little, by the domain's `probes`: those that not every candidate has, or that are all equal."""
    told = [facts(c) for c in probes(domain)]
    out = []
    for name in sorted({name for known in told for name in known}):
        lacking = sum(name not in known for known in told)
        if lacking:
            out.append(f"the fact {name!r} is not known of {lacking} of {len(told)} candidates that were looked at")
        if len(told) > 1 and len({known.get(name) for known in told} - {None}) < 2:
            out.append(f"the fact {name!r} is the same for every candidate, and tells nothing")
    return out


def _check_fact(name: str, value: object, candidate: Candidate) -> None:
    if isinstance(value, str | int | float) and (isinstance(value, str) or math.isfinite(value)):
        if name != PRICE or (not isinstance(value, str) and value > 0):
            return
        allowed = "a finite number > 0"
    else:
        allowed = "a finite number, or a label"
    raise UsageError(
        f"the fact {name!r} of {candidate!r} is {value!r}; allowed: {allowed}. Cure: leave out what is not known"
    )


def checked_estimates(estimates: Mapping[str, Estimate], goal: Goal, domain: Domain) -> dict[str, Estimate]:
    """Those that say something about what is aimed at; each value is looked at when it is told. What is dropped is logged.

    Raises:
        UsageError: an estimate raises, or is not a finite number, for one of the domain's `probes`; or, later, for another
            candidate.
    """
    wanted = {*goal.metrics, *(slo.metric for slo in goal.slos)}
    kept = {}
    for name, estimate in estimates.items():
        checked = _checked(name, estimate)
        told = [dict(checked(c)) for c in probes(domain)]
        metrics = {metric for values in told for metric in values}
        varied = {m for m in metrics & wanted if len({values.get(m) for values in told}) > 1}
        if varied or (len(told) < 2 and metrics & wanted):
            kept[name] = checked
            continue
        said = "nothing of any candidate" if not metrics else f"only {', '.join(sorted(metrics))}"
        if metrics & wanted:
            said = f"the same {', '.join(sorted(metrics & wanted))} for every candidate"
        log.warning(
            "the estimate %r is left out: it predicts %s, and the study aims at %s",
            name,
            said,
            ", ".join(sorted(wanted)),
        )
    return kept


def _checked(name: str, estimate: Estimate) -> Estimate:
    def checked(candidate: Candidate) -> Mapping[str, float]:
        try:
            values = estimate(candidate)
        except Exception as error:
            raise UsageError(
                f"the estimate {name!r} raised {type(error).__name__}: {error}, for {candidate!r}; "
                "cure: return {} where nothing is believed"
            ) from error
        for metric, value in values.items():
            if not math.isfinite(value):
                raise UsageError(
                    f"the estimate {name!r} predicts {metric} = {value!r} for {candidate!r}; allowed: finite numbers. "
                    "Cure: leave out what is not believed"
                )
        return values

    return checked


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
