"""The sections of ``plan.toml`` and what their keys may hold; docs/plan.md describes them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from cloudbandit.core.schema import Amount, Amount0, Count, Count0, Section, Text, Texts

Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Below1 = Annotated[float, Meta(ge=0, lt=1, description="a number from 0 to below 1")]
Inside = Annotated[float, Meta(gt=0, lt=1, description="a number between 0 and 1")]
Distances = dict[str, dict[str, Amount0]]


class PlanSection(Section):
    """``[plan]``"""

    name: Text = "plan"
    gap: Amount = 0.01
    seconds: Amount = 60.0
    seed: Count0 = 0


class DemandSection(Section):
    """``[demand]``"""

    file: Text
    kind: Literal["plan", "history"] = "plan"
    gaps: Literal["refuse", "zero", "line"] = "refuse"
    step_h: Amount | None = None
    hours: Amount | None = None
    method: Text = "naive-weekly"
    quantile: Inside | None = 0.95
    scale: Amount = 1.0


class WorkloadSection(Section):
    """``[workloads.NAME]``"""

    slos: Texts
    model: str = ""
    tier: str = ""
    unit: Literal["users", "requests_per_s", "output_tok_per_s"] = "requests_per_s"
    input_tokens: Amount = 1024.0
    output_tokens: Amount = 256.0
    deadline_h: Amount | None = None
    unmet_usd_per_unit_h: Amount | None = None
    egress_gb_per_unit_h: Amount0 = 0.0
    measured: Text | None = None


class ReservedSection(Section):
    """``[[offers.reserved]]``"""

    machine: Text
    usd_per_h: Amount
    least: Count0 = 0
    most: Count0 | None = None


class OffersSection(Section):
    """``[offers]``"""

    catalogue: Text = "catalogue"
    providers: Texts = field(default_factory=list)
    regions: Texts = field(default_factory=list)
    machines: Texts = field(default_factory=list)
    purchases: list[Literal["on-demand", "spot"]] = field(default_factory=lambda: ["on-demand"])
    start_s: Amount0 = 300.0
    min_bill_s: Amount0 = 60.0
    spot_reclaimed: Below1 = 0.0
    most: Count0 | None = None
    reserved: list[ReservedSection] = field(default_factory=list)


class CapacitySection(Section):
    """``[capacity]``"""

    file: Text | None = None
    surrogate: bool = True
    engine: Text = "vllm"
    precision: Text | None = None
    probability: Inside = 0.7


class NetworkSection(Section):
    """``[network]``"""

    rtt_ms: Distances = field(default_factory=dict)
    default_rtt_ms: Amount0 | None = None
    egress_usd_per_gb: Distances = field(default_factory=dict)
    default_egress_usd_per_gb: Amount0 = 0.0


class QuotaSection(Section):
    """``[[quotas]]``"""

    name: Text
    most: Amount0
    provider: str = ""
    region: str = ""
    accelerator: str = ""
    purchase: str = ""
    counts: Literal["accelerators", "vcpus", "machines"] = "accelerators"


class PolicySection(Section):
    """``[policy]``"""

    survive: Literal["nothing", "machine", "region", "provider"] = "nothing"
    spare: Count = 1
    spot_share: Share = 1.0
    most_kinds: Count | None = None


class PlanFile(Section):
    """The whole file."""

    demand: DemandSection
    workloads: dict[str, WorkloadSection]
    plan: PlanSection = field(default_factory=PlanSection)
    offers: OffersSection = field(default_factory=OffersSection)
    capacity: CapacitySection = field(default_factory=CapacitySection)
    network: NetworkSection = field(default_factory=lambda: NetworkSection(default_rtt_ms=0.0))
    quotas: list[QuotaSection] = field(default_factory=list)
    policy: PolicySection = field(default_factory=PolicySection)
    running: dict[str, dict[str, Count0]] | None = None
