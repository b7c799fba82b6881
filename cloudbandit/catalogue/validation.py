"""What is wrong with a price catalogue.

Public catalogues hold wrong prices: a GPU without its host, a spot price copied from on-demand, another product's price.
Validation drops what contradicts itself or its neighbours, and says why; it cannot prove that the rest is right.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from cloudbandit.catalogue.prices import PriceRow

GPU_COUNTS = (1, 2, 4, 8, 16, 72)
SENTINELS_USD_PER_H = (700.0, 999.0, 9999.0)
MIN_SPOT_SHARE = 0.03
MAX_PER_GPU_RATIO = 3.0
MAX_REGION_RATIO = 1.5
MAX_SPOT_REGION_RATIO = 2.5


@dataclass(frozen=True, slots=True)
class Dropped:
    """What validation took out: a whole row, or its spot price alone (``what``: ``offer`` or ``spot``)."""

    row: PriceRow
    what: str
    reason: str


def validate(rows: Iterable[PriceRow]) -> tuple[list[PriceRow], list[Dropped]]:
    """Split a catalogue into what holds together and what does not, with reasons.

    Dropped whole: no host part (GPU only), impossible GPU counts, sentinel prices, prices per GPU beyond a factor of 3 of
    the part's median, the further one of two prices for one key, and every size of a family whose regions disagree by more
    than a factor of 1.5. Dropped spot prices: equal to or above on-demand, below 3 % of it, from a local zone, or lower by
    more than a factor of 2.5 than the same type's in another region.
    """
    kept, dropped = _whole(list(rows))
    out = []
    for row in kept:
        reason = _spot_reason(row, kept)
        if reason:
            dropped.append(Dropped(row, "spot", reason))
            row = replace(row, spot_usd_per_h=None)
        out.append(row)
    return out, dropped


def _whole(rows: list[PriceRow]) -> tuple[list[PriceRow], list[Dropped]]:
    dropped: list[Dropped] = []

    def keep(some: list[PriceRow], reasons: dict[int, str]) -> list[PriceRow]:
        dropped.extend(Dropped(some[i], "offer", reason) for i, reason in reasons.items())
        return [r for i, r in enumerate(some) if i not in reasons]

    alone = {}
    for i, r in enumerate(rows):
        if r.vcpu is None or r.memory_gib is None:
            alone[i] = "no host part: the price is of the GPU only"
        elif r.accelerators not in GPU_COUNTS:
            alone[i] = f"{r.accelerators} accelerators is no machine that is sold"
        elif r.on_demand_usd_per_h in SENTINELS_USD_PER_H:
            alone[i] = f"{r.on_demand_usd_per_h:g} USD/h is a placeholder"
    rows = keep(rows, alone)
    rows = keep(rows, _per_gpu(rows))
    rows = keep(rows, _duplicates(rows))
    return keep(rows, _disputed(rows)), dropped


def _per_gpu(rows: Sequence[PriceRow]) -> dict[int, str]:
    by_part = defaultdict(list)
    for r in rows:
        by_part[r.accelerator].append(r.on_demand_usd_per_h / r.accelerators)
    out = {}
    for i, r in enumerate(rows):
        middle, mine = median(by_part[r.accelerator]), r.on_demand_usd_per_h / r.accelerators
        if not middle / MAX_PER_GPU_RATIO <= mine <= middle * MAX_PER_GPU_RATIO:
            out[i] = f"{mine:.2f} USD/h per GPU, and the median of {r.accelerator} is {middle:.2f}"
    return out


def _duplicates(rows: Sequence[PriceRow]) -> dict[int, str]:
    """Of several prices for one key, the one nearest to the same type's other regions stays (the first of equals)."""
    by_key = defaultdict(list)
    for i, r in enumerate(rows):
        by_key[r.key].append(i)
    out = {}
    for key, positions in by_key.items():
        if len(positions) == 1:
            continue
        elsewhere = [r.on_demand_usd_per_h for r in rows if r.instance_type == key[2] and r.key != key]
        target = median(elsewhere or [rows[i].on_demand_usd_per_h for i in positions])
        best = min(positions, key=lambda i: (abs(math.log(rows[i].on_demand_usd_per_h / target)), i))
        for i in positions:
            if i != best:
                other = rows[best].on_demand_usd_per_h
                out[i] = f"two prices for one key: {rows[i].on_demand_usd_per_h:g} and {other:g} USD/h"
    return out


def instance_family(row: PriceRow) -> tuple[str, str]:
    """Provider and instance type without its size: ``a3-highgpu-8g`` → ``a3-highgpu``."""
    return row.provider, re.sub(r"[-.]\d*x?(large|g|metal)$", "", row.instance_type)


def _disputed(rows: Sequence[PriceRow]) -> dict[int, str]:
    by_type = defaultdict(list)
    for r in rows:
        by_type[r.provider, r.instance_type].append(r)
    disputed = {}
    for (_, name), some in by_type.items():
        prices = [r.on_demand_usd_per_h for r in some]
        if max(prices) > MAX_REGION_RATIO * min(prices):
            disputed[instance_family(some[0])] = (
                f"regions disagree on {name}: {min(prices):g} and {max(prices):g} USD/h"
            )
    return {i: disputed[instance_family(r)] for i, r in enumerate(rows) if instance_family(r) in disputed}


def _spot_reason(row: PriceRow, rows: Sequence[PriceRow]) -> str:
    spot = row.spot_usd_per_h
    if spot is None:
        return ""
    if spot >= row.on_demand_usd_per_h:
        return f"spot {spot:g} USD/h is not below on-demand {row.on_demand_usd_per_h:g}"
    if spot < MIN_SPOT_SHARE * row.on_demand_usd_per_h:
        return f"spot {spot:g} USD/h is below 3 % of on-demand"
    if "local zone" in row.note:
        return f"spot {spot:g} USD/h is a local zone's, not the region's"
    others = [
        r.spot_usd_per_h
        for r in rows
        if r.instance_type == row.instance_type and r.region != row.region and r.spot_usd_per_h is not None
    ]
    if others and spot * MAX_SPOT_REGION_RATIO < min(others):
        return f"spot {spot:g} USD/h is an outlier: {min(others):g} in another region"
    return ""
