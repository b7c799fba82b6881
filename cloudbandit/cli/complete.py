"""What a shell completes. Nothing here may fail, download or take long: what is not at hand is not offered."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloudbandit.core.errors import CloudBanditError

if TYPE_CHECKING:
    from cloudbandit.tables.table import Table

Complete = Callable[[typer.Context, str], list[str]]


def one_of(offered: Callable[[typer.Context], Iterable[str]]) -> Complete:
    """Completes one name."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        found: list[str] = []
        with contextlib.suppress(CloudBanditError, OSError):
            found = [name for name in offered(ctx) if name.startswith(incomplete)]
        return [_for_the_shell(name) for name in found]

    return complete


def list_of(offered: Callable[[typer.Context], Iterable[str]]) -> Complete:
    """Completes the last name of a list with commas."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        found: list[str] = []
        with contextlib.suppress(CloudBanditError, OSError):
            found = [name for name in offered(ctx) if name.startswith(last) and name not in before.split(",")]
        return [_for_the_shell(f"{before}{comma}{name}") for name in found]

    return complete


def _for_the_shell(text: str) -> str:
    """bash takes what is offered as it is: a ``|`` in it would start a pipe."""
    bash = os.environ.get("_CLOUDBANDIT_COMPLETE", "").endswith("bash")
    word = os.environ.get("COMP_WORDS", "").rpartition(" ")[2]
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", text) if bash and word[:1] not in ("'", '"') else text


def tables(ctx: typer.Context) -> Iterator[str]:
    """By name, and the folders here that hold one."""
    from cloudbandit.tables.registry import table_names

    yield from table_names()
    yield from (path.parent.name for path in sorted(Path().glob("*/table.toml")))


def optimizers(ctx: typer.Context) -> list[str]:
    from cloudbandit.optimizers.registry import all_names

    return all_names()


def workloads(ctx: typer.Context) -> Iterable[str]:
    table = _table(ctx)
    return () if table is None else table.workloads


def metrics(ctx: typer.Context) -> Iterable[str]:
    """Of the table, or of the trials in a store."""
    table = _table(ctx)
    if table is not None:
        return table.manifest.metrics
    return _recorded(ctx) if "store" in ctx.params and "table" not in ctx.params else ()


def studies(ctx: typer.Context) -> list[str]:
    from cloudbandit.core.store import Store

    url = ctx.params.get("store")
    if not url or not Path(url).expanduser().is_file():
        return []  # nothing is made by completing, and a server may be far away
    with Store(url) as store:
        return store.studies()


def _recorded(ctx: typer.Context) -> list[str]:
    from cloudbandit.core.store import Store

    found = studies(ctx)
    name = ctx.params.get("study") or (found[0] if len(found) == 1 else None)
    if name is None:
        return []
    with Store(ctx.params["store"]) as store:
        return list(dict.fromkeys(m for t in store.trials(name) for m in t.result.metrics))


def _table(ctx: typer.Context) -> Table | None:
    """The one named on the line, where it is on this machine."""
    from cloudbandit.tables.registry import DATASETS, available, load_table

    if "table" not in ctx.params:
        return None
    name = ctx.params["table"] or next(iter(ctx.args), None)  # behind an option that has no value yet nothing is parsed
    if not name or (name in DATASETS and not available(name)):
        return None
    return load_table(name)
