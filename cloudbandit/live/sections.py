"""The sections of ``study.toml`` and what their keys may hold; docs/live.md describes them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from cloudbandit.core.goal import MAX_FAILURE_RATE
from cloudbandit.core.schema import Amount, Amount0, Count, Count0, Section, Table, Text, Texts
from cloudbandit.optimizers import DEFAULT as DEFAULT_OPTIMIZER

Counts = Annotated[Count | list[Count], Meta(description="a whole number ≥ 1, or a list of such")]
Amounts = Annotated[Amount | list[Amount], Meta(description="a number > 0, or a list of such")]
Files = Annotated[Text | list[Text], Meta(description="a text, or a list of such")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Metrics = Annotated[Text | list[Text], Meta(description="a metric, or a list of metrics")]


class StudySection(Section):
    """``[study]``"""

    name: Text = "study"
    goal: Literal["slo", "fleet"] = "slo"
    minimize: Metrics | None = None
    maximize: Metrics | None = None
    for_users: Count | None = None
    slos: Texts = field(default_factory=list)
    max_failure_rate: Share = MAX_FAILURE_RATE
    optimizer: Text = DEFAULT_OPTIMIZER
    trials: Count | None = None
    usd: Amount | None = None
    seconds: Amount | None = None
    seed: Count0 = 0
    wait_s: Amount0 = 60.0
    history: Texts = field(default_factory=list)
    estimates: list[Literal["serving"]] = field(default_factory=list)
    stop: Literal["profit"] | None = None
    production_runs: Amount | None = None
    production_hours: Amount | None = None
    parallel: Count = 1
    store: Text | None = None
    keep_records: Text | None = None


class EngineSection(Section):
    """``[engine]``"""

    name: Text | None = None
    model: Text = "tiny-llama"
    knobs: Table = field(default_factory=dict)
    options: Table = field(default_factory=dict)


class WorkloadSection(Section):
    """``[workload]``"""

    lengths: Text = "lognormal"
    input_tokens: Amount = 128.0
    output_tokens: Amount = 32.0
    sigma: Amount0 = 0.5
    shared_prefix_tokens: Count0 = 0
    prefixes: Count = 1


class LoadSection(Section):
    """``[load]``"""

    users: Counts | None = None
    rate_per_s: Amounts | None = None
    trace: Files | None = None
    think_s: Amount0 | None = None
    ramp_s: Amount0 | None = None
    ramp_from_per_s: Amount0 | None = None
    burstiness: Amount0 | None = None
    speed: Amount | None = None
    requests: Count = 64
    warmup_s: Amount0 = 0.0
    timeout_s: Amount = 30.0
    trial_limit_s: Amount = 180.0
    request_slos: Texts = field(default_factory=list)


class TuneSection(Section):
    """``[tune]``: for `cloudbandit tune`; other commands leave it alone."""

    method: Text = "joint-forest"
    repeats: Count0 = 8
    finalists: Count = 3
    hopeless: bool = True
    default: Table = field(default_factory=dict)
    reference: list[float] | None = None


class StudyFile(Section):
    """The whole file. ``[provider]`` is ``[providers.NAME]`` for one."""

    study: StudySection
    engine: EngineSection
    workload: WorkloadSection
    load: LoadSection
    provider: Table | None = None
    providers: dict[str, Table] = field(default_factory=dict)
    tune: TuneSection | None = None
