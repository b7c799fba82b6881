"""What every cloud has in common: offers of the catalogue, tags, keys, waiting for a machine, and giving it back by tag.

A provider adds four things: how a machine is made, how what bears our tag is listed, how it is told to go, what its errors mean.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from cloudbandit.catalogue.offers import select
from cloudbandit.catalogue.prices import load_offers
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import HostInterrupted, HostLost, NoCapacity, ProviderError, UsageError, hint
from cloudbandit.core.offer import ON_DEMAND, PURCHASES, Bill, Offer, Tariff
from cloudbandit.core.rented import Fate, Receipt, Rented, run_tag
from cloudbandit.providers.ssh_connect import Address, KeyPair, open_connection
from cloudbandit.providers.ssh_host import SSHHost
from cloudbandit.providers.user_data import cloud_config

OURS, RUN, KEY, EXPIRES = "cloudbandit", "cloudbandit-run", "cloudbandit-key", "cloudbandit-expires"
UP, GOING, GONE = "up", "going", "gone"
_POLL_S = 2.0
_SETUP_S = 1800.0
_SMI_S = 60.0


@dataclass(frozen=True)
class Settings:
    """What a study may set for a cloud; see docs/clouds.md."""

    regions: Sequence[str] = ()
    instance_types: Sequence[str] = ()
    purchase: Sequence[str] = (ON_DEMAND,)
    prices: str = ""
    image: str = ""
    disk_gib: int = 100
    user: str = "ubuntu"
    python: str = "python3"
    setup: Sequence[str] = ()
    ssh_from: str = "0.0.0.0/0"
    ssh_port: int = 22
    boot_s: float = 900.0

    def __post_init__(self) -> None:
        for name in ("regions", "instance_types", "purchase", "setup"):
            value = getattr(self, name)
            if not (isinstance(value, list | tuple) and all(isinstance(one, str) and one for one in value)):
                raise UsageError(f"{name} of a provider is {value!r}; it must be a list of texts")
        wrong = [one for one in self.purchase if one not in PURCHASES[:2]]
        if wrong or not self.purchase:
            raise UsageError(f"purchase of a provider is {wrong or 'empty'}; allowed: {', '.join(PURCHASES[:2])}")
        for name in ("disk_gib", "ssh_port", "boot_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise UsageError(f"{name} of a provider is {value!r}; it must be a number > 0")


@dataclass
class Rental:
    """A lease as this process knows it.

    Attributes:
        tags, user_data: what is sent under the key; sent again, it is the same.
        asked, until: when it was first asked for, and first seen gone after that, on the monotonic clock.
        wall: when it was first asked for, in seconds since 1970.
        where: its region or zone, once known.
        stood: a machine was accepted, or seen.
    """

    offer: Offer
    key: str
    expires: float
    keys: KeyPair
    tags: Mapping[str, str]
    user_data: str = field(repr=False)
    asked: float
    wall: float
    until: float | None = None
    where: str = ""
    stood: bool = False


@dataclass(frozen=True)
class Seen:
    """A thing of ours, as a provider's listing shows it."""

    id: str
    where: str
    state: str
    tags: Mapping[str, str]
    kind: str = "machine"
    what: str = ""
    address: str = ""
    interrupted: bool = False
    since: float | None = None
    told: str = ""
    """The provider's own word for its state."""


@contextlib.contextmanager
def _nobody_can_tell() -> Iterator[None]:
    """A quota of calls, or the like, that ends a listing or a deletion is no lack of machines: nothing is known then."""
    try:
        yield
    except NoCapacity as none:
        raise ProviderError(none.code, str(none).removeprefix(f"{none.code}: ")) from none


