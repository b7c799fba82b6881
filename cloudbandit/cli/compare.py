"""``compare`` and ``optimizers``: methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloudbandit.cli import complete
from cloudbandit.cli.common import (
    Facts,
    Failures,
    Json,
    Maximize,
    Minimize,
    Plot,
    ProductionHours,
    Slo,
    StopBy,
    TableArgument,
    aim_text,
    aims,
    app,
    counts,
    err,
    names,
    out,
    print_json,
    this_command,
)
from cloudbandit.cli.grid import Column, print_table
from cloudbandit.cli.text import plain, shown
from cloudbandit.core.metrics import title as title_of
from cloudbandit.optimizers import DEFAULT, INNER

if TYPE_CHECKING:
    from cloudbandit.replay.rows import CompareRow, FrontRow


@app.command()
def compare(
    context: typer.Context,
    table: TableArgument,
    minimize: Minimize = None,
    maximize: Maximize = None,
    optimizers: Annotated[
        str,
        typer.Option("--optimizers", help="Comma-separated.", autocompletion=complete.list_of(complete.optimizers)),
    ] = f"random,{INNER},{DEFAULT}",
    budgets: Annotated[str, typer.Option("--budgets", help="Comma-separated trials.")] = "11,22,33",
    seeds: Annotated[int, typer.Option("--seeds", help="Runs per workload, seeds 0 … N−1.")] = 10,
    workloads: Annotated[
        str | None,
        typer.Option(
            "--workloads",
            help="Comma-separated; all by default.",
            autocompletion=complete.list_of(complete.workloads),
        ),
    ] = None,
    slo: Slo = None,
    failures: Failures = "strict",
    facts: Facts = "all",
    jobs: Annotated[int, typer.Option("--jobs", help="Processes.")] = 1,
    scheduler: Annotated[str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler.")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Keep finished cells here; they are not run again."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Differences are taken to it; the first by default.")
    ] = None,
    production_runs: Annotated[
        int, typer.Option("--production-runs", help="N of the savings, and of --stop profit.")
    ] = 64,
    stop: StopBy = None,
    production_hours: ProductionHours = None,
    lifelong: Annotated[
        bool,
        typer.Option(
            "--lifelong", help="Seeds are orders of the workloads; each search is told what earlier ones paid for."
        ),
    ] = False,
    rank_plot: Annotated[
        Path | None, typer.Option("--rank-plot", metavar="FILE", help="Mean ranks at the smallest budget, as a figure.")
    ] = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Optimizers side by side: regret and savings, or the front's hypervolume, over workloads, budgets and seeds."""
    from rich.progress import Progress

    from cloudbandit.core.profit import rule
    from cloudbandit.replay.compare import compare_rows

    for option, file in (("--plot", plot), ("--rank-plot", rank_plot)):
        if file is not None:
            from cloudbandit.report.figure import check_figure

            check_figure(file, option)
    lower, higher = aims(minimize, maximize)
    left_out: dict[str, str] = {}
    try:
        with Progress(console=err, transient=True, disable=json_ and not err.is_terminal) as progress:
            bar = progress.add_task("comparing", total=None)
            rows = compare_rows(
                table,
                lower,
                names(optimizers),
                counts(budgets, "--budgets"),
                seeds,
                maximize=higher,
                slos=slo or [],
                workloads=names(workloads) if workloads else None,
                failures=failures,  # type: ignore[arg-type]
                facts=facts,
                jobs=jobs,
                scheduler=scheduler,
                checkpoint=checkpoint,
                baseline=baseline,
                production_runs=production_runs,
                stop=rule(stop, *_production(stop, production_runs, production_hours)),
                lifelong=lifelong,
                on_cell=lambda done, total: progress.update(bar, completed=done, total=total),
                on_left_out=left_out.__setitem__,
            )
    except KeyboardInterrupt:
        _print_go_on(this_command(context.obj), checkpoint)
        raise
    for name, why in left_out.items():
        err.print(plain(f"left out: {name}: {why}"), markup=False, highlight=False, soft_wrap=True)
    title = f"{Path(table).name}, {aim_text(lower, higher)}, {failures} failures"
    aims_in_words = ", ".join(title_of(m, unit_too=False) for m in (*lower, *higher))
    in_words = f"{Path(table).name}: {aims_in_words}, {failures} failures"
    if plot is not None:
        from cloudbandit.report.compare_plot import plot_compare

        plot_compare(rows, in_words, plot)
    if rank_plot is not None:
        from cloudbandit.report.compare_plot import plot_ranks

        plot_ranks(rows, rows[0].n // seeds, in_words, rank_plot)
    if json_:
        print_json({"rows": [row.to_dict() for row in rows]})
        return
    print_table(f"{title}, {'orders' if lifelong else 'seeds'} 0 … {seeds - 1}", _columns(rows))
    resampled = "workloads" if rows[0].n > seeds else "the seeds of the one workload"
    out.print(f"interval: bootstrap over {resampled}; {shown(_meaning(rows, production_runs, baseline))}", style="dim")
    if plot is not None:
        out.print(f"figure: {shown(plot)}")


def _production(stop: str | None, runs: int, hours: float | None) -> tuple[float | None, float | None]:
    """What a rule is told: runs are those of the savings, unless it is hours that count."""
    return (runs if stop is not None and hours is None else None), hours


def _print_go_on(command: str, checkpoint: Path | None) -> None:
    """After Ctrl-C: how to go on, on one line that can be copied."""
    if checkpoint is None:
        said, command = "stopped; nothing was kept. This keeps finished cells", f"{command} --checkpoint cells.jsonl"
    else:
        said = "stopped; finished cells are kept. Go on with"
    err.print(f"{said}: {command}", markup=False, highlight=False, soft_wrap=True)


_SPARE = ("its interval", "rank", "near %", "savings %", "right arm %", "median %", "ms/ask", "n")
"""What of a comparison may be left out, the last first."""


def _columns(rows: Sequence[CompareRow | FrontRow]) -> list[Column]:
    from cloudbandit.replay.lifelong import LifelongRow
    from cloudbandit.replay.rows import FrontRow

    told = [row.optimizer + (" *" if row.learns_from else "") for row in rows]
    columns = {"optimizer": told, "B": [str(row.budget) for row in rows]}
    fronts = [row for row in rows if isinstance(row, FrontRow)]
    regrets = [row for row in rows if not isinstance(row, FrontRow)]
    if fronts:
        columns |= {
            "mean hypervolume": [f"{r.mean_hypervolume_share:.3f}" for r in fronts],
            "95 % interval": [f"{r.ci95[0]:.3f} … {r.ci95[1]:.3f}" for r in fronts],
            "− baseline": [f"{r.difference:+.3f}" for r in fronts],
            "its interval": [f"{r.difference_ci95[0]:+.3f} … {r.difference_ci95[1]:+.3f}" for r in fronts],
            "front points": [f"{r.mean_front_points:.1f}" for r in fronts],
        }
    else:
        columns |= {
            "mean regret %": [f"{r.mean_regret_percent:.1f}" for r in regrets],
            "95 % interval": [f"{r.ci95[0]:.1f} … {r.ci95[1]:.1f}" for r in regrets],
            "median %": [f"{r.median_regret_percent:.1f}" for r in regrets],
            "of answer %": [f"{r.mean_answer_regret_percent:.1f}" for r in regrets],
            "savings %": ["–" if r.mean_savings_percent is None else f"{r.mean_savings_percent:.1f}" for r in regrets],
            "right arm %": [f"{r.right_arm_percent:.0f}" for r in regrets],
            "near %": [f"{r.near_percent:.0f}" for r in regrets],
        }
        if any(r.mean_evaluations < r.budget - 0.05 for r in regrets):
            columns["trials"] = [f"{r.mean_evaluations:.1f}" for r in regrets]
        lives = [row for row in regrets if isinstance(row, LifelongRow)]
        if lives:
            columns["first %"] = [f"{r.cold_regret_percent:.1f}" for r in lives]
            columns["last third %"] = [f"{r.last_third_regret_percent:.1f}" for r in lives]
    columns |= {
        "rank": [f"{row.mean_rank:.1f}" for row in rows],
        "ms/ask": [f"{row.suggest_ms_median:.3f}" for row in rows],
        "n": [str(row.n) for row in rows],
    }
    spare = {name: i for i, name in enumerate(_SPARE, start=1)}
    return [Column(name, cells, name == "optimizer", spare.get(name, 0)) for name, cells in columns.items()]


def _meaning(rows: Sequence[CompareRow | FrontRow], production_runs: int, baseline: str | None) -> str:
    from cloudbandit.replay.rows import FrontRow

    first = rows[0]
    if isinstance(first, FrontRow):
        meaning = (
            f"hypervolume: as a share of the true front's, which has {first.mean_true_front_points:.1f} points on average; "
            f"baseline: {baseline or first.optimizer}"
        )
    else:
        meaning = f"savings: over {production_runs} production runs, search included; near: within 5 % of the optimum"
    return f"{meaning}; *: was told of recorded workloads"


@app.command()
def optimizers(json_: Json = False) -> None:
    """Every optimizer with a name."""
    from cloudbandit.optimizers.registry import entries

    found = entries()
    if json_:
        print_json({"optimizers": [{"name": e.name, "summary": e.summary, "source": e.source} for e in found]})
        return
    columns = {"name": [e.name for e in found], "what it does": [e.summary for e in found]}
    columns |= {"source": [e.source for e in found], "extra": [e.extra for e in found]}
    print_table("", [Column(name, cells, text=True) for name, cells in columns.items()])
