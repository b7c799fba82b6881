"""What a study found, and what it cost."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudbandit.core.goal import Goal, best, front, least_bad, own_sign
from cloudbandit.core.stop import Belief, Posterior
from cloudbandit.core.trial import Observation, Result

if TYPE_CHECKING:
    import pandas as pd


_POINTS = 5
"""So many points of a front stand in a summary."""


def tally(observations: Sequence[Observation]) -> str:
    """``11 run, 2 failed (out_of_memory), 1 given back (no_capacity)``: how trials are counted wherever people read it.

    *Run* are all trials that ended, *failed* those that ended badly through their config (failed, timeout, stopped), *given back*
    those that ended through the cloud (unavailable, interrupted, lost) and use up no budget.
    """
    ended = [o.result for o in observations if o.result.status != "ok"]
    failed = [r for r in ended if r.status.informative]
    back = [r for r in ended if not r.status.informative]

    def why(some: Sequence[Result]) -> str:
        codes = sorted({r.reason or str(r.status) for r in some} - {"failed"})
        return f" ({', '.join(codes)})" if codes else ""

    text = f"{len(observations)} run, {len(failed)} failed{why(failed)}"
    return f"{text}, {len(back)} given back{why(back)}" if back else text


def believed_text(report: Report) -> list[str]:
    """What is believed of the answer, in words; nothing where the optimizer does not say."""
    known = report.believed()
    if known is None:
        return []
    metric = report.goal.metrics[0]
    out = []
    if known["low"] is not None:
        out.append(f"{metric} {known['mean']:.4g} (95 %: {known['low']:.4g} … {known['high']:.4g})")
    out.append(f"P(its arm is the best) {known['p_best_arm']:.2f}, P(within 5 % of the optimum) {known['p_near']:.2f}")
    out.append(f"another trial is expected to gain {known['expected_gain']:.3g} {metric}")
    return out


@dataclass(frozen=True, repr=False)
class Report:
    """What a study found, and what it cost. ``print(report)`` is a summary; a notebook shows it as a table.

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
        belief: the optimizer's at the end, where it offers one.
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
    belief: Belief | None = None

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
    def posterior(self) -> Posterior | None:
        """What the optimizer believes of the incumbent's true value, in its own sign, beside the value that was measured; None
        where it does not say, or there are several objectives."""
        answer = self.incumbent
        if answer is None or self.belief is None or len(self.goal.metrics) > 1:
            return None
        found = self.belief.of(answer.candidate)
        return None if found is None else Posterior(own_sign(self.goal, (found.mean,))[0], found.sd)

    def believed(self) -> dict[str, float | None] | None:
        """The belief at the end as plain data, in the unit and sign of the objective; None where the optimizer does not say, or
        there is no answer.

        ``mean``, ``low``, ``high``: of the answer's true value, and its 95 % interval; ``p_best_arm``: that its arm holds the
        best candidate; ``p_near``: that it is within 5 % of the best; ``expected_gain``: what another trial was expected to
        improve.
        """
        answer = self.incumbent
        if answer is None or self.belief is None or len(self.goal.metrics) > 1:
            return None
        posterior = self.posterior
        low, high = (None, None) if posterior is None else posterior.interval95
        return {
            "mean": None if posterior is None else posterior.mean,
            "low": low,
            "high": high,
            "p_best_arm": self.belief.p_arm(answer.candidate),
            "p_near": self.belief.p_near,
            "expected_gain": self.belief.expected_gain,
        }

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

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the trials and the incumbent: see `cloudbandit.api.plot`, which this calls. Needs the extra ``plot``."""
        return importlib.import_module("cloudbandit.api").plot(
            self, path
        )  # drawing is above the core: found by name, here only

    def to_frame(self) -> pd.DataFrame:
        """One row per trial: number, arm, status, metrics, parameters (prefixed ``param.``), money.

        A metric named like one of these columns (``seconds``, ``status``, …), or with a prefix of them, is prefixed
        ``metric.``: nothing is ever written over.
        """
        import pandas as pd

        rows = []
        for o in self.observations:
            own = {
                "trial": o.trial.number,
                "arm": "/".join(o.candidate.arm),
                "status": str(o.result.status),
                "feasible": bool(o.score and o.score.feasible),
                "reason": o.result.reason,
                "spent_usd": o.result.spent_usd,
                "hosts_usd": o.result.hosts_usd,
                "seconds": o.result.seconds,
                "source": o.result.source,
            }
            metrics = {
                f"metric.{name}" if name in own or name.startswith(("metric.", "param.")) else name: value
                for name, value in o.result.metrics.items()
            }
            rows.append({**own, **metrics, **{f"param.{k}": v for k, v in o.candidate.config.items()}})
        return pd.DataFrame(rows)

    # ── for people ──

    def __repr__(self) -> str:
        (_, best), *_ = self._said()
        return f"<Report: {best}; {tally(self.observations)}; stopped by {self.stop_reason}>"

    def __str__(self) -> str:
        said = self._said()
        width = max(len(what) for what, _ in said)
        return "\n".join(f"{what:{width}}  {text}" for what, text in said)

    def _repr_html_(self) -> str:
        """The summary, and below it every trial, folded."""
        said = "".join(f"<tr><th>{escape(what)}</th><td>{escape(text)}</td></tr>" for what, text in self._said())
        trials = self.to_frame().to_html(index=False, border=0, na_rep="", float_format="{:.4g}".format)
        return f"<table>{said}</table><details><summary>every trial</summary>{trials}</details>"

    def _said(self) -> list[tuple[str, str]]:
        """What a summary says: (what, text), the answer first."""
        out: list[tuple[str, str]] = []
        if len(self.goal.metrics) > 1 and self.front:
            out.append(("front", f"{len(self.front)} trials that no other beats in {', '.join(self.goal.metrics)}"))
            out += [("", self._in_a_line(o)) for o in self.front[:_POINTS]]
            if len(self.front) > _POINTS:
                out.append(("", f"and {len(self.front) - _POINTS} more"))
        elif self.incumbent is not None:
            out.append(("best", self._in_a_line(self.incumbent)))
        else:
            slos = ", ".join(map(str, self.goal.slos))
            out.append(("best", f"none: no trial met {slos}" if slos else "none: no trial succeeded"))
            if self.least_violating is not None:
                out.append(("nearest miss", self._in_a_line(self.least_violating)))
        out += [("believed", text) for text in believed_text(self)]
        restored = f" ({self.restored} of them from the store)" if self.restored else ""
        out.append(("trials", f"{tally(self.observations)}{restored}"))
        hosts = f" ({self.hosts_usd:.4g} of it for hosts beside the trials)" if self.hosts_usd else ""
        out.append(("spent", f"{self.spent_usd:.4g} USD{hosts}, {self.elapsed_s:.4g} s"))
        if self.overrun_usd:
            out.append(
                ("overrun", f"{self.overrun_usd:.4g} USD beyond what was quoted: an objective quotes too little")
            )
        out.append(("stopped by", f"{self.stop_reason}: {self.stop_note}" if self.stop_note else self.stop_reason))
        return out

    def _in_a_line(self, o: Observation) -> str:
        values = dict(zip(self.goal.metrics, own_sign(self.goal, o.score.values), strict=False)) if o.score else {}
        limited = {s.metric: o.result.metrics[s.metric] for s in self.goal.slos if s.metric in o.result.metrics}
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in {**limited, **values}.items())
        config = ", ".join(f"{k}={v}" for k, v in o.candidate.config.items())
        return f"{'/'.join(o.candidate.arm)}: {config}{'  →  ' if numbers else ''}{numbers}"
