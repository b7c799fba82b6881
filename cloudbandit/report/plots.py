"""Figures of a study, drawn with matplotlib (extra ``plot``) and written to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudbandit.core.goal import SLO, Goal
from cloudbandit.core.metrics import title as title_of
from cloudbandit.core.report import Report
from cloudbandit.replay.task import Task
from cloudbandit.report.figure import QUIET, figure_of, headline, log_axis, save, slo_title, wide
from cloudbandit.report.front_plot import plot_front
from cloudbandit.report.points import points, without
from cloudbandit.report.scatter import key, limit, scatter


def plot_replay(task: Task, report: Report, title: str, path: Path) -> None:
    """`plot_study`, with the table's optimum and a random feasible config to compare with; for two objectives the trials in the
    plane of both, with the table's true front.

    Raises:
        UsageError: more than two objectives.
    """
    if task.several:
        plot_front(task, report, title, path)
        return
    references = {
        "the table's optimum": task.best_value,
        "a random feasible config, on average": task.random_feasible_value,
    }
    plot_study(report, task.goal, task.objective.domain.names, title, path, references)


def plot_study(
    report: Report,
    goal: Goal,
    arms: Sequence[str],
    title: str,
    path: Path,
    references: Mapping[str, float] | None = None,
) -> None:
    """Left: the trials in order and the best so far, failed trials as crosses below. Right: every trial that ran, against the
    first SLO whose metric has a scale (without one, the left panel is all). A colour is an arm, a hollow shape a violated SLO.

    Args:
        references: values to compare with, the best first.
    """
    slo = next((s for s in goal.slos if s.limit > 0), None)
    columns = 2 if slo is not None else 1
    figure, panels = figure_of(11 if slo else 7.5, 5.4, columns, sharey=True)
    left = panels[0] if slo else panels
    _draw_progress(left, report, goal, arms, references or {})
    if slo is not None:
        _draw_trials(panels[1], report, goal, slo, arms)
    key(figure, left, points(report, goal, goal.metrics[:1]), goal, arms)
    headline(figure, title)
    save(figure, path)


def _draw_progress(axes: Any, report: Report, goal: Goal, arms: Sequence[str], references: Mapping[str, float]) -> None:
    metric = goal.metrics[0]
    found = points(report, goal, [metric])
    ran = [n for n, o in enumerate(report.observations, start=1) if o.score is not None]
    steps = [(ran[i - 1], value) for i, value in report.trajectory if value is not None]
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color="black", linewidth=1.8, label="the best so far")
    scatter(axes, found, goal, arms, lambda p: (p.number, p.values[0]), 26)
    end = max(2, len(report.observations)) + 0.5
    for i, (label, value) in enumerate(references.items()):
        line = "--" if i == 0 else ":"
        axes.axhline(value, color=QUIET, linewidth=1.2, linestyle=line, label=f"{label}: {value:.4g}")
    axes.set(xlabel="trial", ylabel=title_of(metric), xlim=(0.5, end))
    axes.set_title("trial by trial", fontsize=10, loc="left")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if wide([*references.values(), *(p.values[0] for p in found)]):
        log_axis(axes, "y")
    failed = without(report, [metric])
    if failed:
        at_the_bottom = axes.get_xaxis_transform()
        places = [0.02] * len(failed)
        axes.scatter(failed, places, s=30, marker="x", color="#B00020", transform=at_the_bottom, label="failed")


def _draw_trials(axes: Any, report: Report, goal: Goal, slo: SLO, arms: Sequence[str]) -> None:
    metric = goal.metrics[0]
    found = points(report, goal, [metric, slo.metric])
    scatter(axes, found, goal, arms, lambda p: (p.values[1], p.values[0]))
    if wide([p.values[1] for p in found]):
        log_axis(axes, "x")
    limit(axes, slo, "x")
    best = report.incumbent
    if best is not None:
        place = best.result.metrics[slo.metric], best.result.metrics[metric]
        axes.scatter(*([v] for v in place), s=190, facecolors="none", edgecolors="black", linewidths=1.4)
        axes.annotate(
            f"recommended: {place[1]:.4g}",
            place,
            xytext=(0, -13),
            textcoords="offset points",
            fontsize=9,
            ha="center",
            va="top",
            fontweight="bold",
        )
    axes.set_xlabel(title_of(slo.metric))
    axes.set_title(f"every trial that ran; shaded: {slo_title(slo)}", fontsize=10, loc="left")
