"""Figures, drawn with matplotlib (extra ``plot``) and written to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudbandit.core.goal import SLO, Goal
from cloudbandit.core.report import Report
from cloudbandit.core.trial import Observation
from cloudbandit.replay.rows import CompareRow, FrontRow, Row
from cloudbandit.replay.statistics import critical_difference
from cloudbandit.replay.task import Task
from cloudbandit.report.figure import COLOURS, figure_of, log_axis, save, wide
from cloudbandit.report.front_plot import plot_front


def plot_compare(rows: Sequence[Row], title: str, path: Path) -> None:
    """Mean regret, or hypervolume share, against budget, one line per optimizer, bands for the 95 % interval over tasks. Methods
    that were told of recorded workloads beforehand are dashed."""
    names = list(dict.fromkeys(row.optimizer for row in rows))
    figure, axes = figure_of(9.5 if len(names) <= 8 else 11, 5 if len(names) <= 8 else 6.5)
    for position, name in enumerate(names):
        mine = [row for row in rows if row.optimizer == name]
        budgets = [row.budget for row in mine]
        colour = COLOURS[position % len(COLOURS)]
        marker = "osv^DPX*"[position // len(COLOURS) % 8]
        style = "--" if mine[0].learns_from else "-"
        values = [r.mean_hypervolume_share if isinstance(r, FrontRow) else r.mean_regret_percent for r in mine]
        axes.plot(budgets, values, marker=marker, markersize=5, color=colour, linestyle=style, label=name)
        if len(names) <= 8:
            axes.fill_between(budgets, [r.ci95[0] for r in mine], [r.ci95[1] for r in mine], color=colour, alpha=0.12)
    if isinstance(rows[0], FrontRow):
        axes.set_ylim(top=1.0)
        axes.set_ylabel("mean hypervolume, as a share of the true front's")
    else:
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_ylim(bottom=min(0.0, *(row.ci95[0] for row in rows)))
        axes.set_ylabel("mean relative regret [%] (linear below 1)")
    axes.set_xlabel("budget [trials]")
    bands = "; bands: 95 % over tasks" if len(names) <= 8 else ""
    axes.set_title(f"{title} (n = {rows[0].n} runs per point{bands})", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def plot_ranks(rows: Sequence[Row], tasks: int, title: str, path: Path) -> None:
    """Mean ranks at the smallest budget, where methods differ most; the best first, shaded what lies within Nemenyi's critical
    difference of it."""
    budget = min(row.budget for row in rows)
    mine = sorted((row for row in rows if row.budget == budget), key=lambda row: row.mean_rank)
    reach = critical_difference(len(mine), tasks)
    figure, axes = figure_of(8, 1.2 + 0.28 * len(mine))
    for y, row in enumerate(mine):
        within = row.mean_rank <= mine[0].mean_rank + reach
        axes.scatter([row.mean_rank], [y], color=COLOURS[0] if within else COLOURS[7], zorder=3)
    axes.axvspan(mine[0].mean_rank, mine[0].mean_rank + reach, color=COLOURS[0], alpha=0.12)
    axes.set_yticks(range(len(mine)), [row.optimizer + (" *" if row.learns_from else "") for row in mine], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(f"mean rank over {tasks} tasks (shaded: within the critical difference {reach:.2f} of the best)")
    axes.set_title(f"{title}, B = {budget} (*: was told of recorded workloads)", fontsize=10)
    save(figure, path)


def plot_savings(rows: Sequence[CompareRow], budget: int, title: str, path: Path) -> None:
    """Mean savings at one budget, the largest first."""
    known = [(row, row.mean_savings_percent) for row in rows if row.budget == budget]
    mine = sorted(((row, value) for row, value in known if value is not None), key=lambda pair: -pair[1])
    figure, axes = figure_of(8, 1.2 + 0.28 * len(mine))
    colours = [COLOURS[7] if row.learns_from else COLOURS[0] for row, _ in mine]
    axes.barh(range(len(mine)), [value for _, value in mine], color=colours)
    labels = [row.optimizer + (" *" if row.learns_from else "") for row, _ in mine]
    axes.set_yticks(range(len(mine)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("mean savings against random configs [%], the search included")
    axes.set_title(f"{title}, B = {budget} (*: was told of recorded workloads)", fontsize=10)
    save(figure, path)


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
        f"optimum of the table ({task.best_value:.4g})": task.best_value,
        f"a random feasible config ({task.random_feasible_value:.4g})": task.random_feasible_value,
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
    """Left: the trials in order and the incumbent, failed trials as crosses below. Right: every trial that ran, coloured by
    arm, against the first SLO whose metric has a scale (without one: against its number).

    Args:
        references: values to compare with, the best first.
    """
    figure, (left, right) = figure_of(11, 4.6, 2)
    metric = goal.metrics[0]
    _draw_progress(left, report, metric, references or {})
    slo = next((s for s in goal.slos if s.limit > 0), None)
    _draw_trials(right, report, metric, slo, arms)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def _draw_progress(axes: Any, report: Report, metric: str, references: Mapping[str, float]) -> None:
    steps = [(n, value) for n, value in report.trajectory if value is not None]
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color=COLOURS[0], label="incumbent")
    shown = [(n + 1, o) for n, o in enumerate(report.observations) if metric in o.result.metrics]
    for feasible, label in ((True, "trial"), (False, "violates an SLO")):
        some = [(n, o) for n, o in shown if (o.score is not None and o.score.feasible) == feasible]
        face = COLOURS[7] if feasible else "none"
        values = [o.result.metrics[metric] for _, o in some]
        if some:
            axes.scatter([n for n, _ in some], values, s=18, edgecolors=COLOURS[7], facecolors=face, label=label)
    for i, (label, value) in enumerate(references.items()):
        axes.axhline(value, color=COLOURS[2] if i == 0 else COLOURS[7], linestyle="--" if i == 0 else ":", label=label)
    axes.set(xlabel="trial", ylabel=metric, title="the best config so far")
    axes.set_xlim(0.5, max(2, len(report.observations)) + 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if wide([*references.values(), *(o.result.metrics[metric] for _, o in shown)]):
        log_axis(axes, "y")
    failed = [n + 1 for n, o in enumerate(report.observations) if metric not in o.result.metrics]
    if failed:
        at_the_bottom = axes.get_xaxis_transform()
        axes.scatter(
            failed, [0.03] * len(failed), marker="x", color=COLOURS[1], transform=at_the_bottom, label="failed"
        )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _draw_trials(axes: Any, report: Report, metric: str, slo: SLO | None, arms: Sequence[str]) -> None:
    def at(o: Observation) -> float:
        return o.result.metrics[slo.metric] if slo else o.trial.number + 1

    hollow = False
    shown = [o for o in report.observations if metric in o.result.metrics]
    shown = [o for o in shown if slo is None or slo.metric in o.result.metrics]
    for position, arm in enumerate(arms):
        mine = [o for o in shown if o.arm == arm]
        colour = COLOURS[position % len(COLOURS)]
        axes.scatter([], [], s=36, color=colour, label=arm)
        for feasible in (True, False):
            some = [o for o in mine if (o.score is not None and o.score.feasible) == feasible]
            y = [o.result.metrics[metric] for o in some]
            axes.scatter([at(o) for o in some], y, s=36, edgecolors=colour, facecolors=colour if feasible else "none")
            hollow |= bool(some) and not feasible
    if hollow:
        axes.scatter([], [], s=36, edgecolors="grey", facecolors="none", label="violates an SLO")
    best = report.incumbent
    if best is not None:
        y = [best.result.metrics[metric]]
        axes.scatter([at(best)], y, s=220, facecolors="none", edgecolors="black", label="recommended")
    if slo is not None:
        axes.axvline(slo.limit, color="black", linewidth=1, label=str(slo))
        if wide([at(o) for o in shown]):
            log_axis(axes, "x")
    if wide([o.result.metrics[metric] for o in shown]):
        log_axis(axes, "y")
    axes.set(xlabel=slo.metric if slo else "trial", ylabel=metric, title="every trial that ran")
    axes.legend(fontsize=8)
