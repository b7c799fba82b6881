"""What a tuning study found: the setting, against the default, with the doubt there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cloudbandit.core.front import hypervolume, reference_behind
from cloudbandit.core.goal import Goal, front, least_bad, own_sign
from cloudbandit.core.trial import Candidate, Observation, Result
from cloudbandit.tune.gain import Gain, gain
from cloudbandit.tune.judge import best_few, means, names_of, rank
from cloudbandit.tune.plan import Plan


@dataclass(frozen=True)
class Setting:
    """A config and what was measured of it: means over its trials that ran."""

    candidate: Candidate
    metrics: Mapping[str, float]
    trials: int

    @classmethod
    def of(cls, candidate: Candidate, observations: Sequence[Observation]) -> Setting:
        own = _of(observations, candidate)
        ran = sum(o.score is not None and o.score.rank == 0 for o in own)
        return cls(candidate, means(own), ran)


@dataclass(frozen=True)
class Answer:
    """See the module's text.

    Attributes:
        best: what to run: the winner, or the default where nothing was shown to be better; None: nothing met the SLOs.
        default: as measured in the finals, or in its only trial; None: it is not known, or it failed.
        gains: by metric of the goal, of the winner against the default; empty where one of them is missing.
        better: whether the winner meets the SLOs on average, and the default does not or is shown to be worse in some objective.
        default_failed: the reason, or ``""``.
        front: of several objectives, the settings of the search that no other beats.
        hypervolume: of that front behind the reference; None for one objective.
        nearest: where nothing met the SLOs, the setting that came nearest, and by how much it violates each.
    """

    best: Setting | None
    default: Setting | None
    winner: Setting | None
    gains: Mapping[str, Gain]
    better: bool
    default_failed: str
    front: Sequence[Setting]
    reference: Sequence[float]
    hypervolume: float | None
    nearest: tuple[Setting, Mapping[str, float]] | None
    failures: Mapping[str, int]
    searched: int
    repeated: int
    importance: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The part of ``cloudbandit tune --json`` that says what was found."""
        return {
            "best": None if self.best is None else _said(self.best),
            "default": None if self.default is None else _said(self.default),
            "winner": None if self.winner is None else _said(self.winner),
            "better": self.better,
            "gain": {
                m: {"median": g.median, "low": g.low, "high": g.high, "pairs": g.pairs, "level": g.level}
                for m, g in self.gains.items()
            },
            "front": [_said(s) for s in self.front],
            "reference": list(self.reference),
            "hypervolume": self.hypervolume,
            "nearest": None
            if self.nearest is None
            else {**_said(self.nearest[0]), "violations": dict(self.nearest[1])},
            "importance": dict(self.importance),
            "failures": dict(self.failures),
            "default_failed": self.default_failed,
        }


def answer_of(plan: Plan, goal: Goal, default: Candidate | None, reference: Sequence[float] | None = None) -> Answer:
    """From a plan that has run.

    Args:
        reference: of the hypervolume, one value per metric in its own sign; by default what the default measured.
    """
    every = plan.observations
    contenders, _ = plan.contenders()
    challengers = [c for c in contenders if c != default] or best_few(plan.search, goal, 1, default)
    finals = plan.finals or plan.search
    chosen = min(challengers, key=lambda c: (rank(_of(finals, c) or _of(every, c), goal), c.key), default=None)
    winner = None if chosen is None else Setting.of(chosen, _of(finals, chosen) or every)
    own = [] if default is None else _of(every, default)
    ran = [o for o in own if o.score is not None and o.score.rank == 0]
    failed = "" if default is None or ran or not own else own[0].result.reason or str(own[0].result.status)
    measured = Setting.of(default, _of(plan.finals, default) or own) if default is not None and ran else None
    gains = (
        {} if chosen is None or default is None else _gains(goal, plan.finals, chosen, default, len(plan.challengers()))
    )
    served, holds = _meets(goal, measured), _meets(goal, winner)
    shown = any(g.better for g in gains.values())
    better = holds and (shown if served else True)
    best = winner if better else measured if served else None
    on_front = front(plan.search) if len(goal.metrics) > 1 else []
    behind, volume = _hypervolume(goal, plan.search, on_front, ran, reference)
    return Answer(
        best,
        measured,
        winner,
        gains,
        better,
        failed,
        [Setting.of(o.candidate, [o]) for o in on_front],
        behind,
        volume,
        None if best is not None else _nearest(goal, winner, every),
        dict(
            sorted(Counter(o.result.reason or str(o.result.status) for o in every if o.result.status != "ok").items())
        ),
        len(plan.search),
        len(plan.finals),
    )


def _of(observations: Sequence[Observation], candidate: Candidate) -> list[Observation]:
    return [o for o in observations if o.candidate == candidate]


def _gains(goal: Goal, finals: Sequence[Observation], a: Candidate, b: Candidate, among: int) -> dict[str, Gain]:
    """Paired by round; a round in which either failed is left out."""
    rounds = [
        (x.result.metrics, y.result.metrics)
        for x, y in zip(_of(finals, a), _of(finals, b), strict=False)
        if x.score is not None and y.score is not None and x.score.rank == y.score.rank == 0
    ]
    out = {}
    for metric, sign in names_of(goal):
        found = gain([x[metric] for x, _ in rounds], [y[metric] for _, y in rounds], sign, among)
        if found is not None:
            out[metric] = found
    return out


def _hypervolume(
    goal: Goal,
    search: Sequence[Observation],
    on_front: Sequence[Observation],
    default: Sequence[Observation],
    given: Sequence[float] | None,
) -> tuple[list[float], float | None]:
    """The reference, in the metrics' own signs, and what the front dominates of it."""
    values = [o.score.values for o in on_front if o.score is not None]
    if not values:
        return [], None
    if given is not None:
        worst = np.array([sign * x for (_, sign), x in zip(names_of(goal), given, strict=True)])
    elif default and default[0].score is not None:
        worst = np.array(default[0].score.values)
    else:
        worst = reference_behind([o.score.values for o in search if o.score is not None and o.score.feasible])
    return list(own_sign(goal, worst.tolist())), hypervolume(values, worst)


def _meets(goal: Goal, setting: Setting | None) -> bool:
    """Whether its means do."""
    score = None if setting is None or not setting.trials else goal.score(Result(metrics=setting.metrics))
    return score is not None and score.feasible


def _nearest(
    goal: Goal, winner: Setting | None, every: Sequence[Observation]
) -> tuple[Setting, dict[str, float]] | None:
    """What met the SLOs in the search and did not when it was measured again; else what violated them least."""
    found = least_bad(every)
    if winner is None and found is None:
        return None
    setting = winner if winner is not None or found is None else Setting.of(found.candidate, [found])
    assert setting is not None
    by_how_much = {str(slo): slo.violation(setting.metrics) for slo in goal.slos}
    return setting, {text: x for text, x in by_how_much.items() if x > 0}


def _said(setting: Setting) -> dict[str, Any]:
    return {
        "config": dict(setting.candidate.config),
        "arm": "/".join(setting.candidate.arm),
        "metrics": dict(setting.metrics),
        "trials": setting.trials,
    }
