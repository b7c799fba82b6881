"""Cost against latency: what each offer's fleet costs at each load, and how far the SLO is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cloudbandit.core.curve import replicas_for
from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import FAILURES
from cloudbandit.recommend.advisor import Advisor
from cloudbandit.recommend.answer import Answer
from cloudbandit.report.figure import COLOURS, figure_of, log_axis, save

_MOST = 6


def plot_answer(advisor: Advisor, answer: Answer, path: Path) -> None:
    """One panel per SLO (failures left out): the best six choices, a line over the loads, a ring at the recommended one with its
    80 % interval, the limit dashed."""
    slos = [s for s in answer.slos if s.metric not in FAILURES] or list(answer.slos)
    figure, panels = figure_of(2.0 + 5.0 * len(slos), 5.4, len(slos))
    every = [panels] if len(slos) == 1 else list(panels)
    for axes, slo in zip(every, slos, strict=True):
        _panel(axes, advisor, answer, slo)
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    figure.suptitle(f"{answer.model} for {answer.users} users", fontsize=11)
    save(figure, path)


def _panel(axes: object, advisor: Advisor, answer: Answer, slo: SLO) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    for position, (r, regions) in enumerate(answer.choices()[:_MOST]):
        colour = COLOURS[position]
        curve = advisor.curve(r.offer)
        cost = replicas_for(answer.users, curve.engines * np.array(curve.loads)) * curve.usd_per_h
        layout = f", {r.offer.engines} × {r.offer.profile}" if r.offer.engines > 1 else ""
        more = f" +{len(regions) - 1}" if len(regions) > 1 else ""
        label = f"{position + 1}. {r.offer.name}{more}{layout} ({r.source})"
        axes.plot(cost, curve.values(slo.metric), color=colour, linewidth=1.2, marker=".", markersize=4, label=label)
        low, high = r.intervals[r.answered_by[slo.metric]]
        value = r.medians[r.answered_by[slo.metric]]
        axes.errorbar(
            [r.usd_per_h], [value], yerr=[[max(0.0, value - low)], [max(0.0, high - value)]], color=colour, capsize=3
        )
        axes.plot([r.usd_per_h], [value], "o", color=colour, markersize=8, fillstyle="none", markeredgewidth=1.6)
    axes.axhline(slo.limit, color="black", linestyle="--", linewidth=1)
    axes.annotate(str(slo), (0.99, slo.limit), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    log_axis(axes, "x")
    log_axis(axes, "y")
    axes.set_xlabel("fleet, USD per hour")
    axes.set_ylabel(slo.metric)
    axes.grid(alpha=0.25)
