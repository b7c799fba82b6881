"""Knobs as data, and the space they span: nothing is listed before somebody asks for the list."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudbandit.core.errors import SpaceError, UsageError
from cloudbandit.core.listing import ENUMERABLE_LIMIT
from cloudbandit.core.parameter import Parameter
from cloudbandit.core.trial import Config, Value

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

_DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting of an engine.

    Args:
        values: what it may be, in order; the first is not special.
        default: what the engine is started with where nobody chose.
        when: ``(knob, value)``: it has an effect only then, and is absent from a config otherwise. That knob comes before.
    """

    name: str
    values: tuple[Value, ...]
    default: Value
    when: tuple[str, Value] | None = None

    def __post_init__(self) -> None:
        if self.default not in self.values:
            raise UsageError(f"the default of {self.name} is {self.default!r}, which is none of {self.values}")

    def active(self, config: Config) -> bool:
        """Whether it has an effect, given the knobs before it."""
        return self.when is None or config.get(self.when[0]) == self.when[1]


AtMost = Sequence[tuple[str, str]]
Forbidden = Sequence[Mapping[str, Sequence[Value]]]


def conflict(config: Config, at_most: AtMost, forbidden: Forbidden) -> str | None:
    """Which known constraint a config, or a part of one, breaks; None: none."""
    for smaller, larger in at_most:
        if smaller in config and larger in config and float(config[smaller]) > float(config[larger]):
            return f"{smaller} = {config[smaller]} exceeds {larger} = {config[larger]}"
    for clause in forbidden:
        if all(name in config and config[name] in values for name, values in clause.items()):
            return "the engine refuses " + " with ".join(f"{name} = {config[name]}" for name in clause)
    return None


