"""Measured against predicted: one panel a metric, a colour an engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloudbandit.core.errors import UsageError
from cloudbandit.report.figure import figure_of, save
from cloudbandit.report.styles import arm_colour
from cloudbandit.surrogate.against import Held

_PANELS = ("tpot_p50_ms", "ttft_p50_ms", "e2e_p50_ms")


def plot_against(held: Sequence[Held], path: Path) -> None:
    """Every predicted point, log scales, the diagonal where both agree, dashed lines at a factor of two.

    Raises:
        UsageError: nothing was both measured and predicted.
    """
    shown = [m for m in _PANELS if any(m in h.measured and m in h.predicted for h in held)]
    if not shown:
        raise UsageError("no point was both measured and predicted; there is nothing to draw")
    figure, axes = figure_of(4.8 * len(shown), 4.6, len(shown))
    engines = sorted({h.labels["engine"] for h in held})
    for panel, metric in zip([axes] if len(shown) == 1 else list(axes), shown, strict=True):
        ends: list[float] = []
        for position, engine in enumerate(engines):
            pairs = [
                (h.measured[metric], h.predicted[metric].median)
                for h in held
                if h.labels["engine"] == engine and metric in h.measured and metric in h.predicted
            ]
            if pairs:
                x, y = zip(*pairs, strict=True)
                ends += [*x, *y]
                panel.scatter(x, y, s=10, alpha=0.5, color=arm_colour(position), label=engine)
        low, high = min(ends), max(ends)
        for factor, style in ((1.0, "-"), (2.0, "--"), (0.5, "--")):
            panel.plot([low, high], [low * factor, high * factor], color="black", linewidth=0.8, linestyle=style)
        panel.set(xscale="log", yscale="log", xlabel=f"measured {metric}", ylabel=f"predicted {metric}")
        panel.legend(fontsize=8)
    save(figure, path)
