"""The week that the documentation plans: three models over three clouds, on demand, spot and reserved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cloudbandit.catalogue.prices import load_offers
from cloudbandit.core.bundled import bundled
from cloudbandit.core.fleet import parse_slos
from cloudbandit.core.offer import ON_DEMAND, SPOT
from cloudbandit.plan.capacity import CapacityTable
from cloudbandit.plan.demand import Demand
from cloudbandit.plan.predicted import PredictedCapacity
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.terms import RESERVED, Network, Policy, Rental, place_of
from cloudbandit.plan.traces import extended, merged
from cloudbandit.plan.workload import Workload
from cloudbandit.surrogate.training import measured_models

CLOUDS = ("aws", "azure", "gcp")
MACHINES = (
    *("p5.4xlarge", "p5.48xlarge", "g6e.xlarge", "p4de.24xlarge"),
    *("Standard_NC40ads_H100_v5", "Standard_NC80adis_H100_v5", "Standard_NC24ads_A100_v4", "Standard_NC96ads_A100_v4"),
    *("a2-ultragpu-1g", "a2-ultragpu-4g", "a2-ultragpu-8g", "g2-standard-24"),
)
"""Four instance types of each cloud."""
RESERVED_SHARE = 0.6
"""Of the on-demand price: an assumption, for the catalogue has no prices of reservations."""
SERVED = {
    # workload: model, mean tokens in and out, requests per second in all on a working day, hour of its peak (UTC), SLOs
    "chat": ("Llama-3.1-8B-Instruct", 1155, 211, 400.0, 15.0, ("ttft_ms<=1000", "tpot_ms<=40")),
    "code": ("Llama-3.1-70B", 2048, 28, 80.0, 14.0, ("ttft_ms<=2000", "tpot_ms<=50")),
    "agents": ("Qwen3-32B", 3000, 300, 40.0, 17.0, ("ttft_ms<=3000", "tpot_ms<=50")),
}
"""Lengths of ``chat`` and ``code`` are the means of the Azure traces of 2023 (conversation, code); rates are made up."""
_SOURCES = {"us": (0.6, 0.0, 25.0), "eu": (0.4, -6.0, 95.0)}
"""Share of the load, shift of its peak in hours, and round trip to the clouds' regions in the United States."""


def example_demand(days: int = 7, seed: int = 0) -> Demand:
    """Made-up days of the three workloads from two sources."""
    parts = []
    for i, (name, (_, _, _, rate, peak, _)) in enumerate(SERVED.items()):
        for j, (source, (share, shift, _)) in enumerate(_SOURCES.items()):
            made = extended(
                rate * share, days, seed=100 * seed + 10 * i + j, peak_hour=peak + shift, workload=name, source=source
            )
            parts.append(made)
    return merged(parts)


def example_week(
    clouds: Sequence[str] = CLOUDS,
    purchases: Sequence[str] = (ON_DEMAND, SPOT, RESERVED),
    demand: Demand | None = None,
    capacity: CapacityTable | None = None,
) -> Problem:
    """The problem, on some clouds, with some purchases.

    Args:
        demand: by default `example_demand`.
        capacity: by default the surrogate's, at a probability of 0.7; give that of another such problem, and nothing is predicted
            twice.
    """
    known = measured_models()[0]
    workloads = [
        Workload(name, parse_slos(slos), "requests_per_s", model, "", tokens_in, tokens_out)
        for name, (model, tokens_in, tokens_out, _, _, slos) in SERVED.items()
    ]
    machines = [
        o
        for o in load_offers(bundled() / "prices" / "offers.csv")
        if o.provider in clouds and o.instance_type in MACHINES
    ]
    rentals = []
    for o in machines:
        if o.purchase in purchases:
            rentals.append(Rental(o, start_s=300.0, reclaimed=0.2 if o.purchase == SPOT else 0.0))
        if o.purchase == ON_DEMAND and RESERVED in purchases:
            held = replace(o, purchase=RESERVED, usd_per_h=RESERVED_SHARE * o.usd_per_h, source="assumed")
            rentals.append(Rental(held, start_s=300.0))
    rtt = {(source, place_of(o)): ms for source, (_, _, ms) in _SOURCES.items() for o in machines}
    return Problem(
        workloads,
        rentals,
        example_demand() if demand is None else demand,
        capacity or PredictedCapacity({w.name: known[w.model] for w in workloads}),
        Network(rtt),
        policy=Policy(spot_share=0.3),
    )
