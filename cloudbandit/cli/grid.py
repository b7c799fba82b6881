"""Tables for a terminal: whatever its width, no number is cut.

Where a table is too wide, headers are broken into lines, then texts, then columns are left out and named below, the most
dispensable first; where even that does not do, the cells of a row stand below one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloudbandit.cli.common import out
from cloudbandit.cli.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_TEXT = 20
"""Characters to which a text may be narrowed; a number never is."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        cells: one per row.
        text: left-aligned, may be broken into lines; else a number.
        spare: 0: never left out; else the larger, the sooner.
    """

    header: str
    cells: Sequence[str]
    text: bool = False
    spare: int = 0

    @property
    def natural(self) -> int:
        """Of the widest line of a cell."""
        from rich.cells import cell_len

        return max((cell_len(line) for cell in self.cells for line in cell.split("\n")), default=0)


def print_table(
    title: str, columns: Sequence[Column], styles: Sequence[str] = (), console: Console | None = None
) -> None:
    """Print columns of equal length under a title.

    Args:
        styles: rich's, per row; no style for the rest.
    """
    from rich.text import Text

    console = console or out
    columns = [replace(c, header=plain(c.header), cells=[plain(cell) for cell in c.cells]) for c in columns]
    if title:
        console.print(Text(plain(title), style="italic", overflow="fold"))
    spare = sorted((c for c in columns if c.spare), key=lambda c: -c.spare)
    tries = [(0, False, False), (0, True, False), *((n, True, True) for n in range(len(spare) + 1))]
    for n, broken, narrow in tries:
        left_out = spare[:n]
        shown = [c for c in columns if c not in left_out]
        table = _fitting(shown, console, styles, broken=broken, narrow=narrow)
        if table is not None:
            console.print(table)
            break
    else:
        left_out = []
        _print_stacked(columns, console, styles)
    if left_out:
        named = ", ".join(c.header for c in columns if c in left_out)
        console.print(
            f"left out for want of width (--json has them): {named}", style="dim", highlight=False, markup=False
        )


def _fitting(
    columns: Sequence[Column], console: Console, styles: Sequence[str], *, broken: bool, narrow: bool
) -> Table | None:
    """None: too wide. What is left of the width goes to narrowed texts, the most narrowed first."""
    headers = [_broken(c.header, c.natural) if broken else c.header for c in columns]
    least = [max(map(len, header.split("\n"))) for header in headers]
    wanted = [max(c.natural, n) for c, n in zip(columns, least, strict=True)]
    widths = [
        max(min(c.natural, _TEXT), n) if narrow and c.text else w
        for c, n, w in zip(columns, least, wanted, strict=True)
    ]
    spare = console.width - sum(widths) - 2 * (len(columns) - 1)
    if spare < 0:
        return None
    for _ in range(spare):
        lacking = max(range(len(columns)), key=lambda i: wanted[i] - widths[i])
        widths[lacking] += wanted[lacking] > widths[lacking]
    return _table(columns, headers, widths, styles)


def _table(columns: Sequence[Column], headers: Sequence[str], widths: Sequence[int], styles: Sequence[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for c, header, width in zip(columns, headers, widths, strict=True):
        table.add_column(
            Text(header), justify="left" if c.text else "right", width=width, overflow="fold", vertical="top"
        )
    for i, row in enumerate(zip(*(c.cells for c in columns), strict=True)):
        table.add_row(*map(Text, row), style=styles[i] if i < len(styles) else "")
    return table


def _print_stacked(columns: Sequence[Column], console: Console, styles: Sequence[str]) -> None:
    """Row by row, a line a cell."""
    from rich.text import Text

    for i in range(len(columns[0].cells)):
        style = styles[i] if i < len(styles) else ""
        console.print(Text(f"{columns[0].header} {columns[0].cells[i]}", style=style or "bold", overflow="fold"))
        for c in columns[1:]:
            if c.cells[i]:
                console.print(Text(f"  {c.header}  {c.cells[i]}", style=style, overflow="fold"))


def _broken(header: str, width: int) -> str:
    """In lines, hardly wider than what stands below: broken at spaces and after underscores."""
    lines = [""]
    for word in header.replace(" %", "\u00a0%").split(" "):
        for i, part in enumerate(word.replace("_", "_ ").split(" ")):
            joined = f"{lines[-1]}{' ' if lines[-1] and not i else ''}{part}"
            if lines[-1] and len(joined) > max(width, 6):
                lines.append(part)
            else:
                lines[-1] = joined
    return "\n".join(lines)


def pairs() -> Table:
    """An empty table of names and what they are."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    return table
