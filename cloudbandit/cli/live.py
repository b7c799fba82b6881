"""``run`` and ``export``: live studies from a file."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloudbandit.cli.common import (
    NOT_FEASIBLE,
    Json,
    Plot,
    ProductionHours,
    ProductionRuns,
    Remembered,
    StopBy,
    StoreOption,
    app,
    config_text,
    err,
    out,
    print_go_on,
    print_json,
)
from cloudbandit.cli.grid import pairs
from cloudbandit.cli.judge import at_its_load, values
from cloudbandit.cli.report import add_belief, add_failure_limit, described, failure_limit, named, restored
from cloudbandit.cli.stores import existing, pick
from cloudbandit.cli.text import plain, shown, styled
from cloudbandit.core.errors import UsageError
from cloudbandit.core.masking import masked
from cloudbandit.core.metrics import FAILURES
from cloudbandit.core.outputs import check_folder
from cloudbandit.core.report import tally

if TYPE_CHECKING:
    from rich.status import Status

    from cloudbandit.core.goal import Goal
    from cloudbandit.core.report import Report
    from cloudbandit.core.trial import Observation
    from cloudbandit.live.studyfile import LiveStudy


@app.command()
def run(
    file: Annotated[Path, typer.Argument(metavar="STUDY.TOML", help="See docs/live.md.")],
    store: StoreOption = None,
    history: Remembered = None,
    stop: StopBy = None,
    production_runs: ProductionRuns = None,
    production_hours: ProductionHours = None,
    plot: Plot = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be launched and cost at most; launch nothing, ask nobody.")
    ] = False,
    json_: Json = False,
) -> None:
    """Run a live study: engines are started, measured and stopped, trial by trial. A second run goes on where it stopped."""
    from cloudbandit.live.studyfile import LiveStudy, load

    given = {
        "history": history,
        "stop": stop,
        "production_runs": production_runs,
        "production_hours": production_hours,
    }
    spec = load(file)
    spec["study"] |= {key: value for key, value in given.items() if value is not None}
    if dry_run:
        from cloudbandit.cli.forecast import print_forecast

        print_forecast(LiveStudy.of(spec), json_)
        return
    with err.status("asking for the engine's version …"):
        live = LiveStudy.of(spec)
        live = described_machine(live)
    run_live(live, store or spec["study"].get("store") or f"{spec['study']['name']}.db", json_, plot)


def described_machine(live: LiveStudy) -> LiveStudy:
    """The study with this machine (unless none of its trials runs here), the engine's version and ours: what its trials are
    measured with from now on."""
    from cloudbandit import __version__
    from cloudbandit.providers.local import describe_machine

    here = {} if live.elsewhere else describe_machine()
    machine = {**here, "engine": live.engine_version(), "cloudbandit": __version__}
    return replace(live, spec={**live.spec, "machine": machine})


def run_live(live: LiveStudy, url: str, json_: bool, plot: Path | None) -> None:
    """Run or resume; the store holds every trial."""
    from cloudbandit.live.studyfile import opened

    if plot is not None:
        from cloudbandit.report.figure import check_figure

        check_figure(plot, "--plot")
    try:
        with opened(url) as store, err.status("") as status:
            report = live.run(store, _printer(live, status, quiet=json_))
    except KeyboardInterrupt:
        print_go_on(url, live.name)
        _print_standing(url, live.name)
        raise
    best = report.incumbent
    if plot is not None:
        from cloudbandit.report.plots import plot_study

        arms = list(dict.fromkeys(o.arm for o in report.observations))
        plot_study(_with_values(report, live.goal), live.goal, arms, live.name, plot)
    if json_:
        print_json(
            {
                "study": live.name,
                "store": url,
                "evaluations": report.evaluations,
                "restored": report.restored,
                "incumbent": None if best is None else {**described(best), "values": values(best, live.goal)},
                **failure_limit(live.goal),
                "spent_usd": report.spent_usd,
                "trials_usd": report.trials_usd,
                "hosts_usd": report.hosts_usd,
                "believed": report.believed(),
                "stop_reason": report.stop_reason,
            }
        )
    else:
        _print(report, live.goal, url, plot)
    if best is None:
        raise typer.Exit(NOT_FEASIBLE)


def _print_standing(url: str, run: str) -> None:
    """What an impatient second Ctrl-C left behind."""
    from cloudbandit.core.store import Store

    with Store(url) as store:
        standing = store.leases.standing(run)
    if standing:
        cure = f"cloudbandit reap --store {shlex.quote(masked(url))}"
        line = f"{len(standing)} leases were not seen gone and may cost money; resume, or: {cure}"
        err.print(plain(line), style="red", markup=False, highlight=False, soft_wrap=True)


def _printer(live: LiveStudy, status: Status, *, quiet: bool) -> Callable[[Observation], None]:
    """A line per finished trial, and below what is going on."""
    metric = live.goal.metrics[0]
    several = len(live.objective.domain().leaves) > 1
    of = f" of {live.budget.trials}" if live.budget.trials else ""

    spent_usd = 0.0

    def working(number: int) -> None:
        so_far = f", {spent_usd:.4g} USD in this run" if number else ""
        status.update(f"trial {number}{of}: start, load, stop{so_far} … (Ctrl-C loses nothing)")

    def tell(o: Observation) -> None:
        nonlocal spent_usd
        spent_usd += o.result.spent_usd + o.result.hosts_usd
        working(o.trial.number + 1)
        if quiet:
            return
        value = values(o, live.goal).get(metric)
        said = f"{metric} {value:.4g}" if value is not None else f"{o.result.status} {o.result.reason}".strip()
        met = "" if o.score is None or o.score.rank or o.score.feasible else "  (violates an SLO)"
        what = named(o) if several else config_text(o.candidate)
        text = f"trial {o.trial.number:3}  {o.result.seconds:5.1f} s  {said}{met}  {what}"
        err.print(plain(text), highlight=False, markup=False, soft_wrap=True)

    working(0)
    return tell


def _with_values(report: Report, goal: Goal) -> Report:
    """What a goal makes of a trial, e.g. the price of a fleet, as a metric of it: for figures."""
    seen = [
        replace(o, result=replace(o.result, metrics={**at_its_load(o, goal), **values(o, goal)}))
        for o in report.observations
    ]
    return replace(report, observations=seen)


def _print(report: Report, goal: Goal, url: str, plot: Path | None) -> None:

    grid = pairs()
    best = report.incumbent or report.least_violating
    if report.incumbent is None:
        out.print("[bold red]no evaluated configuration meets the SLOs[/]")
    if best is not None:
        label = "[bold]recommended[/]" if report.incumbent else "nearest miss (not an answer)"
        grid.add_row(label, styled(named(best), "bold green" if report.incumbent else ""))
        known = {**at_its_load(best, goal), **values(best, goal)}
        aimed_at = [*values(best, goal), *goal.metrics, *(slo.metric for slo in goal.slos)]
        if "machines" in known:
            grid.add_row("load", f"{known['users']:g} users an engine")
        for name in dict.fromkeys([*aimed_at, "ttft_p95_ms", "tpot_p50_ms", "output_tok_per_s", "failure_rate"]):
            if name == FAILURES[0] and name not in known:  # judged by the failure rate
                continue
            limits = ", ".join(str(slo) for slo in goal.slos if slo.metric == name)
            value = f"{known[name]:.4g}" if name in known else "not measured"
            grid.add_row(shown(name), shown(f"{value}{f'  ({limits})' if limits else ''}"))
    add_belief(grid, report)
    add_failure_limit(grid, goal, report.observations)
    grid.add_row("trials", shown(tally(report.observations)))
    beside = f" ({report.hosts_usd:.4g} of it for hosts beside the trials)" if report.hosts_usd else ""
    grid.add_row("spent", f"{report.spent_usd:.4g} USD{beside}, {report.elapsed_s:.0f} s")
    grid.add_row("stopped by", shown(report.stop_reason))
    grid.add_row("store", shown(restored(report, url)))
    if plot is not None:
        grid.add_row("figure", shown(plot))
    out.print(grid)


@app.command()
def export(
    store: Annotated[str, typer.Option("--store", metavar="URL")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where runs.csv and table.toml go.")],
    study: Annotated[
        list[str] | None,
        typer.Option("--study", help="The study's name in the store; repeatable: each is a workload of the table."),
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option("--workload", help="Name of the workload, per study; by default the study's.")
    ] = None,
    licence: Annotated[str, typer.Option("--licence")] = "",
    records: Annotated[
        list[Path] | None,
        typer.Option(
            "--records",
            metavar="FOLDER",
            help="The study's keep_records, per study: also write every request, as Parquet.",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Write the trials of a study, or of several, as a recorded table that anyone can replay."""
    from cloudbandit.tables.export import write_records, write_table

    with existing(store) as opened:
        studies = [pick(opened, name) for name in study] if study else [pick(opened, None)]
        specs = {name: opened.spec(name) for name in studies}
        _check_per_study(studies, workload=workload, records=records)
        check_folder(to, "--to")
        workloads = workload or studies
        runs = {
            w: [(t.trial, t.result) for t in opened.trials(name)] for w, name in zip(workloads, studies, strict=True)
        }
    source = f"{'study' if len(studies) == 1 else 'studies'} {', '.join(studies)}, exported by cloudbandit"
    facts = specs[studies[0]] if len(studies) == 1 else {"studies": specs}
    rows = write_table(to, runs, licence=licence, source=source, facts=facts)
    kept = write_records(dict(zip(workloads, records, strict=True)), to) if records else 0
    if json_:
        print_json({"studies": studies, "rows": rows, "requests": kept, "folder": str(to)})
    else:
        out.print(
            plain(f"{rows} rows → {to}/runs.csv; check them with: cloudbandit table check {to}"),
            highlight=False,
            markup=False,
        )
        if kept:
            out.print(plain(f"{kept} requests → {to}/records.parquet"), highlight=False, markup=False)


def _check_per_study(studies: Sequence[str], **options: Sequence[object] | None) -> None:
    if len(set(studies)) < len(studies):
        raise UsageError(f"a study is exported once; got --study {' --study '.join(studies)}")
    for option, given in options.items():
        if given and (len(given) != len(studies) or len(set(given)) < len(given)):
            raise UsageError(
                f"--{option} is given once per study ({', '.join(studies)}), each different; got {len(given)}: "
                + ", ".join(map(str, given))
            )
