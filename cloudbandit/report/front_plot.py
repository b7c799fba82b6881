"""Two objectives: the trials in the plane of both, and how much of the true front they have found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import own_sign
from cloudbandit.core.metrics import title as title_of
from cloudbandit.core.report import Report
from cloudbandit.core.trial import Observation
from cloudbandit.replay.task import Task
from cloudbandit.report.figure import QUIET, figure_of, headline, log_axis, save, wide
from cloudbandit.report.points import points, without
from cloudbandit.report.scatter import key, scatter

Pair = tuple[float, float]


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
    figure, (left, right) = figure_of(11, 5.4, 2, width_ratios=(1.5, 1))
    _draw_plane(left, task, report)
    found = shares(task, report)
    if found:
        right.step(range(1, len(found) + 1), found, where="post", color="black", linewidth=1.8)
    right.set(xlabel="trial that ran", ylim=(0, 1.02))
    right.set_title("hypervolume found, as a share of the true front's", fontsize=10, loc="left")
    right.xaxis.get_major_locator().set_params(integer=True)
    key(figure, left, points(report, task.goal, task.goal.metrics), task.goal, task.objective.domain.names)
    headline(figure, title)
    save(figure, path)


def shares(task: Task, report: Report) -> list[float]:
    """The hypervolume share after each informative trial."""
    informative = [o for o in report.observations if o.score is not None]
    return [task.hypervolume_share(informative[: n + 1]) for n in range(len(informative))]


def true_front(task: Task) -> list[Pair]:
    """The table's true front in the metrics' own signs, from left to right."""
    return sorted(_pair(own_sign(task.goal, task.scores[c].values)) for c in task.front)


def _draw_plane(axes: Any, task: Task, report: Report) -> None:
    x, y = task.goal.metrics
    where = "post" if task.goal.signs[0] > 0 else "pre"  # a front is attained on the worse side of its points
    true = true_front(task)
    axes.step(*zip(*true, strict=True), where=where, color=QUIET, linestyle="--", linewidth=1.2, label="true front")
    axes.scatter(*zip(*true, strict=True), s=16, color=QUIET, zorder=2)
    front = sorted(_at(o, x, y) for o in report.front)
    if front:
        axes.step(*zip(*front, strict=True), where=where, color="black", linewidth=1.8, label="front of the trials")
    found = points(report, task.goal, task.goal.metrics)
    scatter(axes, found, task.goal, task.objective.domain.names, lambda p: _pair(p.values))
    for axis, values in zip("xy", zip(*true, *(p.values for p in found), strict=True), strict=True):
        if wide(values):
            log_axis(axes, axis)
    failed = len(without(report, task.goal.metrics))
    axes.set(xlabel=title_of(x), ylabel=title_of(y))
    more = f" ({failed} failed)" if failed else ""
    axes.set_title(f"every trial that ran{more}", fontsize=10, loc="left")


def _at(o: Observation, x: str, y: str) -> Pair:
    return o.result.metrics[x], o.result.metrics[y]


def _pair(values: Sequence[float]) -> Pair:
    return values[0], values[1]
