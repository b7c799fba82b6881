"""What a live study would do, and cost at most, before anything is launched or any account is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from cloudbandit.core.bandit import CloudBandit, Round
from cloudbandit.core.offer import Offer
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate
from cloudbandit.live.studyfile import LiveStudy
from cloudbandit.optimizers.registry import make_factory


@dataclass(frozen=True, slots=True)
class Planned:
    """An offer that a trial may be launched on.

    Attributes:
        arm: the provider's name in the study.
        trial_usd, trial_s: the most that one trial holds: boot, load, going, by the provider's tariff; and its longest time.
        age_days: of the price; None: unknown.
    """

    arm: str
    offer: Offer
    trial_usd: float
    trial_s: float
    age_days: int | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Before a study.

    Attributes:
        offers: what may be launched, the dearest first.
        rounds: CloudBandit's schedule; empty for other optimizers.
        cap_usd: what the study can never exceed; None: it has no such limit.
        trials_usd: all its trials at the dearest offer's worst case; trials that are given back come on top of that, within
            the cap. None: it has no limit of trials.
        permissions, quotas: by arm, what the account has to allow.
    """

    offers: tuple[Planned, ...]
    rounds: tuple[Round, ...]
    cap_usd: float | None
    trials_usd: float | None
    permissions: dict[str, tuple[str, ...]]
    quotas: dict[str, tuple[str, ...]]


def forecast(live: LiveStudy, today: date) -> Forecast:
    """Of a study; nothing is launched, and no provider is asked."""
    objective, budget = live.objective, live.budget
    planned = []
    for leaf in objective.domain().leaves:
        candidate = Candidate(leaf, {})
        offer, quote = objective.offer(candidate), objective.quote(candidate)
        planned.append(Planned(leaf[0], offer, quote.usd, quote.seconds, offer.age_days(today)))
    planned.sort(key=lambda one: (-one.trial_usd, one.arm, one.offer.label))
    problem = Problem(objective.domain(), live.goal, live.seed, objective.facts)
    optimizer = make_factory(live.optimizer, budget.trials)(problem)
    rights = {arm: tuple(getattr(one, "permissions", ())) for arm, one in objective.by_arm.items()}
    rights = {arm: some for arm, some in rights.items() if some}
    return Forecast(
        tuple(planned),
        optimizer.schedule() if isinstance(optimizer, CloudBandit) else (),
        budget.usd,
        None if budget.trials is None else budget.trials * planned[0].trial_usd,
        rights,
        {arm: tuple(sorted({quota_of(p.offer) for p in planned if p.arm == arm})) for arm in rights},
    )


def quota_of(offer: Offer) -> str:
    """What the account's quota has to leave free for one machine of an offer."""
    size = f"{offer.vcpus} vCPUs" if offer.vcpus else "the vCPUs"
    gpus = f", {offer.accelerators} × {offer.accelerator}" if offer.accelerators else ""
    return f"{offer.region}: {offer.purchase} {size} of {offer.instance_type}{gpus}"
