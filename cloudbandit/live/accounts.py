"""Where to look for what stands: providers by name, or those of a store's studies; and what of it a sweep may take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cloudbandit.core.errors import MissingExtraError, ProviderError, UsageError
from cloudbandit.core.leases import LeaseState
from cloudbandit.core.protocols import Provider
from cloudbandit.core.rented import Rented, run_tag
from cloudbandit.core.store import Store
from cloudbandit.live.giving_back import Clock, Reaped, reap
from cloudbandit.live.studyfile import KIND, providers_of
from cloudbandit.providers.registry import PROVIDERS

UNASKED = (ProviderError, MissingExtraError, UsageError)
"""Why one provider cannot be asked: no answer, no SDK, or no project; that keeps no other from being asked."""


def accounts(names: Sequence[str], store: Store | None) -> dict[str, Provider]:
    """Providers by a name to show: those named, with the credentials and settings they find by themselves, then those of the
    store's studies as the studies set them.

    Raises:
        UsageError: there is none.
    """
    found: dict[str, Provider] = {name: PROVIDERS.make(name, {}, f"--provider {name}") for name in names}
    made: list[tuple[str, Mapping[str, Any]]] = [(name, {}) for name in names]
    for study in store.studies() if store is not None else []:
        spec = store.spec(study) if store is not None else {}
        if spec.get("kind") != KIND:
            continue
        for arm, (plug_in, settings) in providers_of(spec).items():
            if (plug_in, settings) not in made:
                made.append((plug_in, settings))
                shown = arm if arm not in found else f"{study}/{arm}"
                found[shown] = PROVIDERS.make(plug_in, settings, f"the provider {arm} of the study {study}")
    if not found:
        raise UsageError("nowhere to look: name a provider (--provider aws) or a store with live studies (--store URL)")
    return found


def chosen(*, run: str | None, every: bool, store: Store | None, now: float) -> Callable[[Rented], bool]:
    """What a sweep may take of what bears our tag: all of it; of one run; of one store's leases; or, unless more is asked for,
    what has outlived its time."""
    if every:
        return lambda one: True
    if run is not None:
        return lambda one: one.run in (run, run_tag(run))
    if store is not None:
        mine = f"cb-{store.id}-"
        return lambda one: one.key.startswith(mine)
    return lambda one: one.expires is not None and one.expires < now


@contextlib.contextmanager
def still(store: Store | None) -> Iterator[None]:
    """While a store's leases are swept none of its studies runs, and none begins.

    Raises:
        StoreBusyError: one runs.
    """
    with contextlib.ExitStack() as claims:
        for study in store.studies() if store is not None else []:
            if store is not None:
                claims.enter_context(contextlib.closing(store.claim(study)))
        yield


def sweep(
    providers: Mapping[str, Provider],
    *,
    run: str | None = None,
    every: bool = False,
    store: Store | None = None,
    clock: Clock = time,
) -> dict[str, Reaped]:
    """Take what is `chosen`, provider by provider, and bring the store's ledger up to what was seen.

    Raises:
        StoreBusyError: a study of the store runs.
    """
    wanted = chosen(run=run, every=every, store=store, now=clock.time())
    with still(store):
        reaped: dict[str, Reaped] = {}
        for name, one in providers.items():
            try:
                reaped[name] = reap(one, run=run, wanted=wanted, clock=clock)
            except UNASKED as error:
                reaped[name] = Reaped(errors=[str(error)])
        if store is not None and not any(one.errors for one in reaped.values()):
            left = {thing.key for one in reaped.values() for thing in one.left}
            for row in store.leases.standing(run):
                state = LeaseState.STUCK if row.key in left else LeaseState.GONE
                store.leases.mark(row.key, state, why="still listed" if row.key in left else row.why)
    return reaped
