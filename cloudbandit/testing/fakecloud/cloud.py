"""The truth of one cloud, apart from what it tells: what stands, since when, and what that costs.

What it models: creation that is idempotent by token (EC2's ClientToken, GCE's name, ARM's name); tags; listings that are behind
by a time that varies from call to call up to a bound; deletions that take time, or are accepted and not carried out; refusals;
answers that are lost before or after a call took effect; calls that take effect late; disks that outlive their machine; spot
machines that are taken back; machines that go by themselves when their time is over. A bill is the price for the time from
creation until it is really gone.

Where it guesses: that there is a bound on the lag at all; that tags are set together with what they tag; and that billing goes on
until a deletion is done (on real clouds it mostly ends earlier). Quotas and capacity are as the test says, not as any cloud's.
"""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MACHINE, DISK = "machine", "disk"
DISK_USD_PER_H = 0.01


class Fault(StrEnum):
    """What goes wrong with one call."""

    REFUSED = "refused"
    """No capacity."""
    QUOTA = "quota"
    THROTTLED = "throttled"
    FORBIDDEN = "forbidden"
    BROKEN = "broken"
    """The provider's own fault, before anything was done."""
    LOST = "lost"
    """It took effect, and the answer is lost."""
    LATE = "late"
    """The caller gives up waiting; it takes effect afterwards, within half the lag."""
    PARTIAL = "partial"
    """A disk is made and the machine is not; the answer is an error."""
    LEFT = "left"
    """The operation failed for want of capacity, and the machine stands all the same."""
    IGNORED = "ignored"
    """A deletion is accepted, and not carried out."""


