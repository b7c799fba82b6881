"""The objective of a live study: lease a host of the arm's offer, measure there, pay."""

from __future__ import annotations

import contextlib
import errno
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cloudbandit.catalogue.facts import facts as facts_of
from cloudbandit.core.errors import NoCapacity, SpaceError, UsageError
from cloudbandit.core.offer import Offer
from cloudbandit.core.protocols import Provider, Quote, Run
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Config, Result, Status, Trial
from cloudbandit.engines.engine import Engine
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
    _offers: dict[tuple[str, ...], tuple[Provider, Offer]] = field(init=False, repr=False)

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
        """What the provider may bill for the longest that a trial may take, boot included."""
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
        key = lease_key(self.store_id, self.run, offer, trial.number)
        lease = Lease(provider, offer, self.run, key, self._longest_s(provider))
        began = time.monotonic()
        try:
            with lease.host() as host:
                result = measure(host, self.engine, self.benchmark, trial, run)
        except NoCapacity as none:
            result = Result(Status.UNAVAILABLE, reason=none.code, error=str(none))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            result = Result(Status.UNAVAILABLE, reason="disk_full", error=str(error))
        result = replace(result, metrics={**result.metrics, **self._of_machine(offer, config, result)})
        return replace(
            self._judgeable(result),
            spent_usd=lease.trial_usd,
            hosts_usd=lease.hosts_usd,
            seconds=time.monotonic() - began,
        )

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
