"""``offers`` and ``prices check``: what can be rented at what price, and what is wrong with a catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloudbandit.cli.common import Json, app, err, out, print_json
from cloudbandit.cli.grid import Column, print_table
from cloudbandit.cli.text import plain
from cloudbandit.core.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from cloudbandit.core.offer import Offer

prices_app = typer.Typer(help="Price catalogues.", no_args_is_help=True)
app.add_typer(prices_app, name="prices")
_KEYS = ("provider", "region", "instance_type", "accelerator", "accelerators", "vcpus", "memory_gib", "purchase")
_ORDERS: dict[str, Callable[[Offer], tuple[float, str]]] = {
    "price": lambda o: (o.usd_per_h, o.name),
    "gpu-price": lambda o: (o.usd_per_h / max(1, o.accelerators), o.name),
    "name": lambda o: (0.0, o.name),
}


@app.command()
def offers(
    gpu: Annotated[str | None, typer.Option("--gpu", metavar="NAME", help="E.g. H100.")] = None,
    min_gpu_memory_gib: Annotated[float | None, typer.Option("--min-gpu-memory-gib", help="Of one GPU.")] = None,
    purchase: Annotated[str | None, typer.Option("--purchase", help="on-demand or spot; by default both.")] = None,
    provider: Annotated[list[str] | None, typer.Option("--provider", metavar="NAME", help="Repeatable.")] = None,
    region: Annotated[list[str] | None, typer.Option("--region", metavar="NAME", help="Repeatable.")] = None,
    sort: Annotated[str, typer.Option("--sort", help="price, gpu-price or name.")] = "price",
    prices: Annotated[Path | None, typer.Option("--prices", metavar="FILE", help="A catalogue of yours.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Ask the accounts which of them are to be had.")] = False,
    json_: Json = False,
) -> None:
    """What can be rented, at what price: of the bundled catalogue, or of yours."""
    from cloudbandit.catalogue.offers import select
    from cloudbandit.catalogue.prices import load_offers, stale
    from cloudbandit.core.bundled import bundled
    from cloudbandit.core.offer import PURCHASES

    if sort not in _ORDERS:
        raise UsageError(f"--sort is {sort!r}; allowed: {', '.join(_ORDERS)}")
    if purchase is not None and purchase not in PURCHASES:
        raise UsageError(f"--purchase is {purchase!r}; allowed: {', '.join(PURCHASES)}")
    every = load_offers(prices or bundled() / "prices" / "offers.csv")
    found = [
        o
        for o in select(every, provider or [], region or [])
        if (purchase is None or o.purchase == purchase)
        and (gpu is None or _is(o.accelerator.lower(), gpu.lower()))
        and (min_gpu_memory_gib is None or _gpu_memory_gib(o) >= min_gpu_memory_gib)
    ]
    found.sort(key=_ORDERS[sort])
    told = _asked(found, prices) if check else {}
    if json_:
        print_json({"offers": [_row(o) | _availability(o, told, check) for o in found]})
        return
    if not found:
        known = ", ".join(sorted({o.accelerator for o in every}))
        out.print(plain(f"no such offer; GPUs of the catalogue: {known}"), markup=False, highlight=False)
        return
    print_table(f"{len(found)} offers", _columns(found, told))
    old = len(stale(found, date.today()))
    if old:
        err.print(f"{old} of these prices are more than a week old, or of unknown date", style="yellow")


def _is(part: str, wanted: str) -> bool:
    """``h100`` is every H100, and ``l4`` no L40S."""
    return part == wanted or part.startswith(wanted if "-" in wanted else f"{wanted}-")


def _row(o: Offer) -> dict[str, object]:
    return {**{key: getattr(o, key) for key in _KEYS}, "usd_per_h": o.usd_per_h, "as_of": o.as_of, "source": o.source}


def _availability(o: Offer, told: dict[str, tuple[str, str]], check: bool) -> dict[str, str]:
    if not check:
        return {}
    available, why = told.get(o.name, ("unknown", "nobody was asked"))
    return {"available": available, "why": why}


def _gpu_memory_gib(o: Offer) -> float:
    from cloudbandit.catalogue.gpus import find_gpu

    try:
        return find_gpu(o.accelerator).memory_gib
    except UnknownNameError:
        return 0.0


def _asked(found: Sequence[Offer], prices: Path | None) -> dict[str, tuple[str, str]]:
    """By the offer's name; providers without a plug-in, or that cannot be asked, are unknown, and why."""
    from cloudbandit.core.errors import CloudBanditError
    from cloudbandit.providers.registry import PROVIDERS

    told: dict[str, tuple[str, str]] = {}
    for name in dict.fromkeys(o.provider for o in found):
        mine = [o for o in found if o.provider == name]
        if name not in PROVIDERS.known():
            told |= {o.name: ("unknown", "there is no such provider here") for o in mine}
            continue
        settings = {"prices": str(prices)} if prices else {}
        with err.status(f"asking {name} …"):
            try:
                answers = PROVIDERS.make(name, settings, "--check").available(mine)
                told |= {f"{name}/{label}": answer for label, answer in answers.items()}
            except CloudBanditError as error:
                told |= {o.name: ("unknown", str(error)) for o in mine}
    return told


def _columns(found: Sequence[Offer], told: dict[str, tuple[str, str]]) -> list[Column]:
    asked = (
        [Column("available", [": ".join(told.get(o.name, ("unknown", ""))) for o in found], text=True)] if told else []
    )
    return [
        Column("provider", [o.provider for o in found], text=True),
        Column("region", [o.region for o in found], text=True),
        Column("instance", [o.instance_type for o in found], text=True),
        Column("GPUs", [f"{o.accelerators} × {o.accelerator}" for o in found], text=True),
        Column("purchase", [o.purchase for o in found], text=True, spare=1),
        Column("USD/h", [f"{o.usd_per_h:.4g}" for o in found]),
        *asked,
        Column("memory_gib", ["" if o.memory_gib is None else f"{o.memory_gib:g}" for o in found], spare=2),
        Column("as_of", [o.as_of for o in found], text=True, spare=3),
    ]


@prices_app.command("check")
def prices_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV with the columns of data/prices/offers.csv.")],
    json_: Json = False,
) -> None:
    """Whether a catalogue can be read, what of it contradicts itself, and what is old. Exits with 2 where anything does."""
    from cloudbandit.catalogue.prices import load_prices, stale
    from cloudbandit.catalogue.validation import validate

    kept, dropped = validate(load_prices(file))
    old = [o.name for o in stale([o for row in kept for o in row.offers()], date.today())]
    doubts = [{"offer": "/".join(d.row.key), "what": d.what, "reason": d.reason} for d in dropped]
    if json_:
        print_json({"rows": len(kept), "doubtful": doubts, "stale": old})
    else:
        out.print(plain(f"{len(kept)} rows hold together, {len(doubts)} things do not"), markup=False, highlight=False)
        for d in doubts:
            out.print(plain(f"{d['offer']} ({d['what']}): {d['reason']}"), markup=False, highlight=False)
        if old:
            out.print(f"{len(old)} prices are more than a week old, or of unknown date")
    if doubts:
        raise typer.Exit(2)