class Trouble(Exception):
    """What a caller sees of a fault. ``lost``: there is no answer at all."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.lost = fault in (Fault.LOST, Fault.LATE)


@dataclass
class Resource:
    """Something that stands, or stood. Times are on the cloud's clock; None: not yet.

    ``made`` may lie ahead: a call that takes effect late. ``going`` is when a deletion began that will be carried out.
    """

    id: str
    kind: str
    token: str
    what: str
    where: str
    tags: Mapping[str, str]
    usd_per_h: float
    made: float
    purchase: str = "on-demand"
    going: float | None = None
    gone: float | None = None
    interrupted: bool = False
    parts: list[Resource] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def state(self, at: float) -> str:
        """``none`` (not yet), ``up``, ``going`` or ``gone``."""
        if at < self.made:
            return "none"
        if self.gone is not None and at >= self.gone:
            return "gone"
        return "going" if self.going is not None and at >= self.going else "up"


class FakeCloud:
    """One account at one cloud. Safe to call from several threads.

    Args:
        clock: anything with ``time()`` and ``sleep()``: the module `time`, or a `VirtualClock`.
        lag_s: what a call did shows in every listing after at most so long: half of it may pass before a late call takes effect,
            and by half of it a listing may be behind, each by a time of its own.
        delete_s: a deletion takes so long; it is billed until then.
        seed: of the lags.
        quota: how many machines may stand; None: any number.
        lives: machines go by themselves at the time that was asked for.
        disks: every machine has a disk that outlives it unless it is deleted too.
    """

    def __init__(
        self,
        clock: Any = time,
        *,
        lag_s: float = 0.0,
        delete_s: float = 0.0,
        seed: int = 0,
        quota: int | None = None,
        lives: bool = True,
        disks: bool = False,
    ) -> None:
        self.clock, self.lag_s, self.delete_s, self.quota = clock, lag_s, delete_s, quota
        self.lives, self.disks = lives, disks
        self.resources: list[Resource] = []
        self.faults: dict[str, deque[Fault | None]] = defaultdict(deque)
        self.calls: list[str] = []
        self.on_made: Callable[[Resource], None] = lambda _: None
        self.on_gone: Callable[[Resource], None] = lambda _: None
        self._random, self._numbers, self._lock = random.Random(seed), itertools.count(1), threading.RLock()

    def plan(self, call: str, faults: Iterable[Fault | None]) -> None:
        """What the next calls of a kind (``create``, ``delete``, ``listing``) meet; None: nothing."""
        self.faults[call].extend(faults)

    def meet(self, call: str) -> Fault | None:
        """The fault that this call meets, if it meets one; those that answer instead of the cloud are raised."""
        with self._lock:
            self.calls.append(call)
            fault = self.faults[call].popleft() if self.faults[call] else None
        if fault in (Fault.REFUSED, Fault.QUOTA, Fault.THROTTLED, Fault.FORBIDDEN, Fault.BROKEN):
            raise Trouble(fault)
        return fault

    def create(
        self,
        token: str,
        *,
        what: str,
        where: str,
        tags: Mapping[str, str],
        usd_per_h: float,
        expires: float | None = None,
        purchase: str = "on-demand",
        **extra: Any,
    ) -> Resource:
        """A machine; asking again with a token gives the one that there is.

        Raises:
            Trouble: see `Fault`.
        """
        fault = self.meet("create")
        with self._lock:
            now = self.clock.time()
            known = next((r for r in self.resources if r.kind == MACHINE and r.token == token), None)
            if known is None:
                if self.quota is not None and len(self.standing(MACHINE)) >= self.quota:
                    raise Trouble(Fault.QUOTA)
                made = now + self._random.uniform(0.0, self.lag_s / 2) if fault is Fault.LATE else now
                if self.disks or fault is Fault.PARTIAL:
                    disk = self._add(DISK, token, "disk", where, tags, DISK_USD_PER_H, made=made)
                if fault is Fault.PARTIAL:
                    raise Trouble(fault)
                about = {"made": made, "purchase": purchase, "extra": extra, "parts": [disk] if self.disks else []}
                known = self._add(MACHINE, token, what, where, tags, usd_per_h, **about)
                if expires is not None and self.lives:
                    known.going = known.gone = max(expires, made)
        if fault is Fault.LEFT or (fault is not None and Trouble(fault).lost):
            raise Trouble(fault)
        return known

    def place(self, kind: str, token: str, *, where: str, tags: Mapping[str, str]) -> Resource:
        """Something that costs nothing, e.g. a folder for what does; asking again gives the one that stands."""
        with self._lock:
            now = self.clock.time()
            found = next(
                (r for r in self.resources if (r.kind, r.token) == (kind, token) and r.state(now) != "gone"), None
            )
            return found or self._add(kind, token, kind, where, tags, 0.0, made=now)

    def _add(
        self, kind: str, token: str, what: str, where: str, tags: Mapping[str, str], usd_per_h: float, **more: Any
    ) -> Resource:
        one = Resource(f"{kind[0]}-{next(self._numbers):04x}", kind, token, what, where, dict(tags), usd_per_h, **more)
        self.resources.append(one)
        self.on_made(one)
        return one

    def delete(self, id: str) -> None:
        """Begin a deletion; of what is gone, or is going, it changes nothing.

        Raises:
            Trouble: see `Fault`.
            KeyError: there never was such a thing.
        """
        fault = self.meet("delete")
        with self._lock:
            one = self.find(id)
            now = self.clock.time()
            if fault is not Fault.IGNORED and one.state(now) == "up":
                one.going, one.gone = now, now + self.delete_s
                self.on_gone(one)
        if fault is not None and Trouble(fault).lost:
            raise Trouble(fault)

    def find(self, id: str) -> Resource:
        """By its id, whatever listings show.

        Raises:
            KeyError: there never was such a thing.
        """
        for one in self.resources:
            if one.id == id:
                return one
        raise KeyError(id)

    def listing(self, **tags: str) -> list[tuple[Resource, str]]:
        """What a listing shows of everything with these tags: it and its state, as of some time within the lag.

        Raises:
            Trouble: see `Fault`.
        """
        fault = self.meet("listing")
        with self._lock:
            at = self.clock.time() - self._random.uniform(0.0, self.lag_s / 2)
            found = [(r, r.state(at)) for r in self.resources if all(r.tags.get(k) == v for k, v in tags.items())]
        if fault is not None:
            raise Trouble(fault)
        return [(r, state) for r, state in found if state != "none"]

    def interrupt(self, id: str) -> None:
        """Take a spot machine back."""
        with self._lock:
            one = self.find(id)
            if one.state(self.clock.time()) in ("up", "going"):
                one.going = one.gone = self.clock.time()
                one.interrupted = True
        self.on_gone(one)

    # ── the truth, for tests alone ──

    def standing(self, kind: str | None = None, **tags: str) -> list[Resource]:
        """What really stands, or will as soon as a late call takes effect."""
        now = self.clock.time()
        return [
            r
            for r in self.resources
            if kind in (None, r.kind)
            and r.state(max(now, r.made)) != "gone"
            and all(r.tags.get(k) == v for k, v in tags.items())
        ]

    def usd(self, **tags: str) -> float:
        """The bill so far of everything with these tags."""
        now = self.clock.time()
        return math.fsum(
            r.usd_per_h * max(0.0, min(now, now if r.gone is None else r.gone) - r.made) / 3600
            for r in self.resources
            if all(r.tags.get(k) == v for k, v in tags.items())
        )
