"""``replay`` and ``resume``: one study."""

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
    Maximize,
    Minimize,
    Plot,
    Slo,
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
from cloudbandit.cli.report import described, print_report, print_schedule, regret, stop_reason
from cloudbandit.cli.stores import existing, pick
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
    name = study or f"{Path(table).name}/{workload}/{aim}/{optimizer}/{seed}"
    _run_replay(spec, store, name, plot, json_)


def _run_replay(spec: dict[str, Any], url: str | None, name: str, plot: Path | None, json_: bool) -> None:
    from cloudbandit.core.store import Store
    from cloudbandit.replay.task import replay as run

    task = _task(spec)
    if plot is not None and len(task.goal.metrics) > 2:
        raise UsageError(f"--plot shows one objective or two, got {', '.join(task.goal.metrics)}; cure: no --plot")
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
        print_report(task, report, plot)
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
        }
    return {
        "evaluations": report.evaluations,
        **answer,
        "spent_usd": report.spent_usd,
        "stop_reason": stop_reason(task, report),
    }


def _task(spec: dict[str, Any]) -> Task:
    from cloudbandit.replay.task import Task
    from cloudbandit.tables.registry import load_table

    minimize, maximize = names(spec["minimize"]), names(spec.get("maximize", ""))
    task = Task(load_table(spec["table"]), spec["workload"], minimize, spec["slo"], spec["failures"], maximize)
    _ = task.objective  # unknown names are errors before anything runs
    return task


class _Quiet:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@app.command()
def resume(
    store: Annotated[str, typer.Option("--store", metavar="URL")],
    study: StudyName = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Go on with a stored study: no finished trial is run again."""
    with existing(store) as opened:
        name = pick(opened, study)
        spec = opened.spec(name)
    if spec.get("kind") == "live":
        from cloudbandit.cli.live import described_machine, run_live
        from cloudbandit.live.studyfile import LiveStudy

        run_live(described_machine(LiveStudy.of(spec)), store, json_, plot)
        return
    if spec.get("kind") != "replay":
        raise UsageError(
            f"the study {name!r} was started from Python, so only that program can go on with it: run it again"
        )
    _run_replay(spec, store, name, plot, json_)
