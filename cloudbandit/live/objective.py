"""The objective of a live study: lease a host of the arm's offer, measure there, pay."""

from __future__ import annotations

import contextlib
import errno
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cloudbandit.catalogue.facts import facts as facts_of
from cloudbandit.core.errors import (
    HostInterrupted,
    HostLost,
    LeaseStuck,
    NoCapacity,
    OfferBarred,
    ProviderError,
    SpaceError,
    UsageError,
)
from cloudbandit.core.leases import LeaseBook, LeaseState, MemoryBook
from cloudbandit.core.offer import Offer
from cloudbandit.core.protocols import Provider, Quote, Run
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Config, Result, Status, Trial
from cloudbandit.engines.engine import Engine
from cloudbandit.live.giving_back import Clock, give_back
from cloudbandit.live.lease import Lease, lease_key
from cloudbandit.live.trial import STOP_S, Benchmark, measure


@dataclass
class LiveObjective:
    """Measures configs of an engine on hosts that are leased for one trial each.

    A trial costs its share of the lease: the offer's price for the time on the host. What the provider bills beside that is
    ``hosts_usd``. Metrics of the machine go with those of the engine: ``price_usd_per_h``, ``engines`` (so many of the config fit
    on it side by side) and ``usd_per_million_output_tokens``.

    Args:
        providers: one, or several by the names of their arms.
        run: tags the hosts of this study.
        store_id: of the `cloudbandit.Store` that keeps the trials; it makes the keys of leases unique. By default a fresh one.
        needs: metrics that the goal aims at: a trial that ran without measuring one (every request after the warm-up timed out)
            is a failed one, ``not_measured``. None: the goal is not known here; then a trial none of whose requests counted is.
        book: where leases are written down; by default a ledger that ends with this process.
        clock: for tests.
        trust: start also what the engine's known constraints rule out (to record how it fails).

    Raises:
        UsageError: two offers of a provider have the same label.
    """

    providers: Provider | Mapping[str, Provider]
    engine: Engine
    benchmark: Benchmark
    run: str = "cloudbandit"
    store_id: str = field(default_factory=lambda: secrets.token_hex(4))
    trust: bool = False
    needs: Sequence[str] | None = None
    book: LeaseBook = field(default_factory=MemoryBook)
    clock: Clock = field(default_factory=lambda: time)
    _offers: dict[tuple[str, ...], tuple[Provider, Offer]] = field(init=False, repr=False)
    _barred: dict[tuple[str, ...], OfferBarred] = field(init=False, repr=False, default_factory=dict)
    _stuck: list[LeaseStuck] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        self._offers = {}
        for name, provider in self.by_arm.items():
            for offer in provider.offers():
                if (name, offer.label) in self._offers:
                    raise UsageError(f"the provider {name} has two offers {offer.label!r}; labels must differ")
                self._offers[name, offer.label] = (provider, offer)

    @property
    def by_arm(self) -> Mapping[str, Provider]:
        """The providers by the names of their arms."""
        return self.providers if isinstance(self.providers, Mapping) else {self.providers.name: self.providers}

    def domain(self) -> Domain:
        """Provider → offer → the engine's knobs, without the configs that an offer has too few accelerators for.

        Raises:
            UsageError: nothing fits anywhere.
        """
        arms: dict[str, dict[str, object]] = {}
        for (name, label), (_, offer) in self._offers.items():
            with contextlib.suppress(SpaceError):  # no config fits on it: it is no arm
                arms.setdefault(name, {})[label] = self.engine.space(offer.accelerators or None)
        arms = {name: offers for name, offers in arms.items() if offers}
        if not arms:
            raise UsageError(
                f"no offer has the accelerators that any config of {self.engine.name} takes; narrow its knobs"
            )
        return Domain({name: Domain(offers) for name, offers in arms.items()})

    def offer(self, candidate: Candidate) -> Offer:
        """What the candidate's arm rents."""
        return self._offers[candidate.arm][1]

    def facts(self, candidate: Candidate) -> Mapping[str, float | str]:
        """Of its offer and that offer's accelerator: see `cloudbandit.catalogue.facts.facts`."""
        return facts_of(self.offer(candidate))

    def quote(self, candidate: Candidate) -> Quote:
        """What the provider may bill for the longest that a trial may take, boot included.

        Raises:
            LeaseStuck: an earlier lease may still cost money: nothing more is launched.
        """
        if self._stuck:
            raise self._stuck[0]
        provider, offer = self._offers[candidate.arm]
        seconds = self._longest_s(provider)
        return Quote(provider.quote(offer, seconds), seconds)

    def _longest_s(self, provider: Provider) -> float:
        return provider.boot_s + self.benchmark.limit_s + STOP_S

    def evaluate(self, trial: Trial, run: Run) -> Result:
        """See `cloudbandit.core.protocols.Objective.evaluate`."""
        provider, offer = self._offers[trial.candidate.arm]
        config = trial.candidate.config
        why = None if self.trust else self.engine.why_not(config) or self._too_small(offer, config)
        if why is not None:
            return Result(Status.FAILED, reason="known_constraint", error=why)
        barred = self._barred.get(trial.candidate.arm)
        if barred is not None:
            return Result(Status.UNAVAILABLE, reason=barred.code, error=f"{barred} (not asked again in this study)")
        lease = self._lease(trial, provider, offer)
        began = self.clock.monotonic()
        try:
            with lease.host() as host:
                result = measure(host, self.engine, self.benchmark, trial, run)
                if result.reason == HostLost.CODE and getattr(provider, "interrupted", lambda _: False)(lease.key):
                    result = replace(result, status=Status.INTERRUPTED, reason=HostInterrupted.CODE)
        except NoCapacity as none:
            if isinstance(none, OfferBarred):
                self._barred[trial.candidate.arm] = none
            status = Status.INTERRUPTED if isinstance(none, HostInterrupted) else Status.UNAVAILABLE
            result = Result(status, reason=none.code, error=str(none))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            result = Result(Status.UNAVAILABLE, reason="disk_full", error=str(error))
        finally:
            if lease.stuck is not None:
                self._stuck.append(lease.stuck)
        image = getattr(provider, "image_of", lambda _: "")(offer)
        artifacts = {**result.artifacts, **({"image": image} if image else {})}
        metrics = {**result.metrics, **self._of_machine(offer, config, result)}
        result = replace(result, metrics=metrics, artifacts=artifacts)
        return replace(
            self._judgeable(result),
            spent_usd=lease.trial_usd,
            hosts_usd=lease.hosts_usd,
            seconds=self.clock.monotonic() - began,
        )

    def _lease(self, trial: Trial, provider: Provider, offer: Offer) -> Lease:
        key = lease_key(self.store_id, self.run, offer, trial.number)
        seconds = self._longest_s(provider)
        hold_usd = provider.quote(offer, seconds)
        arm = trial.candidate.arm[0]
        return Lease(provider, offer, self.run, key, seconds, self.book, arm, hold_usd, self.clock)

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """While a study has claimed its store: what an earlier run left is given back before the first trial, what this one left
        at the end, however it ends.

        Raises:
            LeaseStuck: something does not go.
        """
        self.clear()
        try:
            yield
        except BaseException as error:
            try:
                self.clear()
            except ProviderError as stuck:
                error.add_note(str(stuck))
            raise
        self.clear()

    def clear(self) -> None:
        """Give back every lease of this run that was not seen gone.

        Raises:
            LeaseStuck: one does not go; the others were told to all the same.
        """
        self._stuck.clear()
        rows = self.book.standing(self.run)
        for row in rows:  # all at once: the next would cost money while one that does not go is waited for
            with contextlib.suppress(ProviderError):  # said again, and heard, below
                if row.arm in self.by_arm:
                    self.by_arm[row.arm].destroy(row.key)
        for row in rows:
            provider = self.by_arm.get(row.arm)
            try:
                if provider is None:
                    raise LeaseStuck("stuck", f"{row.key} was rented of {row.arm!r}, which this study does not have")
                believed_from = self.clock.monotonic() + provider.lag_s
                give_back(provider, row.key, believed_from=believed_from, clock=self.clock)
            except LeaseStuck as stuck:
                self.book.mark(row.key, LeaseState.STUCK, why=str(stuck))
                self._stuck.append(stuck)
            else:
                self.book.mark(row.key, LeaseState.GONE)
        if self._stuck:
            cure = f"cloudbandit reap --run {self.run} --provider … until it exits with 0, or the provider's console"
            raise LeaseStuck("stuck", f"{'; '.join(map(str, self._stuck))}. It may cost money. Cure: {cure}")

    def _judgeable(self, result: Result) -> Result:
        """A trial that ran, and did not measure what it was for, failed."""
        if self.needs is None:
            lacking = ["a latency"] if result.metrics.get("failure_rate", 0.0) >= 1 else []
        else:
            lacking = [metric for metric in self.needs if metric not in result.metrics]
        if result.status is not Status.OK or not lacking:
            return result
        failed = result.metrics.get("failure_rate", 0.0)
        text = f"{', '.join(lacking)} was not measured; of the requests after the warm-up {failed:.0%} failed"
        return replace(result, status=Status.FAILED, reason="not_measured", error=text)

    def _too_small(self, offer: Offer, config: Config) -> str | None:
        """None where the offer has the accelerators a config takes, or nobody knows how many it has."""
        taken = self.engine.accelerators(config)
        if not 0 < offer.accelerators < taken:
            return None
        return f"the config takes {taken} accelerators; {offer.label} has {offer.accelerators}"

    def _of_machine(self, offer: Offer, config: Config, result: Result) -> dict[str, float]:
        """What goes with the metrics of an engine; nothing where nothing was measured."""
        if not result.rows:
            return {}
        taken = self.engine.accelerators(config)
        found = {
            "price_usd_per_h": offer.usd_per_h,
            "engines": float(max(1, offer.accelerators // taken)) if taken else 1.0,
        }
        tokens = result.metrics.get("output_tok_per_s", 0.0)
        if tokens > 0:
            found["usd_per_million_output_tokens"] = offer.usd_per_h / (tokens * 3600) * 1e6
        return found
