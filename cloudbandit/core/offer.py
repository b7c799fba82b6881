"""What can be rented: an offer, how it is billed, and what a bill says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from cloudbandit.core.errors import PriceError

ON_DEMAND, SPOT = "on-demand", "spot"
PURCHASES = (ON_DEMAND, SPOT, "reserved")


@dataclass(frozen=True, slots=True)
class Offer:
    """An instance type in a region, bought in one way, at a price.

    Args:
        provider, region, instance_type: who rents it out, where (empty: nowhere in particular), and what it is called there.
        usd_per_h: for the whole instance.
        purchase: one of `PURCHASES`.
        accelerator: the exact part (``A100-SXM4-80GB``); empty: none, or unknown.
        accelerators: how many of it.
        vcpus, memory_gib: None where unknown.
        as_of: the date of the price, ``YYYY-MM-DD``; empty: unknown.
        source: where the price comes from.
        note: for people.

    Raises:
        PriceError: it has no name, the price is not a finite number > 0, the purchase is none, the count of accelerators is
            no whole number ≥ 0, or the date is none.
    """

    provider: str
    region: str
    instance_type: str
    usd_per_h: float
    purchase: str = ON_DEMAND
    accelerator: str = ""
    accelerators: int = 0
    vcpus: int | None = None
    memory_gib: float | None = None
    as_of: str = ""
    source: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not (self.provider and self.instance_type):
            raise PriceError(f"an offer needs a provider and an instance type, got {self.name!r}")
        if not (math.isfinite(self.usd_per_h) and self.usd_per_h > 0):
            raise PriceError(f"the offer {self.name} costs {self.usd_per_h!r} USD/h; it must be a finite number > 0")
        if self.purchase not in PURCHASES:
            raise PriceError(
                f"the purchase of {self.name} is {self.purchase!r}; allowed: {', '.join(map(repr, PURCHASES))}"
            )
        if not (self.accelerators >= 0 and self.accelerators % 1 == 0):
            raise PriceError(f"{self.name} has {self.accelerators} accelerators; it must be a whole number ≥ 0")
        if self.as_of:
            try:
                date.fromisoformat(self.as_of)
            except ValueError:
                raise PriceError(
                    f"as_of of {self.name} is {self.as_of!r}; write YYYY-MM-DD, or leave it empty"
                ) from None

    @property
    def label(self) -> str:
        """Unique within a provider: ``us-east-1/p5.48xlarge``, and the purchase (``…/spot``) unless it is on demand."""
        parts = (self.region, self.instance_type, "" if self.purchase == ON_DEMAND else self.purchase)
        return "/".join(part for part in parts if part)

    @property
    def name(self) -> str:
        """Unique: the provider and the label."""
        return f"{self.provider}/{self.label}"

    def facts(self) -> Mapping[str, float | str]:
        """What is known of it free of charge, units in the names; what is unknown is absent."""
        known: dict[str, float | str | None] = {
            "price_usd_per_h": self.usd_per_h,
            "accelerator": self.accelerator or None,
            "accelerators": float(self.accelerators),
            "vcpus": None if self.vcpus is None else float(self.vcpus),
            "memory_gib": self.memory_gib,
            "provider": self.provider,
            "region": self.region or None,
            "purchase": self.purchase,
        }
        return {name: value for name, value in known.items() if value is not None}

    def age_days(self, today: date) -> int | None:
        """Of the price; None where its date is unknown."""
        return (today - date.fromisoformat(self.as_of)).days if self.as_of else None


@dataclass(frozen=True, slots=True)
class Tariff:
    """How a provider turns the time a machine is up into money.

    Args:
        granularity_s: a started unit is billed whole.
        minimum_s: at least so long is billed.
        storage_usd_per_h: of the disk that goes with it, while the machine is up.

    Raises:
        PriceError: one of them is not a finite number ≥ 0.
    """

    granularity_s: float = 1.0
    minimum_s: float = 0.0
    storage_usd_per_h: float = 0.0

    def __post_init__(self) -> None:
        for name in ("granularity_s", "minimum_s", "storage_usd_per_h"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PriceError(f"{name} of a tariff is {value!r}; it must be a finite number ≥ 0")

    def usd(self, usd_per_h: float, seconds: float) -> float:
        """The bill of a machine at this price that was up for so long; 0 for one that never was."""
        if seconds <= 0:
            return 0.0
        billed_s = max(self.minimum_s, seconds)
        if self.granularity_s > 0:
            units = math.ceil(
                billed_s / self.granularity_s - 1e-9
            )  # 3.0000000001 units are three: clocks are not exact
            billed_s = max(1, units) * self.granularity_s
        return usd_per_h * billed_s / 3600 + self.storage_usd_per_h * seconds / 3600


@dataclass(frozen=True, slots=True)
class Bill:
    """What one lease costs by the provider's own rule: USD, for so many seconds that the machine was up."""

    usd: float = 0.0
    seconds: float = 0.0
