"""One study's answer, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudbandit.cli.common import config_text, err, out
from cloudbandit.cli.grid import Column, pairs, print_table
from cloudbandit.cli.text import shown, styled
from cloudbandit.core.report import tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudbandit.core.goal import SLO, Goal
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


def failure_limit(goal: Goal) -> dict[str, float]:
    """What share of requests may fail without an SLO that says so, for ``--json``; nothing where there is no such limit."""
    implied: SLO | None = getattr(goal, "failure_slo", None)
    return {} if implied is None else {"max_failure_rate": implied.limit}


def add_failure_limit(grid: Any, goal: Goal, observations: Sequence[Observation]) -> None:
    """A row that states the limit, where any trial knows its failures."""
    from cloudbandit.core.goal import failures

    limit = failure_limit(goal).get("max_failure_rate")
    if limit is None or all(failures(o.result) is None for o in observations):
        return
    bad = sum((failures(o.result) or 0.0) > limit for o in observations)
    grid.add_row("failures", f"at most {limit:.4g} of the requests, beyond a single user's; {bad} trials had more")


def add_belief(grid: Any, report: Report) -> None:
    """Rows for what the optimizer believes of the answer, where it says."""
    from cloudbandit.core.report import believed_text

    for label, text in zip(("believed", "", ""), believed_text(report), strict=False):
        grid.add_row(label, shown(text))


def stop_reason(task: Task, report: Report) -> str:
    if report.incumbent is not None:
        return report.stop_reason
    slos = ", ".join(map(str, task.limits))
    why = f"no evaluated configuration meets {slos}" if slos else "no evaluated configuration succeeded"
    return f"{report.stop_reason}: {why}"


def print_schedule(study: Study) -> None:
    from cloudbandit.core.bandit import CloudBandit

    bandit = study.optimizer
    if isinstance(bandit, CloudBandit):
        names = ", ".join(map(shown, bandit.active))
        rounds = "; ".join(
            f"round {r.number}: {r.arms} {'arm' if r.arms == 1 else 'arms'} × {r.pull}" for r in bandit.schedule()
        )
        err.print(f"[bold]schedule[/] over {names}: {rounds}", highlight=False, soft_wrap=True)


def restored(report: Report, url: str) -> str:
    """How many trials were taken from a store, and how many were run now."""
    return f"{report.restored} trials taken from {url}, {len(report.observations) - report.restored} run"


def print_report(task: Task, report: Report, plot: Path | None, url: str | None) -> None:

    grid = pairs()
    incumbent = report.incumbent
    if incumbent is None:
        out.print(f"[bold red]{shown(stop_reason(task, report))}[/]")
        least = report.least_violating
        if least is not None:
            grid.add_row("nearest miss (not an answer)", shown(named(least)))
            _add_metrics(grid, task, least)
    elif task.several:
        _print_front(report, task)
        share, tried = task.hypervolume_share(report.observations), task.front_points(report.observations)
        grid.add_row("hypervolume", f"{share:.3f} of the true front's")
        grid.add_row("true front", f"{tried} of its {len(task.front)} points are among the trials")
    else:
        grid.add_row("[bold]recommended[/]", styled(named(incumbent), "bold green"))
        _add_metrics(grid, task, incumbent)
        facts = task.objective.facts(incumbent.candidate)
        if "price_usd_per_h" in facts:
            grid.add_row("price", f"{facts['price_usd_per_h']:.4g} USD/h for one instance (or cluster)")
        above, side = regret(task, report), "below" if task.maximize else "above"
        grid.add_row(
            "regret", f"{above:.1f} % {side} the table's optimum ({shown(task.metric)} = {task.best_value:.4g})"
        )
        grid.add_row("at random", f"{task.random_regret_percent:.1f} % {side} it, the mean over all feasible configs")
    add_belief(grid, report)
    add_failure_limit(grid, task.goal, report.observations)
    said = f"{tally(report.observations)}; there are {len(task.objective.domain)} configs"
    grid.add_row("trials", shown(said))
    grid.add_row("spent", f"{report.spent_usd:.4g} USD, {report.elapsed_s:.0f} s of trials")
    if url is not None:
        grid.add_row("store", shown(restored(report, url)))
    sources = {o.result.source for o in report.observations}
    grid.add_row("source", "estimates" if task.table.manifest.estimates else shown(", ".join(sorted(sources))))
    grid.add_row("stopped by", shown(report.stop_reason))
    if plot is not None:
        grid.add_row("figure", shown(plot))
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
        grid.add_row(shown(name), shown(f"{o.result.metrics[name]:.4g}{f'  ({limits})' if limits else ''}"))
