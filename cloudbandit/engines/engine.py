"""What an engine is to this library: knobs as data, a command line, and how it says that it is ready."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from cloudbandit.core.errors import SpaceError, UnknownNameError, UsageError
from cloudbandit.core.protocols import Host
from cloudbandit.core.trial import Config, Value
from cloudbandit.engines.knobs import Knob, KnobSpace, conflict


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

    def space(self, accelerators: int | None = None) -> KnobSpace:
        """The configs to be searched: those that meet the known constraints and take no more accelerators than there are.

        Args:
            accelerators: of the machine; None: nobody knows, or as many as are wanted.

        Raises:
            SpaceError: there is none.
        """
        knobs = []
        for knob in self.knobs:
            values = self.values(knob)
            if accelerators is not None and self.accelerators({}) <= accelerators:
                values = tuple(v for v in values if self.accelerators({knob.name: v}) <= accelerators)
                if not values:
                    raise SpaceError(f"every {knob.name} takes more than the {accelerators} accelerators there are")
            default = knob.default if knob.default in values else values[0]
            knobs.append(replace(knob, values=values, default=default))
        return KnobSpace(knobs, self.at_most, self.forbidden, self.accelerators, accelerators)

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
        return conflict(config, self.at_most, self.forbidden)

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

    def unknown_flags(self, host: Host, config: Config, model: str) -> list[str]:
        """Flags of a config's command that the installed program does not know, as far as its help says."""
        return []

    @abstractmethod
    def version(self, host: Host) -> str:
        """What is installed on the host.

        Raises:
            UsageError: nothing is; the message says how to install it.
        """
