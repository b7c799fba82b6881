"""A lease: the only way to a host. What is leased is given back, and it expires by itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from cloudbandit.core.offer import Offer
from cloudbandit.core.protocols import Host, Provider


@contextlib.contextmanager
def lease(provider: Provider, offer: Offer, *, run: str, key: str, seconds: float) -> Iterator[Host]:
    """A host for at most so many seconds.

    Args:
        key: deterministic per trial attempt, so that a launch whose answer was lost is found again instead of paid twice.
        seconds: after them the host may be destroyed by anyone who looks (`expires` goes with it).
    """
    host = provider.launch(offer, run=run, key=key, expires=time.time() + seconds)
    try:
        yield host
    finally:
        try:
            host.close()
        finally:
            provider.destroy(key)
