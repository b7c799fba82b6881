"""``replay`` and ``resume``: one study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli.common import (
    NOT_FEASIBLE,
    Failures,
    Json,
    Minimize,
    Plot,
    Slo,
    StoreOption,
    StudyName,
    TableArgument,
    app,
    err,
    print_json,
)
from cloudbandit.cli.report import described, print_report, print_schedule, regret, stop_reason
from cloudbandit.cli.stores import existing, pick
from cloudbandit.core.errors import UsageError
from cloudbandit.optimizers import DEFAULT

if TYPE_CHECKING:
    from cloudbandit.replay.task import Task


@app.command()
def replay(
    table: TableArgument,
    workload: Annotated[str, typer.Option("--workload", help="One of the table's workloads.")],
    minimize: Minimize,
    slo: Slo = None,
    optimizer: Annotated[str, typer.Option("--optimizer", help="See `cloudbandit optimizers`.")] = DEFAULT,
    budget: Annotated[int, typer.Option("--budget", help="Trials.")] = 33,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    failures: Failures = "strict",
    workers: Annotated[int, typer.Option("--workers", help="Trials in flight, in simulated time.")] = 1,
    store: StoreOption = None,
    study: StudyName = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Search one workload of a recorded table, every trial looked up instead of paid for."""
    spec = {
        "kind": "replay",
        "table": table,
        "workload": workload,
        "minimize": minimize,
        "slo": slo or [],
        "optimizer": optimizer,
        "budget": budget,
        "seed": seed,
        "failures": failures,
        "workers": workers,
    }
    name = study or f"{Path(table).name}/{workload}/{minimize}/{optimizer}/{seed}"
    _run_replay(spec, store, name, plot, json_)


def _run_replay(spec: dict[str, Any], url: str | None, name: str, plot: Path | None, json_: bool) -> None:
    from cloudbandit.core.store import Store
    from cloudbandit.replay.task import replay as run

    task = _task(spec)
    store = Store(url) if url else None
    try:
        with err.status("replaying …") if not json_ else _Quiet():
            report = run(
                task,
                spec["optimizer"],
                spec["budget"],
                spec["seed"],
                workers=spec["workers"],
                store=store,
                name=name,
                spec=spec,
                on_study=None if json_ else print_schedule,
            )
    except KeyboardInterrupt:
        if url:
            err.print(f"stopped; go on with: cloudbandit resume --store {url} --study {name!r}", markup=False)
        raise
    finally:
        if store is not None:
            store.close()
    if plot is not None:
        from cloudbandit.report.plots import plot_replay

        plot_replay(
            task, report, f"{spec['table']}: {spec['workload']}, {spec['optimizer']}, seed {spec['seed']}", plot
        )
    incumbent = report.incumbent
    if json_:
        print_json(
            {
                "table": spec["table"],
                "workload": spec["workload"],
                "optimizer": spec["optimizer"],
                "budget": spec["budget"],
                "evaluations": report.evaluations,
                "incumbent": None if incumbent is None else described(incumbent),
                "regret_percent": regret(task, report),
                "spent_usd": report.spent_usd,
                "stop_reason": stop_reason(task, report),
            }
        )
    else:
        print_report(task, report, plot)
    if incumbent is None:
        raise typer.Exit(NOT_FEASIBLE)


def _task(spec: dict[str, Any]) -> Task:
    from cloudbandit.core.goal import SLO
    from cloudbandit.replay.task import Task
    from cloudbandit.tables.registry import load_table

    slos = tuple(SLO.parse(text) for text in spec["slo"])
    task = Task(load_table(spec["table"]), spec["workload"], spec["minimize"], slos, spec["failures"])
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
        from cloudbandit.cli.live import run_live
        from cloudbandit.live.studyfile import LiveStudy

        run_live(LiveStudy.of(spec), store, json_, plot)
        return
    if spec.get("kind") != "replay":
        raise UsageError(
            f"the study {name!r} was started from Python, so only that program can go on with it: run it again"
        )
    _run_replay(spec, store, name, plot, json_)
