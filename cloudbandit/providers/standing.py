"""Machines that are there anyway: leasing one makes and destroys nothing, and its bill is its price for the time it was held."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from cloudbandit.core.offer import Bill, Offer, Tariff
from cloudbandit.core.rented import Fate, Rented

_TARIFF = Tariff(granularity_s=0.0)


class Closable(Protocol):
    """What is held: a host."""

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


HostT = TypeVar("HostT", bound=Closable)


@dataclass
class Held(Generic[HostT]):
    """A machine that is, or was, leased: since and until are on the monotonic clock."""

    host: HostT
    run: str
    offer: Offer
    expires: float
    since: float
    until: float | None = None


class StandingMachines(Generic[HostT]):
    """The part of a provider that is the same for every machine that stands anyway. What another process left is nothing: it
    ended with that process."""

    name: str
    lag_s = gone_s = 0.0

    def __init__(self) -> None:
        self._held: dict[str, Held[HostT]] = {}

    def quote(self, offer: Offer, seconds: float) -> float:
        """The price for so long."""
        return _TARIFF.usd(offer.usd_per_h, seconds)

    def hold(self, key: str, host: HostT, run: str, offer: Offer, expires: float) -> None:
        """From now on the host is billed under the key."""
        self._held[key] = Held(host, run, offer, expires, time.monotonic())

    def held(self, key: str) -> HostT | None:
        """The host of a key that was not given back."""
        found = self._held.get(key)
        return None if found is None or found.host.closed else found.host

    def destroy(self, key: str) -> Fate:
        """Idempotent."""
        found = self._held.get(key)
        if found is not None and found.until is None:
            found.host.close()
            found.until = time.monotonic()
        return Fate.GONE

    def bill(self, key: str) -> Bill:
        """The price for the time the host was held."""
        found = self._held.get(key)
        if found is None:
            return Bill()
        seconds = (time.monotonic() if found.until is None else found.until) - found.since
        return Bill(_TARIFF.usd(found.offer.usd_per_h, seconds), seconds)

    def rented(self, run: str | None = None) -> list[Rented]:
        """What is held by this process."""
        return [
            Rented(
                self.name,
                key,
                one.run,
                one.offer.region,
                what=one.offer.instance_type,
                expires=one.expires,
                usd_per_h=one.offer.usd_per_h,
            )
            for key, one in list(self._held.items())
            if run in (None, one.run) and not one.host.closed
        ]
