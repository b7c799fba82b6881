"""Price catalogues: load, validate, age.

Public catalogues hold wrong prices: a GPU without its host, a spot price copied from on-demand, another product's price.
Validation drops what contradicts itself or its neighbours, and says why; it cannot prove that the rest is right.
"""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from statistics import median

from cloudbandit.core.errors import PriceError

GPU_COUNTS = (1, 2, 4, 8, 16, 72)
SENTINELS_USD_PER_H = (700.0, 999.0, 9999.0)
MIN_SPOT_SHARE = 0.03
MAX_PER_GPU_RATIO = 3.0
MAX_REGION_RATIO = 1.5
MAX_SPOT_REGION_RATIO = 2.5
MAX_AGE_DAYS = 7


@dataclass(frozen=True, slots=True)
class Offer:
    """An instance type in a region at a price.

    ``accelerator`` names the exact part where it is known (``A100-SXM4-80GB``), ``as_of`` the date of the price (empty:
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

    def usd_per_h(self, purchase: str) -> float | None:
        """``purchase``: ``on-demand`` or ``spot``."""
        return self.on_demand_usd_per_h if purchase == "on-demand" else self.spot_usd_per_h

    def age_days(self, today: date) -> int | None:
        """None where the date is unknown."""
        return (today - date.fromisoformat(self.as_of)).days if self.as_of else None


@dataclass(frozen=True, slots=True)
class Dropped:
    """What validation took out: a whole offer, or its spot price alone (``what``: ``offer`` or ``spot``)."""

    offer: Offer
    what: str
    reason: str


def load_offers(path: str | Path) -> list[Offer]:
    """Read a catalogue with the columns of `Offer`.

    Raises:
        PriceError: a column is missing, or a price is not a finite number > 0; the message names line and column.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [f.name for f in fields(Offer) if f.name not in (reader.fieldnames or []) and f.name != "note"]
            if missing:
                raise PriceError(f"{path} lacks the columns {', '.join(missing)}; it has {reader.fieldnames}")
            return [_offer(path, line, row) for line, row in enumerate(reader, start=2)]
    except FileNotFoundError:
        raise PriceError(f"there is no price catalogue at {path}") from None


