"""``plan``: a fleet over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli.common import NOT_FEASIBLE, Json, Plot, app, err, out, print_json
from cloudbandit.cli.grid import Column, print_table
from cloudbandit.cli.text import plain

if TYPE_CHECKING:
    from cloudbandit.plan.explain import Cure, Price
    from cloudbandit.plan.plan import Plan
    from cloudbandit.plan.planfile import PlanRequest
    from cloudbandit.plan.planner import NoPlan


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(metavar="PLAN.TOML", help="Workloads, demand, offers, limits: docs/plan.md.")],
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if", metavar="CHANGE", help="E.g. price:spot=0.5,quota:h100=16,spot=0.3,demand=1.5; repeatable."
        ),
    ] = None,
    limits: Annotated[
        bool, typer.Option("--limits", help="What each limit that binds costs: solved again without it.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="DIR", help="Write fleet.csv and routing.csv.")] = None,
    kubernetes: Annotated[
        Path | None, typer.Option("--kubernetes", metavar="FILE", help="Write CronJobs that scale deployments.")
    ] = None,
    plot: Plot = None,
    json_: Json = False,
) -> None:
    """How many of which machines to run where, hour by hour, at the least cost within SLOs and limits."""
    from cloudbandit.core.outputs import check_file, check_folder
    from cloudbandit.plan.explain import cures, prices
    from cloudbandit.plan.export import write_csv, write_manifests
    from cloudbandit.plan.planfile import read_planfile
    from cloudbandit.plan.planner import NoPlan
    from cloudbandit.plan.solve import Outcome
    from cloudbandit.plan.whatif import changed, parse_change

    if plot is not None:
        from cloudbandit.report.figure import check_figure

        check_figure(plot, "--plot")
    if csv is not None:
        check_folder(csv, "--csv")
    if kubernetes is not None:
        check_file(kubernetes, "--kubernetes")
    changes = [parse_change(text) for text in what_if or []]
    with err.status("reading …") as status:
        request = read_planfile(file)
        others = [changed(request.problem, change) for change in changes]
        status.update("planning …")
        found = _made(request, request.problem)
        said: list[Any] = []
        if isinstance(found, NoPlan):
            if found.outcome is Outcome.INFEASIBLE:
                status.update("looking for what would cure it …")
                said = list(cures(request.problem))
        elif limits:
            status.update("pricing limits …")
            said = list(prices(found, gap=request.how.gap, seconds=request.how.seconds))
        status.update("what if …")
        instead = [_made(request, problem) for problem in others]
    if not isinstance(found, NoPlan):
        if csv is not None:
            write_csv(found, csv)
        if kubernetes is not None:
            write_manifests(found, kubernetes)
        if plot is not None:
            from cloudbandit.report.plan_plot import plot_plan

            plot_plan(found, plot)
    if json_:
        kind = "cures" if isinstance(found, NoPlan) else "limits"
        whatif = [{"change": text, **made.to_dict()} for text, made in zip(what_if or [], instead, strict=True)]
        print_json({**found.to_dict(), kind: [s.to_dict() for s in said], "what_if": whatif})
    else:
        _print(found, request, said)
        _print_instead(found, list(zip(what_if or [], instead, strict=True)))
    if isinstance(found, NoPlan):
        raise typer.Exit(NOT_FEASIBLE)


def _made(request: PlanRequest, problem: Any) -> Plan | NoPlan:
    from dataclasses import replace

    from cloudbandit.plan.planner import make_plan

    how = request.how
    made = make_plan(problem, gap=how.gap, seconds=how.seconds, seed=how.seed)
    return replace(made, notes=(*request.notes, *made.notes))


def _print(found: Plan | NoPlan, request: PlanRequest, said: Sequence[Any]) -> None:
    from cloudbandit.plan.planner import NoPlan
    from cloudbandit.plan.solve import Outcome

    if isinstance(found, NoPlan):
        out.print(f"no plan: {found.outcome}", style="red", highlight=False)
        if found.outcome is Outcome.INFEASIBLE:
            _print_cures(said)
        else:
            text = f"within {request.how.seconds:g} s; cure: more plan.seconds, longer steps (demand.step_h), a shorter horizon"
            out.print(text, highlight=False)
    else:
        _print_fleet(found)
        _print_prices(said)
    for note in found.notes:
        out.print(f"note: {plain(note)}", style="dim", highlight=False, markup=False)


def _print_fleet(plan: Plan) -> None:
    demand = plan.problem.demand
    groups = [(w, r, n) for (w, r), n in plan.groups.items() if n.any()]
    groups.sort(key=lambda g: (g[0], -float(g[2].sum())))
    machines = [plan.problem.rentals[r].machine for _, r, _ in groups]
    columns = [
        Column("workload", [plan.problem.workloads[w].name for w, _, _ in groups], text=True),
        Column("offer", [m.name for m in machines], text=True),
        Column("machines", [f"{n.min()} … {n.max()}" for _, _, n in groups]),
        Column("hours", [f"{n.sum() * demand.step_h:,.0f}" for _, _, n in groups], spare=2),
        Column("starts", [f"{plan.starts[w, r].sum():,}" for w, r, _ in groups], spare=1),
        Column("USD/h each", [f"{m.usd_per_h:,.2f}" for m in machines], spare=3),
    ]
    print_table(f"{demand.time(0)}, {len(demand)} steps of {demand.step_h:g} h", columns)
    for name, n in plan.reserved.items():
        if n:
            out.print(plain(f"reserved: {n} × {name}"), highlight=False, markup=False)
    for (w, missed), workload in zip(enumerate(plan.unmet), plan.problem.workloads, strict=True):
        if missed.any():
            share = missed.sum() / max(float(plan.problem.demand.of(workload.name, demand.sources).sum()), 1e-9)
            text = f"unserved: {share:.2%} of {plan.problem.workloads[w].name}"
            out.print(plain(text), style="yellow", highlight=False, markup=False)
    costs = ", ".join(f"{name} {usd:,.2f}" for name, usd in plan.costs.items() if usd)
    out.print(f"{plan.usd:,.2f} USD: {costs}", highlight=False)
    out.print(f"{plan.outcome}: at most {plan.gap:.2%} above the least ({plan.cpu_s:.1f} CPU-s)", highlight=False)


def _print_cures(said: Sequence[Cure]) -> None:
    if not said:
        out.print("no single limit is to blame: more than one of them is", highlight=False)
    for cure in said:
        out.print(f"it would do to {plain(cure.text)}", highlight=False, markup=False)


def _print_prices(said: Sequence[Price]) -> None:
    if said:
        columns = [
            Column("limit", [p.limit for p in said], text=True),
            Column("costs USD", [f"{p.usd:,.2f}" for p in said]),
            Column("between", [f"{p.least:,.2f} … {p.most:,.2f}" for p in said]),
        ]
        print_table("what each limit costs", columns)


def _print_instead(found: Plan | NoPlan, instead: Sequence[tuple[str, Plan | NoPlan]]) -> None:
    from cloudbandit.plan.planner import NoPlan

    if instead:
        rows = [("as it is", found), *instead]
        usd = ["—" if isinstance(p, NoPlan) else f"{p.usd:,.2f}" for _, p in rows]
        columns = [
            Column("what if", [text for text, _ in rows], text=True),
            Column("USD", usd),
            Column("outcome", [str(p.outcome) for _, p in rows], text=True),
        ]
        print_table("", columns)
