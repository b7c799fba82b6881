"""The largest safe value of a capacity knob, found before load tests.

LLM-Pilot (SC 2024, section III) tunes its server's batch weight per LLM and GPU before it measures anything: the largest
batch that does not run out of memory. The same step serves any knob that is safe up to some value and unsafe beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cloudbandit.core.errors import CloudBanditError, UsageError
from cloudbandit.core.protocols import Run
from cloudbandit.core.trial import Candidate, Config, Result, Status, Trial, Value
from cloudbandit.live.objective import LiveObjective
from cloudbandit.live.trial import Unattended

V = TypeVar("V")


@dataclass(frozen=True)
class Capacity(Generic[V]):
    """What a search found.

    Attributes:
        largest: the largest value that passed every check of it; None: not even the smallest did.
        checked: value → whether each check of it passed, in the order checked.
    """

    largest: V | None
    checked: dict[V, list[bool]]

    @property
    def checks(self) -> int:
        return sum(map(len, self.checked.values()))


def largest_safe(values: Sequence[V], safe: Callable[[V], bool], confirm: int = 1) -> Capacity[V]:
    """The largest safe value of an increasing list, by bisection: ⌈log2(n + 1)⌉ values are tried.

    Args:
        values: in increasing order of demand.
        safe: tries a value; must be true up to some value and false beyond.
        confirm: how often a value must pass before it counts as safe: near the limit, safety is a matter of luck.

    Raises:
        UsageError: no values, or a value twice.
    """
    if not values or len(set(values)) != len(values) or confirm < 1:
        raise UsageError(f"a search needs different values and at least one check of each, got {list(values)}")
    checked: dict[V, list[bool]] = {}
    low, high = -1, len(values)  # values[low] is safe, values[high] is not
    while high - low > 1:
        middle = (low + high) // 2
        results = checked.setdefault(values[middle], [])
        while len(results) < confirm:
            results.append(bool(safe(values[middle])))
            if not results[-1]:
                break
        if all(results):
            low = middle
        else:
            high = middle
    return Capacity(values[low] if low >= 0 else None, checked)


def tune_capacity(
    objective: LiveObjective,
    knob: str,
    config: Config,
    *,
    values: Sequence[Value] | None = None,
    max_failure_rate: float = 0.0,
    confirm: int = 1,
    seed: int = 0,
    arm: Sequence[str] = (),
    run: Run | None = None,
) -> tuple[Capacity[Value], list[Result]]:
    """Search a knob of a live engine: a value is safe if its trial runs and no more requests fail than allowed.

    Args:
        objective: its workload and load decide what "safe" means: choose the heaviest that is to be served.
        knob: of the engine.
        config: the other knobs.
        values: in increasing order of demand; by default the knob's own.
        arm: the path of the offer, ``(provider, label)``; by default the first.

    Returns:
        what was found, and every trial's result in order.

    Raises:
        CloudBanditError: a trial ended through no doing of its config, so that neither answer would be true.
    """
    own = next((k.values for k in objective.engine.knobs if k.name == knob), None)
    if own is None:
        known = ", ".join(k.name for k in objective.engine.knobs)
        raise UsageError(f"{objective.engine.name} has no knob {knob!r}; it has {known}")
    results: list[Result] = []
    where = tuple(arm) or next(iter(objective.domain().leaves))

    def safe(value: Value) -> bool:
        trial = Trial(len(results), Candidate(where, {**config, knob: value}), seed=seed + 1000 * len(results))
        result = objective.evaluate(trial, run or Unattended())
        results.append(result)
        if not result.status.informative:
            why = result.reason or str(result.status)
            raise CloudBanditError(
                f"the search stopped at {knob} = {value}: {why}, which says nothing about it; start again"
            )
        return result.status is Status.OK and result.metrics["failure_rate"] <= max_failure_rate

    return largest_safe(list(values if values is not None else own), safe, confirm), results
