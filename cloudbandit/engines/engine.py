"""What an engine is to this library: knobs as data, a command line, and how it says that it is ready."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.protocols import Host
from cloudbandit.core.trial import Config, Value

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting of an engine.

    Args:
        values: what it may be, in order; the first is not special.
        default: what the engine is started with where nobody chose.
        when: ``(knob, value)``: it has an effect only then, and is absent from a config otherwise.
    """

    name: str
    values: tuple[Value, ...]
    default: Value
    when: tuple[str, Value] | None = None

    def __post_init__(self) -> None:
        if self.default not in self.values:
            raise UsageError(f"the default of {self.name} is {self.default!r}, which is none of {self.values}")


class Engine(ABC):
    """A serving engine. Everything it needs to know of a machine is its `Host`."""

    name: ClassVar[str]
    knobs: Sequence[Knob]
    at_most: ClassVar[Sequence[tuple[str, str]]] = ()
    """Known constraints: pairs of knobs of which, where both are active, the first must not exceed the second."""
    forbidden: Sequence[Mapping[str, Sequence[Value]]] = ()
    """More of them: a config is ruled out where each of these knobs has one of these values."""
    ready_path: ClassVar[str] = "/health"
    start_timeout_s: ClassVar[float] = 60.0
    text_prompts: ClassVar[bool] = False
    """The server takes text, not token ids."""
    vocabulary: tuple[int, int] = (10, 250)
    """Token ids that prompts may hold."""
    extra: ClassVar[Mapping[str, Any]] = {}
    """Fields of every request body."""

    def __init__(self, **fixed: Value | Sequence[Value]) -> None:
        known = {k.name: k for k in self.knobs}
        for name, value in fixed.items():
            if name not in known:
                raise UnknownNameError(f"knob of {self.name}", name, known)
            given = list(value) if isinstance(value, list | tuple) else [value]
            wrong = [v for v in given if v not in known[name].values]
            if wrong or not given:
                raise UsageError(
                    f"{name} of {self.name} is {wrong or given}; allowed: {', '.join(map(str, known[name].values))}"
                )
        self._fixed = {n: tuple(v) if isinstance(v, list | tuple) else (v,) for n, v in fixed.items()}

    def values(self, knob: Knob) -> tuple[Value, ...]:
        """What a knob may be in this study."""
        return self._fixed.get(knob.name, knob.values)

    def space(self) -> ConfigurationSpace:
        """The knobs as a ConfigSpace, with conditions and known constraints."""
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
        for knob in self.knobs:
            values = self.values(knob)
            default = knob.default if knob.default in values else values[0]
            numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
            kind = OrdinalHyperparameter if numeric else CategoricalHyperparameter
            made[knob.name] = kind(knob.name, list(values), default_value=default)
        space.add(*made.values())
        for knob in self.knobs:
            if knob.when is not None:
                parent, value = knob.when
                if value in self.values(next(k for k in self.knobs if k.name == parent)):
                    space.add(EqualsCondition(made[knob.name], made[parent], value))
        for smaller, larger in self.at_most:
            space.add(ForbiddenGreaterThanRelation(made[smaller], made[larger]))
        offered = {k.name: self.values(k) for k in self.knobs}
        for clause in self.forbidden:
            met = {name: [v for v in values if v in offered[name]] for name, values in clause.items()}
            if all(met.values()):
                parts = [ForbiddenInClause(made[name], values) for name, values in met.items()]
                space.add(ForbiddenAndConjunction(*parts) if len(parts) > 1 else parts[0])
        return space

    def configs(self) -> list[dict[str, Value]]:
        """Every config that meets the known constraints, inactive knobs absent."""
        out: list[dict[str, Value]] = [{}]
        for knob in self.knobs:
            grown = []
            for config in out:
                if knob.when is not None and config.get(knob.when[0]) != knob.when[1]:
                    grown.append(config)
                else:
                    grown += [{**config, knob.name: v} for v in self.values(knob)]
            out = grown
        return [c for c in out if self.why_not(c) is None]

    def why_not(self, config: Config) -> str | None:
        """None for a config that may be started, else the reason."""
        known = {k.name: k for k in self.knobs}
        for name, value in config.items():
            if name not in known:
                return f"{self.name} has no knob {name!r}; it has {', '.join(known)}"
            knob = known[name]
            if value not in knob.values:
                return f"{name} = {value!r}; allowed: {', '.join(map(str, knob.values))}"
            if knob.when is not None and config.get(knob.when[0], known[knob.when[0]].default) != knob.when[1]:
                return f"{name} has an effect only where {knob.when[0]} = {knob.when[1]!r}"
        for smaller, larger in self.at_most:
            if smaller in config and larger in config and float(config[smaller]) > float(config[larger]):
                return f"{smaller} = {config[smaller]} exceeds {larger} = {config[larger]}"
        for clause in self.forbidden:
            if all(name in config and config[name] in values for name, values in clause.items()):
                return "the engine refuses " + " with ".join(f"{name} = {config[name]}" for name in clause)
        return None

    def accelerators(self, config: Config) -> int:
        """How many a config takes; 0: none."""
        return 0

    def find(self, model: str) -> str:
        """The model's absolute path, or its name as it is.

        Raises:
            DataError: it is neither.
        """
        return model

    def prepare(self, host: Host, model: str) -> str:
        """Put on the host what a start needs; returns the model's path or name there."""
        return self.find(model)

    @abstractmethod
    def argv(self, host: Host, config: Config, port: int, model: str) -> list[str]:
        """The command that serves ``model`` on loopback."""

    def env(self, config: Config, model: str) -> Mapping[str, str]:
        """Environment variables of the command, beside the host's own."""
        return {}

    @abstractmethod
    def version(self, host: Host) -> str:
        """What is installed on the host.

        Raises:
            UsageError: nothing is; the message says how to install it.
        """
