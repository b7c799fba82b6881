"""A lease: the only way to a host. It is written down before it is asked for, given back whatever happens, and paid."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from cloudbandit.core.errors import LeaseStuck, NoCapacity, ProviderError
from cloudbandit.core.leases import LeaseBook, LeaseRow, LeaseState, MemoryBook
from cloudbandit.core.offer import Bill, Offer
from cloudbandit.core.protocols import Host, Provider
from cloudbandit.core.rented import Receipt
from cloudbandit.live.giving_back import Clock, give_back

log = logging.getLogger("cloudbandit")

_SAME_USD = 1e-6
"""Two clocks differ: a rest of the bill below this is the trial's too."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0


def lease_key(store_id: str, run: str, offer: Offer, ordinal: int) -> str:
    """The name of a lease: a function of whose store it is, the run, the offer, and which of its leases this is. Characters and
    length (below 40) are those every cloud takes in a tag."""
    digest = hashlib.sha256(json.dumps([run, offer.name]).encode()).hexdigest()
    return f"cb-{store_id}-{digest[:10]}-{ordinal}"


@dataclass
class Lease:
    """A host for at most so many seconds, boot included.

    Args:
        run: tags the host.
        key: see `lease_key`; a launch whose answer was lost is found again under it instead of paid twice.
        seconds: after them the host may be destroyed by anyone who looks (``expires`` goes with it).
        book: where it is written down.
        arm: the provider's name in the study.
        hold_usd: the most it may be billed, for the ledger.

    Attributes:
        used_s: from when the host was up until it was given back; 0 where it never was.
        bill: the provider's, once the host was given back.
        stuck: why it may still stand, and cost money; None: it was seen gone.
    """

    provider: Provider
    offer: Offer
    run: str
    key: str
    seconds: float
    book: LeaseBook = field(default_factory=MemoryBook)
    arm: str = ""
    hold_usd: float = 0.0
    clock: Clock = field(default_factory=lambda: time)
    used_s: float = 0.0
    bill: Bill = field(default_factory=Bill)
    stuck: LeaseStuck | None = None
    _asked_again: bool = field(default=False, init=False, repr=False)

    @contextlib.contextmanager
    def host(self) -> Iterator[Host]:
        """Write the intent down, launch, connect; at the end, and whatever that or the work on the host raised, destroy by key,
        see it gone, and ask for the bill.

        Raises:
            NoCapacity: there is no such host to be had.
            ProviderError: the provider failed otherwise.
        """
        host: Host | None = None
        began = 0.0
        expires = self.clock.time() + self.seconds
        self.book.intend(LeaseRow(self.key, self.run, self.arm, self.offer.label, self.hold_usd, expires))
        certain = False
        until = self.clock.monotonic() + self.provider.boot_s
        try:
            try:
                receipt = self._launch(expires, until)
            except NoCapacity as none:  # nothing was made, unless an earlier answer was lost
                certain = none.clean and not self._asked_again
                raise
            finally:
                believed_from = self.clock.monotonic() + (0.0 if certain else self.provider.lag_s)
            self.book.mark(self.key, LeaseState.ACTIVE, id=receipt.id, where_at=receipt.where)
            host = self.provider.connect(receipt, timeout_s=max(0.0, until - self.clock.monotonic()))
            began = self.clock.monotonic()
            yield host
        finally:
            try:
                if host is not None:
                    host.close()
                    self.used_s = self.clock.monotonic() - began
            finally:
                self._give_back(believed_from)

    def _launch(self, expires: float, until: float) -> Receipt:
        """Ask, and ask again under the same key where the answer was lost or put off: that makes no second machine."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return self.provider.launch(self.offer, run=self.run, key=self.key, expires=expires)
            except ProviderError as error:
                if not error.again or self.clock.monotonic() + pause >= until:
                    raise
                log.info("launching %s: %s; asking again", self.key, error)
            self._asked_again = True
            self.clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _give_back(self, believed_from: float) -> None:
        try:
            give_back(self.provider, self.key, believed_from=believed_from, clock=self.clock)
        except LeaseStuck as stuck:
            self.stuck = stuck
            log.error("%s. It may cost %.4g USD/h until it goes", stuck, self.offer.usd_per_h)
            self.book.mark(self.key, LeaseState.STUCK, why=str(stuck))
            self.bill = self.provider.bill(self.key)
            return
        self.bill = self.provider.bill(self.key)
        self.book.mark(self.key, LeaseState.GONE, usd=self.bill.usd)

    @property
    def trial_usd(self) -> float:
        """The bill's part for the time on the host, at the offer's price."""
        share = min(self.offer.usd_per_h * self.used_s / 3600, self.bill.usd)
        return share if self.bill.usd - share >= _SAME_USD else self.bill.usd

    @property
    def hosts_usd(self) -> float:
        """The rest of the bill: boot, idle time, minimum billing, storage. Of a stuck lease all that it holds: that money is not
        free for others."""
        owed = self.bill.usd if self.stuck is None else max(self.bill.usd, self.hold_usd)
        return max(0.0, owed - self.trial_usd)
