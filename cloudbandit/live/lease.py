"""A lease: the only way to a host. What is leased is given back, it expires by itself, and its bill is asked for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from cloudbandit.core.offer import Bill, Offer
from cloudbandit.core.protocols import Host, Provider

_SAME_USD = 1e-6
"""Two clocks differ: a rest of the bill below this is the trial's too."""


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

    Attributes:
        used_s: from when the host was up until it was given back; 0 where it never was.
        bill: the provider's, once the host was given back.
    """

    provider: Provider
    offer: Offer
    run: str
    key: str
    seconds: float
    used_s: float = 0.0
    bill: Bill = field(default_factory=Bill)

    @contextlib.contextmanager
    def host(self) -> Iterator[Host]:
        """Launch; at the end, and whatever the launch or the work on the host raised, destroy by key and ask for the bill.

        Raises:
            NoCapacity: there is no such host to be had now.
        """
        host: Host | None = None
        began = 0.0
        try:
            expires = time.time() + self.seconds
            receipt = self.provider.launch(self.offer, run=self.run, key=self.key, expires=expires)
            host = self.provider.connect(receipt)
            began = time.monotonic()
            yield host
        finally:
            try:
                if host is not None:
                    host.close()
                    self.used_s = time.monotonic() - began
            finally:
                self.provider.destroy(self.key)
                self.bill = self.provider.bill(self.key)

    @property
    def trial_usd(self) -> float:
        """The bill's part for the time on the host, at the offer's price."""
        share = min(self.offer.usd_per_h * self.used_s / 3600, self.bill.usd)
        return share if self.bill.usd - share >= _SAME_USD else self.bill.usd

    @property
    def hosts_usd(self) -> float:
        """The rest of the bill: boot, idle time, minimum billing, storage."""
        return max(0.0, self.bill.usd - self.trial_usd)
