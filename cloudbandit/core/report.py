"""What a study found, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudbandit.core.goal import Goal, best, front, least_bad, own_sign
from cloudbandit.core.trial import Observation

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Report:
    """What a study found, and what it cost.

    Attributes:
        observations: every trial, in the order told.
        stop_reason: ``trials``, ``usd``, ``seconds``, ``finished`` (nothing left to ask), ``unavailable`` (every arm rests),
            ``no_progress`` (outcome after outcome was lost or interrupted), or what the study's own rule said.
        spent_usd, elapsed_s: over all runs of the study, crashed ones included; `trials_usd` and `hosts_usd` are its parts.
        overrun_usd: what objectives charged beyond their quotes; 0 unless one of them is wrong.
        exact_resume: whether a resumed run asks exactly what an uninterrupted one would.
        ask_seconds: how long each suggestion took, in this run.
        restored: so many of the observations were taken from the store; the others were made in this run.
        stop_note: more about the stop, for people.
    """

    goal: Goal
    observations: Sequence[Observation]
    stop_reason: str
    spent_usd: float
    elapsed_s: float
    overrun_usd: float = 0.0
    exact_resume: bool = True
    ask_seconds: Sequence[float] = ()
    restored: int = 0
    stop_note: str = ""

    @property
    def incumbent(self) -> Observation | None:
        """The best trial that ran and met every SLO; None where there is none. With several objectives it is the best in the
        first, which is one point of the `front`."""
        return best(self.observations)

    @property
    def front(self) -> list[Observation]:
        """With several objectives: the feasible trials no other beats in all of them, once per value."""
        return front(self.observations)

    @property
    def least_violating(self) -> Observation | None:
        """Where nothing is feasible: what came nearest. Never an answer, only a hint."""
        return None if self.incumbent else least_bad(self.observations)

    @property
    def trials_usd(self) -> float:
        """What the trials cost: each its share of the time on its host."""
        return math.fsum(o.result.spent_usd for o in self.observations)

    @property
    def hosts_usd(self) -> float:
        """What the hosts cost beside that: boot, idle time, minimum billing, storage."""
        return math.fsum(o.result.hosts_usd for o in self.observations)

    @property
    def evaluations(self) -> int:
        """Informative trials."""
        return sum(o.score is not None for o in self.observations)

    @property
    def trajectory(self) -> list[tuple[int, float | None]]:
        """(informative trials so far, the best value of the first objective so far, in its own sign; None while nothing is
        feasible)."""
        out: list[tuple[int, float | None]] = []
        least, shown = math.inf, None
        for o in self.observations:
            if o.score is None:
                continue
            if o.score.feasible and o.score.values[0] < least:
                least, shown = o.score.values[0], own_sign(self.goal, o.score.values)[0]
            out.append((len(out) + 1, shown))
        return out

    def to_frame(self) -> pd.DataFrame:
        """One row per trial: number, arm, status, metrics, parameters (prefixed ``param.``), money."""
        import pandas as pd

        rows = [
            {
                "trial": o.trial.number,
                "arm": "/".join(o.candidate.arm),
                "status": str(o.result.status),
                "feasible": bool(o.score and o.score.feasible),
                "reason": o.result.reason,
                "spent_usd": o.result.spent_usd,
                "hosts_usd": o.result.hosts_usd,
                "seconds": o.result.seconds,
                "source": o.result.source,
                **dict(o.result.metrics),
                **{f"param.{k}": v for k, v in o.candidate.config.items()},
            }
            for o in self.observations
        ]
        return pd.DataFrame(rows)
