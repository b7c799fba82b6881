"""Which offers rest: what was UNAVAILABLE several times in a row is left alone for a while, counted in trials, not in minutes.

An offer is a candidate's arm path. A rest is a function of what was told, so that the seed and resume laws hold; only
`Rests.wake`, by which a study asks when nothing else is left, is not, and the next outcome makes up for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Observation, Status

REST_AFTER = 3
"""So many UNAVAILABLE outcomes in a row, and an offer rests …"""
REST_TRIALS = 10
"""… until so many informative trials were told. Then it is asked again; still UNAVAILABLE, it rests again."""

TOO_DEAR = "too_dear"
"""Reason of a suggestion that was set aside: the offer is to be had, only not for what is left of the budget."""

Offers = tuple[str, ...]
"""An arm path."""


class Rests:
    """The offers that rest, kept up to date by `tell`."""

    def __init__(self) -> None:
        self._row: dict[Offers, int] = {}
        self._since: dict[Offers, int] = {}  # informative trials told when the rest began
        self._began: dict[Offers, int] = {}  # tells when the rest began
        self._woken: set[Offers] = set()
        self._informative = self._tells = 0

    def tell(self, observation: Observation) -> None:
        """Any outcome, in the order told."""
        if observation.result.reason == TOO_DEAR:
            return
        offer = observation.candidate.arm
        self._tells += 1
        self._informative += observation.score is not None
        self._woken.discard(offer)
        if observation.result.status is not Status.UNAVAILABLE:
            self._row.pop(offer, None)
            return
        self._row[offer] = self._row.get(offer, 0) + 1
        if self._row[offer] >= REST_AFTER:
            self._since[offer], self._began[offer] = self._informative, self._tells

    @property
    def any_ever(self) -> bool:
        """Whether any offer ever rested."""
        return bool(self._since)

    @property
    def offers(self) -> frozenset[Offers]:
        """What rests now."""
        return frozenset(
            offer
            for offer, row in self._row.items()
            if row >= REST_AFTER and self._informative - self._since[offer] < REST_TRIALS and offer not in self._woken
        )

    def arms(self, leaves: Iterable[Offers]) -> frozenset[str]:
        """The top-level arms all of whose offers rest, of the offers there are."""
        resting = self.offers
        if not resting:
            return frozenset()
        every = list(leaves)
        return frozenset(path[0] for path in every) - {path[0] for path in every if path not in resting}

    @property
    def longest(self) -> Offers | None:
        """The offer that has rested longest; None: nothing rests."""
        return min(self.offers, key=lambda offer: self._began[offer], default=None)

    def wake(self, offers: Collection[Offers]) -> None:
        """May be asked again before their rest is over, until their next outcome."""
        self._woken |= {offer for offer in offers if offer in self._row}


def rouse(inner: object, rests: Rests, domain: Domain) -> None:
    """Tell the optimizer of one arm which of its offers no longer rest by the count of the whole study: it sees its arm alone."""
    wake = getattr(inner, "wake", None)
    if wake is not None and rests.any_ever:
        wake(set(domain.leaves) - rests.offers)
