"""What happened: a candidate is tried, a trial has a result, and the goal's judgement makes it an observation.

Everything here is plain data that survives a trip through JSON unchanged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from cloudbandit.core.errors import UsageError

Value = str | int | float | bool
Config = Mapping[str, Value]


class Candidate:
    """What can be asked: an arm (nested arms give longer tuples) and a config of that arm.

    Immutable and hashable. An inactive parameter is absent from ``config``. Equality is by content;
    ``key`` is the canonical JSON text of both parts.
    """

    __slots__ = ("arm", "config", "key")

    arm: tuple[str, ...]
    config: Config
    key: str

    def __init__(self, arm: str | Sequence[str], config: Config) -> None:
        arm = (arm,) if isinstance(arm, str) else tuple(arm)
        content = dict(sorted(config.items()))
        set_ = object.__setattr__
        set_(self, "arm", arm)
        set_(self, "config", MappingProxyType(content))
        set_(self, "key", json.dumps([arm, content], separators=(",", ":"), ensure_ascii=False))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Candidate is immutable; {name!r} cannot be set")

    def __getitem__(self, name: str) -> Value:
        return self.config[name]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Candidate) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Candidate, (self.arm, dict(self.config))

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.config.items())
        return f"Candidate({'/'.join(self.arm)}: {inner})"

    @classmethod
    def from_key(cls, key: str) -> Candidate:
        """The candidate whose ``key`` this is."""
        arm, config = json.loads(key)
        return cls(arm, config)


class Status(StrEnum):
    """How a trial ended.

    ``OK FAILED TIMEOUT STOPPED`` are the config's doing and teach the optimizer (``STOPPED``: cut short as
    hopeless, a censored value). ``UNAVAILABLE INTERRUPTED LOST`` are the cloud's: the evaluation is given back.
    """

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    UNAVAILABLE = "unavailable"
    INTERRUPTED = "interrupted"
    LOST = "lost"

    @property
    def informative(self) -> bool:
        """Whether the outcome says something about the config."""
        return self not in (Status.UNAVAILABLE, Status.INTERRUPTED, Status.LOST)


@dataclass(frozen=True, slots=True)
class Trial:
    """One paid evaluation: ``number`` counts from 0 in a study; ``seed`` is for the objective's own draws;
    ``replicate`` counts earlier informative trials of the same candidate."""

    number: int
    candidate: Candidate
    seed: int = 0
    replicate: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What an evaluation returned, before any goal judged it.

    Args:
        status: how it ended.
        metrics: name → finite value; the unit is in the name (``ttft_p95_ms``, ``cost_usd``).
        stderr: name → standard error of the metric, where known.
        spent_usd: what the trial cost *us*, in USD (not what the config would cost in production).
        hosts_usd: what its host cost us beside that, in USD: boot, idle time, minimum billing, storage.
        seconds: how long the trial took, in seconds.
        source: ``"measured"``, ``"recorded"`` or ``"estimated"``.
        reason: a stable code for a bad end: ``start_timeout``, ``out_of_memory``, …
        rows: sub-measurements, e.g. one mapping per load level.
        artifacts: name → path or URL of what was kept.
        error: free text for people, e.g. the last log lines.

    Raises:
        UsageError: a number is NaN or infinite, or money or time is negative: such a result is a bug, never data.
    """

    status: Status = Status.OK
    metrics: Mapping[str, float] = field(default_factory=dict)
    stderr: Mapping[str, float] = field(default_factory=dict)
    spent_usd: float = 0.0
    seconds: float = 0.0
    source: str = "measured"
    reason: str = ""
    rows: Sequence[Mapping[str, float]] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    hosts_usd: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (*self.metrics.items(), *self.stderr.items()):
            if not math.isfinite(value):
                raise UsageError(
                    f"metric {name!r} of a result is {value!r}; a result holds finite numbers only. "
                    "Cure: leave an unknown metric out, or return status=Status.FAILED with a reason"
                )
        amounts = (("spent_usd", self.spent_usd), ("hosts_usd", self.hosts_usd), ("seconds", self.seconds))
        for name, amount in amounts:
            if not (math.isfinite(amount) and amount >= 0):
                raise UsageError(f"{name} of a result is {amount!r}; it must be a finite number ≥ 0")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` undoes it."""
        return {
            "status": str(self.status),
            "metrics": dict(self.metrics),
            "stderr": dict(self.stderr),
            "spent_usd": self.spent_usd,
            "hosts_usd": self.hosts_usd,
            "seconds": self.seconds,
            "source": self.source,
            "reason": self.reason,
            "rows": [dict(row) for row in self.rows],
            "artifacts": dict(self.artifacts),
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """What an earlier version wrote lacks some fields, which then have their defaults."""
        return cls(**{**data, "status": Status(data["status"]), "rows": tuple(data["rows"])})


@dataclass(frozen=True, order=True, slots=True)
class Score:
    """A goal's judgement; smaller is better.

    Ordered by ``rank`` (0: ran, 1: failed), then by ``violation`` of the SLOs (0: all met), then by ``values``, one
    entry per thing to minimise (empty where a failed trial has no charge in that unit).
    """

    rank: int
    violation: float
    values: tuple[float, ...]

    @property
    def feasible(self) -> bool:
        """The trial ran and met every SLO."""
        return self.rank == 0 and self.violation == 0


@dataclass(frozen=True, slots=True)
class Observation:
    """A trial, its result, and its score (None: the outcome says nothing about the config)."""

    trial: Trial
    result: Result
    score: Score | None

    @property
    def candidate(self) -> Candidate:
        return self.trial.candidate

    @property
    def arm(self) -> str:
        """The top-level arm."""
        return self.trial.candidate.arm[0]