class CloudProvider(ABC):
    """A cloud that rents machines by the second; see `cloudbandit.core.protocols.Provider` for what its methods promise."""

    name: ClassVar[str]
    elsewhere = True
    lag_s: float = 30.0
    gone_s: float = 600.0
    own: ClassVar[Sequence[str]] = ()
    """Its own settings, beside those of `Settings`."""
    tariff: Tariff
    clock: Any = time

    def __init__(self, given: Mapping[str, Any]) -> None:
        known = [one.name for one in fields(Settings)]
        unknown = next((key for key in given if key not in known), None)
        if unknown is not None:
            takes = ", ".join(sorted({*known, *self.own}))
            raise UsageError(f"unknown key {unknown!r}{hint(unknown, known)}; the provider {self.name} takes: {takes}")
        settings = self.settings = Settings(**given)
        self.boot_s = float(settings.boot_s)
        self._rentals: dict[str, Rental] = {}
        self._lock = threading.Lock()
        self._login: KeyPair | None = None
        path = Path(settings.prices).expanduser() if settings.prices else bundled() / "prices" / "offers.csv"
        every = [o for o in load_offers(path) if o.provider == self.name]
        if not every:
            raise UsageError(
                f"the price catalogue {path} has no offer of {self.name}; cure: name one that has, with prices"
            )
        self._prices = {offer.name: offer for offer in every}
        chosen = select(every, regions=settings.regions)
        types = {o.instance_type for o in chosen}
        wrong = [one for one in settings.instance_types if one not in types]
        if wrong:
            raise UsageError(
                f"no offer of {self.name} is an instance type {wrong[0]!r} there; known: {', '.join(sorted(types))}"
            )
        self._offers = [
            o
            for o in chosen
            if (not settings.instance_types or o.instance_type in settings.instance_types)
            and o.purchase in settings.purchase
        ]

    # ── what a provider adds ──

    @abstractmethod
    def _create(self, rental: Rental) -> Receipt:
        """Ask for the machine, under the rental's key and with its tags and user data."""

    @abstractmethod
    def _list(self, tags: Mapping[str, str], where: str = "") -> list[Seen]:
        """Everything with these tags; ``where``: only there, else wherever the account may have it."""

    @abstractmethod
    def _delete(self, seen: Seen) -> None:
        """Tell it to go."""

    # ── the seam ──

    def offers(self) -> list[Offer]:
        """What the settings leave of the catalogue."""
        return list(self._offers)

    def quote(self, offer: Offer, seconds: float) -> float:
        """Until it is gone, disk included."""
        return self.tariff.usd(offer.usd_per_h, seconds + self.lag_s + self.gone_s)

    @property
    def login(self) -> KeyPair:
        """Of this process, for all its machines: in memory alone."""
        with self._lock:
            if self._login is None:
                self._login = KeyPair.new()
            return self._login

    def launch(self, offer: Offer, *, run: str, key: str, expires: float) -> Receipt:
        """Ask for a machine; asking for a key again sends the same again."""
        with self._lock:
            rental = self._rentals.get(key)
        if rental is None:
            keys = KeyPair.new()
            tags = {OURS: "1", RUN: run_tag(run), KEY: key, EXPIRES: str(int(expires))}
            data = cloud_config(host=keys, authorized=self.login.public, seconds=expires - self.clock.time())
            with self._lock:
                now = self.clock.monotonic(), self.clock.time()
                fresh = Rental(offer, key, expires, keys, tags, data, *now)
                rental = self._rentals.setdefault(key, fresh)
        receipt = self._create(rental)
        rental.where, rental.stood = receipt.where, True
        return receipt

    def connect(self, receipt: Receipt, *, timeout_s: float) -> SSHHost:
        """Wait for its address and its SSH, check its GPUs' driver, set it up.

        Raises:
            HostLost: it went away, or cannot be reached in time.
            HostInterrupted: it was taken back.
            ProviderError: its image has no driver for its GPUs, or cannot be set up: no rest cures that.
        """
        until = self.clock.monotonic() + timeout_s
        rental = self._rentals[receipt.key]
        address = self._address(rental, until)

        def go_on() -> None:
            self._one(rental)

        where = Address(
            address, self.settings.ssh_port, self.settings.user, pinned=rental.keys.public, keys=(self.login.private,)
        )
        connection = open_connection(where, until=until, patient=True, go_on=go_on)
        python, name = self.settings.python, f"{self.name} {rental.key}"
        host = SSHHost(connection, name, python=python, expires=rental.expires)
        try:
            self._ready(host, rental.offer, until)
        except BaseException:
            host.close()
            raise
        return host

    def _listed(self, tags: Mapping[str, str], where: str = "") -> list[Seen]:
        with _nobody_can_tell():
            return self._list(tags, where)

    def _address(self, rental: Rental, until: float) -> str:
        while True:
            seen = self._one(rental)
            if seen is not None and seen.address:
                return seen.address
            if self.clock.monotonic() + _POLL_S >= until:
                raise HostLost(f"{rental.key} at {self.name} had no address in time")
            self.clock.sleep(_POLL_S)

    def _one(self, rental: Rental) -> Seen | None:
        """The machine, as listed now; None: not yet, or nobody can tell.

        Raises:
            HostLost: it is gone, or going.
        """
        try:
            found = [s for s in self._listed({OURS: "1", KEY: rental.key}, rental.where) if s.kind == "machine"]
        except ProviderError as error:
            if not error.again:
                raise
            return None
        for seen in found:
            if seen.interrupted:
                raise self.taken_back(seen.id)
        if found and all(seen.state != UP for seen in found):
            raise HostLost(f"{found[0].id} went away ({found[0].told})")
        return next((seen for seen in found if seen.state == UP), None)

    def taken_back(self, id: str) -> HostInterrupted:
        """The exception for it."""
        return HostInterrupted(f"{id} was taken back by {self.name}")

    def _ready(self, host: SSHHost, offer: Offer, until: float) -> None:
        def left() -> float:
            return max(1.0, until - float(self.clock.monotonic()))

        if offer.accelerators:
            done = host.run(["nvidia-smi", "-L"], timeout_s=min(_SMI_S, left()))
            if done.code != 0:
                raise ProviderError(
                    "no_driver",
                    f"the image {self.settings.image or 'of the default query'} shows no GPU on {offer.label} "
                    f"(nvidia-smi: {done.output.strip()[-200:] or 'not there'}). Cure: image = one with NVIDIA's driver",
                )
        for command in self.settings.setup:
            done = host.run(["sh", "-c", command], timeout_s=min(_SETUP_S, left()))
            if done.code is None:
                raise HostLost(f"the setup of {host.name} was not over in time: {command}")
            if done.code != 0:
                raise ProviderError(
                    "setup", f"{command!r} on {offer.label} ended with {done.code}: {done.output[-500:]}"
                )

    def interrupted(self, key: str) -> bool:
        """Whether the provider took the machine of this key back."""
        rental = self._rentals.get(key)
        try:
            return any(s.interrupted for s in self._listed({OURS: "1", KEY: key}, rental.where if rental else ""))
        except ProviderError:
            return False

    def image_of(self, offer: Offer) -> str:
        """What its machines are booted from in this run; kept with each trial."""
        return self.settings.image

    def destroy(self, key: str) -> Fate:
        """By tag, machine and all that goes with it."""
        rental = self._rentals.get(key)
        found = self._listed({OURS: "1", KEY: key}, rental.where if rental is not None else "")
        alive = [seen for seen in found if seen.state != GONE]
        if alive and rental is not None:
            rental.stood, rental.until = True, None  # an earlier listing that did not show it was behind
        failed: ProviderError | None = None
        for seen in alive:
            if seen.state == UP:
                try:
                    with _nobody_can_tell():
                        self._delete(seen)
                except ProviderError as error:  # the others go all the same
                    failed = failed or error
        if failed is not None:
            raise failed
        if alive:
            return Fate.GOING
        if rental is not None and rental.until is None:
            rental.until = self.clock.monotonic()
        return Fate.GONE

    def bill(self, key: str) -> Bill:
        """By our clock, from when it was asked for until it was seen gone: the provider's own bill is not more."""
        rental = self._rentals.get(key)
        if rental is None or not rental.stood:
            return Bill()
        seconds = float(self.clock.monotonic() if rental.until is None else rental.until) - rental.asked
        return Bill(self.tariff.usd(rental.offer.usd_per_h, seconds), seconds)

    def rented(self, run: str | None = None) -> list[Rented]:
        """Everything with our tag that is not gone."""
        tags = {OURS: "1"} if run is None else {OURS: "1", RUN: run_tag(run)}
        return [
            Rented(
                self.name,
                seen.tags.get(KEY, ""),
                seen.tags.get(RUN, ""),
                seen.where,
                seen.id,
                seen.kind,
                seen.what,
                seen.told or seen.state,
                seen.since,
                float(seen.tags[EXPIRES]) if re.fullmatch(r"\d+", seen.tags.get(EXPIRES, "")) else None,
                self._usd_per_h(seen),
            )
            for seen in self._listed(tags)
            if seen.state != GONE
        ]

    def _usd_per_h(self, seen: Seen) -> float | None:
        """On demand, by the catalogue: what it costs at most."""
        zone = seen.where.rpartition("-")[0]  # us-central1-a; where it is a region, there is no offer in "us-east"
        places = (f"{self.name}/{region}/{seen.what}" for region in (seen.where, zone) if region)
        offer = next((self._prices[place] for place in places if place in self._prices), None)
        return offer.usd_per_h if offer is not None and seen.kind == "machine" else None
