"""Price catalogues: a CSV file with a row per instance type and region, and the offers it makes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

from cloudbandit.core.errors import PriceError
from cloudbandit.core.files import read_csv
from cloudbandit.core.offer import ON_DEMAND, SPOT, Offer

MAX_AGE_DAYS = 7
_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A row of a price catalogue: an instance type in a region, with its prices side by side.

    ``accelerator`` names the exact part where it is known (``A100-SXM4-80GB``), ``as_of`` the date of the prices (empty:
    unknown). Prices are for the whole instance, in USD per hour; a spot price of None is unknown.
    """

    provider: str
    region: str
    instance_type: str
    accelerator: str
    accelerators: int
    vcpu: int | None
    memory_gib: float | None
    on_demand_usd_per_h: float
    spot_usd_per_h: float | None
    as_of: str
    source: str
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.provider, self.region, self.instance_type

    def offers(self) -> list[Offer]:
        """One per price that is known."""
        prices = ((ON_DEMAND, self.on_demand_usd_per_h), (SPOT, self.spot_usd_per_h))
        return [
            Offer(
                self.provider,
                self.region,
                self.instance_type,
                usd_per_h,
                purchase,
                self.accelerator,
                self.accelerators,
                self.vcpu,
                self.memory_gib,
                self.as_of,
                self.source,
                self.note,
            )
            for purchase, usd_per_h in prices
            if usd_per_h is not None
        ]


def load_prices(path: str | Path) -> list[PriceRow]:
    """Read a catalogue with the columns of `PriceRow`.

    Raises:
        PriceError: a column is missing, or a price is not a finite number > 0; the message names line and column.
    """
    path = Path(path)
    columns = [f.name for f in fields(PriceRow) if f.name != "note"]
    rows = read_csv(path, columns, f"there is no price catalogue at {path}", PriceError)
    return [_row(path, line, row) for line, row in rows]


def load_offers(path: str | Path) -> list[Offer]:
    """The offers of a catalogue: one per price, in the order of the file.

    Raises:
        PriceError: as `load_prices`; or two rows price the same thing.
    """
    offers: dict[str, Offer] = {}
    for offer in (o for row in load_prices(path) for o in row.offers()):
        other = offers.setdefault(offer.name, offer)
        if other is not offer:
            raise PriceError(
                f"{path} has two prices for {offer.name}: {other.usd_per_h:g} and {offer.usd_per_h:g} USD/h; "
                "cure: leave the wrong row out"
            )
    return list(offers.values())


def _row(path: Path, line: int, row: dict[str, str]) -> PriceRow:
    def number(column: str, *, required: bool, whole: bool = False) -> float | None:
        text = row[column].strip()
        if not text and not required:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise PriceError(f"{path} line {line}: {column} is {text!r}; it must be a finite number > 0")
        if whole and not (value % 1 == 0 and value <= _MOST):
            raise PriceError(f"{path} line {line}: {column} is {text!r}; it must be a whole number from 1 to {_MOST}")
        return value

    for column in ("provider", "instance_type"):
        if not row[column]:
            raise PriceError(f"{path} line {line}: {column} is empty; an offer needs a name")
    count, vcpu = number("accelerators", required=True, whole=True), number("vcpu", required=False, whole=True)
    if row["as_of"]:
        try:
            date.fromisoformat(row["as_of"])
        except ValueError:
            raise PriceError(
                f"{path} line {line}: as_of is {row['as_of']!r}; write YYYY-MM-DD, or leave it empty"
            ) from None
    on_demand = number("on_demand_usd_per_h", required=True)
    assert count is not None
    assert on_demand is not None
    return PriceRow(
        row["provider"],
        row["region"],
        row["instance_type"],
        row["accelerator"],
        int(count),
        None if vcpu is None else int(vcpu),
        number("memory_gib", required=False),
        on_demand,
        number("spot_usd_per_h", required=False),
        row["as_of"],
        row["source"],
        row.get("note") or "",
    )


def stale(offers: Iterable[Offer], today: date, max_age_days: int = MAX_AGE_DAYS) -> list[Offer]:
    """Offers whose price is older than that, or of unknown date."""
    out = []
    for o in offers:
        age = o.age_days(today)
        if age is None or age > max_age_days:
            out.append(o)
    return out
