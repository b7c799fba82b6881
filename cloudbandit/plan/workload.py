"""What is served: requests of one kind, to one model, with one promise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO

UNITS = ("users", "requests_per_s", "output_tok_per_s")
"""Of load: concurrent users (one request in flight each), requests or output tokens per second."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one kind, to one model, with one promise.

    Args:
        name: unique.
        slos: on latencies of one engine; see `cloudbandit.core.fleet.parse_slos`.
        unit: of its load, one of `UNITS`.
        model, tier: for people and for tables: what serves it, and for whom.
        input_tokens, output_tokens: of a request, the means.
        deadline_h: None: interactive, served as it arrives. Else work that may wait so many hours, a step at least.
        unmet_usd: what it costs to leave one unit of load unserved for an hour; None: that is not allowed.
        egress_gb: that leave a cloud per unit of load and hour.

    Raises:
        UsageError: another unit, or a number that makes no sense.
    """

    name: str
    slos: tuple[SLO, ...] = ()
    unit: str = "requests_per_s"
    model: str = ""
    tier: str = ""
    input_tokens: float = 1024.0
    output_tokens: float = 256.0
    deadline_h: float | None = None
    unmet_usd: float | None = None
    egress_gb: float = 0.0

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UsageError(f"the unit of {self.name} is {self.unit!r}; allowed: {', '.join(UNITS)}")
        for name, value in (("deadline_h", self.deadline_h), ("unmet_usd", self.unmet_usd)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} of {self.name} is {value!r}; it must be a finite number > 0")
        if not (math.isfinite(self.egress_gb) and self.egress_gb >= 0):
            raise UsageError(f"egress_gb of {self.name} is {self.egress_gb!r}; it must be a finite number ≥ 0")
