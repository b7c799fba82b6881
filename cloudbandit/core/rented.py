"""What stands in somebody's account: a launch that was accepted, a thing that is billed, and whether it is gone."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What a listing says of something that was told to go. Nothing but a listing makes it GONE: no deadline does."""

    GOING = "going"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A provider's word that it accepted a launch. The machine need not be up, nor be listed yet.

    Args:
        key: of the lease.
        id: the provider's own name of the machine; empty where it has none.
        where: its region or zone; empty: nowhere in particular.
    """

    key: str
    id: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Rented:
    """One billable thing that bears our tag, as a listing shows it.

    Args:
        provider, where: whose it is, and its region or zone.
        key, run: the tags it was launched with; empty where they were lost.
        id: the provider's own name.
        kind: ``machine``, ``disk``, ``address``, ``spot request``, …
        what: the instance type.
        state: the provider's own word.
        since, expires: seconds since 1970; None: unknown.
        usd_per_h: what it costs while it stands; None: unknown.
    """

    provider: str
    key: str
    run: str
    where: str = ""
    id: str = ""
    kind: str = "machine"
    what: str = ""
    state: str = ""
    since: float | None = None
    expires: float | None = None
    usd_per_h: float | None = None


def run_tag(run: str) -> str:
    """A run's name as every cloud takes it in a tag: as it is where that is lower case, digits and dashes, at most 48 characters;
    else shortened to such, with a digest so that two runs differ."""
    if re.fullmatch(r"[a-z]([a-z0-9-]{0,46}[a-z0-9])?", run):
        return run
    slug = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")[:36]
    return f"r-{slug}-{hashlib.sha256(run.encode()).hexdigest()[:8]}".replace("--", "-")