def _offer(path: Path, line: int, row: dict[str, str]) -> Offer:
    def number(column: str, *, required: bool) -> float | None:
        text = (row[column] or "").strip()
        if not text and not required:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise PriceError(f"{path} line {line}: {column} is {text!r}; it must be a finite number > 0")
        return value

    count, vcpu = number("accelerators", required=True), number("vcpu", required=False)
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
    return Offer(
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


def validate(offers: Iterable[Offer]) -> tuple[list[Offer], list[Dropped]]:
    """Split a catalogue into what holds together and what does not, with reasons.

    Dropped whole: no host part (GPU only), impossible GPU counts, sentinel prices, prices per GPU beyond a factor of 3 of
    the part's median, the further one of two prices for one key, and every size of a family whose regions disagree by more
    than a factor of 1.5. Dropped spot prices: equal to or above on-demand, below 3 % of it, from a local zone, or lower by
    more than a factor of 2.5 than the same type's in another region.
    """
    kept, dropped = _whole(list(offers))
    out = []
    for offer in kept:
        reason = _spot_reason(offer, kept)
        if reason:
            dropped.append(Dropped(offer, "spot", reason))
            offer = replace(offer, spot_usd_per_h=None)
        out.append(offer)
    return out, dropped


def _whole(offers: list[Offer]) -> tuple[list[Offer], list[Dropped]]:
    dropped: list[Dropped] = []

    def keep(some: list[Offer], reasons: dict[int, str]) -> list[Offer]:
        dropped.extend(Dropped(some[i], "offer", reason) for i, reason in reasons.items())
        return [o for i, o in enumerate(some) if i not in reasons]

    alone = {}
    for i, o in enumerate(offers):
        if o.vcpu is None or o.memory_gib is None:
            alone[i] = "no host part: the price is of the GPU only"
        elif o.accelerators not in GPU_COUNTS:
            alone[i] = f"{o.accelerators} accelerators is no machine that is sold"
        elif o.on_demand_usd_per_h in SENTINELS_USD_PER_H:
            alone[i] = f"{o.on_demand_usd_per_h:g} USD/h is a placeholder"
    offers = keep(offers, alone)
    offers = keep(offers, _per_gpu(offers))
    offers = keep(offers, _duplicates(offers))
    return keep(offers, _disputed(offers)), dropped


def _per_gpu(offers: Sequence[Offer]) -> dict[int, str]:
    by_part = defaultdict(list)
    for o in offers:
        by_part[o.accelerator].append(o.on_demand_usd_per_h / o.accelerators)
    out = {}
    for i, o in enumerate(offers):
        middle, mine = median(by_part[o.accelerator]), o.on_demand_usd_per_h / o.accelerators
        if not middle / MAX_PER_GPU_RATIO <= mine <= middle * MAX_PER_GPU_RATIO:
            out[i] = f"{mine:.2f} USD/h per GPU, and the median of {o.accelerator} is {middle:.2f}"
    return out


def _duplicates(offers: Sequence[Offer]) -> dict[int, str]:
    """Of several prices for one key, the one nearest to the same type's other regions stays (the first of equals)."""
    by_key = defaultdict(list)
    for i, o in enumerate(offers):
        by_key[o.key].append(i)
    out = {}
    for key, positions in by_key.items():
        if len(positions) == 1:
            continue
        elsewhere = [o.on_demand_usd_per_h for o in offers if o.instance_type == key[2] and o.key != key]
        target = median(elsewhere or [offers[i].on_demand_usd_per_h for i in positions])
        best = min(positions, key=lambda i: (abs(math.log(offers[i].on_demand_usd_per_h / target)), i))
        for i in positions:
            if i != best:
                other = offers[best].on_demand_usd_per_h
                out[i] = f"two prices for one key: {offers[i].on_demand_usd_per_h:g} and {other:g} USD/h"
    return out


def instance_family(offer: Offer) -> tuple[str, str]:
    """Provider and instance type without its size: ``a3-highgpu-8g`` → ``a3-highgpu``."""
    return offer.provider, re.sub(r"[-.]\d*x?(large|g|metal)$", "", offer.instance_type)


def _disputed(offers: Sequence[Offer]) -> dict[int, str]:
    by_type = defaultdict(list)
    for o in offers:
        by_type[o.provider, o.instance_type].append(o)
    disputed = {}
    for (_, name), some in by_type.items():
        prices = [o.on_demand_usd_per_h for o in some]
        if max(prices) > MAX_REGION_RATIO * min(prices):
            disputed[instance_family(some[0])] = (
                f"regions disagree on {name}: {min(prices):g} and {max(prices):g} USD/h"
            )
    return {i: disputed[instance_family(o)] for i, o in enumerate(offers) if instance_family(o) in disputed}


def _spot_reason(offer: Offer, offers: Sequence[Offer]) -> str:
    spot = offer.spot_usd_per_h
    if spot is None:
        return ""
    if spot >= offer.on_demand_usd_per_h:
        return f"spot {spot:g} USD/h is not below on-demand {offer.on_demand_usd_per_h:g}"
    if spot < MIN_SPOT_SHARE * offer.on_demand_usd_per_h:
        return f"spot {spot:g} USD/h is below 3 % of on-demand"
    if "local zone" in offer.note:
        return f"spot {spot:g} USD/h is a local zone's, not the region's"
    others = [
        o.spot_usd_per_h
        for o in offers
        if o.instance_type == offer.instance_type and o.region != offer.region and o.spot_usd_per_h is not None
    ]
    if others and spot * MAX_SPOT_REGION_RATIO < min(others):
        return f"spot {spot:g} USD/h is an outlier: {min(others):g} in another region"
    return ""


def stale(offers: Iterable[Offer], today: date, max_age_days: int = MAX_AGE_DAYS) -> list[Offer]:
    """Offers whose price is older than that, or of unknown date."""
    out = []
    for o in offers:
        age = o.age_days(today)
        if age is None or age > max_age_days:
            out.append(o)
    return out
