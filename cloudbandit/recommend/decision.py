"""From beliefs to a decision: how many users an engine takes, how many machines that needs, what they cost, which to rent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.offers import ServingOffer
from cloudbandit.core.curve import max_users, meets, prefix, replicas_for
from cloudbandit.core.goal import SLO

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def ok_loads(samples: Mapping[str, Floats], slos: Sequence[SLO], loads: Sequence[int], users: float) -> Bools:
    """Where every SLO is met at that load and at every lower one, in the samples' shape."""
    every = [meets(slo, samples[slo.metric], loads, users) for slo in slos]
    return prefix(np.logical_and.reduce(every))


@dataclass(frozen=True)
class Choices:
    """Machines to choose from, each an engine layout at a price.

    Args:
        row: (offers,) which profile of the samples an offer runs.
        engines: (offers,) engines per machine.
        usd_per_h: (offers,) price of a machine.
    """

    row: Ints
    engines: Ints
    usd_per_h: Floats

    @classmethod
    def of(cls, offers: Sequence[ServingOffer], profiles: Sequence[tuple[str, int]]) -> Choices:
        where = {key: i for i, key in enumerate(profiles)}
        return cls(
            np.array([where[o.profile.key] for o in offers], np.int64),
            np.array([o.engines for o in offers], np.int64),
            np.array([o.usd_per_h for o in offers], float),
        )


def probability(ok: Bools) -> Floats:
    """(profiles, loads): the share of samples (first axis) in which a load and all lower ones meet the SLOs."""
    out: Floats = ok.mean(0)
    return out


def confident_load(p: Floats, confidence: float) -> Ints:
    """(profiles,): index of the largest load that meets the SLOs with at least that probability; −1: none."""
    out: Ints = (p >= confidence - 1e-12).sum(-1) - 1
    return out


def true_costs(ok: Bools, choices: Choices, loads: Sequence[int], users: float) -> Floats:
    """(samples, offers): what each offer costs where the samples are the truth; infinite where no load meets the SLOs."""
    most = max_users(ok, loads)[:, choices.row]
    cost: Floats = replicas_for(users, most * choices.engines) * choices.usd_per_h
    return cost


def utilities(ok: Bools, choices: Choices, loads: Sequence[int], users: float) -> Floats:
    """(offers, loads): expected utility of renting as many machines of an offer as that load asks for.

    The utility is 1 − overspend against the cheapest offer that would have done, 0 where it is negative and where the users
    are not served within the SLOs.
    """
    best = true_costs(ok, choices, loads, users).min(1)
    count = replicas_for(users, np.outer(choices.engines, loads))  # machines: (offers, loads)
    cost = count * choices.usd_per_h[:, None]
    # The machines serve the users if each engine takes its share of them: some load ≥ users / (machines × engines) is ok.
    most = max_users(ok, loads)[:, choices.row]
    serves = count * (choices.engines * most)[:, :, None] >= users
    with np.errstate(invalid="ignore"):
        worth = np.clip(2.0 - cost / best[:, None, None], 0.0, 1.0)
    out: Floats = np.where(serves & np.isfinite(best)[:, None, None], worth, 0.0).mean(0)
    return out


def choose(
    ok: Bools, choices: Choices, loads: Sequence[int], users: float, rule: str | float
) -> tuple[int, int] | None:
    """The offer, by index, and how many of it.

    Args:
        ok: (samples, profiles, loads), prefix-closed.
        rule: a confidence (0.5: the median), or ``"utility"``.

    Returns:
        None where nothing is likely enough to meet the SLOs.
    """
    if rule == "utility":
        value = utilities(ok, choices, loads, users)
        if value.max(initial=0.0) <= 0:
            return None
        best, load = divmod(int(np.argmax(value.round(12))), len(loads))
        return best, int(replicas_for(users, choices.engines[best] * loads[load]))
    index = confident_load(probability(ok), float(rule))[choices.row]
    steps = np.concatenate([np.asarray(loads, np.int64), [0]])[index]  # −1 → 0
    count = replicas_for(users, steps * choices.engines)
    cost = count * choices.usd_per_h
    if not np.isfinite(cost).any():
        return None
    offer = int(np.argmin(cost.round(9)))
    return offer, int(count[offer])


def worth_of_measuring(ok: Bools, choices: Choices, loads: Sequence[int], users: float, known: Sequence[int]) -> Floats:
    """(profiles,): expected utility of the best offer whose cost is known, once that profile is measured too.

    Args:
        ok: samples given what is known; in a measured profile they agree.
        known: indices of measured profiles.
    """
    cost = true_costs(ok, choices, loads, users)
    best = cost.min(1)
    with np.errstate(invalid="ignore"):
        worth = np.where(np.isfinite(cost), np.clip(2.0 - cost / best[:, None], 0.0, 1.0), 0.0)
    # The best offer of each profile, in each sample.
    rows = ok.shape[1]
    by_profile = np.zeros((len(cost), rows))
    for r in range(rows):
        mine = choices.row == r
        if mine.any():
            by_profile[:, r] = worth[:, mine].max(1)
    have = by_profile[:, list(known)].max(1) if len(known) else np.zeros(len(cost))
    out: Floats = np.maximum(by_profile, have[:, None]).mean(0)
    return out


def expected_regret(
    ok: Bools, choices: Choices, loads: Sequence[int], users: float, decision: tuple[int, int] | None
) -> float:
    """By how much of the cheapest cost a decision is expected to be off, at most 1: 1 − its expected utility. The stop rule of
    few-shot measuring."""
    if decision is None:
        return 1.0
    best = true_costs(ok, choices, loads, users).min(1)
    offer, count = decision
    most = max_users(ok, loads)[:, choices.row[offer]]
    serves = count * choices.engines[offer] * most >= users
    with np.errstate(invalid="ignore"):
        worth = np.clip(2.0 - count * choices.usd_per_h[offer] / best, 0.0, 1.0)
    return 1.0 - float(np.where(serves & np.isfinite(best), worth, 0.0).mean())