class KnobSpace:
    """The configs of some knobs that meet the known constraints, inactive knobs absent: a `cloudbandit.core.listing.Space`.

    Args:
        knobs: with the values that are to be searched.
        at_most, forbidden: known constraints; see `cloudbandit.engines.engine.Engine`.
        taken: how many accelerators a config takes.
        accelerators: how many there are; None: as many as a config takes.

    Raises:
        SpaceError: no config is left.
    """

    def __init__(
        self,
        knobs: Sequence[Knob],
        at_most: AtMost = (),
        forbidden: Forbidden = (),
        taken: Callable[[Config], int] | None = None,
        accelerators: int | None = None,
    ) -> None:
        kept: dict[str, Knob] = {}
        for knob in knobs:
            if knob.when is None or (knob.when[0] in kept and knob.when[1] in kept[knob.when[0]].values):
                kept[knob.name] = knob
        self.knobs, self.at_most, self.forbidden = tuple(kept.values()), tuple(at_most), tuple(forbidden)
        self._taken, self._accelerators = taken, accelerators
        if next(self._walk(), None) is None:
            raise SpaceError(f"no config of {', '.join(kept)} meets the known constraints")

    def __reduce__(self) -> tuple[Any, ...]:
        return KnobSpace, (self.knobs, self.at_most, self.forbidden, self._taken, self._accelerators)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(Parameter.listed(k.name, k.values) for k in sorted(self.knobs, key=lambda k: k.name))

    @cached_property
    def default(self) -> Config | None:
        """What the engine is started with where nobody chose; None where the known constraints rule that out."""
        config: dict[str, Value] = {}
        for knob in self.knobs:
            if knob.active(config):
                config[knob.name] = knob.default
        return config if self.why_not(config) is None else None

    @property
    def size(self) -> float:
        """The cells of the grid: no fewer than there are configs."""
        return math.prod(len(k.values) for k in self.knobs)

    @property
    def enumerable(self) -> bool:
        return self.size <= ENUMERABLE_LIMIT

    def _walk(self, position: int = 0, partial: Config | None = None) -> Iterator[dict[str, Value]]:
        """The configs, the first knob's values outermost."""
        config = dict(partial or {})
        if conflict(config, self.at_most, self.forbidden) is not None:
            return
        if position == len(self.knobs):
            if self._fits(config):
                yield config
            return
        knob = self.knobs[position]
        for value in knob.values if knob.active(config) else ():
            yield from self._walk(position + 1, {**config, knob.name: value})
        if not knob.active(config):
            yield from self._walk(position + 1, config)

    def _fits(self, config: Config) -> bool:
        return self._accelerators is None or self._taken is None or self._taken(config) <= self._accelerators

    @cached_property
    def _listed(self) -> tuple[Config, ...]:
        return tuple(self._walk())

    def configs(self) -> Sequence[Config]:
        return self._listed

    def weights(self) -> np.ndarray[Any, Any]:
        count = {k.name: len(k.values) for k in self.knobs}
        return np.array([1.0 / math.prod(count[name] for name in config) for config in self._listed])

    def why_not(self, config: Config) -> str | None:
        known = {k.name: k for k in self.knobs}
        for name, value in config.items():
            if name not in known:
                return f"there is no knob {name!r}; knobs: {', '.join(known)}"
            if not any(type(v) is type(value) and v == value for v in known[name].values):
                return f"{name}={value!r} is not one of {list(known[name].values)}"
        for knob in self.knobs:
            if knob.active(config) != (knob.name in config):
                return f"{knob.name!r} {'is missing' if knob.active(config) else 'has no effect and must be absent'}"
        if not self._fits(config):
            return f"it takes more than {self._accelerators} accelerators"
        return conflict(config, self.at_most, self.forbidden)

    def sample(self, rng: np.random.Generator, n: int = 1) -> list[Config]:
        """Every knob is drawn, and what breaks a constraint is drawn anew."""
        sizes = [len(k.values) for k in self.knobs]
        kept: list[Config] = []
        for _ in range(_DRAWS):
            for row in rng.integers(sizes, size=(max(8, 2 * (n - len(kept))), len(sizes))).tolist():
                config: dict[str, Value] = {}
                for knob, position in zip(self.knobs, row, strict=True):
                    if knob.active(config):
                        config[knob.name] = knob.values[position]
                if self._fits(config) and conflict(config, self.at_most, self.forbidden) is None:
                    kept.append(config)
            if len(kept) >= n:
                return kept[:n]
        raise SpaceError("thousands of draws found no config that meets the known constraints; narrow the knobs")

    def active(self, name: str, partial: Config) -> bool:
        return any(k.name == name and k.active(partial) for k in self.knobs)

    def describe(self) -> str:
        lines = [f"{k.name} {list(k.values)!r} {k.when!r}" for k in self.knobs]
        clauses = [f"{smaller} <= {larger}" for smaller, larger in self.at_most]
        clauses += [f"not {sorted((n, tuple(v)) for n, v in clause.items())!r}" for clause in self.forbidden]
        return "\n".join([*sorted(lines), *sorted(clauses), f"accelerators {self._accelerators}"])

    def to_configspace(self) -> ConfigurationSpace:
        """With conditions and forbidden clauses. Of limited accelerators it knows what single values of a knob rule out."""
        from ConfigSpace import (
            CategoricalHyperparameter,
            ConfigurationSpace,
            EqualsCondition,
            ForbiddenAndConjunction,
            ForbiddenGreaterThanRelation,
            ForbiddenInClause,
            OrdinalHyperparameter,
        )

        space = ConfigurationSpace(seed=0)
        made: dict[str, Any] = {}
        example = next(self._walk())
        for knob in self.knobs:
            numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in knob.values)
            kind = OrdinalHyperparameter if numeric else CategoricalHyperparameter
            default = example.get(knob.name, knob.values[0])
            made[knob.name] = kind(knob.name, list(knob.values), default_value=default)
        space.add(*made.values())
        for knob in self.knobs:
            if knob.when is not None:
                space.add(EqualsCondition(made[knob.name], made[knob.when[0]], knob.when[1]))
        for smaller, larger in self.at_most:
            if smaller in made and larger in made:
                space.add(ForbiddenGreaterThanRelation(made[smaller], made[larger]))
        offered = {k.name: k.values for k in self.knobs}
        for clause in self.forbidden:
            met = {n: [v for v in values if v in offered.get(n, ())] for n, values in clause.items()}
            if all(met.values()):
                parts = [ForbiddenInClause(made[name], values) for name, values in met.items()]
                space.add(ForbiddenAndConjunction(*parts) if len(parts) > 1 else parts[0])
        return space

    def __repr__(self) -> str:
        return f"KnobSpace(at most {self.size} configs of {', '.join(k.name for k in self.knobs)})"
