"""What is recommended, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cloudbandit.catalogue.offers import ServingOffer
from cloudbandit.core.goal import SLO


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Rent ``replicas`` machines of ``offer``.

    Attributes:
        users_per_replica: the most concurrent users one machine serves within the SLOs, at the chosen risk.
        load_per_engine: the users each engine has to serve, ⌈users / (replicas × engines)⌉.
        usd_per_h: replicas × the machine's price.
        usd_per_million_output_tokens: at that load, in the median; None where throughput is not known.
        p_meets_slo: probability that every SLO is met at ``load_per_engine`` (1 or 0 where it was measured).
        binding: the SLO that would be violated first by more users per machine; ``"none up to N users"`` where none is known to.
        source: ``"measured"``: every SLO was measured to be met on this profile, at ``load_per_engine`` or more users; else
            ``"predicted"``.
        medians: of each SLO's metric at ``load_per_engine``, by the name of the metric that answered.
        intervals: central 80 % predictive intervals of them; a point where it was measured.
        answered_by: each SLO's metric → the metric that answered: itself, or its stand-in (`cloudbandit.core.metrics.stand_in`).
        basis: what a prediction here rests on.
    """

    offer: ServingOffer
    replicas: int
    users_per_replica: int
    load_per_engine: int
    usd_per_h: float
    usd_per_million_output_tokens: float | None
    p_meets_slo: float
    binding: str
    source: str
    medians: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    answered_by: dict[str, str]
    basis: str = ""

    @property
    def stand_ins(self) -> list[str]:
        """The metrics that answered for others."""
        return sorted({name for metric, name in self.answered_by.items() if name != metric})

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        offer, machine = self.offer, self.offer.machine
        return {
            "offer": offer.name,
            "provider": machine.provider,
            "region": machine.region,
            "instance_type": machine.instance_type,
            "purchase": machine.purchase,
            "gpu": offer.profile.gpu.part,
            "gpus_per_engine": offer.profile.gpus,
            "engines_per_replica": offer.engines,
            "price_usd_per_h": offer.usd_per_h,
            "replicas": self.replicas,
            "users_per_replica": self.users_per_replica,
            "load_per_engine": self.load_per_engine,
            "usd_per_h": self.usd_per_h,
            "usd_per_million_output_tokens": self.usd_per_million_output_tokens,
            "p_meets_slo": self.p_meets_slo,
            "binding": self.binding,
            "source": self.source,
            "medians": self.medians,
            "intervals_80": {m: list(i) for m, i in self.intervals.items()},
            "answered_by": self.answered_by,
            "basis": self.basis,
        }


@dataclass(frozen=True)
class Answer:
    """A ranked list; empty where nothing meets the SLOs at the chosen risk, and then ``explanation`` says why.

    Attributes:
        ranking: one entry per offer, best first: by USD per hour, or by expected utility where that is the risk.
        explanation: which SLO binds and what the best attainable is, where nothing is recommended.
        notes: what the reader must know: metrics that stand for others, offers left out, old prices.
        expected_regret: by how much of the cheapest cost the first entry is expected to be off, 0 … 1.
        engine: that serves.
        p_wanted: the probability with which every entry meets the SLOs at least; None: ranked by expected utility.
    """

    model: str
    users: int
    slos: Sequence[SLO]
    ranking: Sequence[Recommendation]
    explanation: str
    notes: Sequence[str]
    expected_regret: float
    engine: str = ""
    p_wanted: float | None = None

    def choices(self) -> list[tuple[Recommendation, list[str]]]:
        """The ranking with what is equal but for the region as one choice: its first entry, and the regions, best first."""
        out: dict[tuple[object, ...], tuple[Recommendation, list[str]]] = {}
        for r in self.ranking:
            anywhere = replace(r.offer.machine, region="", as_of="", source="", note="")
            key = (anywhere, r.offer.profile.key, r.offer.engines, r.replicas)
            out.setdefault(key, (r, []))[1].append(r.offer.machine.region)
        return list(out.values())

    @property
    def best(self) -> Recommendation | None:
        return self.ranking[0] if self.ranking else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "model": self.model,
            "users": self.users,
            "slos": [str(s) for s in self.slos],
            "ranking": [r.to_dict() for r in self.ranking],
            "explanation": self.explanation,
            "notes": list(self.notes),
            "expected_regret": self.expected_regret,
            "engine": self.engine,
            "p_wanted": self.p_wanted,
        }
