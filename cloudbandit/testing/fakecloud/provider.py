"""The in-memory cloud as a provider, without HTTP: the shortest way to what a real one has to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cloudbandit.core.errors import CredentialsError, HostInterrupted, HostLost, NoCapacity, OfferBarred, ProviderError
from cloudbandit.core.offer import SPOT, Bill, Offer, Tariff
from cloudbandit.core.protocols import Host
from cloudbandit.core.rented import Fate, Receipt, Rented
from cloudbandit.testing.fakecloud.cloud import DISK, DISK_USD_PER_H, MACHINE, FakeCloud, Fault, Resource, Trouble

OURS, RUN, KEY, EXPIRES = "cloudbandit", "cloudbandit-run", "cloudbandit-key", "cloudbandit-expires"
_TARIFF = Tariff(granularity_s=0.0)


class NoHost:
    """A host on which nothing is run."""

    name = "nowhere"

    def __init__(self, machine: Resource) -> None:
        self.machine, self.closed = machine, False

    def close(self) -> None:
        self.closed = True


class FakeProvider:
    """Rents machines of a `FakeCloud`.

    Args:
        cloud: the account.
        name: several clouds may differ by it.
        usd_per_h: on demand; spot is a third.
        boot_s, boots_s: how long a machine may take to answer, and how long it does.
        gone_s: how long it may take to go.
        host: makes the host of a machine that is up; None: it never answers.
    """

    elsewhere = True

    def __init__(
        self,
        cloud: FakeCloud,
        name: str = "fake",
        *,
        usd_per_h: float = 3.6,
        boot_s: float = 120.0,
        boots_s: float = 0.0,
        gone_s: float = 60.0,
        host: Callable[[Resource], Any] = NoHost,
    ) -> None:
        self.cloud, self.name, self.usd_per_h = cloud, name, usd_per_h
        self.boot_s, self.boots_s, self.gone_s, self._host = boot_s, boots_s, gone_s, host

    @property
    def lag_s(self) -> float:
        return self.cloud.lag_s

    def offers(self) -> list[Offer]:
        """One instance type, on demand and spot."""
        return [
            Offer(self.name, "here-1", "fake.1x", self.usd_per_h, source="fake"),
            Offer(self.name, "here-1", "fake.1x", self.usd_per_h / 3, SPOT, source="fake"),
        ]

    def quote(self, offer: Offer, seconds: float) -> float:
        """Until it is gone; a disk of 0.01 USD/h goes with it."""
        return _TARIFF.usd(offer.usd_per_h + DISK_USD_PER_H, seconds + self.lag_s + self.gone_s)

    def launch(self, offer: Offer, *, run: str, key: str, expires: float) -> Receipt:
        """See `cloudbandit.core.protocols.Provider.launch`: the key is the token."""
        try:
            made = self.cloud.create(
                self.token(key),
                what=offer.instance_type,
                where=offer.region,
                tags={OURS: "1", RUN: run, KEY: key, EXPIRES: str(int(expires))},
                usd_per_h=offer.usd_per_h,
                expires=expires,
                purchase=offer.purchase,
            )
        except Trouble as trouble:
            raise error_of(trouble) from trouble
        return Receipt(key, made.id, made.where)

    def token(self, key: str) -> str:
        """What makes asking again harmless."""
        return key

    def connect(self, receipt: Receipt, *, timeout_s: float) -> Host:
        """A host at once."""
        machine = self.cloud.find(receipt.id)
        if machine.state(max(machine.made, self.cloud.clock.time())) != "up" and machine.interrupted:
            raise HostInterrupted(f"{machine.id} was taken back")
        found: Host | None = self._host(machine)
        self.cloud.clock.sleep(min(timeout_s, self.boots_s))
        if found is None:
            self.cloud.clock.sleep(max(0.0, timeout_s - self.boots_s))
            raise HostLost(f"{machine.id} did not answer in {timeout_s:g} s")
        return found

    def destroy(self, key: str) -> Fate:
        """By tag."""
        try:
            found = [(r, state) for r, state in self.cloud.listing(**{OURS: "1", KEY: key}) if state != "gone"]
            for one, state in found:
                if state == "up":
                    self.cloud.delete(one.id)
        except Trouble as trouble:
            raise error_of(trouble) from trouble
        return Fate.GOING if found else Fate.GONE

    def bill(self, key: str) -> Bill:
        """What the cloud's own clock says."""
        found = [r for r in self.cloud.resources if r.tags.get(KEY) == key]
        now = self.cloud.clock.time()
        seconds = sum(
            max(0.0, min(now, now if r.gone is None else r.gone) - r.made) for r in found if r.kind == MACHINE
        )
        return Bill(self.cloud.usd(**{KEY: key}), seconds)

    def rented(self, run: str | None = None) -> Sequence[Rented]:
        """Everything with our tag."""
        tags = {OURS: "1"} if run is None else {OURS: "1", RUN: run}
        try:
            found = [(r, state) for r, state in self.cloud.listing(**tags) if state != "gone"]
        except Trouble as trouble:
            raise error_of(trouble) from trouble
        return [
            Rented(
                self.name,
                r.tags.get(KEY, ""),
                r.tags.get(RUN, ""),
                r.where,
                r.id,
                r.kind,
                r.what,
                state,
                r.made,
                float(r.tags[EXPIRES]) if EXPIRES in r.tags else None,
                r.usd_per_h,
            )
            for r, state in found
            if r.kind in (MACHINE, DISK)
        ]


def error_of(trouble: Trouble) -> Exception:
    """The table of errors: what each fault is to a caller."""
    match trouble.fault:
        case Fault.REFUSED:
            return NoCapacity("InsufficientCapacity", "there is none now")
        case Fault.LEFT:
            return NoCapacity("AllocationFailed", "there is none now", clean=False)
        case Fault.QUOTA:
            return OfferBarred("QuotaExceeded", "the account may have no more")
        case Fault.FORBIDDEN:
            return CredentialsError("Forbidden", "the account does not let us")
        case Fault.PARTIAL:
            return ProviderError("PartialFailure", "the machine was not made")
        case _:
            return ProviderError(str(trouble.fault), "no answer, or none that helps", again=True)
