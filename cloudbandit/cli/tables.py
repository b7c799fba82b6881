"""``table check``, ``table init`` and ``table list``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cloudbandit.cli.common import Json, TableArgument, out, print_json, table_app


@table_app.command("check")
def table_check(table: TableArgument, json_: Json = False) -> None:
    """Count rows, configs, repeats, failures and missing cells; warn of traps."""
    from cloudbandit.tables.check import check_table
    from cloudbandit.tables.registry import load_table

    found = check_table(load_table(table)).to_dict()
    if json_:
        print_json(found)
        return
    from rich.markup import escape
    from rich.table import Table as Grid

    grid = Grid(show_header=False, box=None)
    for key, value in found.items():
        if key != "warnings":
            shown = (
                str(value)
                if not isinstance(value, list)
                else f"{len(value)}: {', '.join(value[:6])}{' …' if len(value) > 6 else ''}"
            )
            grid.add_row(key, shown)
    out.print(grid)
    for warning in found["warnings"]:
        out.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)


@table_app.command("init")
def table_init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Runs, one a line: .csv, .csv.gz, .csv.xz or .parquet.")],
    json_: Json = False,
) -> None:
    """Write a first table.toml beside a file of runs: what the columns seem to mean, with a comment per guess."""
    from cloudbandit.tables.init import init_table

    written = init_table(file)
    if json_:
        print_json({"written": str(written)})
        return
    out.print(written.read_text(encoding="utf-8"), markup=False, highlight=False, soft_wrap=True, end="")
    out.print(f"written to {written}. Read it, then:", markup=False, highlight=False, soft_wrap=True)
    out.print(
        f"cloudbandit table check {shlex.quote(str(written.parent))}", markup=False, highlight=False, soft_wrap=True
    )


@table_app.command("list")
def table_list(json_: Json = False) -> None:
    """The tables known by name."""
    from cloudbandit.tables import registry

    rows = []
    for name in registry.table_names():
        dataset = registry.DATASETS.get(name)
        here = dataset is None or registry.available(name)
        rows.append(
            {
                "name": name,
                "kind": "registered" if dataset else "bundled",
                "available": here,
                "licence": dataset.licence if dataset else "",
                "citation": dataset.citation if dataset else "",
            }
        )
    if json_:
        print_json({"tables": rows})
        return
    from rich.table import Table as Grid

    grid = Grid("name", "kind", "on this machine", "licence", "citation")
    for row in rows:
        grid.add_row(
            str(row["name"]),
            str(row["kind"]),
            "yes" if row["available"] else "no: downloaded when used",
            str(row["licence"]),
            str(row["citation"]),
        )
    out.print(grid)
