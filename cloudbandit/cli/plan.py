"""``plan``: a fleet over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloudbandit.cli.common import NOT_FEASIBLE, Json, app, err, out, print_json
from cloudbandit.cli.grid import Column, print_table
from cloudbandit.cli.text import plain

if TYPE_CHECKING:
    from cloudbandit.plan.plan import Plan


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(metavar="PLAN.TOML", help="Workloads, demand, offers, limits: docs/plan.md.")],
    json_: Json = False,
) -> None:
    """How many of which machines to run where, hour by hour, at the least cost within SLOs and limits."""
    from cloudbandit.plan.planfile import read_planfile
    from cloudbandit.plan.planner import NoPlan, make_plan

    with err.status("reading …") as status:
        request = read_planfile(file)
        status.update("planning …")
        how = request.how
        found = make_plan(request.problem, gap=how.gap, seconds=how.seconds, seed=how.seed)
    if json_:
        print_json(found.to_dict())
    elif isinstance(found, NoPlan):
        out.print(plain(f"no plan: {found.outcome}"), style="red", highlight=False, markup=False)
    else:
        _print(found)
    if isinstance(found, NoPlan):
        raise typer.Exit(NOT_FEASIBLE)


def _print(plan: Plan) -> None:
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
    costs = ", ".join(f"{name} {usd:,.2f}" for name, usd in plan.costs.items() if usd)
    out.print(f"{plan.usd:,.2f} USD: {costs}", highlight=False)
    out.print(f"{plan.outcome}: at most {plan.gap:.2%} above the least ({plan.cpu_s:.1f} CPU-s)", highlight=False)
    for note in plan.notes:
        out.print(f"note: {plain(note)}", style="dim", highlight=False, markup=False)
