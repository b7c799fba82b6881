"""One study's answer, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudbandit.cli.common import config_text, err, out
from cloudbandit.cli.grid import Column, pairs, print_table
from cloudbandit.core.report import tally

if TYPE_CHECKING:
    from cloudbandit.core.report import Report
    from cloudbandit.core.study import Study
    from cloudbandit.core.trial import Observation
    from cloudbandit.replay.task import Task


def described(o: Observation) -> dict[str, Any]:
    """A trial as plain data, metrics in their own sign."""
    return {"arm": "/".join(o.candidate.arm), "config": dict(o.candidate.config), "metrics": dict(o.result.metrics)}


def regret(task: Task, report: Report) -> float | None:
    """Of the answer; null without one."""
    return None if report.incumbent is None else task.regret_percent(task.answer_value(report.observations))


def stop_reason(task: Task, report: Report) -> str:
    if report.incumbent is not None:
        return report.stop_reason
    slos = ", ".join(map(str, task.goal.slos))
    why = f"no evaluated configuration meets {slos}" if slos else "no evaluated configuration succeeded"
    return f"{report.stop_reason}: {why}"


def print_schedule(study: Study) -> None:
    from cloudbandit.core.bandit import CloudBandit

    bandit = study.optimizer
    if isinstance(bandit, CloudBandit):
        names = ", ".join(bandit.active)
        rounds = "; ".join(
            f"round {r.number}: {r.arms} {'arm' if r.arms == 1 else 'arms'} × {r.pull}" for r in bandit.schedule()
        )
        err.print(f"[bold]schedule[/] over {names}: {rounds}", highlight=False, soft_wrap=True)


def print_report(task: Task, report: Report, plot: Path | None) -> None:
    from rich.text import Text

    grid = pairs()
    incumbent = report.incumbent
    if incumbent is None:
        out.print(f"[bold red]{stop_reason(task, report)}[/]")
        least = report.least_violating
        if least is not None:
            grid.add_row("nearest miss (not an answer)", Text(named(least)))
            _add_metrics(grid, task, least)
    elif task.several:
        _print_front(report, task)
        share, tried = task.hypervolume_share(report.observations), task.front_points(report.observations)
        grid.add_row("hypervolume", f"{share:.3f} of the true front's")
        grid.add_row("true front", f"{tried} of its {len(task.front)} points are among the trials")
    else:
        grid.add_row("[bold]recommended[/]", Text(named(incumbent), "bold green"))
        _add_metrics(grid, task, incumbent)
        facts = task.objective.facts(incumbent.candidate)
        if "price_usd_per_h" in facts:
            grid.add_row("price", f"{facts['price_usd_per_h']:.4g} USD/h for one instance (or cluster)")
        above, side = regret(task, report), "below" if task.maximize else "above"
        grid.add_row("regret", f"{above:.1f} % {side} the table's optimum ({task.metric} = {task.best_value:.4g})")
        grid.add_row("at random", f"{task.random_regret_percent:.1f} % {side} it, the mean over all configs")
    grid.add_row("trials", f"{tally(report.observations)}; there are {len(task.objective.domain)} configs")
    grid.add_row("spent", f"{report.spent_usd:.4g} USD, {report.elapsed_s:.0f} s of trials")
    sources = {o.result.source for o in report.observations}
    grid.add_row("source", "estimates" if task.table.manifest.estimates else ", ".join(sorted(sources)))
    grid.add_row("stopped by", report.stop_reason)
    if plot is not None:
        grid.add_row("figure", str(plot))
    out.print(grid)


def _print_front(report: Report, task: Task) -> None:
    """What no other trial beats in every objective, the best in the first objective first."""
    aimed_at = list(dict.fromkeys([*task.goal.metrics, *(slo.metric for slo in task.goal.slos)]))
    columns = [Column(m, [f"{o.result.metrics[m]:.4g}" for o in report.front]) for m in aimed_at]
    columns.append(Column("config", [named(o) for o in report.front], text=True))
    print_table("the front: no trial beats these in every objective", columns)


def named(o: Observation) -> str:
    """Arm and config, in a line."""
    return f"{'/'.join(o.candidate.arm)}: {config_text(o.candidate)}"


def _add_metrics(grid: Any, task: Task, o: Observation) -> None:
    for name in dict.fromkeys([*task.goal.metrics, *(slo.metric for slo in task.goal.slos)]):
        limits = ", ".join(str(slo) for slo in task.goal.slos if slo.metric == name)
        grid.add_row(name, f"{o.result.metrics[name]:.4g}{f'  ({limits})' if limits else ''}")
