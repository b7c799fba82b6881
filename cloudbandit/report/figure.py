"""What every figure needs: an empty figure, axes with plain numbers, a caption, a file."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import UsageError, need
from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import title, unit
from cloudbandit.core.outputs import check_file

QUIET = "#5F6368"
"""Axes, captions, references: what is not data."""
MEETS = "#E6F2EC"
"""The region that meets an SLO."""
_ENDINGS = (".png", ".svg", ".pdf")


def figure_of(width: float, height: float, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure of so many inches, and its panels side by side.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need("matplotlib", "plot", "drawing a figure")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, columns, **options)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(QUIET)
        axes.tick_params(colors=QUIET, which="both")
        axes.grid(color="#E3E5E8", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, panels


def headline(figure: Any, text: str) -> None:
    figure.suptitle(text, fontsize=11, x=0.01, ha="left", fontweight="bold")


def legend_below(figure: Any, axes: Any, groups: Sequence[int]) -> None:
    """The panel's legend below everything, a column per group of so many entries."""
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    tall = max(groups, default=0)
    shown: list[tuple[Any, str]] = []
    for size in filter(None, groups):
        some = list(zip(handles, labels, strict=True))[:size]
        handles, labels = handles[size:], labels[size:]
        shown += [*some, *[(Line2D([], [], linestyle="none"), "")] * (tall - size)]
    columns = len(shown) // tall if tall else 1
    figure.legend(
        [h for h, _ in shown],
        [t for _, t in shown],
        loc="outside lower left",
        ncols=columns,
        fontsize=8.5,
        frameon=False,
    )


def caption(figure: Any, text: str, width: int) -> None:
    """Small print below everything, lines of so many characters."""
    figure.supxlabel(textwrap.fill(text, width), fontsize=8, color=QUIET, x=0.01, ha="left")


def check_figure(path: Path, what: str) -> None:
    """A figure can be drawn into the file; for before the work that it will show.

    Args:
        what: names the option in messages.

    Raises:
        UsageError: another ending than png, svg or pdf, or the file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(f"{what} is {path}; a figure's file ends in {', '.join(_ENDINGS)}")
    check_file(path, what)
    need("matplotlib", "plot", "drawing a figure")


def save(figure: Any, path: Path) -> None:
    """As png, svg or pdf, by the file's ending.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise UsageError(f"the figure cannot be written to {path}: {error}") from error


def log_axis(axes: Any, which: str) -> None:
    """A log axis with plain numbers: at 1, 2 and 5 over less than two decades, else at 1 and 3 or the decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    low, high = getattr(axes, f"get_{which}lim")()
    span = high / low if low > 0 else 1e9
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if span < 300 else (1.0, 3.0) if span < 1e5 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_locator(NullLocator())


def percent_axis(axis: Any) -> None:
    """Plain numbers with a percent sign."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g} %"))


def wide(values: Sequence[float]) -> bool:
    """A linear axis would hide the small ones."""
    return bool(values) and max(values) > 5 * min(values) > 0


def slo_title(slo: SLO) -> str:
    """``ttft_ms<=1000`` → ``time to first token, median ≤ 1000 ms``."""
    sign, of = "≤" if slo.at_most else "≥", unit(slo.metric)
    return f"{title(slo.metric, unit_too=False)} {sign} {slo.limit:g}{'' if of == '1' else ' ' + of}".rstrip()


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, in the order of what they belong to and as near to it as they can be, at least ``gap`` apart and within
    low … high (where there is room for that)."""
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    step = min(gap, (high - low) / max(1, len(places) - 1))
    out = [0.0] * len(places)
    floor = low
    for n, i in enumerate(order):
        ceiling = high - step * (len(order) - 1 - n)
        out[i] = min(max(places[i], floor), ceiling)
        floor = out[i] + step
    return out
