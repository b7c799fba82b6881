"""What may be tried: a `Domain` of named arms, each with its own inner space.

An inner space is one of four things:

* a ConfigSpace ``ConfigurationSpace`` (conditions, forbidden clauses, log and ordinal parameters are honoured),
* a `Listing`: an explicit list of configs (a provider's catalogue, a recorded table; rarely Cartesian),
* ranges and choices, ``{"lr": (1e-4, 1.0, "log"), "nodes": [2, 4, 8]}`` (`cloudbandit.core.ranges`),
* another `Domain`: provider → offer → engine knobs is the same mechanism, and arms become longer tuples.

A domain is immutable and owns no random state: sampling takes a generator.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudbandit.core.errors import SpaceError, UnknownNameError
from cloudbandit.core.listing import ENUMERABLE_LIMIT, Listing, Space
from cloudbandit.core.parameter import Parameter, merge
from cloudbandit.core.ranges import FORMS, is_ranges, of_ranges
from cloudbandit.core.trial import Candidate

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace


class Domain:
    """Named arms, each with its own inner space.

    Args:
        arms: name → ``ConfigurationSpace`` | `Listing` | list of configs | ranges | `Domain`.
        limit: a domain of more configs, in all its arms together, is sampled, not listed.

    Raises:
        SpaceError: no arm, or an arm whose space is empty.
    """

    def __init__(self, arms: Mapping[str, Any], *, limit: int = ENUMERABLE_LIMIT) -> None:
        if not arms:
            raise SpaceError("a domain needs at least one arm, got none")
        self.arms: Mapping[str, Space | Domain] = MappingProxyType({str(n): _as_space(n, s) for n, s in arms.items()})
        self.limit = limit
        self._slices: dict[str, Domain] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Domain, limit=self.limit), (dict(self.arms),)

    @property
    def names(self) -> tuple[str, ...]:
        """The top-level arms, in the order given."""
        return tuple(self.arms)

    @cached_property
    def leaves(self) -> Mapping[tuple[str, ...], Space]:
        """Full arm path → inner space."""
        out: dict[tuple[str, ...], Space] = {}
        for name, space in self.arms.items():
            if isinstance(space, Domain):
                out |= {(name, *path): leaf for path, leaf in space.leaves.items()}
            else:
                out[(name,)] = space
        return MappingProxyType(out)

    @cached_property
    def size(self) -> float:
        """At least as many as there are configs, known without listing them; infinite where a parameter is continuous."""
        return sum(leaf.size for leaf in self.leaves.values())

    @cached_property
    def enumerable(self) -> bool:
        """Whether the configs can be listed; else optimizers sample."""
        return self.size <= self.limit and all(leaf.enumerable for leaf in self.leaves.values())

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate, in the order of arms and then of configs.

        Raises:
            SpaceError: the domain is infinite or larger than its limit.
        """
        if not self.enumerable:
            raise SpaceError("this domain cannot be enumerated: a space is continuous or too large; cure: sample it")
        out: list[Candidate] = []
        for path, leaf in self.leaves.items():
            made = leaf.candidates(path) if isinstance(leaf, Listing) else (Candidate(path, c) for c in leaf.configs())
            out.extend(made)
        return tuple(out)

    def __len__(self) -> int:
        return len(self.candidates)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """``candidate.key`` → position in `candidates`."""
        return {c.key: i for i, c in enumerate(self.candidates)}

    @cached_property
    def arm_index(self) -> np.ndarray[Any, Any]:
        """Position of the top-level arm of each candidate, shape ``(n,)``."""
        position = {name: i for i, name in enumerate(self.names)}
        return np.array([position[c.arm[0]] for c in self.candidates], dtype=np.intp)

    @cached_property
    def draw_weights(self) -> np.ndarray[Any, Any]:
        """Shape ``(n,)``, sums to 1: arm uniform, then uniform over the arm's nominal grid, cells outside the space
        redrawn free of charge *including the arm* (the CloudBandit notebook's random search; so an arm's probability is
        proportional to its hit rate)."""
        parts = [np.full(len(leaf.configs()), self._share(path)) * leaf.weights() for path, leaf in self.leaves.items()]
        weights: np.ndarray[Any, Any] = np.concatenate(parts)
        return np.asarray(weights / weights.sum())

    def _share(self, path: tuple[str, ...]) -> float:
        inner = self.arms[path[0]]
        return (inner._share(path[1:]) if isinstance(inner, Domain) else 1.0) / len(self.arms)

    def why_not(self, candidate: Candidate) -> str | None:
        """None where the candidate lies in the domain, else the reason."""
        leaf = self.leaves.get(candidate.arm)
        if leaf is None:
            known = ", ".join("/".join(path) for path in self.leaves)
            return f"there is no arm {'/'.join(candidate.arm)!r}; arms: {known}"
        reason = leaf.why_not(candidate.config)
        return reason and f"in arm {'/'.join(candidate.arm)!r} {reason}"

    def __contains__(self, candidate: object) -> bool:
        return isinstance(candidate, Candidate) and self.why_not(candidate) is None

    def only(self, arm: str) -> Domain:
        """The domain of one top-level arm; candidates keep their full arm path. An arm of a domain that is not listed is
        listed only within its share of the limit, so that all arms together are not listed either."""
        if arm not in self.arms:
            raise UnknownNameError("arm", arm, self.names)
        if arm not in self._slices:  # kept: a domain is immutable, and studies that share it share its enumeration
            limit = self.limit if self.enumerable else self.limit // len(self.arms)
            self._slices[arm] = Domain({arm: self.arms[arm]}, limit=limit)
        return self._slices[arm]

    def sample(self, rng: np.random.Generator, n: int = 1) -> list[Candidate]:
        """``n`` independent draws: arm uniform at each level, then uniform in the inner space."""
        drawn = rng.integers(len(self.names), size=n)
        by_arm: dict[int, list[Candidate]] = {}
        for position in sorted(set(drawn.tolist())):
            name, count = self.names[position], int((drawn == position).sum())
            space = self.arms[name]
            by_arm[position] = (
                [Candidate((name, *c.arm), c.config) for c in space.sample(rng, count)]
                if isinstance(space, Domain)
                else [Candidate((name,), config) for config in space.sample(rng, count)]
            )
        return [by_arm[position].pop() for position in drawn.tolist()]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters by name; a name shared by several arms is one parameter with the union of their values."""
        merged: dict[str, Parameter] = {}
        for leaf in self.leaves.values():
            for p in leaf.parameters:
                merged[p.name] = merge(merged[p.name], p) if p.name in merged else p
        return tuple(merged.values())

    @cached_property
    def _columns(self) -> tuple[list[tuple[int, dict[str, int]]], list[tuple[Parameter, int, int]], int]:
        width = 0
        levels: list[tuple[int, dict[str, int]]] = []
        for depth in range(max(map(len, self.leaves))):
            prefixes = list(dict.fromkeys("/".join(path[: depth + 1]) for path in self.leaves if len(path) > depth))
            if len(prefixes) > 1:
                levels.append((depth, {prefix: width + i for i, prefix in enumerate(prefixes)}))
                width += len(prefixes)
        spans: list[tuple[Parameter, int, int]] = []
        for p in self.parameters:
            if p.finite and len(p.values) == 1:
                continue
            one = p.numeric or p.kind == "ordinal" or len(p.values) == 2
            spans.append((p, width, 1 if one else len(p.values)))
            width += spans[-1][2]
        return levels, spans, width

    def encode(self, candidates: Sequence[Candidate]) -> np.ndarray[Any, Any]:
        """Features of candidates, shape ``(n, d)``.

        Numbers and ordinals are scaled to [0, 1] (log where declared); labels and arms are one-hot divided by √2, so that
        two different labels lie at distance 1; an inactive parameter lies in the middle of its column.
        """
        levels, spans, width = self._columns
        out = np.zeros((len(candidates), width))
        half, rows = math.sqrt(0.5), np.arange(len(candidates))
        for depth, columns in levels:
            at = [columns.get("/".join(c.arm[: depth + 1]), -1) if len(c.arm) > depth else -1 for c in candidates]
            placed = np.array(at, dtype=np.intp)
            out[rows[placed >= 0], placed[placed >= 0]] = half
        for p, start, count in spans:
            values = [c.config.get(p.name) for c in candidates]
            distinct = {v: i for i, v in enumerate(dict.fromkeys(values))}
            block = np.zeros((len(distinct), count))
            for value, i in distinct.items():
                if value is None:
                    block[i] = 0.5 if count == 1 else half / count
                elif p.numeric or p.kind == "ordinal":
                    block[i] = p.unit(value)
                elif count == 1:
                    block[i] = p.values.index(value)
                else:
                    block[i, p.values.index(value)] = half
            out[:, start : start + count] = block[[distinct[v] for v in values]]
        return out

    @cached_property
    def features(self) -> np.ndarray[Any, Any]:
        """`encode` of all candidates, shape ``(n, d)``."""
        return self.encode(self.candidates)

    @cached_property
    def feature_groups(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Which columns of `encode` belong together, shape ``(d,)``: those of a level of arms, or of a parameter."""
        levels, spans, _ = self._columns
        counts = [len(columns) for _, columns in levels] + [count for _, _, count in spans]
        return np.repeat(np.arange(len(counts)), counts)

    @cached_property
    def fingerprint(self) -> str:
        """The same for equal domains, whatever built them: a stored study checks it when it is resumed."""
        text = "\n".join(f"{'/'.join(path)}\n{leaf.describe()}" for path, leaf in sorted(self.leaves.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_configspace(cls, space: ConfigurationSpace, arm: str = "provider") -> Domain:
        """Split a hierarchical ConfigSpace into one arm per value of the parameter ``arm``.

        Raises:
            SpaceError: there is no such parameter, or it is not an unconditional categorical, ordinal or constant.
        """
        from cloudbandit.core._configspace import split

        return cls(split(space, arm))

    def to_configspace(self, arm: str = "provider") -> ConfigurationSpace:
        """Flatten to one ConfigSpace with a categorical parameter ``arm`` (nested arms: their path joined with ``/``).

        The inverse of `from_configspace`. Otherwise a parameter that several arms have under one name gets the arm's
        name as a prefix (``A:nodes``), and cells that a listing lacks become forbidden clauses.
        """
        from cloudbandit.core._configspace import flatten

        return flatten(self, arm)

    def __repr__(self) -> str:
        size = f"{len(self)} candidates" if self.enumerable else "not enumerable"
        return f"Domain({', '.join(self.names)}; {size})"


def _as_space(name: str, space: Any) -> Space | Domain:
    if isinstance(space, Domain | Listing):
        return space
    if isinstance(space, list | tuple):
        return Listing(space)
    if is_ranges(space):
        space = of_ranges(name, space)
        if isinstance(space, Listing):
            return space
    if type(space).__name__ == "ConfigurationSpace":
        from cloudbandit.core._configspace import Leaf

        return Leaf(space)
    if isinstance(space, Space):
        return space
    raise SpaceError(
        f"the space of arm {name!r} is a {type(space).__name__}; "
        f"it must be a ConfigurationSpace, a Listing, a list of configs, parameters that are each {FORMS}, or a Domain"
    )
