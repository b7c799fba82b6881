"""Cost against latency: what each offer's fleet costs at each load, and how far the SLO is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import title
from cloudbandit.recommend.advisor import Advisor
from cloudbandit.recommend.answer import Answer
from cloudbandit.report.bill import Line, lines, shown_slos
from cloudbandit.report.figure import caption, figure_of, headline, log_axis, save, slo_title, spread
from cloudbandit.report.scatter import limit
from cloudbandit.report.styles import arm_colour

_AROUND = 6.0
"""So many times cheaper and dearer than what is recommended is shown."""


def plot_answer(advisor: Advisor, answer: Answer, path: Path, top: int = 6) -> None:
    """One panel per SLO (failures left out): the first ``top`` choices, a line over the loads with the offer at its end, a point
    at the recommended load with its 80 % interval, shaded what meets the SLO."""
    slos = shown_slos(answer)
    figure, panels = figure_of(4.4 * len(slos) + 3.4, 5.2, len(slos))
    every = [panels] if len(slos) == 1 else list(panels)
    for axes, slo in zip(every, slos, strict=True):
        _panel(axes, lines(advisor, answer, slo, top), slo, named=axes is every[-1])
    headline(figure, f"{answer.model} for {answer.users} users: what the fleet costs, and how fast it answers")
    caption(
        figure,
        "Along a line to the right engines serve fewer users each: more machines, lower latency. Point: the recommended load, "
        "with the central 80 % interval (none where it was measured). Shaded: meets the SLO.",
        62 * len(slos) + 48,
    )
    save(figure, path)


def _panel(axes: Any, found: Sequence[Line], slo: SLO, named: bool) -> None:
    for position, line in enumerate(found):
        colour = arm_colour(position)
        axes.plot(line.usd_per_h, line.values, color=colour, linewidth=1.3, alpha=0.8)
        axes.vlines(line.chosen[0], *line.interval, color=colour, linewidth=3, alpha=0.35)
        size, above = (
            6 + 1.6 * position,
            10 - 0.1 * position,
        )  # the best lies on top, and the others look out from below
        axes.plot(*line.chosen, "o", color=colour, markersize=size, markeredgecolor="white", zorder=above)
    left = min(line.chosen[0] for line in found) / _AROUND
    right = max(line.chosen[0] for line in found) * _AROUND
    inside = [v for line in found for u, v in zip(line.usd_per_h, line.values, strict=True) if left <= u <= right]
    inside += [v for line in found for v in (*line.interval, line.chosen[1])]
    inside = [v for v in (*inside, slo.limit) if v > 0]
    axes.set_xlim(left, right)
    axes.set_ylim(min(inside) / 1.2, max(inside) * 1.2)
    log_axis(axes, "x")
    log_axis(axes, "y")
    limit(axes, slo, "y")
    axes.set_xlabel("price of the fleet [USD/h]")
    axes.set_ylabel(title(slo.metric))
    axes.set_title(f"shaded: {slo_title(slo)}", fontsize=10, loc="left")
    if named:
        _name_the_ends(axes, found, right)


def _name_the_ends(axes: Any, found: Sequence[Line], right: float) -> None:
    """Labels right of the panel, none on another, each with a thin line from where its offer's line ends."""
    low, high = (math.log(v) for v in axes.get_ylim())
    ends = [_end(line, right) for line in found]
    wanted = [(math.log(v) - low) / (high - low) for _, v in ends]
    for position, (end, place) in enumerate(zip(ends, spread(wanted, 0.055, 0.0, 1.0), strict=True)):
        colour = arm_colour(position)
        axes.annotate(
            found[position].label,
            end,
            xytext=(1.06, place),
            textcoords="axes fraction",
            fontsize=8.5,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "shrinkA": 2,
                "shrinkB": 0,
                "relpos": (0.0, 0.5),
            },
        )


def _end(line: Line, right: float) -> tuple[float, float]:
    """Where a line leaves the panel, on logarithmic axes; a line without a load has its chosen point."""
    if not len(line.usd_per_h):
        return line.chosen
    import numpy as np

    order = np.argsort(line.usd_per_h)
    x, y = np.log(line.usd_per_h[order]), np.log(np.maximum(line.values[order], 1e-12))
    at = min(float(x[-1]), math.log(right))
    return math.exp(at), math.exp(float(np.interp(at, x, y)))
