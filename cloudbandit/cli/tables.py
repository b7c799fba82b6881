"""``table check``, ``table init`` and ``table list``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cloudbandit.cli.common import Json, TableArgument, out, print_json, table_app
from cloudbandit.cli.grid import Column, pairs, print_table
from cloudbandit.cli.text import plain, shown


@table_app.command("check")
def table_check(table: TableArgument, json_: Json = False) -> None:
    """Count rows, configs, repeats, failures and missing cells; warn of traps."""
    from cloudbandit.tables.check import check_table
    from cloudbandit.tables.registry import load_table

    found = check_table(load_table(table)).to_dict()
    if json_:
        print_json(found)
        return
    grid = pairs()
    for key, value in found.items():
        if key != "warnings":
            said = (
                str(value)
                if not isinstance(value, list)
                else f"{len(value)}: {', '.join(value[:6])}{' …' if len(value) > 6 else ''}"
            )
            grid.add_row(key, shown(said))
    out.print(grid)
    for warning in found["warnings"]:
        out.print(f"[yellow]warning:[/] {shown(warning)}", highlight=False)


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
    out.print(plain(written.read_text(encoding="utf-8")), markup=False, highlight=False, soft_wrap=True, end="")
    out.print(plain(f"written to {written}. Read it, then:"), markup=False, highlight=False, soft_wrap=True)
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
    columns = {
        "name": [str(row["name"]) for row in rows],
        "kind": [str(row["kind"]) for row in rows],
        "on this machine": ["yes" if row["available"] else "no: downloaded when used" for row in rows],
        "licence": [str(row["licence"]) for row in rows],
        "citation": [str(row["citation"]) for row in rows],
    }
    print_table("", [Column(name, cells, text=True) for name, cells in columns.items()])
