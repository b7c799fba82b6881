"""What can be rented, how far it is, and what limits apply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudbandit.core.errors import UsageError
from cloudbandit.core.offer import SPOT, Offer

RESERVED = "reserved"
SURVIVE = ("nothing", "machine", "region", "provider")
COUNTED = ("accelerators", "vcpus", "machines")


@dataclass(frozen=True, slots=True)
class Rental:
    """An offer as a plan may rent it.

    Args:
        machine: what, where, how bought, at what price.
        start_s: from the order to the first served request; billed, and it serves nothing.
        min_bill_s: at least so long is billed.
        least, most: machines at any time; of a reserved one: that are reserved for the whole horizon. None: no limit.
        reclaimed: of a spot machine: the share of them that may be taken back at once, and that the others must make up for.

    Raises:
        UsageError: limits that contradict each other, or a number that makes no sense.
    """

    machine: Offer
    start_s: float = 0.0
    min_bill_s: float = 0.0
    least: int = 0
    most: int | None = None
    reclaimed: float = 0.0

    def __post_init__(self) -> None:
        name = self.machine.name
        for key in ("start_s", "min_bill_s"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{key} of {name} is {value!r}; it must be a finite number ≥ 0")
        if not 0 <= self.reclaimed < 1:
            raise UsageError(f"reclaimed of {name} is {self.reclaimed!r}; it must be a share from 0 to below 1")
        if self.reclaimed and self.machine.purchase != SPOT:
            raise UsageError(f"{name} is bought {self.machine.purchase}; only spot machines are reclaimed")
        if self.least and self.machine.purchase != RESERVED:
            raise UsageError(f"{name} is bought {self.machine.purchase}; only reserved machines have a least number")
        if self.least < 0 or (self.most is not None and self.most < self.least):
            raise UsageError(f"at least {self.least} and at most {self.most} of {name}: these contradict each other")

    @property
    def place(self) -> str:
        """``aws/us-east-1``: where routing, egress and failures know it."""
        return place_of(self.machine)

    @property
    def reserved(self) -> bool:
        return self.machine.purchase == RESERVED

    @property
    def spot(self) -> bool:
        return self.machine.purchase == SPOT


def place_of(machine: Offer) -> str:
    """Provider and region."""
    return f"{machine.provider}/{machine.region}" if machine.region else machine.provider


@dataclass(frozen=True, slots=True)
class Quota:
    """At most so many at any time, starting ones included, of what matches; an empty text matches everything.

    Args:
        most: of `counts`; 0: none may be rented.
        counts: ``accelerators`` (a machine without any counts as one), ``vcpus`` or ``machines``.

    Raises:
        UsageError: a negative number, or something else is counted.
    """

    name: str
    most: float
    provider: str = ""
    region: str = ""
    accelerator: str = ""
    purchase: str = ""
    counts: str = "accelerators"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.most) and self.most >= 0):
            raise UsageError(f"the quota {self.name} is {self.most!r}; it must be a finite number ≥ 0")
        if self.counts not in COUNTED:
            raise UsageError(f"the quota {self.name} counts {self.counts!r}; allowed: {', '.join(COUNTED)}")

    def weight(self, machine: Offer) -> float:
        """By how much one machine uses it up; 0: it is none of its business.

        Raises:
            UsageError: vCPUs are counted, and the machine's are not known.
        """
        for mine, its in (
            (self.provider, machine.provider),
            (self.region, machine.region),
            (self.accelerator, machine.accelerator),
            (self.purchase, machine.purchase),
        ):
            if mine and mine != its:
                return 0.0
        if self.counts == "machines":
            return 1.0
        if self.counts == "accelerators":
            return float(machine.accelerators or 1)
        if machine.vcpus is None:
            raise UsageError(f"the quota {self.name} counts vCPUs, and those of {machine.name} are not known")
        return float(machine.vcpus)


@dataclass(frozen=True)
class Network:
    """How far a source of load is from a place, and what a GB costs that goes there.

    Args:
        rtt_ms: (source, place) → round trip; a pair that is missing is not routed, unless ``default_rtt_ms`` is given.
        egress_usd_per_gb: (source, place) → for what leaves the place; missing: ``default_egress_usd_per_gb``.
    """

    rtt_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)
    egress_usd_per_gb: Mapping[tuple[str, str], float] = field(default_factory=dict)
    default_rtt_ms: float | None = None
    default_egress_usd_per_gb: float = 0.0

    def __post_init__(self) -> None:
        for what, of in (("round trip", self.rtt_ms), ("price of egress", self.egress_usd_per_gb)):
            for (source, place), value in of.items():
                if not (math.isfinite(value) and value >= 0):
                    raise UsageError(
                        f"the {what} from {source} to {place} is {value!r}; it must be a finite number ≥ 0"
                    )

    def rtt(self, source: str, place: str) -> float | None:
        """In ms; None: not routed."""
        return self.rtt_ms.get((source, place), self.default_rtt_ms)

    def egress(self, source: str, place: str) -> float:
        """In USD per GB."""
        return self.egress_usd_per_gb.get((source, place), self.default_egress_usd_per_gb)


@dataclass(frozen=True, slots=True)
class Policy:
    """How careful a plan is.

    Args:
        survive: what may fail at any time with interactive work still served: ``nothing``; ``machine``: ``spare`` machines of a
            pool; ``region``, ``provider``: everything there.
        spare: machines kept beyond need in every pool, with ``survive="machine"``.
        spot_share: at most this share of a workload's load is served by spot machines.
        most_kinds: instance types per workload and place at most; None: any number.

    Raises:
        UsageError: a value that is not allowed.
    """

    survive: str = "nothing"
    spare: int = 1
    spot_share: float = 1.0
    most_kinds: int | None = None

    def __post_init__(self) -> None:
        if self.survive not in SURVIVE:
            raise UsageError(f"survive is {self.survive!r}; allowed: {', '.join(SURVIVE)}")
        if not 0 <= self.spot_share <= 1:
            raise UsageError(f"spot_share is {self.spot_share!r}; it must be a share from 0 to 1")
        if self.spare < 1 or (self.most_kinds is not None and self.most_kinds < 1):
            raise UsageError("spare and most_kinds must be ≥ 1")
