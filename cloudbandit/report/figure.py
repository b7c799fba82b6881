"""What every figure needs: colours, an empty figure, a log axis with plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import UsageError, need
from cloudbandit.core.outputs import check_file

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")  # Okabe & Ito
_ENDINGS = (".png", ".svg", ".pdf")


def figure_of(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """A figure of so many inches, and its panels side by side.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need("matplotlib", "plot", "drawing a figure")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


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
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UsageError(f"the figure cannot be written to {path}: {error}") from error


def log_axis(axes: Any, which: str) -> None:
    """A log axis with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def wide(values: Sequence[float]) -> bool:
    """A linear axis would hide the small ones."""
    return bool(values) and max(values) > 5 * min(values) > 0
