"""Two objectives: the trials in the plane of both, and how much of the true front they have found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import own_sign
from cloudbandit.core.report import Report
from cloudbandit.core.trial import Observation
from cloudbandit.replay.task import Task
from cloudbandit.report.figure import COLOURS, figure_of, log_axis, save, wide


def plot_front(task: Task, report: Report, title: str, path: Path) -> None:
    """Left: every trial that ran, coloured by arm, the front of the trials and the table's true front. Right: the hypervolume of
    the trials so far as a share of the true front's.

    Raises:
        UsageError: not two objectives.
    """
    if len(task.goal.metrics) != 2:
        raise UsageError(
            f"a figure shows two objectives, and the task has {len(task.goal.metrics)}: {', '.join(task.goal.metrics)}; "
            "cure: two of them, or no figure"
        )
    figure, (left, right) = figure_of(11, 4.6, 2)
    _draw_plane(left, task, report)
    informative = [o for o in report.observations if o.score is not None]
    shares = [task.hypervolume_share(informative[: n + 1]) for n in range(len(informative))]
    right.step(range(1, len(shares) + 1), shares, where="post", color=COLOURS[0])
    right.set(
        xlabel="trial", ylabel="hypervolume, as a share of the true front's", title="how much of the front is found"
    )
    right.set_ylim(0, 1.02)
    right.xaxis.get_major_locator().set_params(integer=True)
    right.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def _draw_plane(axes: Any, task: Task, report: Report) -> None:
    x, y = task.goal.metrics
    where = "post" if task.goal.signs[0] > 0 else "pre"  # a front is attained on the worse side of its points
    true = sorted(_pair(own_sign(task.goal, task.scores[c].values)) for c in task.front)
    axes.step(*zip(*true, strict=True), where=where, color=COLOURS[2], linestyle="--", label="true front")
    axes.scatter(*zip(*true, strict=True), s=14, color=COLOURS[2])
    found = sorted(_at(o, x, y) for o in report.front)
    if found:
        axes.step(*zip(*found, strict=True), where=where, color="black", linewidth=1, label="front of the trials")
    shown = [o for o in report.observations if x in o.result.metrics and y in o.result.metrics]
    for position, arm in enumerate(task.objective.domain.names):
        colour = COLOURS[(0, 1, 3, 4, 5, 7)[position % 6]]
        axes.scatter([], [], s=36, color=colour, label=arm)
        for feasible in (True, False):
            some = [o for o in shown if o.arm == arm and (o.score is not None and o.score.feasible) == feasible]
            places = [_at(o, x, y) for o in some]
            face = colour if feasible else "none"
            axes.scatter(*_columns(places), s=36, edgecolors=colour, facecolors=face)
    if any(o.score is None or not o.score.feasible for o in shown):
        axes.scatter([], [], s=36, edgecolors="grey", facecolors="none", label="violates an SLO")
    every = [*true, *(_at(o, x, y) for o in shown)]
    for axis, values in zip("xy", _columns(every), strict=True):
        if wide(values):
            log_axis(axes, axis)
    without = len(report.observations) - len(shown)
    axes.set(xlabel=x, ylabel=y, title="every trial that ran" + (f" ({without} failed)" if without else ""))
    axes.legend(fontsize=8)


def _at(o: Observation, x: str, y: str) -> tuple[float, float]:
    return o.result.metrics[x], o.result.metrics[y]


def _pair(values: Sequence[float]) -> tuple[float, float]:
    return values[0], values[1]


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [p[0] for p in points], [p[1] for p in points]
