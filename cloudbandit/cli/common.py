"""What the commands share: the app, its options, its output."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli.text import SafeConsole, plain, shown
from cloudbandit.core.errors import UsageError
from cloudbandit.core.masking import MASK, masked, masked_json

if TYPE_CHECKING:
    from rich.console import Console

    from cloudbandit.core.trial import Candidate

NOT_FEASIBLE = 3

app = typer.Typer(
    name="cloudbandit",
    help="Find the cheapest configuration across clouds that meets your SLOs, in few paid trials.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
table_app = typer.Typer(help="Recorded tables.", no_args_is_help=True)
app.add_typer(table_app, name="table")

_WIDE = None if sys.stdout.isatty() else 140  # a pipe has no width; 80 would cut tables
err = SafeConsole(stderr=True, emoji=False)
out = SafeConsole(width=_WIDE, emoji=False)

TableArgument = Annotated[
    str, typer.Argument(metavar="TABLE", help="A registered table, or a folder with a table.toml.")
]
Minimize = Annotated[str | None, typer.Option("--minimize", metavar="A,B", help="The metric to minimise, or several.")]
Maximize = Annotated[
    str | None, typer.Option("--maximize", metavar="A,B", help="The metric to maximise, or several; beside --minimize.")
]
Facts = Annotated[
    str, typer.Option("--facts", metavar="A,B", help="What the optimizer is told beforehand: all, none, or names.")
]
Slo = Annotated[list[str] | None, typer.Option("--slo", metavar="SLO", help='E.g. "ttft_ms<=500"; repeatable.')]
MaxFailureRate = Annotated[
    float | None,
    typer.Option(
        "--max-failure-rate",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="Of requests, unless an SLO limits failures and where they are known: 0.01 by default; 1: any.",
    ),
]
Failures = Annotated[
    str, typer.Option("--failures", help="strict: a failed run is failed; recorded: its value counts.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
StoreOption = Annotated[str | None, typer.Option("--store", metavar="URL", help="A file, or postgresql://…")]
StudyName = Annotated[str | None, typer.Option("--study", help="The study's name in the store.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Write a figure (png, svg, pdf).")]


def _version(wanted: bool) -> None:
    if wanted:
        from cloudbandit import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None: ...


def print_go_on(url: str, study: str) -> None:
    """After Ctrl-C: how to resume, on one line that can be copied."""
    kept = masked(url)
    line = f"cloudbandit resume --store {shlex.quote(kept)} --study {shlex.quote(study)}"
    beside = f" (with the password for {MASK})" if kept != url else ""
    err.print(plain(f"stopped; go on{beside} with: {line}"), markup=False, highlight=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """One object on one line, passwords masked."""
    sys.stdout.write(masked_json(data) + "\n")


def aims(minimize: str | None, maximize: str | None) -> tuple[list[str], list[str]]:
    """What ``--minimize`` and ``--maximize`` name.

    Raises:
        UsageError: nothing.
    """
    found = names(minimize or ""), names(maximize or "")
    if not any(found):
        raise UsageError("nothing to aim at; cure: --minimize METRIC, --maximize METRIC, or both")
    return found


def aim_text(minimize: Sequence[str], maximize: Sequence[str]) -> str:
    """As in titles: ``usd_per_h``, ``usd_per_h,ttft_ms``, ``usd_per_h,max:output_tok_per_s``."""
    return ",".join([*minimize, *(f"max:{m}" for m in maximize)])


def print_numbers(
    title: str, columns: Mapping[str, Sequence[str]], spare: Sequence[str], console: Console | None = None
) -> None:
    """A table whose numbers are never cut: where the terminal is narrow, headers are broken into lines, and then columns are
    left out, the first of ``spare`` first. The first column is text, the others numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.measure import Measurement
    from rich.table import Table

    console = console or out

    def grid(left_out: Sequence[str], broken: bool) -> Table:
        kept = {k: v for k, v in columns.items() if k not in left_out}
        table = Table(title=shown(title), box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for i, name in enumerate(kept):
            header = name.replace(" %", "\u00a0%").replace(" ", "\n") if broken else name
            if i == 0:
                table.add_column(shown(header), overflow="fold", max_width=30)
            else:
                table.add_column(shown(header), justify="right", no_wrap=True)
        for row in zip(*kept.values(), strict=True):
            table.add_row(*map(shown, row))
        return table

    tries = [([], False), *(([*spare[:n]], True) for n in range(len(spare) + 1))]
    for left_out, broken in tries:
        table = grid(left_out, broken)
        endless = console.options.update(max_width=10_000)
        if Measurement.get(console, endless, table).maximum <= console.width:
            break
    console.print(table)
    if left_out := [name for name in left_out if name in columns]:
        console.print(f"left out for want of width (--json has them): {', '.join(map(shown, left_out))}", style="dim")


def config_text(candidate: Candidate) -> str:
    return ", ".join(f"{k}={v}" for k, v in candidate.config.items())


def counts(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"{option} is a comma-separated list of whole numbers, e.g. 11,22,33; got {text!r}") from None


def names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
