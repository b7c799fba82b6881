"""Small problems with known answers, and a driver that plays the study's part."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from cloudbandit.core.goal import Goal, SLOGoal
from cloudbandit.core.protocols import Optimizer, Problem
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Observation, Result, Status, Trial

Verdict = Callable[[Candidate, int], Result]
"""(candidate, trial number) → result."""


ONE = SLOGoal("cost_usd")
TWO = SLOGoal("cost_usd", maximize="output_tok_per_s")


def listed_problem(seed: int = 0, goal: Goal = ONE) -> Problem:
    """Three arms of 8, 5 and 12 configs, none of them Cartesian in the same way; the cheapest is in arm ``c``."""
    arms = {
        "a": [{"nodes": n, "disk": d} for n in (2, 3, 4, 5) for d in ("hdd", "ssd")],
        "b": [{"nodes": n} for n in (2, 3, 4, 5, 8)],
        "c": [{"nodes": n, "spot": s, "vcpu": v} for n in (2, 4) for s in (True, False) for v in (1.0, 2.0, 4.0)],
    }
    return Problem(Domain(arms), goal, seed)


def sampled_problem(seed: int = 0, goal: Goal = ONE) -> Problem:
    """Two arms that cannot be listed: conditions, a log scale, a forbidden clause."""
    import ConfigSpace as CS

    space = CS.ConfigurationSpace()
    provider = CS.CategoricalHyperparameter("provider", ["a", "b"])
    rate = CS.UniformFloatHyperparameter("rate", 1e-3, 10.0, log=True)
    size = CS.UniformIntegerHyperparameter("size", 1, 8)
    cache = CS.CategoricalHyperparameter("cache", ["on", "off"])
    share = CS.UniformFloatHyperparameter("share", 0.0, 1.0)
    space.add([provider, rate, size, cache, share])
    space.add(CS.EqualsCondition(cache, provider, "b"))
    space.add(CS.AndConjunction(CS.EqualsCondition(share, provider, "b"), CS.EqualsCondition(share, cache, "on")))
    space.add(CS.ForbiddenAndConjunction(CS.ForbiddenEqualsClause(size, 1), CS.ForbiddenEqualsClause(cache, "on")))
    return Problem(Domain.from_configspace(space), goal, seed)


def toy_value(candidate: Candidate, number: int = 0) -> Result:
    """Deterministic metrics that depend on everything in the candidate; about one config in eight fails. What costs more serves
    more, roughly."""
    noise = zlib.crc32(candidate.key.encode()) / 2**32
    if noise < 0.12:
        return Result(Status.FAILED, spent_usd=5.0, seconds=60.0, reason="out_of_memory")
    value = {"a": 3.0, "b": 2.0, "c": 1.0}[candidate.arm[0]] + noise
    value += sum(abs(float(v) - 3.0) for v in candidate.config.values() if not isinstance(v, str))
    served = 5.0 + sum(float(v) for v in candidate.config.values() if not isinstance(v, str)) - 3.0 * noise
    return Result(metrics={"cost_usd": value, "output_tok_per_s": served}, spent_usd=value, seconds=value)


def observe(problem: Problem, candidate: Candidate, number: int, verdict: Verdict = toy_value) -> Observation:
    """Evaluate and judge one candidate."""
    result = verdict(candidate, number)
    return Observation(Trial(number, candidate), result, problem.goal.score(result))


def drive(
    optimizer: Optimizer, problem: Problem, informative: int, verdict: Verdict = toy_value, start: int = 0
) -> list[Observation]:
    """Ask and tell one by one until so many informative outcomes, or the optimizer has finished."""
    told: list[Observation] = []
    while sum(o.score is not None for o in told) < informative and len(told) < 20 * informative:
        asked = optimizer.ask(1)
        if not asked:
            break
        told.append(observe(problem, asked[0], start + len(told), verdict))
        optimizer.tell(told[-1:])
    return told


def candidates(observations: Sequence[Observation]) -> list[Candidate]:
    return [o.candidate for o in observations]
