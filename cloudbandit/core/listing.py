"""What a domain needs from an inner space, and the simplest one: an explicit list of configs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from cloudbandit.core.errors import SpaceError
from cloudbandit.core.parameter import Parameter, plain
from cloudbandit.core.trial import Candidate, Config

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

ENUMERABLE_LIMIT = 200_000
"""A space with more nominal cells than this is sampled, not enumerated; so is a domain with more in all its arms."""


@runtime_checkable
class Space(Protocol):
    """What a domain needs from an inner space. `Listing` and the ConfigSpace leaf implement it."""

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...

    @property
    def size(self) -> float:
        """At least as many as there are configs, known without listing them; infinite where a parameter is continuous."""

    @property
    def enumerable(self) -> bool: ...

    def configs(self) -> Sequence[Config]:
        """Every config, in a fixed order (enumerable spaces only)."""

    def weights(self) -> np.ndarray[Any, Any]:
        """Probability of each config under a uniform draw from the nominal grid; sums to the hit rate, ≤ 1."""

    def why_not(self, config: Config) -> str | None:
        """None for a member, else the reason."""

    def sample(self, rng: np.random.Generator, n: int = 1) -> list[Config]:
        """Independent draws."""

    def active(self, name: str, partial: Config) -> bool:
        """Whether ``name`` can be active, given the values of the parameters before it."""

    def describe(self) -> str:
        """A stable text that two equal spaces share."""

    def to_configspace(self) -> ConfigurationSpace: ...


class Listing:
    """An explicit list of configs; an inactive parameter is absent from a config.

    Args:
        configs: at least one; duplicates are an error.
        parameters: kinds and nominal values, where the listing alone does not tell them (a recorded table's grid is wider
            than what one workload recorded). Inferred by default.
    """

    def __init__(self, configs: Iterable[Mapping[str, Any]], parameters: Sequence[Parameter] | None = None) -> None:
        self._configs: tuple[Config, ...] = tuple(
            MappingProxyType({k: plain(v) for k, v in sorted(c.items())}) for c in configs
        )
        if not self._configs:
            raise SpaceError("a listing needs at least one config, got none")
        if len(self._members) < len(self._configs):
            keys = [Candidate("", c).key for c in self._configs]
            twice = next(c for c, k in zip(self._configs, keys, strict=True) if keys.count(k) > 1)
            raise SpaceError(f"a listing holds each config once; {dict(twice)} is there twice")
        if parameters is None:
            names = sorted({name for c in self._configs for name in c})
            parameters = [Parameter.listed(n, [c[n] for c in self._configs if n in c]) for n in names]
        self._parameters = tuple(parameters)
        self._candidates: tuple[Candidate, ...] = ()

    @classmethod
    def of(cls, candidates: Sequence[Candidate], parameters: Sequence[Parameter]) -> Listing:
        """A listing of candidates that are there already: one arm's, all different, at least one."""
        listing = cls.__new__(cls)
        listing._candidates = tuple(candidates)
        listing._configs = tuple([c.config for c in candidates])
        listing._parameters = tuple(parameters)
        return listing

    @cached_property
    def _members(self) -> set[str]:
        return {Candidate("", c).key for c in self._configs}

    def candidates(self, path: tuple[str, ...]) -> tuple[Candidate, ...]:
        """Every config under an arm's path."""
        if self._candidates and self._candidates[0].arm == path:
            return self._candidates
        return tuple([Candidate(path, config) for config in self._configs])

    def __reduce__(self) -> tuple[Any, ...]:
        return Listing, ([dict(c) for c in self._configs], self._parameters)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self._parameters

    @property
    def size(self) -> float:
        return len(self._configs)

    @property
    def enumerable(self) -> bool:
        return True

    def configs(self) -> Sequence[Config]:
        return self._configs

    def weights(self) -> np.ndarray[Any, Any]:
        """Configs with the same active parameters share a nominal grid; each such grid is equally likely."""
        size = {p.name: len(p.values) for p in self._parameters}
        grids = [tuple(c) for c in self._configs]  # configs keep their names sorted
        share = {grid: 1.0 / len(set(grids)) / math.prod(size[n] for n in grid) for grid in dict.fromkeys(grids)}
        return np.array([share[grid] for grid in grids])

    def why_not(self, config: Config) -> str | None:
        if Candidate("", config).key in self._members:
            return None
        known = {p.name: p for p in self._parameters}
        for name, value in config.items():
            if name not in known:
                return f"it has no parameter {name!r}; parameters: {', '.join(known) or 'none'}"
            allowed = known[name].values
            if not any(type(v) is type(value) and v == value for v in allowed):
                return f"{name}={value!r} is not one of {list(allowed)}"
        return f"this combination is not among the {len(self._configs)} listed configs"

    def sample(self, rng: np.random.Generator, n: int = 1) -> list[Config]:
        return [self._configs[i] for i in rng.integers(len(self._configs), size=n)]

    def active(self, name: str, partial: Config) -> bool:
        return any(name in c and all(c.get(k) == v for k, v in partial.items()) for c in self._configs)

    def describe(self) -> str:
        return "\n".join(sorted(self._members))

    def to_configspace(self) -> ConfigurationSpace:
        from cloudbandit.core._configspace import listing_to_configspace

        return listing_to_configspace(self)

    def __len__(self) -> int:
        return len(self._configs)

    def __repr__(self) -> str:
        return f"Listing({len(self._configs)} configs of {', '.join(p.name for p in self._parameters)})"
