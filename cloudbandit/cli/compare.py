"""``compare`` and ``optimizers``: methods side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloudbandit.cli.common import (
    Failures,
    Json,
    Minimize,
    Plot,
    Slo,
    TableArgument,
    app,
    counts,
    err,
    names,
    out,
    print_json,
)
from cloudbandit.optimizers import DEFAULT, INNER


@app.command()
def compare(
    table: TableArgument,
    minimize: Minimize,
    optimizers: Annotated[str, typer.Option("--optimizers", help="Comma-separated.")] = f"random,{INNER},{DEFAULT}",
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
        Path | None, typer.Option("--rank-plot", metavar="FILE", help="Mean ranks at the smallest budget, as a figure.")
    ] = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """Optimizers side by side: regret and savings over workloads, budgets and seeds."""
    from rich.progress import Progress

    from cloudbandit.core.goal import SLO
    from cloudbandit.replay.compare import compare as run

    with Progress(console=err, transient=True, disable=json_ and not err.is_terminal) as progress:
        bar = progress.add_task("comparing", total=None)
        rows = run(
            table,
            minimize,
            names(optimizers),
            counts(budgets, "--budgets"),
            seeds,
            slos=tuple(SLO.parse(text) for text in slo or []),
            workloads=names(workloads) if workloads else None,
            failures=failures,  # type: ignore[arg-type]
            jobs=jobs,
            scheduler=scheduler,
            checkpoint=checkpoint,
            baseline=baseline,
            production_runs=production_runs,
            on_cell=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if plot is not None:
        from cloudbandit.report.plots import plot_compare

        plot_compare(rows, f"{Path(table).name}, {minimize}, {failures} failures", plot)
    if rank_plot is not None:
        from cloudbandit.report.plots import plot_ranks

        plot_ranks(rows, rows[0].n // seeds, f"{Path(table).name}, {minimize}, {failures} failures", rank_plot)
    if json_:
        print_json({"rows": [row.to_dict() for row in rows]})
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
        grid.add_column(column, justify="left" if column == "optimizer" else "right", no_wrap=column == "optimizer")
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
    resampled = "workloads" if rows[0].n > seeds else "the seeds of the one workload"
    out.print(
        f"interval: bootstrap over {resampled}; savings: over {production_runs} production runs, search included; "
        "near: within 5 % of the optimum; *: was told of recorded workloads",
        style="dim",
    )
    if plot is not None:
        out.print(f"figure: {plot}")


@app.command()
def optimizers(json_: Json = False) -> None:
    """Every optimizer with a name."""
    from cloudbandit.optimizers.registry import entries

    found = entries()
    if json_:
        print_json({"optimizers": [{"name": e.name, "summary": e.summary, "source": e.source} for e in found]})
        return
    from rich.table import Table as Grid

    grid = Grid("name", "what it does", "source", "extra")
    for e in found:
        grid.add_row(e.name, e.summary, e.source, e.extra)
    out.print(grid)
