"""A tuning study: the trials in the plane of what was aimed at, and what each knob was worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudbandit.core.goal import Goal
from cloudbandit.core.metrics import title as title_of
from cloudbandit.core.report import Report
from cloudbandit.core.trial import Observation
from cloudbandit.report.figure import QUIET, figure_of, headline, log_axis, save, wide
from cloudbandit.tune.answer import Answer, Setting

_COLOUR, _DEFAULT, _BEST = "#0072B2", "#D55E00", "#009E73"


def plot_tuning(answer: Answer, report: Report, goal: Goal, title: str, path: Path) -> None:
    """Left: every trial that ran in the plane of the first objective and the second, or the first SLO's metric (without one: in
    the order of trials); hollow: an SLO is violated. A line is the front. Right: each knob's importance."""
    figure, (left, right) = figure_of(11, 5.2, 2, width_ratios=(1.5, 1))
    y = goal.metrics[0]
    others = [*goal.metrics[1:], *(slo.metric for slo in goal.slos if slo.metric != y)]
    x = others[0] if others else None
    _plane(left, answer, report, x, y)
    if x is not None:
        for slo in goal.slos:
            if slo.metric == x:
                left.axvline(slo.limit, color=QUIET, linestyle="--", linewidth=1.2, label=str(slo))
    left.legend(fontsize=8, frameon=False)
    failed = sum(answer.failures.values())
    left.set_title(f"every trial that ran{f' ({failed} did not)' if failed else ''}", fontsize=10, loc="left")
    _bars(right, answer)
    headline(figure, title)
    save(figure, path)


def _plane(axes: Any, answer: Answer, report: Report, x: str | None, y: str) -> None:
    ran = [o for o in report.observations if o.score is not None and o.score.rank == 0 and y in o.result.metrics]
    ran = [o for o in ran if x is None or x in o.result.metrics]

    def place(o: Observation) -> tuple[float, float]:
        return (o.trial.number if x is None else o.result.metrics[x]), o.result.metrics[y]

    for feasible in (True, False):
        some = [place(o) for o in ran if o.score is not None and o.score.feasible is feasible]
        if some:
            face = _COLOUR if feasible else "none"
            label = "meets the SLOs" if feasible else "violates an SLO"
            axes.scatter(*zip(*some, strict=True), s=28, facecolors=face, edgecolors=_COLOUR, label=label, alpha=0.85)
    front = sorted((s.metrics[x], s.metrics[y]) for s in answer.front if x is not None and x in s.metrics)
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), color="black", linewidth=1.5, label="front")
    for name, setting, colour in (("default", answer.default, _DEFAULT), ("chosen", answer.best, _BEST)):
        at = _of(setting, x, y)
        if at is not None:
            axes.scatter(*([v] for v in at), s=150, marker="*", color=colour, zorder=4, label=name)
    for axis, values in (("x", [place(o)[0] for o in ran]), ("y", [place(o)[1] for o in ran])):
        if (axis == "y" or x is not None) and wide(values):
            log_axis(axes, axis)
    axes.set(xlabel="trial" if x is None else title_of(x), ylabel=title_of(y))


def _of(setting: Setting | None, x: str | None, y: str) -> tuple[float, float] | None:
    if setting is None or x is None or x not in setting.metrics or y not in setting.metrics:
        return None
    return setting.metrics[x], setting.metrics[y]


def _bars(axes: Any, answer: Answer) -> None:
    names = list(answer.importance)[::-1]
    axes.barh(names, [100 * answer.importance[name] for name in names], color=_COLOUR)
    axes.set(xlabel="share of the model's variation, %", xlim=(0, 100))
    axes.set_title("what each knob was worth by itself", fontsize=10, loc="left")
