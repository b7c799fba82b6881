"""Stored trials judged under a goal, theirs or another: nothing is run for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudbandit.cli.common import names
from cloudbandit.core.errors import UsageError

if TYPE_CHECKING:
    from cloudbandit.core.goal import Goal
    from cloudbandit.core.record import StoredTrial
    from cloudbandit.core.trial import Observation, Result


def aims(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a stored study aimed at: ``minimize``, ``maximize``, ``slos``, ``for_users``, as far as it says."""
    kind = spec.get("kind")
    if kind == "live":
        study: Mapping[str, Any] = spec["study"] if isinstance(spec.get("study"), Mapping) else {}
        return study if "minimize" in study or "maximize" in study else {"minimize": "tpot_ms", **study}
    if kind == "replay":
        return {**spec, "slos": spec.get("slo", ())}
    return {}


def another_goal(
    spec: Mapping[str, Any],
    trials: Sequence[StoredTrial],
    *,
    minimize: str | None,
    maximize: str | None,
    slos: Sequence[str] | None,
    for_users: int | None,
    max_failure_rate: float | None = None,
) -> Goal:
    """The study's goal with what is given in place of its own.

    Raises:
        UsageError: there is nothing to aim at, or no trial has such a metric.
    """
    from cloudbandit.core.fleet import USD_PER_H, FleetGoal
    from cloudbandit.core.goal import MAX_FAILURE_RATE, SLO, SLOGoal
    from cloudbandit.core.metrics import resolve_metric

    own = aims(spec)
    limit = own.get("max_failure_rate", MAX_FAILURE_RATE) if max_failure_rate is None else max_failure_rate
    wanted = list(own.get("slos", ())) if slos is None else list(slos)
    another = bool(maximize) or minimize not in (None, USD_PER_H)
    if for_users is not None or (own.get("goal") == "fleet" and not another):
        if another:
            raise UsageError(f"--for-users asks for the cheapest fleet: its {USD_PER_H} is minimised, nothing else")
        users = own.get("for_users") if for_users is None else for_users
        return FleetGoal(users, [SLO.parse(s) for s in wanted], max_failure_rate=limit)
    recorded = list(dict.fromkeys(m for t in trials for m in t.result.metrics))
    if minimize is None and maximize is None:
        low, high = _listed(own.get("minimize")), _listed(own.get("maximize"))
    else:
        low, high = _listed(minimize), _listed(maximize)
    if not low and not high:
        raise UsageError("the study does not say what it aims at; say it with --minimize METRIC or --maximize METRIC")
    parsed = [SLO.parse(s) for s in wanted]
    return SLOGoal(
        tuple(resolve_metric(name, recorded) for name in low),
        [SLO(resolve_metric(s.metric, recorded), s.limit, s.at_most) for s in parsed],
        maximize=tuple(resolve_metric(name, recorded) for name in high),
        max_failure_rate=limit,
    )


def _listed(metrics: str | Sequence[str] | None) -> list[str]:
    return names(metrics) if isinstance(metrics, str) else list(metrics or ())


def judged(trials: Sequence[StoredTrial], goal: Goal) -> list[Observation]:
    """The best first; what failed, or says nothing under this goal, last."""
    from cloudbandit.core.trial import Observation

    seen = [Observation(t.trial, t.result, _score(goal, t.result)) for t in trials]
    scored = [o for o in seen if o.score is not None]
    return sorted(scored, key=lambda o: (o.score, o.trial.number)) + [o for o in seen if o.score is None]


def _score(goal: Goal, result: Result) -> Any:
    from cloudbandit.core.goal import SLOGoal

    if isinstance(goal, SLOGoal) and result.status == "ok" and any(m not in result.metrics for m in goal.metrics):
        return None  # it was not measured in this trial
    return goal.score(result)


def values(o: Observation, goal: Goal) -> dict[str, float]:
    """What the goal aims at, in its own sign; of a fleet also the machines. Nothing of a trial that failed."""
    from cloudbandit.core.curve import LoadCurve
    from cloudbandit.core.fleet import FleetGoal
    from cloudbandit.core.goal import own_sign

    if o.score is None or o.score.rank:
        return {}
    if not isinstance(goal, FleetGoal):
        return dict(zip(goal.metrics, own_sign(goal, o.score.values), strict=True))
    machines = goal.replicas(LoadCurve.of_result(o.result))  # None: no number of them serves within the SLOs
    return {} if machines is None else {goal.metrics[0]: o.score.values[0], "machines": float(machines)}


def at_its_load(o: Observation, goal: Goal) -> dict[str, float]:
    """A trial's metrics; of a fleet those at the largest load that meets the SLOs, with its ``users``."""
    from cloudbandit.core.curve import LoadCurve, max_users
    from cloudbandit.core.fleet import FleetGoal

    if not isinstance(goal, FleetGoal) or not values(o, goal):
        return dict(o.result.metrics)
    curve = LoadCurve.of_result(o.result)
    users = float(max_users(curve.meets(goal.slos, goal.users or math.inf), curve.loads))
    return {**o.result.metrics, **next(row for row in o.result.rows if row["users"] == users)}


def verdict(o: Observation) -> str:
    """``yes`` where the trial ran and meets every SLO."""
    if o.score is None:
        return "not measured" if o.result.status == "ok" else ""
    return "yes" if o.score.feasible else "failed" if o.score.rank else "no"
