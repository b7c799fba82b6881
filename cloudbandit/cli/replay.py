"""``replay``: one study of a recorded workload."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli import complete
from cloudbandit.cli.common import (
    NOT_FEASIBLE,
    Facts,
    Failures,
    Json,
    MaxFailureRate,
    Maximize,
    Minimize,
    Plot,
    ProductionHours,
    ProductionRuns,
    Remembered,
    Slo,
    StopBy,
    StoreOption,
    StudyName,
    TableArgument,
    aim_text,
    aims,
    app,
    err,
    names,
    print_go_on,
    print_json,
)
from cloudbandit.cli.report import described, failure_limit, print_report, print_schedule, regret, stop_reason
from cloudbandit.core.errors import UsageError
from cloudbandit.optimizers import DEFAULT

if TYPE_CHECKING:
    from cloudbandit.core.report import Report
    from cloudbandit.replay.task import Task


@app.command()
def replay(
    table: TableArgument,
    workload: Annotated[
        str,
        typer.Option(
            "--workload",
            help="One of the table's workloads.",
            autocompletion=complete.one_of(complete.workloads),
        ),
    ],
    minimize: Minimize = None,
    maximize: Maximize = None,
    slo: Slo = None,
    max_failure_rate: MaxFailureRate = None,
    optimizer: Annotated[
        str,
        typer.Option(
            "--optimizer",
            help="See `cloudbandit optimizers`.",
            autocompletion=complete.one_of(complete.optimizers),
        ),
    ] = DEFAULT,
    budget: Annotated[int, typer.Option("--budget", help="Trials.")] = 33,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    failures: Failures = "strict",
    facts: Facts = "all",
    history: Remembered = None,
    stop: StopBy = None,
    production_runs: ProductionRuns = None,
    production_hours: ProductionHours = None,
    workers: Annotated[int, typer.Option("--workers", help="Trials in flight, in simulated time.")] = 1,
    store: StoreOption = None,
    study: StudyName = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Search one workload of a recorded table, every trial looked up instead of paid for."""
    aim = aim_text(*aims(minimize, maximize))
    spec = {
        "kind": "replay",
        "table": table,
        "workload": workload,
        "minimize": minimize or "",
        "maximize": maximize or "",
        "slo": slo or [],
        "optimizer": optimizer,
        "budget": budget,
        "seed": seed,
        "failures": failures,
        "facts": facts,
        "workers": workers,
    }
    given = {
        "max_failure_rate": max_failure_rate,
        "history": history,
        "stop": stop,
        "production_runs": production_runs,
        "production_hours": production_hours,
    }
    spec |= {key: value for key, value in given.items() if value is not None}
    name = study or f"{Path(table).name}/{workload}/{aim}/{optimizer}/{seed}"
    run_replay(spec, store, name, plot, json_)


def run_replay(spec: dict[str, Any], url: str | None, name: str, plot: Path | None, json_: bool) -> None:
    """Run or resume."""
    from cloudbandit.core.profit import rule
    from cloudbandit.core.store import Store
    from cloudbandit.live.memory import remember
    from cloudbandit.replay.task import replay as run

    if plot is not None:
        from cloudbandit.report.figure import check_figure

        check_figure(plot, "--plot")
    task = _task(spec)
    if plot is not None and len(task.goal.metrics) > 2:
        raise UsageError(f"--plot shows one objective or two, got {', '.join(task.goal.metrics)}; cure: no --plot")
    stop = rule(spec.get("stop"), spec.get("production_runs"), spec.get("production_hours"))
    itself, searched = (url, name) if url else None, (spec["table"], spec["workload"])
    history = remember(spec.get("history", ()), task.goal, task.objective.units, study=itself, task=searched)
    store = Store(url) if url else None
    try:
        with err.status("replaying …") if not json_ else _Quiet():
            report = run(
                task,
                spec["optimizer"],
                spec["budget"],
                spec["seed"],
                facts=spec.get("facts", "all"),
                workers=spec["workers"],
                history=history,
                stop=stop,
                store=store,
                name=name,
                spec=spec,
                on_study=None if json_ else print_schedule,
            )
    except KeyboardInterrupt:
        if url:
            print_go_on(url, name)
        raise
    finally:
        if store is not None:
            store.close()
    if plot is not None:
        from cloudbandit.report.plots import plot_replay

        plot_replay(
            task, report, f"{spec['table']}: {spec['workload']}, {spec['optimizer']}, seed {spec['seed']}", plot
        )
    if json_:
        print_json({**{key: spec[key] for key in _OF_SPEC}, **_found(task, report)})
    else:
        print_report(task, report, plot, url)
    if report.incumbent is None:
        raise typer.Exit(NOT_FEASIBLE)


_OF_SPEC = ("table", "workload", "optimizer", "budget")


def _found(task: Task, report: Report) -> dict[str, Any]:
    """What ``--json`` adds to the question: the incumbent, or the front where there are several objectives."""
    incumbent = report.incumbent
    answer: dict[str, Any]
    if task.several:
        share = None if incumbent is None else task.hypervolume_share(report.observations)
        answer = {"front": [described(o) for o in report.front], "hypervolume_share": share}
    else:
        answer = {
            "incumbent": None if incumbent is None else described(incumbent),
            "regret_percent": regret(task, report),
            "random_feasible_regret_percent": None if incumbent is None else task.random_regret_percent,
        }
    return {
        "evaluations": report.evaluations,
        "restored": report.restored,
        **answer,
        **failure_limit(task.goal),
        "spent_usd": report.spent_usd,
        "believed": report.believed(),
        "stop_reason": stop_reason(task, report),
    }


def _task(spec: dict[str, Any]) -> Task:
    from cloudbandit.core.goal import MAX_FAILURE_RATE
    from cloudbandit.replay.task import Task
    from cloudbandit.tables.registry import load_table

    minimize, maximize = names(spec["minimize"]), names(spec.get("maximize", ""))
    limit = spec.get("max_failure_rate", MAX_FAILURE_RATE)
    task = Task(load_table(spec["table"]), spec["workload"], minimize, spec["slo"], spec["failures"], maximize, limit)
    _ = task.objective  # unknown names are errors before anything runs
    return task


class _Quiet:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
