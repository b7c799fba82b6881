"""A plan over time: what each workload asks for, and what serves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cloudbandit.plan.plan import Plan
from cloudbandit.report.figure import QUIET, figure_of, headline, save
from cloudbandit.report.styles import arm_colour

_MOST = 6


def plot_plan(plan: Plan, path: Path) -> None:
    """A panel per workload: the load each offer serves, stacked over time, below what is up; then what an hour costs."""
    figure = plan_figure(plan)
    save(figure, path)


def plan_figure(plan: Plan) -> Any:
    """The figure, not yet saved."""
    problem = plan.problem
    workloads = [w for w in range(len(problem.workloads)) if any(v == w for v, _ in plan.groups)]
    figure, panels = figure_of(10.5, 2.3 * (len(workloads) + 1) + 0.9, 1)
    panels.remove()
    rows = figure.subplots(len(workloads) + 1, 1, sharex=True)
    offers = _largest(plan)
    hours = np.arange(len(problem.demand) + 1) * problem.demand.step_h
    for axes, w in zip(rows, workloads, strict=False):
        _served(axes, plan, w, offers, hours)
    _cost(rows[-1], plan, workloads, hours)
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(QUIET)
        axes.tick_params(colors=QUIET)
        axes.grid(color="#E3E5E8", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlim(0, hours[-1])
        axes.set_xticks(np.arange(0, hours[-1] + 1, 24 if hours[-1] > 48 else 4))
    rows[-1].set_xlabel(f"hours from {problem.demand.time(0)}")
    handles: dict[str, Any] = {}
    for axes in rows[:-1]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=3, fontsize=8, frameon=False)
    headline(
        figure,
        f"{plan.usd:,.0f} USD for {hours[-1]:g} h, at most {plan.gap:.1%} above the least\n"
        "Coloured: load by the offer that serves it. Line: what the machines that are up take within the SLOs.",
    )
    return figure


def _largest(plan: Plan) -> dict[str, int]:
    """Offers by the machine-hours they are planned for, the most first; a colour each."""
    hours: dict[str, float] = {}
    for (_, r), n in plan.groups.items():
        machine = plan.problem.rentals[r].machine
        hours[machine.name] = hours.get(machine.name, 0.0) + float(n.sum()) * machine.usd_per_h
    ranked = sorted((name for name, h in hours.items() if h), key=lambda name: (-hours[name], name))
    return {name: i for i, name in enumerate(ranked)}


def _served(axes: Any, plan: Plan, w: int, offers: dict[str, int], hours: Any) -> None:
    problem = plan.problem
    below = np.zeros(len(problem.demand))
    by: dict[str, Any] = {}
    for i, p in enumerate(plan.pools):
        if p.workload == w:
            name = problem.rentals[p.rental].machine.name
            by[name] = by.get(name, 0.0) + plan.routed[i].sum(0)
    for name in sorted((n for n, v in by.items() if v.any()), key=lambda n: offers[n]):
        place = offers[name]
        colour, label = (arm_colour(place), name) if place < _MOST else ("#C9CDD2", "other offers")
        axes.fill_between(
            hours, _steps(below), _steps(below + by[name]), step="post", color=colour, linewidth=0, label=label
        )
        below = below + by[name]
    room = below + plan.slack()[problem.workloads[w].name]
    axes.step(hours, _steps(room), where="post", color="#202124", linewidth=0.9)
    missed = plan.unmet[w].sum(0)
    if missed.any():
        axes.fill_between(
            hours, _steps(below), _steps(below + missed), step="post", color="#D93025", label="unserved", linewidth=0
        )
    axes.set_ylim(bottom=0)
    axes.set_ylabel(problem.workloads[w].unit.replace("_per_s", "/s").replace("_", " "), fontsize=8.5, color=QUIET)
    axes.set_title(problem.workloads[w].name, fontsize=10, loc="left")


def _cost(axes: Any, plan: Plan, workloads: list[int], hours: Any) -> None:
    """USD per hour of the machines that run, by purchase; a reserved one costs whether it runs or not."""
    problem, below = plan.problem, np.zeros(len(plan.problem.demand))
    for k, purchase in enumerate(("reserved", "on-demand", "spot")):
        usd: Any = 0.0 * below
        if purchase == "reserved":
            usd = usd + sum(r.machine.usd_per_h * plan.reserved.get(r.machine.name, 0) for r in problem.rentals)
        else:
            for (_, r), n in plan.groups.items():
                if problem.rentals[r].machine.purchase == purchase:
                    usd = usd + n * problem.rentals[r].machine.usd_per_h
        if usd.any():
            shade = ("#3C4043", "#80868B", "#BDC1C6")[k]
            axes.fill_between(
                hours, _steps(below), _steps(below + usd), step="post", color=shade, linewidth=0, label=purchase
            )
            below = below + usd
    axes.legend(fontsize=8, frameon=False, loc="upper right", ncols=3)
    axes.set_ylim(0, float(below.max()) * 1.25 or 1.0)
    axes.set_ylabel("USD/h", fontsize=8.5, color=QUIET)
    axes.set_title("what it costs, by purchase", fontsize=10, loc="left")


def _steps(values: Any) -> Any:
    """With the last value again: where the last step ends."""
    return np.append(values, values[-1])
