"""``hosts`` and ``reap``: what stands in your accounts, and how it goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cloudbandit.cli.common import LEFT, Json, StoreOption, app, err, out, print_json
from cloudbandit.cli.grid import Column, print_table
from cloudbandit.cli.text import plain

if TYPE_CHECKING:
    from cloudbandit.core.leases import LeaseRow
    from cloudbandit.core.rented import Rented
    from cloudbandit.core.store import Store

Providers = Annotated[
    list[str] | None,
    typer.Option("--provider", metavar="NAME", help="Where to look, e.g. aws; repeatable. Default: the store's."),
]
RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="Of one run: a study's name.")]


@contextlib.contextmanager
def _maybe(url: str | None) -> Iterator[Store | None]:
    from cloudbandit.cli.stores import existing

    if url is None:
        yield None
        return
    with existing(url) as store:
        yield store


@app.command()
def hosts(provider: Providers = None, store: StoreOption = None, run: RunOption = None, json_: Json = False) -> None:
    """What stands and costs money: by the providers' own listings, whether a ledger knows of it or not."""
    from cloudbandit.live.accounts import UNASKED, accounts

    found: list[Rented] = []
    errors: dict[str, str] = {}
    with _maybe(store) as opened:
        for name, account in accounts(provider or [], opened).items():
            with err.status(f"asking {name} …"):
                try:
                    found += account.rented(run)
                except UNASKED as error:
                    errors[name] = str(error)
        rows = [] if opened is None else opened.leases.standing(run)
    found = list(
        {(one.provider, one.where, one.kind, one.id, one.key): one for one in found}.values()
    )  # one account, twice
    listed = {one.key for one in found}
    unseen = [row for row in rows if row.key not in listed]
    usd_per_h = sum(one.usd_per_h or 0.0 for one in found)
    if json_:
        print_json(
            {
                "hosts": [asdict(one) for one in found],
                "usd_per_h": usd_per_h,
                "ledger_only": [asdict(row) for row in unseen],
                "errors": errors,
            }
        )
    else:
        if found or not errors:
            _print_found(found, usd_per_h)
        _print_unseen(unseen)
        for name, why in errors.items():
            err.print(plain(f"{name} could not be asked: {why}"), style="red", markup=False, highlight=False)
    if errors:
        raise typer.Exit(LEFT)


def _print_found(found: Sequence[Rented], usd_per_h: float) -> None:
    if found:
        unknown = any(one.usd_per_h is None for one in found)
        more = " and what is unknown" if unknown else ""
        print_table(f"{len(found)} stand, {usd_per_h:.4g} USD per hour{more}", _columns(found))
    else:
        out.print("nothing stands that bears our tag")


def _print_unseen(unseen: Sequence[LeaseRow]) -> None:
    if unseen:
        print_table(
            "in the ledger, not listed: never made, or gone; `cloudbandit reap --store …` makes sure",
            [
                Column("key", [row.key for row in unseen], text=True),
                Column("state", [str(row.state) for row in unseen], text=True),
                Column("run", [row.run for row in unseen], text=True),
                Column("offer", [row.offer for row in unseen], text=True),
            ],
        )


def _columns(found: Sequence[Rented]) -> list[Column]:
    now = time.time()
    return [
        Column("provider", [one.provider for one in found], text=True),
        Column("what", [" ".join(filter(None, (one.kind, one.what))) for one in found], text=True),
        Column("where", [one.where for one in found], text=True),
        Column("run", [one.run for one in found], text=True),
        Column("state", [one.state for one in found], text=True, spare=1),
        Column("USD/h", ["" if one.usd_per_h is None else f"{one.usd_per_h:.4g}" for one in found]),
        Column("left_min", ["" if one.expires is None else f"{(one.expires - now) / 60:.0f}" for one in found]),
        Column("id", [one.id for one in found], text=True),
        Column("key", [one.key for one in found], text=True, spare=2),
    ]


@app.command("reap")
def reap_(
    provider: Providers = None,
    store: StoreOption = None,
    run: RunOption = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything with our tag, whoever runs it.")] = False,
    json_: Json = False,
) -> None:
    """Destroy what stands, and see it gone: of a run, of a store's studies, all; else what has outlived its time.

    Exits with 4 while anything is left, or a provider could not be asked. Nothing without our tag is touched.
    """
    from cloudbandit.live.accounts import accounts, sweep

    with _maybe(store) as opened:
        places = accounts(provider or [], opened)
        with err.status(f"sweeping {', '.join(places)}; a listing may lag behind, so this waits …"):
            reaped = sweep(places, run=run, every=all_, store=opened)
    gone = [one for found in reaped.values() for one in found.gone]
    left = [one for found in reaped.values() for one in found.left]
    spared = [one for found in reaped.values() for one in found.spared]
    errors = {name: found.errors for name, found in reaped.items() if found.errors}
    if json_:
        shown = {"gone": gone, "left": left, "spared": spared}
        print_json({**{name: [asdict(one) for one in things] for name, things in shown.items()}, "errors": errors})
    else:
        if gone:
            print_table(f"{len(gone)} went", _columns(gone))
        if left:
            print_table(f"{len(left)} are still there; remove them by hand, or reap again", _columns(left))
        if not gone and not left and not errors:
            out.print("nothing to reap")
        if spared:
            out.print(
                f"{len(spared)} more stand with our tag, not meant by this: see `cloudbandit hosts`; --all takes them"
            )
        for name, said in errors.items():
            err.print(plain(f"{name}: {'; '.join(said)}"), style="red", markup=False, highlight=False)
    if left or errors:
        raise typer.Exit(LEFT)
