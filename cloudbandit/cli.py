"""The command line: thin over the library.

Exit codes: 0 done; 2 wrong input; 3 no evaluated configuration meets the SLOs; 130 stopped with Ctrl-C (resumable where a
store was given); 1 a bug.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from cloudbandit.errors import CloudBanditError, UsageError

if TYPE_CHECKING:
    from cloudbandit.replay import Task
    from cloudbandit.study import Report, Study
    from cloudbandit.trial import Candidate, Observation

NOT_FEASIBLE = 3
INTERRUPTED = 130

app = typer.Typer(
    name="cloudbandit",
    help="Find the cheapest configuration across clouds that meets your SLOs, in few paid trials.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
table_app = typer.Typer(help="Recorded tables.", no_args_is_help=True)
app.add_typer(table_app, name="table")

_WIDE = None if sys.stdout.isatty() else 140  # a pipe has no width; 80 would cut tables
err = Console(stderr=True)
out = Console(width=_WIDE)

TableArgument = Annotated[
    str, typer.Argument(metavar="TABLE", help="A registered table, or a folder with a table.toml.")
]
Minimize = Annotated[str, typer.Option("--minimize", metavar="METRIC", help="The metric to minimise.")]
Slo = Annotated[list[str] | None, typer.Option("--slo", metavar="SLO", help='E.g. "ttft_ms<=500"; repeatable.')]
Failures = Annotated[
    str, typer.Option("--failures", help="strict: a failed run is failed; recorded: its value counts.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
StoreOption = Annotated[str | None, typer.Option("--store", metavar="URL", help="A file, or postgresql://…")]
StudyName = Annotated[str | None, typer.Option("--study", help="The study's name in the store.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Write a figure (png, svg, pdf).")]


def _version(wanted: bool) -> None:
    if wanted:
        from cloudbandit import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None: ...


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, allow_nan=False) + "\n")


def _config(candidate: Candidate) -> str:
    return ", ".join(f"{k}={v}" for k, v in candidate.config.items())


def _described(o: Observation | None) -> dict[str, Any] | None:
    if o is None:
        return None
    return {"arm": "/".join(o.candidate.arm), "config": dict(o.candidate.config), "metrics": dict(o.result.metrics)}


def _count(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"{option} is a comma-separated list of whole numbers, e.g. 11,22,33; got {text!r}") from None


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@app.command()
def replay(
    table: TableArgument,
    workload: Annotated[str, typer.Option("--workload", help="One of the table's workloads.")],
    minimize: Minimize,
    slo: Slo = None,
    optimizer: Annotated[str, typer.Option("--optimizer", help="See `cloudbandit optimizers`.")] = "cloudbandit:gp",
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
    from cloudbandit.replay import replay as run
    from cloudbandit.store import Store

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
                on_study=None if json_ else _print_schedule,
            )
    except KeyboardInterrupt:
        if url:
            err.print(f"stopped; go on with: cloudbandit resume --store {url} --study {name!r}", markup=False)
        raise
    finally:
        if store is not None:
            store.close()
    if plot is not None:
        from cloudbandit.analysis.plots import plot_replay

        plot_replay(
            task, report, f"{spec['table']}: {spec['workload']}, {spec['optimizer']}, seed {spec['seed']}", plot
        )
    incumbent = report.incumbent
    if json_:
        _print_json(
            {
                "table": spec["table"],
                "workload": spec["workload"],
                "optimizer": spec["optimizer"],
                "budget": spec["budget"],
                "evaluations": report.evaluations,
                "incumbent": _described(incumbent),
                "regret_percent": _regret(task, report),
                "spent_usd": report.spent_usd,
                "stop_reason": _stop_reason(task, report),
            }
        )
    else:
        _print_report(task, report, plot)
    if incumbent is None:
        raise typer.Exit(NOT_FEASIBLE)


def _task(spec: dict[str, Any]) -> Task:
    from cloudbandit.goal import SLO
    from cloudbandit.replay import Task
    from cloudbandit.tables.registry import load_table

    slos = tuple(SLO.parse(text) for text in spec["slo"])
    task = Task(load_table(spec["table"]), spec["workload"], spec["minimize"], slos, spec["failures"])
    _ = task.objective  # unknown names are errors before anything runs
    return task


def _regret(task: Task, report: Report) -> float | None:
    """Of the answer; null without one."""
    return None if report.incumbent is None else task.regret_percent(task.answer_value(report.observations))


def _stop_reason(task: Task, report: Report) -> str:
    if report.incumbent is not None:
        return report.stop_reason
    slos = ", ".join(map(str, task.goal.slos))
    why = f"no evaluated configuration meets {slos}" if slos else "no evaluated configuration succeeded"
    return f"{report.stop_reason}: {why}"


class _Quiet:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _print_schedule(study: Study) -> None:
    from cloudbandit.bandit import CloudBandit

    bandit = study.optimizer
    if isinstance(bandit, CloudBandit):
        names = ", ".join(bandit.active)
        rounds = "; ".join(
            f"round {r.number}: {r.arms} {'arm' if r.arms == 1 else 'arms'} × {r.pull}" for r in bandit.schedule()
        )
        err.print(f"[bold]schedule[/] over {names}: {rounds}", highlight=False, soft_wrap=True)


def _print_report(task: Task, report: Report, plot: Path | None) -> None:
    from rich.table import Table as Grid

    grid = Grid(show_header=False, box=None, pad_edge=False)
    incumbent = report.incumbent
    if incumbent is None:
        out.print(f"[bold red]{_stop_reason(task, report)}[/]")
        least = report.least_violating
        if least is not None:
            grid.add_row("nearest miss (not an answer)", f"{'/'.join(least.candidate.arm)}: {_config(least.candidate)}")
            _add_metrics(grid, task, least)
    else:
        grid.add_row(
            "[bold]recommended[/]",
            f"[bold green]{'/'.join(incumbent.candidate.arm)}: {_config(incumbent.candidate)}[/]",
        )
        _add_metrics(grid, task, incumbent)
        facts = task.objective.facts(incumbent.candidate)
        if "price_usd_per_h" in facts:
            grid.add_row("price", f"{facts['price_usd_per_h']:.4g} USD/h for one instance (or cluster)")
        regret = _regret(task, report)
        grid.add_row("regret", f"{regret:.1f} % above the table's optimum ({task.metric} = {task.best_value:.4g})")
        grid.add_row("at random", f"{task.random_regret_percent:.1f} % above it, the mean over all configs")
    failed = sum(o.result.status != "ok" for o in report.observations)
    grid.add_row("trials", f"{report.evaluations} of {len(task.objective.domain)} configs, {failed} of them failed")
    grid.add_row("spent", f"{report.spent_usd:.4g} USD, {report.elapsed_s:.0f} s of trials")
    sources = {o.result.source for o in report.observations}
    grid.add_row("source", "estimates" if task.table.manifest.estimates else ", ".join(sorted(sources)))
    grid.add_row("stopped by", report.stop_reason)
    if plot is not None:
        grid.add_row("figure", str(plot))
    out.print(grid)


def _add_metrics(grid: Any, task: Task, o: Observation) -> None:
    for name in dict.fromkeys([task.metric, *(slo.metric for slo in task.goal.slos)]):
        limits = ", ".join(str(slo) for slo in task.goal.slos if slo.metric == name)
        grid.add_row(name, f"{o.result.metrics[name]:.4g}{f'  ({limits})' if limits else ''}")


@app.command()
def compare(
    table: TableArgument,
    minimize: Minimize,
    optimizers: Annotated[str, typer.Option("--optimizers", help="Comma-separated.")] = "random,gp,cloudbandit:gp",
    budgets: Annotated[str, typer.Option("--budgets", help="Comma-separated trials.")] = "11,22,33",
    seeds: Annotated[int, typer.Option("--seeds", help="Runs per workload, seeds 0 … N−1.")] = 10,
    workloads: Annotated[str | None, typer.Option("--workloads", help="Comma-separated; all by default.")] = None,
    slo: Slo = None,
    failures: Failures = "strict",
    jobs: Annotated[int, typer.Option("--jobs", help="Processes.")] = 1,
    scheduler: Annotated[str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler.")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Keep finished cells here; they are not run again."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Differences are taken to it; the first by default.")
    ] = None,
    production_runs: Annotated[int, typer.Option("--production-runs", help="N of the savings.")] = 64,
    rank_plot: Annotated[
        Path | None, typer.Option("--rank-plot", metavar="FILE", help="Mean ranks, as a figure.")
    ] = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Optimizers side by side: regret and savings over workloads, budgets and seeds."""
    from rich.progress import Progress

    from cloudbandit.analysis.compare import compare as run
    from cloudbandit.goal import SLO

    with Progress(console=err, transient=True, disable=json_ and not err.is_terminal) as progress:
        bar = progress.add_task("comparing", total=None)
        rows = run(
            table,
            minimize,
            _names(optimizers),
            _count(budgets, "--budgets"),
            seeds,
            slos=tuple(SLO.parse(text) for text in slo or []),
            workloads=_names(workloads) if workloads else None,
            failures=failures,  # type: ignore[arg-type]
            jobs=jobs,
            scheduler=scheduler,
            checkpoint=checkpoint,
            baseline=baseline,
            production_runs=production_runs,
            on_cell=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if plot is not None:
        from cloudbandit.analysis.plots import plot_compare

        plot_compare(rows, f"{Path(table).name}, {minimize}, {failures} failures", plot)
    if rank_plot is not None:
        from cloudbandit.analysis.plots import plot_ranks

        plot_ranks(rows, rows[0].n // seeds, f"{Path(table).name}, {minimize}, {failures} failures", rank_plot)
    if json_:
        _print_json({"rows": [row.to_dict() for row in rows]})
        return
    from rich.table import Table as Grid

    grid = Grid(title=f"{table}: {minimize}, {failures} failures, seeds 0 … {seeds - 1}")
    for column in (
        "optimizer",
        "budget",
        "mean regret %",
        "95 % interval",
        "median %",
        "of answer %",
        "savings %",
        "right arm %",
        "near %",
        "rank",
        "ms/ask",
        "n",
    ):
        grid.add_column(column, justify="left" if column == "optimizer" else "right")
    for row in rows:
        grid.add_row(
            row.optimizer + (" *" if row.learns_from else ""),
            str(row.budget),
            f"{row.mean_regret_percent:.1f}",
            f"{row.ci95[0]:.1f} … {row.ci95[1]:.1f}",
            f"{row.median_regret_percent:.1f}",
            f"{row.mean_answer_regret_percent:.1f}",
            f"{row.mean_savings_percent:.1f}",
            f"{row.right_arm_percent:.0f}",
            f"{row.near_percent:.0f}",
            f"{row.mean_rank:.1f}",
            f"{row.suggest_ms_median:.3f}",
            str(row.n),
        )
    out.print(grid)
    out.print(
        f"interval: bootstrap over workloads; savings: over {production_runs} production runs, search included; "
        "near: within 5 % of the optimum; *: was told of recorded workloads",
        style="dim",
    )
    if plot is not None:
        out.print(f"figure: {plot}")


@app.command()
def resume(
    store: Annotated[str, typer.Option("--store", metavar="URL")],
    study: StudyName = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Go on with a stored study: no finished trial is run again."""
    from cloudbandit.store import Store

    with _existing(store) as opened:
        name = _pick(opened, study)
        spec = opened.spec(name)
    assert isinstance(opened, Store)
    if spec.get("kind") != "replay":
        raise UsageError(
            f"the study {name!r} was started from Python, so only that program can go on with it: run it again"
        )
    _run_replay(spec, store, name, plot, json_)


def _existing(url: str) -> Any:
    """Open a store for reading; a missing file is an error, not a new store."""
    from cloudbandit.store import Store

    path = Path(url.removeprefix("sqlite:///")).expanduser()
    if ("://" not in url or url.startswith("sqlite:")) and not path.is_file():
        raise UsageError(f"there is no store at {path}; a store is made by `cloudbandit replay … --store {path}`")
    return Store(url)


def _pick(store: Any, study: str | None) -> str:
    names: Sequence[str] = store.studies()
    if study is not None:
        store.spec(study)  # raises for an unknown name
        return study
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names) or "none"
    raise UsageError(f"the store holds {len(names)} studies ({listed}); say which with --study NAME")


@app.command()
def show(
    store: Annotated[str, typer.Option("--store", metavar="URL")],
    study: StudyName = None,
    json_: Json = False,
) -> None:
    """What a store holds: its studies, or the trials of one."""
    with _existing(store) as opened:
        names = opened.studies()
        if study is None and len(names) != 1:
            if json_:
                _print_json({"studies": names})
            else:
                out.print("\n".join(names) or "the store is empty", highlight=False, markup=False)
            return
        name = _pick(opened, study)
        trials, flying = opened.trials(name), opened.in_flight(name)
    rows = [
        {
            "trial": t.trial.number,
            "arm": "/".join(t.trial.candidate.arm),
            "config": dict(t.trial.candidate.config),
            "status": str(t.result.status),
            "reason": t.result.reason,
            "metrics": dict(t.result.metrics),
            "spent_usd": t.spent_usd,
        }
        for t in trials
    ]
    if json_:
        _print_json({"study": name, "trials": rows, "in_flight": [t.number for t in flying]})
        return
    from rich.table import Table as Grid

    grid = Grid(title=name)
    for column in ("trial", "arm", "config", "status", "metrics", "USD"):
        grid.add_column(column)
    for t in trials:
        metrics = ", ".join(f"{k}={v:.4g}" for k, v in t.result.metrics.items())
        status = f"{t.result.status} {t.result.reason}".strip()
        grid.add_row(
            str(t.trial.number),
            "/".join(t.trial.candidate.arm),
            _config(t.trial.candidate),
            status,
            metrics,
            f"{t.spent_usd:.4g}",
        )
    out.print(grid)
    out.print(f"{len(trials)} trials, {sum(t.spent_usd for t in trials):.4g} USD, {len(flying)} in flight")


@app.command()
def optimizers(json_: Json = False) -> None:
    """Every optimizer with a name."""
    from cloudbandit.optimizers.registry import entries

    found = entries()
    if json_:
        _print_json({"optimizers": [{"name": e.name, "summary": e.summary, "source": e.source} for e in found]})
        return
    from rich.table import Table as Grid

    grid = Grid("name", "what it does", "source", "extra")
    for e in found:
        grid.add_row(e.name, e.summary, e.source, e.extra)
    out.print(grid)


@table_app.command("check")
def table_check(table: TableArgument, json_: Json = False) -> None:
    """Count rows, configs, repeats, failures and missing cells; warn of traps."""
    from cloudbandit.tables.check import check_table
    from cloudbandit.tables.registry import load_table

    found = check_table(load_table(table)).to_dict()
    if json_:
        _print_json(found)
        return
    from rich.table import Table as Grid

    grid = Grid(show_header=False, box=None)
    for key, value in found.items():
        if key != "warnings":
            shown = (
                str(value)
                if not isinstance(value, list)
                else f"{len(value)}: {', '.join(value[:6])}{' …' if len(value) > 6 else ''}"
            )
            grid.add_row(key, shown)
    out.print(grid)
    for warning in found["warnings"]:
        out.print(f"[yellow]warning:[/] {warning}", highlight=False)


@table_app.command("list")
def table_list(json_: Json = False) -> None:
    """The tables known by name."""
    from cloudbandit.tables import registry

    rows = []
    for name in registry.table_names():
        dataset = registry.DATASETS.get(name)
        here = dataset is None or registry.available(name)
        rows.append(
            {
                "name": name,
                "kind": "registered" if dataset else "bundled",
                "available": here,
                "licence": dataset.licence if dataset else "",
                "citation": dataset.citation if dataset else "",
            }
        )
    if json_:
        _print_json({"tables": rows})
        return
    from rich.table import Table as Grid

    grid = Grid("name", "kind", "on this machine", "licence", "citation")
    for row in rows:
        grid.add_row(
            str(row["name"]),
            str(row["kind"]),
            "yes" if row["available"] else "no: downloaded when used",
            str(row["licence"]),
            str(row["citation"]),
        )
    out.print(grid)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the ``cloudbandit`` program."""
    try:
        app(args=None if argv is None else list(argv))
    except CloudBanditError as error:
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    sys.exit(0)
