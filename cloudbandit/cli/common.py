"""What the commands share: the app, its options, its output."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudbandit.cli import complete
from cloudbandit.cli.text import SafeConsole, plain
from cloudbandit.core.errors import UsageError
from cloudbandit.core.masking import MASK, masked, masked_json

if TYPE_CHECKING:
    from cloudbandit.core.trial import Candidate

NOT_FEASIBLE = 3
LEFT = 4

app = typer.Typer(
    name="cloudbandit",
    help="Find the cheapest configuration across clouds that meets your SLOs, in few paid trials.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
table_app = typer.Typer(help="Recorded tables.", no_args_is_help=True)
app.add_typer(table_app, name="table")

_WIDE = None if sys.stdout.isatty() else 140  # a pipe has no width; 80 would cut tables
err = SafeConsole(stderr=True, emoji=False)
out = SafeConsole(width=_WIDE, emoji=False)

TableArgument = Annotated[
    str,
    typer.Argument(
        metavar="TABLE",
        help="A registered table, or a folder with a table.toml.",
        autocompletion=complete.one_of(complete.tables),
    ),
]
_METRICS = complete.list_of(complete.metrics)
Minimize = Annotated[
    str | None,
    typer.Option("--minimize", metavar="A,B", help="The metric to minimise, or several.", autocompletion=_METRICS),
]
Maximize = Annotated[
    str | None,
    typer.Option(
        "--maximize",
        metavar="A,B",
        help="The metric to maximise, or several; beside --minimize.",
        autocompletion=_METRICS,
    ),
]
Facts = Annotated[
    str, typer.Option("--facts", metavar="A,B", help="What the optimizer is told beforehand: all, none, or names.")
]
Remembered = Annotated[
    list[str] | None,
    typer.Option(
        "--history",
        metavar="STORE|TABLE",
        help="What earlier searches paid for; STORE#study or TABLE#workload for one; repeatable.",
    ),
]
StopBy = Annotated[
    str | None, typer.Option("--stop", metavar="RULE", help="profit: stop when another trial does not pay.")
]
ProductionRuns = Annotated[
    float | None, typer.Option("--production-runs", metavar="N", help="Of --stop profit: runs to come.")
]
ProductionHours = Annotated[
    float | None, typer.Option("--production-hours", metavar="N", help="Of --stop profit, for a price per hour.")
]
Slo = Annotated[
    list[str] | None,
    typer.Option(
        "--slo",
        metavar="SLO",
        help='E.g. "ttft_ms<=500"; repeatable.',
        autocompletion=complete.one_of(complete.metrics),
    ),
]
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
StudyName = Annotated[
    str | None,
    typer.Option("--study", help="The study's name in the store.", autocompletion=complete.one_of(complete.studies)),
]
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


def this_command(argv: Sequence[str] | None) -> str:
    """The command line that is running, to be copied; ``argv``: what `cloudbandit.cli.main` was given."""
    return shlex.join(["cloudbandit", *(sys.argv[1:] if argv is None else argv)])


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


def config_text(candidate: Candidate) -> str:
    return ", ".join(f"{k}={v}" for k, v in candidate.config.items())


def counts(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"{option} is a comma-separated list of whole numbers, e.g. 11,22,33; got {text!r}") from None


def names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
