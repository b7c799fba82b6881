"""Giving back: told to go until a listing that can be believed shows nothing, however often that has to be said."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cloudbandit.core.errors import CredentialsError, LeaseStuck, ProviderError
from cloudbandit.core.protocols import Provider
from cloudbandit.core.rented import Fate, Rented

_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 15.0
_LOOKS = 2


class Clock(Protocol):
    """The module `time`, or time that passes only when somebody sleeps."""

    def time(self) -> float: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


def give_back(provider: Provider, key: str, *, believed_from: float, clock: Clock = time) -> None:
    """Destroy what a key rents, and see it gone.

    A listing may be behind by the provider's ``lag_s``. So what it does not show is believed to be gone no earlier than so long
    after the last call that may have made something; and where listings may be behind at all, two such in a row have to agree.

    Args:
        believed_from: on the monotonic clock; from then on an empty listing is believed.

    Raises:
        LeaseStuck: it is still there ``gone_s`` later, or nobody can tell.
    """
    limit = max(clock.monotonic(), believed_from) + provider.gone_s
    looks, pause = 0, _PAUSE_S
    while True:
        looked = clock.monotonic()
        failed: ProviderError | None = None
        try:
            fate = provider.destroy(key)
        except CredentialsError as refused:
            raise LeaseStuck(refused.code, f"{key} could not be told to go: {refused.text}") from refused
        except ProviderError as error:
            fate, failed = Fate.GOING, error
        looks = looks + 1 if fate is Fate.GONE and looked >= believed_from else 0
        if looks >= (_LOOKS if provider.lag_s else 1):
            return
        now = clock.monotonic()
        if now >= limit and fate is not Fate.GONE:
            why = f"the last answer was: {failed}" if failed else "it was told to go and is still listed"
            raise LeaseStuck("stuck", f"{key} is not gone after {provider.gone_s:g} s; {why}") from failed
        if fate is Fate.GONE:
            pause = _PAUSE_S
            clock.sleep(max(pause, believed_from - now))
        else:
            clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


@dataclass
class Reaped:
    """What a sweep found, in the order it was found: what went, what is still there (or nobody could tell), and what stands with
    our tag and was not meant."""

    gone: list[Rented] = field(default_factory=list)
    left: list[Rented] = field(default_factory=list)
    spared: list[Rented] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def reap(
    provider: Provider,
    *,
    run: str | None = None,
    wanted: Callable[[Rented], bool] = lambda _: True,
    clock: Clock = time,
) -> Reaped:
    """Destroy by tag alone, with or without a ledger, what of a run (None: of any) is wanted, and see it gone.

    Launches that were made before this is called are found: it looks until its last two listings, the first of which began the
    provider's ``lag_s`` or more after the call, show nothing. Whatever does not bear our tag is never touched: the provider lists
    nothing else, and is given keys alone.
    """
    reaped = Reaped()
    began, seen = clock.monotonic(), {}
    believed_from, limit = began + provider.lag_s, began + provider.lag_s + provider.gone_s
    looks, pause = 0, _PAUSE_S
    while True:
        looked = clock.monotonic()
        failed: list[str] = []
        found: list[Rented] = []
        refused = False
        try:
            listed = provider.rented(run)
            found = [one for one in listed if wanted(one)]
            reaped.spared = [one for one in listed if not wanted(one)]
        except ProviderError as error:
            failed, refused = [str(error)], isinstance(error, CredentialsError)
        if any((one.kind, one.id, one.key) not in seen for one in found):
            limit = max(limit, looked + provider.gone_s)
        seen.update({(one.kind, one.id, one.key): one for one in found})
        for key in dict.fromkeys(one.key for one in found if one.key):
            try:
                provider.destroy(key)
            except ProviderError as error:  # the others are told to go all the same
                failed.append(f"{key}: {error}")
                refused = refused or isinstance(error, CredentialsError)
        if refused:
            reaped.errors += failed
            break
        looks = 0 if found or failed or looked < believed_from else looks + 1
        if looks >= (_LOOKS if provider.lag_s else 1):
            break
        now = clock.monotonic()
        if now >= limit and (found or failed):
            reaped.errors += failed
            break
        clock.sleep(max(_PAUSE_S, believed_from - now) if not (found or failed) else pause)
        pause = _PAUSE_S if not (found or failed) else min(2 * pause, _LONGEST_PAUSE_S)
    here = {(one.kind, one.id, one.key) for one in found}
    reaped.left = list(seen.values()) if reaped.errors else found
    reaped.gone = [one for place, one in seen.items() if place not in here and one not in reaped.left]
    return reaped
