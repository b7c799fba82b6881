"""What is planned: workloads with their demand, what can be rented, what it serves, how far it is, and what limits apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloudbandit.core.errors import UsageError
from cloudbandit.plan.capacity import CapacityTable
from cloudbandit.plan.demand import Demand
from cloudbandit.plan.terms import Network, Policy, Quota, Rental
from cloudbandit.plan.workload import Workload


@dataclass(frozen=True)
class Problem:
    """Everything a plan follows from.

    Args:
        demand: per workload and source, in each workload's unit.
        running: (workload, rental's name) → machines that run when the plan begins. None: nothing is known, and machines may be
            ordered before it begins; else what is ordered in the first period serves only once it has started.
        waiting: (workload, source) → load × steps of deferrable work left from before, by the step at whose end it is due.
        carry: deferrable work that is not yet due may be left over at the end.
        ahead: machines may be ordered before the plan begins though it is known what runs then.

    Raises:
        UsageError: names that are not unique or not known.
    """

    workloads: Sequence[Workload]
    rentals: Sequence[Rental]
    demand: Demand
    capacity: CapacityTable
    network: Network = field(default_factory=lambda: Network(default_rtt_ms=0.0))
    quotas: Sequence[Quota] = ()
    policy: Policy = field(default_factory=Policy)
    running: Mapping[tuple[str, str], int] | None = None
    waiting: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)
    carry: bool = False
    ahead: bool = False

    def __post_init__(self) -> None:
        for what, names in (
            ("workload", [w.name for w in self.workloads]),
            ("offer", [r.machine.name for r in self.rentals]),
            ("quota", [q.name for q in self.quotas]),
        ):
            twice = next((n for n in names if names.count(n) > 1), None)
            if twice is not None:
                raise UsageError(f"the {what} {twice!r} is there twice; cure: leave one out")
        if not self.workloads or not self.rentals:
            raise UsageError("a plan needs at least one workload and one offer")
        known = {w.name for w in self.workloads}
        wrong = next((w for w, _ in self.demand.load if w not in known), None)
        if wrong is not None:
            raise UsageError(f"the demand is of {wrong!r}; the workloads are {', '.join(sorted(known))}")
        lacking = known - {w for w, _ in self.demand.load}
        if lacking:
            raise UsageError(f"there is no demand of {', '.join(sorted(lacking))}; cure: give it, or leave it out")
        step_h = self.demand.step_s / 3600
        short = next((w for w in self.workloads if w.deadline_h is not None and w.deadline_h < step_h), None)
        if short is not None:
            raise UsageError(f"{short.name} may wait {short.deadline_h:g} h, less than a step of {step_h:g} h")
