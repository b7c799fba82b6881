"""One look per method: its colour, marker and line, the same in every figure.

Colours start from Okabe and Ito's palette for the colour-blind. CloudBandit around a method has that method's hue, darker, with a
solid line and a filled marker; the method by itself is dashed and hollow; a method that was told of recorded workloads is dotted.
No two built-in methods have the same colour, and any two whose colours are close have another marker or line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cloudbandit.optimizers import BANDIT
from cloudbandit.optimizers.registry import history_of

ARMS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Of arms and offers, by position: Okabe & Ito, Color Universal Design, 2008."""

_LOOKS = {  # colour, marker
    "random": ("#8C8C8C", "o"),
    "random-wor": ("#B3B3B3", "s"),
    "exhaustive": ("#6E7B8B", "v"),
    "coordinate": ("#E69F00", "D"),
    "gp": ("#2E8BC9", "o"),
    "gp-ard": ("#E3702A", "s"),
    "gp-lcb": ("#7FB2E5", "^"),
    "gp-x3": ("#9467BD", "v"),
    "cherrypick": ("#CC79A7", "P"),
    "cherrypick-stop": ("#E3A6C6", "X"),
    "cherrypick-x3": ("#A8527F", "D"),
    "bilal": ("#8C6D4F", "h"),
    "bilal-x3": ("#BFA083", "p"),
    "rbf": ("#1FA97C", "^"),
    "rising-bandits": ("#1A1A1A", "*"),
    "skopt": ("#17A3B8", "d"),
    "skopt-forest": ("#7A9A01", "<"),
    "scoot": ("#D62728", "X"),
    "nsga2": ("#6B4C9A", "*"),
    "grid": ("#C7A76C", "d"),
    "joint-forest": ("#0B7A3B", "v"),
    "smac": ("#C44E52", ">"),
    "optuna": ("#4C5FD5", "P"),
    "hyperopt": ("#56B4E9", "X"),
    "linear": ("#B8A000", "h"),
    "forest": ("#5B8C2A", "p"),
    "price-order": ("#A0522D", "*"),
    "single-arm": ("#708238", "d"),
    "portfolio": ("#B07AA1", "<"),
    "oracle": ("#4A4A4A", ">"),
}
_OTHERS = ("#00429D", "#93003A", "#007A5E", "#B5651D", "#6A3D9A", "#3A7D8C", "#D4A017", "#843C54")


@dataclass(frozen=True, slots=True)
class Style:
    """How a method is drawn, in matplotlib's terms; ``filled``: its markers."""

    colour: str
    marker: str
    line: str
    filled: bool


def styles(names: Iterable[str]) -> dict[str, Style]:
    """By method. One that does not come with the package gets the next of some other colours."""
    out: dict[str, Style] = {}
    strangers = 0
    for name in dict.fromkeys(names):
        inner = name.removeprefix(f"{BANDIT}:")
        wrapped = inner != name
        if inner in _LOOKS:
            colour, marker = _LOOKS[inner]
            colour = _darker(colour) if wrapped else colour
        else:
            colour = _OTHERS[strangers % len(_OTHERS)]
            marker = "osD^vPX*"[strangers // len(_OTHERS) % 8]
            strangers += 1
        line = ":" if history_of(name) else "-" if wrapped else "--"
        out[name] = Style(colour, marker, line, wrapped)
    return out


def arm_colour(position: int) -> str:
    """Eight, then the same darker."""
    colour = ARMS[position % len(ARMS)]
    return colour if position < len(ARMS) else _darker(colour)


def _darker(colour: str) -> str:
    channels = (round(0.62 * int(colour[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{c:02X}" for c in channels)
